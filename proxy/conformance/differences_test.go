package conformance

import (
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// differences is testdata/differences.txt: where the proxy answers otherwise on
// purpose. A line is
//
//	case | command | the proxy's reply | words of DIFFERENCES.md that say so
//
// The case may be a pattern (session/*); the reply is a regular expression
// over all of it, its last CR LF aside.
type differences struct {
	name  string
	mu    sync.Mutex
	lines []*difference
}

type difference struct {
	line           int
	where, command string
	reply          *regexp.Regexp
	used           bool
}

func readDifferences(t testing.TB, name string) *differences {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../DIFFERENCES.md")
	if err != nil {
		t.Fatal(err)
	}
	said := plain(string(document))
	d := &differences{name: name}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 4 {
			t.Fatalf("%s:%d has %d parts, not 4", name, i+1, len(parts))
		}
		reply, err := regexp.Compile("^(?s:" + parts[2] + ")$")
		if err != nil {
			t.Fatalf("%s:%d: %v", name, i+1, err)
		}
		if _, err := path.Match(parts[0], ""); err != nil {
			t.Fatalf("%s:%d: %v", name, i+1, err)
		}
		if words := plain(parts[3]); words == "" || !strings.Contains(said, words) {
			t.Errorf("%s:%d: DIFFERENCES.md does not say %q", name, i+1, parts[3])
		}
		d.lines = append(d.lines, &difference{line: i + 1, where: parts[0], command: parts[1], reply: reply})
	}
	return d
}

// plain is text without its marks and line breaks.
func plain(text string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("`", "", "*", "").Replace(text)), " ")
}

// covers reports whether a reply that differs is listed.
func (d *differences) covers(c *script, command string, reply []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lines {
		if ok, _ := path.Match(l.where, c.id()); ok && l.command == command && l.reply.MatchString(strings.TrimSuffix(string(reply), "\r\n")) {
			l.used = true
			return true
		}
	}
	return false
}

// unused fails for what is listed and does not differ.
func (d *differences) unused(t *testing.T) {
	for _, l := range d.lines {
		if !l.used {
			t.Errorf("%s:%d: %s, %s is as in Redis", d.name, l.line, l.where, l.command)
		}
	}
}
