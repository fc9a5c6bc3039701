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
	mu    sync.Mutex
	lines []*difference
}

type difference struct {
	line           int
	where, command string
	reply          *regexp.Regexp
	used           bool
}

func readDifferences(t testing.TB) *differences {
	t.Helper()
	text, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../DIFFERENCES.md")
	if err != nil {
		t.Fatal(err)
	}
	said := plain(string(document))
	d := &differences{}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 4 {
			t.Fatalf("differences.txt:%d has %d parts, not 4", i+1, len(parts))
		}
		reply, err := regexp.Compile("^(?s:" + parts[2] + ")$")
		if err != nil {
			t.Fatalf("differences.txt:%d: %v", i+1, err)
		}
		if _, err := path.Match(parts[0], ""); err != nil {
			t.Fatalf("differences.txt:%d: %v", i+1, err)
		}
		if words := plain(parts[3]); words == "" || !strings.Contains(said, words) {
			t.Errorf("differences.txt:%d: DIFFERENCES.md does not say %q", i+1, parts[3])
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
			t.Errorf("differences.txt:%d: %s, %s is as in Redis", l.line, l.where, l.command)
		}
	}
}
