package command

import (
	"slices"
	"strings"
)

const (
	maxDiscovered = 1024 // names a table takes beside its own
	maxName       = 64   // bytes of one
)

// With gives the table with commands that a backend says it has, by name, ASCII
// case ignored. What the table knows already stays as it is, whatever is said
// of it, and keeps its ID and Spec; so do its subcommands, of which none is
// added. A discovered command is Pinned, belongs to no category, and has no keys
// and no flag but FlagDiscovered: whoever judges it has nothing to go by but its
// name. Names that are none, those that look like HTTP to Redis, and what is over
// a thousand of them in their order, are left out.
//
// Only the names count: a table that has discovered just these is returned as it is.
func (t *Table) With(names []string) *Table {
	base := t.Base()
	var added []string
	for _, name := range names {
		if name = asciiLower(name); plainCommand(name) && base.byName[name] == nil {
			added = append(added, name)
		}
	}
	slices.Sort(added)
	added = slices.Compact(added)
	added = added[:min(len(added), maxDiscovered)]
	switch {
	case slices.Equal(added, t.Discovered()):
		return t
	case len(added) == 0:
		return base
	}
	return base.extended(added)
}

// Base gives the table without what was discovered.
func (t *Table) Base() *Table {
	if t.base != nil {
		return t.base
	}
	return t
}

// Discovered names what With has added, sorted. The caller owns the slice.
func (t *Table) Discovered() []string {
	var names []string
	for _, s := range t.specs[len(t.Base().specs):] {
		names = append(names, s.Name)
	}
	return names
}

// extended makes a table of this one, which has nothing discovered, and names
// that are new to it.
func (t *Table) extended(names []string) *Table {
	n := &Table{
		label: t.label, categories: t.categories, base: t,
		specs:  slices.Grow(slices.Clone(t.specs), len(names)),
		byName: make(map[string]*Spec, len(t.specs)+len(names)),
	}
	for _, name := range names {
		n.specs = append(n.specs, &Spec{ID: ID(len(n.specs)), Name: name, Arity: -1, Flags: FlagDiscovered, Class: Pinned})
	}
	var topNames []string
	var topSpecs []*Spec
	for _, s := range n.specs {
		n.byName[s.Name] = s
		if s.Container == nil {
			topNames, topSpecs = append(topNames, s.Name), append(topSpecs, s)
		}
	}
	n.top = newIndex(topNames, topSpecs)
	return n
}

// Discovered reports whether all that is known of the command is its name.
func (s *Spec) Discovered() bool { return s.Flags&FlagDiscovered != 0 }

// plainCommand reports whether a name of lower case is one that rules can say
// and a client can send without its meaning something else on the way.
func plainCommand(name string) bool {
	if name == "" || len(name) > maxName || name == "post" || strings.HasPrefix(name, "host:") {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
