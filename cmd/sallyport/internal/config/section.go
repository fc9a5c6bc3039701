package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/acl"
	yaml "go.yaml.in/yaml/v4"
)

// value is one node of a file, with the key path that leads to it. The zero
// value stands for "absent": its methods give zero results and no faults.
type value struct {
	r    *reader
	doc  *document
	node *yaml.Node
	path string
	at   acl.Origin
}

func (v value) present() bool { return v.node != nil }

func (v value) fault(format string, args ...any) { v.r.fault(v.at, v.path, format, args...) }

func (v value) faultHint(hint, format string, args ...any) {
	v.r.faultHint(v.at, v.path, hint, format, args...)
}

func (v value) warn(hint, format string, args ...any) {
	v.r.warn(v.at, v.path, hint, format, args...)
}

// section is a mapping whose keys are asked for by name. The keys asked for are
// the known ones: close reports all others, so a key that nothing reads can't
// be written.
type section struct {
	value
	entries map[string]entry
	known   []string
}

// entry is a value, and where its key stands.
type entry struct {
	value
	key acl.Origin
}

// top is the document itself as a section.
func (r *reader) top(doc *document) *section {
	v := value{r: r, doc: doc, node: doc.root}
	if doc.root != nil {
		v.at = doc.origin(doc.root)
	}
	return v.section()
}

// section reads v as a mapping. Anything else is a fault and gives an empty,
// absent section.
func (v value) section() *section {
	s := &section{value: v}
	if !v.present() || !v.is(yaml.MappingNode) {
		s.node = nil
		return s
	}
	s.entries = make(map[string]entry, len(v.node.Content)/2)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		s.add(v.node.Content[i], resolved(v.node.Content[i+1]), v.node.Content[i+1])
	}
	return s
}

// add takes in one entry. node is what the value resolves to, written is where it stands.
func (s *section) add(key, node, written *yaml.Node) {
	at := s.doc.origin(key)
	if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
		s.r.fault(at, s.path, "a key must be a word")
		return
	}
	path := joined(s.path, key.Value)
	if first, ok := s.entries[key.Value]; ok {
		s.r.fault(at, path, "this key stands here twice, first in line %d", first.key.Line)
		return
	}
	s.entries[key.Value] = entry{value{r: s.r, doc: s.doc, node: node, path: path, at: s.doc.origin(written)}, at}
}

// resolved follows an alias to what it stands for. Chains end: the parser knows
// an anchor only once it has seen it, and what is read has a fixed depth.
func resolved(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// get makes a key known and gives its value, absent if it is not there.
func (s *section) get(key string) value {
	if !slices.Contains(s.known, key) {
		s.known = append(s.known, key)
	}
	if e, ok := s.entries[key]; ok {
		return e.value
	}
	return value{r: s.r, doc: s.doc, path: joined(s.path, key), at: s.at}
}

// required is get for a key that must be there.
func (s *section) required(key string) value {
	v := s.get(key)
	if !v.present() && s.present() {
		s.r.fault(s.at, s.path, "%s is missing", quoted(key))
	}
	return v
}

// each gives the entries of a mapping from names to things, in the file's order.
func (s *section) each(do func(name acl.Text, v value)) {
	if !s.present() {
		return
	}
	for i := 0; i+1 < len(s.node.Content); i += 2 {
		name := s.node.Content[i].Value
		e, ok := s.entries[name]
		if !ok || e.key != s.doc.origin(s.node.Content[i]) {
			continue // a fault already: no word, or the second of two
		}
		do(acl.Text{Value: name, At: e.key}, e.value)
	}
}

// close reports the keys nobody asked for. later names those that the
// documentation knows and this version does not.
func (s *section) close(later ...string) {
	if !s.present() {
		return
	}
	if s.r.asked != nil {
		s.r.asked(s.path, s.known)
	}
	for key, e := range s.entries {
		if slices.Contains(s.known, key) {
			continue
		}
		hint := DidYouMean(key, s.known)
		switch {
		case slices.Contains(later, key):
			hint = quoted(key) + " is not supported in this version"
		case key == "<<":
			hint = "merge keys are not supported: write the keys out"
		case hint == "" && len(s.known) <= 8:
			hint = "known here: " + strings.Join(s.known, ", ")
		}
		s.r.faultHint(e.key, joined(s.path, key), hint, "unknown key")
	}
}

// list gives the items of a sequence. Anything else is a fault.
func (v value) list() []value {
	if !v.present() || !v.is(yaml.SequenceNode) {
		return nil
	}
	items := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		items[i] = value{
			r: v.r, doc: v.doc, node: resolved(n),
			path: fmt.Sprintf("%s[%d]", v.path, i),
			at:   v.doc.origin(n),
		}
	}
	return items
}

// is tells whether the node is of a kind, and reports it if it is not. A null
// is never taken for absence: "tls:" with nothing below must not mean plaintext.
func (v value) is(kind yaml.Kind) bool {
	if v.node.Kind == kind && v.node.ShortTag() != "!!null" {
		return true
	}
	v.fault("wants %s, not %s", kindName(kind), described(v.node))
	return false
}

func kindName(k yaml.Kind) string {
	switch k {
	case yaml.MappingNode:
		return "a mapping (key: value)"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a string"
	}
}

// described says what a node is, never what it holds.
func described(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "true or false"
	case "!!int":
		return "a number"
	case "!!float":
		if isDigits(n.Value) {
			return "one that large"
		}
		return "a number with a fraction"
	case "!!str":
		return "a string"
	default:
		return "a value with the tag " + n.ShortTag()
	}
}

// plainKey reports whether a key has none but the characters of names.
func plainKey(key string) bool {
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("_@:+/-", c) >= 0:
		default:
			return false
		}
	}
	return key != ""
}

// joined appends a key to a path; one with other characters than names have is quoted.
func joined(path, key string) string {
	if !plainKey(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func quoted(s string) string { return strconv.Quote(s) }
