package acl

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		glob, text string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false},
		{"*", "a", true}, {"*", "a\nb\x00", true}, {"**", "a", true},
		{"*", "", false}, // Redis, too: what is empty from the start matches the empty pattern alone
		{"a*", "a", true}, {"a**", "a", true}, {"a*", "b", false},
		{"*a", "ba", true}, {"*a", "ab", false}, {"*a*", "bab", true},
		{"a*b*c", "axbxc", true}, {"a*b*c", "axcxb", false}, {"a*bc", "abcbc", true},
		{"?", "a", true}, {"?", "", false}, {"?", "ab", false}, {"a?c", "abc", true},
		{"A", "a", false},
		{"app:*", "app:1", true}, {"app:*", "apt:1", false}, {"a*/b", "a/x/b", true}, {"a:*:b", "a:1:2:b", true},
		{"[abc]", "b", true}, {"[abc]", "d", false}, {"[^abc]", "d", true}, {"[^abc]", "a", false},
		{"[a-c]x", "bx", true}, {"[c-a]x", "bx", true}, {"[a-c]", "d", false},
		{"[a-]x", "a", true}, {"[a-]x", "b", false}, {"[a-]", "]", true}, {"[a-]", "_", true}, {"[-a]", "-", true},
		{"[", "[", false}, {"[^", "x", true}, {"[abc", "b", true}, {"[abc", "[", false}, {"[]a]", "a", false}, {"[^]a", "xa", true},
		{`[\]]`, "]", true}, {`[\a-c]`, "-", true}, {`[a\`, `\`, true}, {`[\^a]`, "^", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {`a\*b`, "a*b", true}, {`\a`, "a", true}, {`a\`, `a\`, true}, {`\`, `\`, true}, {`\\`, `\`, true},
		{"\xff*", "\xff\xfe", true}, {"[\xf0-\xff]", "\xf5", true}, {"?", "\xff", true},
	} {
		p := compilePattern(test.glob)
		if got := p.match([]byte(test.text)); got != test.want {
			t.Errorf("%q on %q: %v, want %v", test.glob, test.text, got, test.want)
		}
		if got := matchRecursive(test.glob, test.text); got != test.want {
			t.Errorf("%q on %q: the reference says %v, want %v", test.glob, test.text, got, test.want)
		}
	}
}

// matchRecursive is the reference: it reads the glob anew at every step, as
// Redis does, without tokens, shapes or a budget.
func matchRecursive(glob, text string) bool {
	if text == "" {
		return glob == ""
	}
	return matchRest(glob, text)
}

func matchRest(glob, text string) bool {
	if text == "" {
		return strings.Trim(glob, "*") == ""
	}
	if glob == "" {
		return false
	}
	switch glob[0] {
	case '*':
		return matchRest(glob[1:], text) || matchRest(glob, text[1:])
	case '?':
		return matchRest(glob[1:], text[1:])
	case '[':
		in, rest := inSet(glob[1:], text[0])
		return in && matchRest(rest, text[1:])
	case '\\':
		if len(glob) > 1 {
			glob = glob[1:]
		}
	}
	return glob[0] == text[0] && matchRest(glob[1:], text[1:])
}

func inSet(glob string, c byte) (in bool, rest string) {
	negated := strings.HasPrefix(glob, "^")
	glob = strings.TrimPrefix(glob, "^")
	for glob != "" && glob[0] != ']' {
		switch {
		case glob[0] == '\\' && len(glob) >= 2:
			in = in || glob[1] == c
			glob = glob[2:]
		case len(glob) >= 3 && glob[1] == '-':
			in = in || min(glob[0], glob[2]) <= c && c <= max(glob[0], glob[2])
			glob = glob[3:]
		default:
			in = in || glob[0] == c
			glob = glob[1:]
		}
	}
	return in != negated, strings.TrimPrefix(glob, "]")
}

func TestGlob_is_the_simple_matcher(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(alphabet string, most int) string {
		b := make([]byte, r.IntN(most+1))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	matches := 0
	for range 300000 {
		glob, text := word(`ab*?[]^-\`+"*a", 9), word(`aab]-\*`, 7)
		p := compilePattern(glob)
		got, want := p.match([]byte(text)), matchRecursive(glob, text)
		if got != want {
			t.Fatalf("%q on %q: %v, want %v", glob, text, got, want)
		}
		if want {
			matches++
		}
	}
	if matches < 10000 {
		t.Errorf("only %d matches were compared", matches)
	}
}

func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{{"a*b", "axb"}, {"[^a-c]?", "dx"}, {`\*`, "*"}, {"[", "x"}, {"[a-", "a"}, {"*a*a*a", "aaaa"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, glob, text string) {
		if len(glob) > 16 || len(text) > 16 {
			return
		}
		p := compilePattern(glob)
		if got, want := p.match([]byte(text)), matchRecursive(glob, text); got != want {
			t.Errorf("%q on %q: %v, want %v", glob, text, got, want)
		}
	})
}

// A pattern made to be slow costs time in proportion to the key's length, and
// is then a refusal.
func TestGlob_gives_up_in_time(t *testing.T) {
	p := compilePattern(strings.Repeat("*"+strings.Repeat("a", 500), 4) + "b")
	key := []byte(strings.Repeat("a", 1<<20))
	start := time.Now()
	if p.match(key) {
		t.Error("it matches")
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	long := compilePattern("a*b?*c")
	if !long.match([]byte("a" + strings.Repeat("xb", 1<<20) + "yc")) {
		t.Error("an honest long key is refused")
	}
}

// A glob that coversGlob lets pass names nothing outside the prefix.
func TestGlob_covered_globs_match_only_under_the_prefix(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	word := func(alphabet string, most int) string {
		b := make([]byte, r.IntN(most+1))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	covered := 0
	for range 200000 {
		prefix := compilePattern(word(`ab\`, 2) + "*")
		glob := word(`abab*?[\`, 6)
		if !prefix.coversGlob([]byte(glob)) {
			continue
		}
		for range 10 {
			if key := word(`abab[\*`, 6); key != "" && matchRecursive(glob, key) {
				covered++
				if !prefix.match([]byte(key)) {
					t.Fatalf("%q is covered by %q but matches %q", glob, prefix.text, key)
				}
			}
		}
	}
	if covered < 1000 {
		t.Errorf("only %d keys were found", covered)
	}
}
