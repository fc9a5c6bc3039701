package command

import (
	"fmt"
	"strings"
)

// Names is what one listener calls commands: some have another name there, some
// have none. It changes words only, never what a call is: Translate puts the real
// names in, and everything after it decides on those. Build it with Rename and
// Disable; after that it is safe for concurrent use.
type Names struct {
	table *Table
	top   wordSet
	subs  map[*Spec]*wordSet // by container
	words map[*Spec][]byte   // a command's own last word, as a node knows it
	given map[*Spec]string   // the last word here, of those renamed
	off   map[*Spec]bool
}

// wordSet is what differs among the words of one place: the commands, or the
// subcommands of one container.
type wordSet struct {
	known, hidden *index
	names         [2][]string // of known and hidden, to build the indexes from
	specs         [2][]*Spec
}

// maxWord bounds a new name. Redis's longest has 26 bytes.
const maxWord = 64

// NewNames begins with every command under its own name.
func NewNames(t *Table) *Names {
	n := &Names{
		table: t, subs: make(map[*Spec]*wordSet), words: make(map[*Spec][]byte),
		given: make(map[*Spec]string), off: make(map[*Spec]bool),
	}
	n.top.build()
	return n
}

func (w *wordSet) build() {
	w.known, w.hidden = newIndex(w.names[0], w.specs[0]), newIndex(w.names[1], w.specs[1])
}

func (w *wordSet) add(kind int, name string, s *Spec) {
	w.names[kind], w.specs[kind] = append(w.names[kind], name), append(w.specs[kind], s)
	w.build()
}

// unchangeable are the words that clients begin with and that none would know
// by another name. They can be disabled.
var unchangeable = map[string]bool{"auth": true, "hello": true, "select": true, "reset": true, "quit": true}

// Rename gives a command, or a subcommand ("config|set"), another name; its old
// one is unknown from then on. Of a subcommand the new name is that of the last
// word, with or without the container before it. ASCII case counts for nothing.
func (n *Names) Rename(command, to string) error {
	s, set, err := n.find(command)
	if err != nil {
		return err
	}
	to = strings.ToLower(to)
	if s.Container != nil {
		to = strings.TrimPrefix(to, s.Container.Name+"|")
	}
	switch {
	case !plainWord(to):
		return fmt.Errorf("%.80q can't be a command's name: letters, digits, - _ . and :, at most %d", to, maxWord)
	case unchangeable[s.Name]:
		return fmt.Errorf("%s can't have another name: no client would find it. It can be disabled", s.Name)
	case set == &n.top && n.table.top.find([]byte(to)) != nil, set != &n.top && s.Container.subs.find([]byte(to)) != nil:
		return fmt.Errorf("%q is a command already", to)
	case set.known.find([]byte(to)) != nil:
		return fmt.Errorf("%q is the new name of %s already", to, set.known.find([]byte(to)).Name)
	}
	n.given[s], n.words[s] = to, []byte(lastWord(s))
	set.add(0, to, s)
	set.add(1, lastWord(s), s)
	return nil
}

// Disable makes a command unknown, a container with its subcommands.
func (n *Names) Disable(command string) error {
	s, set, err := n.find(command)
	if err != nil {
		return err
	}
	n.off[s] = true
	set.add(1, lastWord(s), s)
	return nil
}

// find finds a command that nothing is said of yet.
func (n *Names) find(command string) (*Spec, *wordSet, error) {
	s := n.table.ByName(strings.ToLower(command))
	switch {
	case s == nil:
		return nil, nil, fmt.Errorf("unknown command %.80q", command)
	case n.off[s] || n.given[s] != "":
		return nil, nil, fmt.Errorf("%s stands here twice", s.Name)
	case s.Container == nil:
		return s, &n.top, nil
	}
	set := n.subs[s.Container]
	if set == nil {
		set = &wordSet{}
		set.build()
		n.subs[s.Container] = set
	}
	return s, set, nil
}

func plainWord(w string) bool {
	return w != "" && len(w) <= maxWord && strings.IndexFunc(w, func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.:", c))
	}) < 0
}

func lastWord(s *Spec) string { return s.Name[strings.IndexByte(s.Name, '|')+1:] }

// Translate puts real names in place of the listener's. It changes elements of
// args, not the bytes they point at, and nothing at all on a fault: then the
// listener has no command (Unknown) or subcommand of that name. Other words are
// left to Parse. It allocates nothing.
func (n *Names) Translate(args [][]byte) error {
	if len(args) == 0 {
		return nil
	}
	s := n.top.known.find(args[0])
	if s == nil {
		if n.top.hidden.find(args[0]) != nil {
			return Unknown
		}
		if len(n.subs) == 0 {
			return nil
		}
		s = n.table.top.find(args[0])
	}
	if set := n.subs[s]; set != nil && len(args) > 1 {
		if sub := set.known.find(args[1]); sub != nil {
			args[1] = n.words[sub]
		} else if set.hidden.find(args[1]) != nil {
			return UnknownSubcommand
		}
	}
	if word := n.words[s]; word != nil {
		args[0] = word
	}
	return nil
}

// Name is what the listener calls a command ("config|set"), false if it has
// none. A nil Names has every command under its own.
func (n *Names) Name(s *Spec) (string, bool) {
	if n == nil {
		return s.Name, true
	}
	word, ok := n.given[s]
	if !ok {
		word = lastWord(s)
	}
	if s.Container == nil {
		return word, !n.off[s]
	}
	container, known := n.Name(s.Container)
	return container + "|" + word, known && !n.off[s]
}

// ByName finds a command of a table, the one Names was made for or one with more in
// it, by what the listener calls it; nil if there is none.
func (n *Names) ByName(t *Table, name string) *Spec {
	word, sub, isSub := strings.Cut(strings.ToLower(name), "|")
	args := [][]byte{[]byte(word), []byte(sub)}
	if !isSub {
		args = args[:1]
	}
	if n.Translate(args) != nil {
		return nil
	}
	if isSub {
		return t.ByName(string(args[0]) + "|" + string(args[1]))
	}
	return t.ByName(string(args[0]))
}

// Changed lists what differs from the table: real name to the listener's, empty
// for what is disabled.
func (n *Names) Changed() map[string]string {
	if n == nil {
		return nil
	}
	m := make(map[string]string, len(n.given)+len(n.off))
	for s := range n.given {
		m[s.Name], _ = n.Name(s)
	}
	for s := range n.off {
		m[s.Name] = ""
	}
	return m
}
