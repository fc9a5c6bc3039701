package backend

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// longest is what Of promises, said plainly.
func longest(home string, routes []Prefix, key string) string {
	best := Prefix{Backend: home}
	for _, r := range routes {
		if strings.HasPrefix(key, r.Prefix) && len(r.Prefix) > len(best.Prefix) {
			best = r
		}
	}
	return best.Backend
}

// word makes a short string of few letters, so that prefixes meet; NULs and the
// highest byte are among them.
func word(r *rand.Rand, most int) string {
	const letters = "ab:\x00\xff"
	b := make([]byte, r.IntN(most+1))
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

func TestTheLongestPrefixHasTheKey(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		routes, seen := []Prefix(nil), map[string]bool{"": true}
		for range r.IntN(12) {
			if p := word(r, 5); !seen[p] {
				seen[p] = true
				routes = append(routes, Prefix{p, fmt.Sprint("b", r.IntN(4))})
			}
		}
		table, err := NewPrefixes("home", routes)
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			key := word(r, 8)
			if got, want := table.Backend([]byte(key)), longest("home", routes, key); got != want {
				t.Fatalf("%q belongs to %s, not %s: %s", key, want, got, table)
			}
		}
		for _, p := range routes {
			if got := table.Backend([]byte(p.Prefix)); got != p.Backend {
				t.Fatalf("the key %q belongs to %s, not %s", p.Prefix, p.Backend, got)
			}
		}
	}
}

func TestFaultyPrefixesAreRefused(t *testing.T) {
	many := make([]Prefix, maxSides)
	for i := range many {
		many[i] = Prefix{fmt.Sprint(i, ":"), fmt.Sprint(i)}
	}
	for name, routes := range map[string][]Prefix{"empty": {{"", "a"}}, "twice": {{"x", "a"}, {"y", "a"}, {"x", "b"}}, "many": many} {
		if table, err := NewPrefixes("home", routes); err == nil || table != nil {
			t.Errorf("%s: built", name)
		}
	}
	if _, err := NewPrefixes("home", many[1:]); err != nil {
		t.Error(err)
	}
}

func TestTheSamePrefixesInAnotherOrderAreTheSame(t *testing.T) {
	build := func(home string, routes ...Prefix) *Prefixes {
		table, err := NewPrefixes(home, routes)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	a := build("home", Prefix{"x", "a"}, Prefix{"y", "b"})
	for _, c := range []struct {
		other *Prefixes
		same  bool
	}{
		{build("home", Prefix{"y", "b"}, Prefix{"x", "a"}), true},
		{build("other", Prefix{"x", "a"}, Prefix{"y", "b"}), false},
		{build("home", Prefix{"x", "a"}, Prefix{"y", "a"}), false},
		{build("home", Prefix{"x", "a"}), false},
		{nil, false},
	} {
		if a.Same(c.other) != c.same || c.other.Same(a) != c.same {
			t.Errorf("%v", c.other)
		}
	}
}

func BenchmarkPrefixes(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		var routes []Prefix
		for i := range n {
			routes = append(routes, Prefix{fmt.Sprintf("tenant%d:", i), fmt.Sprint("b", i%8)})
		}
		table, err := NewPrefixes("home", routes)
		if err != nil {
			b.Fatal(err)
		}
		key := []byte(fmt.Sprintf("tenant%d:cart:4711", n/2))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Of(key)
			}
		})
	}
}

func TestLookingUpAPrefixAllocatesNothing(t *testing.T) {
	table, err := NewPrefixes("home", []Prefix{{"cart:", "a"}, {"cart:old:", "b"}, {"x", "c"}})
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("cart:old:1")
	if n := testing.AllocsPerRun(100, func() { table.Of(key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPrefixes(f *testing.F) {
	f.Add("cart:\ncart:old:\nx", "cart:old:7")
	f.Add("a\nab\nabc\nb", "abd")
	f.Add("\x00\n\x00\x00\n\xff", "\x00\x00\x01")
	f.Fuzz(func(t *testing.T, prefixes, key string) {
		var routes []Prefix
		for i, p := range strings.Split(prefixes, "\n") {
			routes = append(routes, Prefix{p, fmt.Sprint(i % 5)})
		}
		table, err := NewPrefixes("home", routes)
		if err != nil {
			return
		}
		if got, want := table.Backend([]byte(key)), longest("home", routes, key); got != want {
			t.Fatalf("%q belongs to %s, not %s", key, want, got)
		}
	})
}
