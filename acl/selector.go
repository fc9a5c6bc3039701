package acl

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/acl/command"
)

// bitmap is a set of commands of one table.
type bitmap []uint64

func newBitmap(n int) bitmap            { return make(bitmap, (n+63)/64) }
func (b bitmap) has(id command.ID) bool { return b[id>>6]&(1<<(id&63)) != 0 }
func (b bitmap) set(id command.ID)      { b[id>>6] |= 1 << (id & 63) }
func (b bitmap) clear(id command.ID)    { b[id>>6] &^= 1 << (id & 63) }
func (b bitmap) put(id command.ID, on bool) {
	if on {
		b.set(id)
	} else {
		b.clear(id)
	}
}

// selector is one set of grants: commands, first arguments, keys and channels.
// A call is allowed when one single selector allows all of it. It changes only
// while a policy is built.
type selector struct {
	label string // root, selector 1, role reader
	at    Origin

	allowed bitmap
	// named holds what +cmd or +cmd|sub names and nothing later took away or
	// swept over with +@all: what lifts the guard.
	named     bitmap
	firstArgs []firstArg

	allCommands bool // +@all and nothing removed since
	future      bool // +@all or -@all, whichever came last: the head of the listing
	allKeys     bool
	allChannels bool
	keys        []keyPattern
	channels    []pattern

	rules   []*Rule  // command rules that touched points into
	touched []uint16 // by command: 1 + the index of the rule that last switched it
	listing []string // command rules as Redis 7.2 lists them, behind ±@all
}

type keyPattern struct {
	pattern
	access command.Access
}

// firstArg is +select|0: the command with this first argument only.
type firstArg struct {
	id   command.ID
	arg  string // lower case
	rule *Rule
}

// manyRules is when note looks for rules that no command points at any more,
// so that ACL SETUSER may go on for ever and an index fits touched. It is far
// above the number of commands.
const manyRules = 1 << 14

func newSelector(label string, at Origin, commands int) *selector {
	return &selector{
		label:   label,
		at:      at,
		allowed: newBitmap(commands),
		named:   newBitmap(commands),
		touched: make([]uint16, commands),
	}
}

func (s *selector) clone() *selector {
	c := *s
	c.allowed = slices.Clone(s.allowed)
	c.named = slices.Clone(s.named)
	c.firstArgs = slices.Clone(s.firstArgs)
	c.keys = slices.Clone(s.keys)
	c.channels = slices.Clone(s.channels)
	c.rules = slices.Clone(s.rules)
	c.touched = slices.Clone(s.touched)
	c.listing = slices.Clone(s.listing)
	return &c
}

// rule gives the rule that last switched a command on or off, nil if none did.
func (s *selector) rule(id command.ID) *Rule {
	if i := s.touched[id]; i > 0 {
		return s.rules[i-1]
	}
	return nil
}

// firstArgRule gives the rule that grants this command with this first
// argument, nil if none does. The whole argument is compared, not only its
// bytes up to a NUL as Redis does, which can only refuse more.
func (s *selector) firstArgRule(call *command.Call) *Rule {
	if len(call.Args) < 2 {
		return nil
	}
	for i := range s.firstArgs {
		if f := &s.firstArgs[i]; f.id == call.Spec.ID && equalFoldASCII(call.Args[1], f.arg) {
			return f.rule
		}
	}
	return nil
}

// allowsKey says whether one single pattern gives everything the key needs.
func (s *selector) allowsKey(key []byte, need command.Access) bool {
	for i := range s.keys {
		if k := &s.keys[i]; k.access&need == need && k.match(key) {
			return true
		}
	}
	return false
}

// allowsChannel says whether a channel matches, or a PSUBSCRIBE pattern equals, a granted pattern.
func (s *selector) allowsChannel(name []byte, literally bool) bool {
	for i := range s.channels {
		c := &s.channels[i]
		if literally && string(name) == c.text || !literally && c.match(name) {
			return true
		}
	}
	return false
}

// readsAll says whether the selector reads every key: ~*, or a pattern that is
// exactly * and gives reading. SORT's BY and GET ask for it.
func (s *selector) readsAll() bool {
	if s.allKeys {
		return true
	}
	for i := range s.keys {
		if s.keys[i].access&command.Read != 0 && s.keys[i].text == "*" {
			return true
		}
	}
	return false
}

// unrestricted is ~* &* +@all with nothing taken away.
func (s *selector) unrestricted() bool { return s.allKeys && s.allChannels && s.allCommands }

// apply applies one selector rule. A fault leaves the selector as it was.
func (s *selector) apply(lang *language, w word) *fault {
	text := w.text
	switch lower := lowerASCII(text); {
	case lower == "":
	case lower == "allkeys" || text == "~*":
		s.allKeys, s.keys = true, nil
	case lower == "resetkeys":
		s.allKeys, s.keys = false, nil
	case lower == "allchannels" || text == "&*":
		s.allChannels, s.channels = true, nil
	case lower == "resetchannels":
		s.allChannels, s.channels = false, nil
	case lower == "allcommands" || lower == "+@all":
		s.switchAll(w, true)
	case lower == "nocommands" || lower == "-@all":
		s.switchAll(w, false)
	case text[0] == '~' || text[0] == '%':
		return s.addKeyPattern(w)
	case text[0] == '&':
		return s.addChannelPattern(w)
	case text[0] == '+' || text[0] == '-':
		return s.applyCommandRule(lang, w)
	default:
		return lang.unknownRule(w)
	}
	return nil
}

// note keeps a command rule for explain and the record and gives its index plus one.
func (s *selector) note(w word) uint16 {
	if len(s.rules) >= manyRules {
		s.forgetOverruled()
	}
	s.rules = append(s.rules, &Rule{Text: w.text, At: w.at})
	return uint16(len(s.rules))
}

// forgetOverruled drops the rules that later ones have overruled for every command.
func (s *selector) forgetOverruled() {
	moved := make(map[uint16]uint16)
	var kept []*Rule
	for id, index := range s.touched {
		if index == 0 {
			continue
		}
		if moved[index] == 0 {
			kept = append(kept, s.rules[index-1])
			moved[index] = uint16(len(kept))
		}
		s.touched[id] = moved[index]
	}
	s.rules = kept
}

func (s *selector) switchAll(w word, on bool) {
	index := s.note(w)
	for id := range s.touched {
		s.allowed.put(command.ID(id), on)
		s.touched[id] = index
	}
	clear(s.named)
	s.firstArgs, s.listing = nil, nil
	s.allCommands, s.future = on, on
}

func (s *selector) addKeyPattern(w word) *fault {
	bad := func(what, hint string) *fault {
		return &fault{kind: faultSyntax, word: w.text, at: w.at, what: what, hint: hint}
	}
	if s.allKeys {
		return &fault{
			kind: faultPatternAfterAll, word: w.text, at: w.at,
			what: quoted("key pattern", w.text) + " after ~* has no effect",
			hint: "drop one of them, or start anew with resetkeys",
		}
	}
	access, text, ok := command.Read|command.Write, w.text[1:], true
	if w.text[0] == '%' {
		if access, text, ok = parseAccess(w.text); !ok {
			return bad(quoted("key pattern", w.text)+" does not say what it permits", "write %R~pattern, %W~pattern or %RW~pattern")
		}
	}
	if hasSpaceOrNUL(text) {
		return bad("a key pattern holds white space or a NUL byte", "match such bytes with ?")
	}
	for i := range s.keys {
		if s.keys[i].text == text {
			s.keys[i].access |= access
			return nil
		}
	}
	s.keys = append(s.keys, keyPattern{compilePattern(text), access})
	return nil
}

// parseAccess reads %R~, %W~, %RW~ or %WR~. The letters alone, without the ~,
// are not taken: some servers read them as the empty pattern, one dies of it.
func parseAccess(text string) (access command.Access, pattern string, ok bool) {
	for i := 1; i < len(text); i++ {
		var letter command.Access
		switch text[i] {
		case 'r', 'R':
			letter = command.Read
		case 'w', 'W':
			letter = command.Write
		case '~':
			return access, text[i+1:], access != 0
		default:
			return 0, "", false
		}
		if access&letter != 0 {
			return 0, "", false
		}
		access |= letter
	}
	return 0, "", false
}

func (s *selector) addChannelPattern(w word) *fault {
	if s.allChannels {
		return &fault{
			kind: faultChannelAfterAll, word: w.text, at: w.at,
			what: quoted("channel pattern", w.text) + " after &* has no effect",
			hint: "drop one of them, or start anew with resetchannels",
		}
	}
	text := w.text[1:]
	if hasSpaceOrNUL(text) {
		return &fault{word: w.text, at: w.at, what: "a channel pattern holds white space or a NUL byte", hint: "match such bytes with ?"}
	}
	if !slices.ContainsFunc(s.channels, func(c pattern) bool { return c.text == text }) {
		s.channels = append(s.channels, compilePattern(text))
	}
	return nil
}

// applyCommandRule applies +cmd, +cmd|sub, +cmd|arg, +@cat and their - forms.
func (s *selector) applyCommandRule(lang *language, w word) *fault {
	on, name := w.text[0] == '+', lowerASCII(w.text[1:])
	if strings.HasPrefix(name, "@") {
		category, ok := lang.category(name[1:])
		if !ok {
			return lang.unknownCategory(w, name)
		}
		index := s.note(w)
		for _, spec := range lang.specs {
			if spec.Categories&category != 0 {
				s.switchCommand(spec, on, index)
			}
		}
		s.list(w.text[:1], name)
		return nil
	}
	if spec := lang.command(name); spec != nil {
		s.switchCommand(spec, on, s.note(w))
		s.list(w.text[:1], name)
		if on {
			s.named.set(spec.ID)
			s.relistNamed(lang, spec)
		}
		return nil
	}
	if container, arg, found := cutLast(name, '|'); found && on {
		if spec := lang.command(container); spec != nil {
			return s.addFirstArg(lang, w, spec, arg)
		}
	}
	return lang.unknownCommand(w, name)
}

// switchCommand switches a command, and with a container all its subcommands.
func (s *selector) switchCommand(spec *command.Spec, on bool, index uint16) {
	s.switchOne(spec.ID, on, index)
	for _, sub := range spec.Subs {
		s.switchOne(sub.ID, on, index)
	}
	s.firstArgs = slices.DeleteFunc(s.firstArgs, func(f firstArg) bool { return f.id == spec.ID })
}

func (s *selector) switchOne(id command.ID, on bool, index uint16) {
	s.allowed.put(id, on)
	s.touched[id] = index
	if !on {
		s.named.clear(id)
		s.allCommands = false
	}
}

func (s *selector) addFirstArg(lang *language, w word, spec *command.Spec, arg string) *fault {
	switch {
	case spec.Container != nil:
		return &fault{
			kind: faultFirstArgOfSub, word: w.text, at: w.at,
			what: quoted("rule", w.text) + " names an argument of a subcommand",
			hint: "allow +" + spec.Name + " as a whole",
		}
	case arg == "":
		return &fault{word: w.text, at: w.at, what: quoted("rule", w.text) + " ends after the |", hint: "name what follows, or drop the |"}
	case len(spec.Subs) > 0:
		return lang.unknownCommand(w, spec.Name+"|"+arg)
	}
	if !slices.ContainsFunc(s.firstArgs, func(f firstArg) bool { return f.id == spec.ID && f.arg == arg }) {
		s.firstArgs = append(s.firstArgs, firstArg{spec.ID, arg, &Rule{Text: w.text, At: w.at}})
	}
	s.list("+", spec.Name+"|"+arg)
	return nil
}

// list adds a command rule to the listing. As in Redis 7.2, earlier rules about
// the same name, or about something behind its |, are gone.
func (s *selector) list(sign, name string) {
	s.listing = slices.DeleteFunc(s.listing, func(r string) bool {
		return r[1:] == name || strings.HasPrefix(r[1:], name+"|")
	})
	s.listing = append(s.listing, sign+name)
}

// relistNamed keeps in the listing what lifts the guard: +config makes an
// earlier +config|get superfluous for Redis, but that one alone names config|get.
func (s *selector) relistNamed(lang *language, container *command.Spec) {
	for _, sub := range container.Subs {
		if sub.Categories&lang.guarded != 0 && s.named.has(sub.ID) {
			s.list("+", sub.Name)
		}
	}
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
