package backend

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Prefix gives the keys that begin so to a backend, unless a longer one does.
type Prefix struct{ Prefix, Backend string }

// Prefixes says which of several backends has a key: that of the longest prefix
// the key begins with, else the first. Immutable, safe for concurrent use.
type Prefixes struct {
	names []string // of the backends, the one for all other keys first; it may stand among the others, too
	table []begins // by prefix
}

// begins is one prefix.
type begins struct {
	with    []byte
	backend int // index in names
	shorter int // the longest other prefix that this one begins with; -1: none
}

// NewPrefixes builds the table. home is the backend of all keys that no prefix
// fits. It refuses an empty prefix, and one that stands twice.
func NewPrefixes(home string, routes []Prefix) (*Prefixes, error) {
	t := &Prefixes{names: []string{home}}
	for _, r := range routes {
		if r.Prefix == "" {
			return nil, fmt.Errorf("an empty prefix fits every key")
		}
		i := 1 + slices.Index(t.names[1:], r.Backend)
		if i == 0 {
			i = len(t.names)
			t.names = append(t.names, r.Backend)
		}
		t.table = append(t.table, begins{with: []byte(r.Prefix), backend: i, shorter: -1})
	}
	if len(t.names) > maxSides {
		return nil, fmt.Errorf("prefixes of more than %d backends", maxSides)
	}
	slices.SortFunc(t.table, func(a, b begins) int { return bytes.Compare(a.with, b.with) })
	for i := range t.table {
		if i > 0 && bytes.Equal(t.table[i].with, t.table[i-1].with) {
			return nil, fmt.Errorf("the prefix %q stands twice", t.table[i].with)
		}
		// What this one begins with stands before it, and is the one before or shorter than that.
		j := i - 1
		for j >= 0 && !bytes.HasPrefix(t.table[i].with, t.table[j].with) {
			j = t.table[j].shorter
		}
		t.table[i].shorter = j
	}
	return t, nil
}

// maxSides bounds the backends of one table: a cursor of SCAN names one of them,
// and each session keeps its place at every one.
const maxSides = 64

// Names gives the backends of the prefixes, each once, behind the one for all
// other keys. That one stands twice where prefixes name it: for a user with a
// backend of its own it is not the one for all other keys.
func (t *Prefixes) Names() []string { return t.names }

// Of gives the index in Names of the backend that has a key.
func (t *Prefixes) Of(key []byte) int {
	low, high := 0, len(t.table) // the last prefix that isn't behind the key in order
	for low < high {
		if mid := int(uint(low+high) >> 1); bytes.Compare(t.table[mid].with, key) <= 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	for i := low - 1; i >= 0; i = t.table[i].shorter {
		if bytes.HasPrefix(key, t.table[i].with) {
			return t.table[i].backend
		}
	}
	return 0
}

// Backend gives the name of the backend that has a key.
func (t *Prefixes) Backend(key []byte) string { return t.names[t.Of(key)] }

// Same reports whether two give every key to the same backend.
func (t *Prefixes) Same(o *Prefixes) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.String() == o.String()
}

// String shows the table, for comparing.
func (t *Prefixes) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", t.names[0])
	for _, p := range t.table {
		fmt.Fprintf(&b, " %q:%q", p.with, t.names[p.backend])
	}
	return b.String()
}
