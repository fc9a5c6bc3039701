package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// fewestCases is how many there have to be, so that none is lost unseen.
const fewestCases = 600

func newReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// Every case is played against a server directly and through a proxy that adds
// no rule of its own, in both versions of the protocol. What a client reads is
// the same, byte for byte, but for what testdata/differences.txt lists.
func TestClientsReadWhatRedisWouldHaveSaid(t *testing.T) {
	files := readCases(t)
	intended := readDifferences(t, "differences.txt")
	total := 0
	for _, cases := range files {
		total += len(cases)
	}
	if total < fewestCases {
		t.Errorf("%d cases, there were %d", total, fewestCases)
	}
	t.Run("files", func(t *testing.T) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := start(t, redistest.Args("--slowlog-log-slower-than", "-1")) // what is slow is the machine's matter
				for _, c := range files[name] {
					r.compare(t, c, intended)
				}
			})
		}
	})
	if !t.Failed() {
		intended.unused(t)
	}
	t.Logf("%d cases", total)
}

// compare plays a case both ways.
func (r *rig) compare(t *testing.T, c *script, intended *differences) {
	t.Helper()
	for _, proto := range []int{2, 3} {
		if c.tagged("resp2") && proto != 2 || c.tagged("resp3") && proto != 3 {
			continue
		}
		direct, err := r.once(c, proto, r.node.Addr())
		if err != nil {
			t.Errorf("%s RESP%d directly: %v", c.id(), proto, err)
			continue
		}
		proxied, err := r.once(c, proto, r.proxied)
		if err != nil {
			t.Errorf("%s RESP%d through the proxy: %v", c.id(), proto, err)
		}
		for i := range max(len(direct), len(proxied)) {
			a, b := at(direct, i), at(proxied, i)
			if bytes.HasSuffix(a.bytes, []byte(silence)) || bytes.HasSuffix(a.bytes, []byte(open)) {
				t.Errorf("%s RESP%d waits for what Redis never says: %q", c.id(), proto, a.bytes)
			}
			text, mask, line := "after the last step", "", 0
			for _, h := range []heard{b, a} {
				if h.step != nil {
					text, mask, line = h.step.text, h.step.mask, h.step.line
				}
			}
			if a.step == b.step && same(mask, a.bytes, b.bytes) || intended.covers(c, text, b.bytes) {
				continue
			}
			t.Errorf("%s RESP%d line %d: %.120s\n   redis %.600q\n   proxy %.600q", c.id(), proto, line, text, a.bytes, b.bytes)
		}
	}
}

func at(all []heard, i int) heard {
	if i < len(all) {
		return all[i]
	}
	return heard{}
}

// once plays a case against an empty server.
func (r *rig) once(c *script, proto int, address string) ([]heard, error) {
	if err := empty(r.node); err != nil {
		return nil, err
	}
	p := &player{address: address, node: r.node, proto: proto}
	return p.play(c)
}

// empty makes a server forget what a case has left on it.
func empty(node *redistest.Server) error {
	for _, reset := range [][]string{
		{"FLUSHALL"}, {"FUNCTION", "FLUSH"}, {"SCRIPT", "FLUSH"}, {"SLOWLOG", "RESET"}, {"LATENCY", "RESET"}, {"CONFIG", "RESETSTAT"},
	} {
		if _, err := node.Do(reset...); err != nil {
			return fmt.Errorf("%v: %w", reset, err)
		}
	}
	return nil
}

// The cases' own language means what it says.
func TestCasesAreReadAsWritten(t *testing.T) {
	cases, err := parseCases("f", "About the file.\n@single\n-- one --\nSET k \"a\\r\\n\\x00b\"\nB>2 SUBSCRIBE a b\n@resp3\n[near 5] TTL k\n\n-- two --\nA| ECHO \"ab\"*3\nA| ECHO 'x \"y'\nA<\nwait blocked 1\n")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%q %q|", cases[0].tags, cases[1].tags)
	for _, c := range cases {
		for _, s := range c.steps {
			got += fmt.Sprintf("%c%c%d %q %s;", s.who, s.op, s.count, s.args, s.mask)
		}
	}
	want := `["single" "resp3"] ["single"]|A>1 ["SET" "k" "a\r\n\x00b"] ;B>2 ["SUBSCRIBE" "a" "b"] ;A>1 ["TTL" "k"] near 5;` +
		`A|1 ["ECHO" "ababab"] ;A|1 ["ECHO" "x \"y"] ;A<1 [] ;Aw1 ["blocked" "1"] ;`
	if got != want {
		t.Errorf("read\n%s\nwant\n%s", got, want)
	}
	for _, bad := range []string{"-- x --\n", "-- x --\nPING\n-- x --\nPING\n", "-- x --\nSET \"a\n", "-- x --\nA< PING\n", "-- x --\n[blur] PING\n", "-- x --\nA>\n"} {
		if _, err := parseCases("f", bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

// A mask hides what it names and nothing else.
func TestMasksHideNoMoreThanTheySay(t *testing.T) {
	for _, c := range []struct {
		mask, a, b string
		want       bool
	}{
		{"", "+OK\r\n", "+OK\r\n", true},
		{"", "+OK\r\n", "+KO\r\n", false},
		{"digits", "$2\r\n12\r\n", "$3\r\n345\r\n", true},
		{"digits", "$2\r\n12\r\n", "$3\r\nx45\r\n", false},
		{"near 5", ":10\r\n", ":14\r\n", true},
		{"near 5", ":10\r\n", ":16\r\n", false},
		{"near 5", ":1\r\n", ":-1\r\n", false},
		{"near 5", ":1\r\n", "-ERR\r\n", false},
		{"unordered", "*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n", true},
		{"unordered", "*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+b\r\n", false},
		{"unordered", "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n", true},
		{"unordered", "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "%2\r\n+b\r\n:1\r\n+a\r\n:2\r\n", false},
		{"shape", "*1\r\n$1\r\na\r\n", "*1\r\n$2\r\nab\r\n", true},
		{"shape", "*1\r\n$1\r\na\r\n", "*1\r\n:1\r\n", false},
		{"fields id", "$9\r\nid=7 db=1\r\n", "$10\r\nid=88 db=1\r\n", true},
		{"fields id", "$9\r\nid=7 db=1\r\n", "$10\r\nid=88 db=2\r\n", false},
		{"names", "$9\r\na:1\r\nb:2\r\n\r\n", "$9\r\na:5\r\nb:x\r\n\r\n", true},
		{"names", "$9\r\na:1\r\nb:2\r\n\r\n", "$9\r\na:5\r\nc:x\r\n\r\n", false},
	} {
		if got := same(c.mask, []byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("[%s] %q and %q: %v", c.mask, c.a, c.b, got)
		}
	}
}
