package command

import (
	"slices"
	"strings"
	"sync"
)

//go:generate go run ./generate

// fact is one generated line: what one or several versions say of a command.
type fact struct {
	name              string
	arity             int16
	flags             Flags
	categories        Categories
	keys              uint16 // index into genKeys
	first, last, step int16
}

// versionFacts are the facts of one version, as indexes into genFacts.
type versionFacts struct {
	label string
	facts []uint16
}

// Table is what commands there are. Immutable, safe for concurrent use.
type Table struct {
	label      string
	specs      []*Spec // by ID, sorted by name
	byName     map[string]*Spec
	top        *index // of the commands that are no subcommands
	categories Categories
	base       *Table // without what was discovered; nil: nothing was
}

// Newest gives the table of the newest commands known, those of Redis, of its
// bundled modules and of Valkey together. Where they differ Redis is followed.
func Newest() *Table { return newest() }

var newest = sync.OnceValue(func() *Table { return build("newest", genNewest) })

// For gives the table of one version by its label, such as "redis-7.0.15", or
// "newest"; false if there is no table of that label. Apart from "newest",
// tables hold no module commands unless they are part of that release. The
// table is built anew at each call, "newest" apart: keep it.
func For(label string) (*Table, bool) {
	if label == "newest" {
		return Newest(), true
	}
	for _, v := range genVersions {
		if v.label == label {
			return build(v.label, v.facts), true
		}
	}
	return nil, false
}

// Labels lists what For takes.
func Labels() []string {
	labels := []string{"newest"}
	for _, v := range genVersions {
		labels = append(labels, v.label)
	}
	return labels
}

// build makes a table of the facts with the given indexes, sorted by name. A
// name sorts after its container's, but not always directly ("clusterscan"
// stands between "cluster" and "cluster|info").
func build(label string, facts []uint16) *Table {
	t := &Table{
		label:  label,
		specs:  make([]*Spec, len(facts)),
		byName: make(map[string]*Spec, len(facts)),
	}
	var topNames []string
	var topSpecs []*Spec
	for i, n := range facts {
		s := newSpec(ID(i), &genFacts[n])
		t.specs[i] = s
		t.byName[s.Name] = s
		t.categories |= s.Categories
		container, _, isSub := strings.Cut(s.Name, "|")
		if !isSub {
			topNames = append(topNames, s.Name)
			topSpecs = append(topSpecs, s)
			continue
		}
		s.Container = t.byName[container]
		s.Container.Subs = append(s.Container.Subs, s)
	}
	for _, s := range topSpecs {
		if s.Subs == nil {
			continue
		}
		names := make([]string, len(s.Subs))
		for i, sub := range s.Subs {
			names[i] = sub.Name[len(s.Name)+1:]
		}
		s.subs = newIndex(names, s.Subs)
	}
	t.top = newIndex(topNames, topSpecs)
	return t
}

func newSpec(id ID, f *fact) *Spec {
	flags := f.flags | ownFlags(f.name)
	return &Spec{
		ID:         id,
		Name:       f.name,
		Arity:      int(f.arity),
		Flags:      flags,
		Categories: f.categories,
		Class:      classOf(f.name),
		FirstKey:   int(f.first),
		LastKey:    int(f.last),
		KeyStep:    int(f.step),
		keys:       newKeyFinder(f.name, flags, genKeys[f.keys]),
		channels:   channelsOf(f.name),
	}
}

// Label gives the label the table was asked for with.
func (t *Table) Label() string { return t.label }

// Len is the number of commands and subcommands; IDs are below it.
func (t *Table) Len() int { return len(t.specs) }

// Specs gives all commands and subcommands, indexed by ID and sorted by name;
// discovered ones follow the others.
// The slice is the table's own: read only.
func (t *Table) Specs() []*Spec { return t.specs }

// Categories gives the categories that have at least one member.
func (t *Table) Categories() Categories { return t.categories }

// ByName finds a command by its full name, "get" or "config|get", ASCII case
// ignored; nil if there is none. It may allocate: it is for rules and reports,
// not for requests.
func (t *Table) ByName(name string) *Spec {
	return t.byName[asciiLower(name)]
}

// Lookup finds a command by the first word of a request, ASCII case ignored;
// nil if there is none. Names count in whole length ("GET\x00" is unknown), and
// subcommands are not found: "config|get" is no command a client can send.
func (t *Table) Lookup(name []byte) *Spec { return t.top.find(name) }

// asciiLower is strings.ToLower for ASCII letters alone: the Kelvin sign, for
// one, must not become a k.
func asciiLower(s string) string {
	capital := func(c byte) bool { return c >= 'A' && c <= 'Z' }
	if !slices.ContainsFunc([]byte(s), capital) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if capital(c) {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
