package acl

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/acl/command"
)

// language is what rules are read against: the command table and what the
// guard covers.
type language struct {
	table     *command.Table
	specs     []*command.Spec
	guarded   command.Categories
	discovery bool
	open      bool // users and selectors begin with all channels
	passwords PasswordRules
	skipped   []*fault // rules left out because a later server may know their command
}

// selector gives a selector as a user begins with it.
func (l *language) selector(label string, at Origin) *selector {
	s := newSelector(label, at, len(l.specs))
	s.allChannels = l.open
	return s
}

// command finds a command or container|sub by its lower-case name.
func (l *language) command(name string) *command.Spec {
	if name == "" {
		return nil
	}
	return l.table.ByName(name)
}

// category finds a category by its lower-case name without the @. "all" is not one.
func (l *language) category(name string) (command.Categories, bool) {
	if name == "" || name[0] == '@' {
		return 0, false
	}
	c, ok := command.CategoryByName(name)
	return c, ok && c != 0
}

func (l *language) unknownCategory(w word, name string) *fault {
	return &fault{
		kind: faultUnknownName, word: w.text, at: w.at,
		what: quoted("unknown category", name),
		hint: didYouMean(name, l.categoryNames),
	}
}

func (l *language) unknownCommand(w word, name string) *fault {
	container, _, isSub := strings.Cut(name, "|")
	hint := didYouMean(name, func(yield func(string) bool) {
		for _, spec := range l.specs {
			if (spec.Container != nil) == isSub && !yield(spec.Name) {
				return
			}
		}
	})
	if spec := l.command(container); isSub && spec != nil && len(spec.Subs) == 0 {
		hint = container + " has no subcommands; a single argument can be allowed, not taken away"
	}
	if _, ok := l.category(name); ok && hint == "" {
		hint = "did you mean " + strconv.Quote("@"+name) + "?"
	}
	return &fault{
		kind: faultUnknownName, word: w.text, at: w.at, unknownCommand: true,
		what: quoted("unknown command", name),
		hint: hint,
	}
}

// unknownRule is for a word of no known form. Such a word may well be a
// password that lost its >, so it is repeated only when it is nearly a keyword.
func (l *language) unknownRule(w word) *fault {
	f := &fault{kind: faultSyntax, word: w.text, at: w.at, what: "not a rule"}
	if w.text == "" {
		return f
	}
	lower := lowerASCII(w.text)
	switch {
	case slices.Contains(userKeywords, lower):
		f.what = quoted("rule", lower) + " is about the user and does not belong here"
		f.hint = "a role or selector holds command, key and channel rules only"
	case strings.IndexByte("><#!", w.text[0]) >= 0:
		f.what = "a password does not belong here"
		f.hint = "a role or selector holds command, key and channel rules only"
	case w.text[0] == '(' || w.text[len(w.text)-1] == ')':
		f.what = "a parenthesis does not belong here"
		f.hint = "selectors are written ( … ) among a user's rules, one inside another is not possible"
	case l.table.ByName(lower) != nil:
		f.what = quoted("not a rule:", lower)
		f.hint = "did you mean " + strconv.Quote("+"+lower) + "?"
	default:
		if f.hint = didYouMean(lower, keywords); f.hint != "" {
			f.what = quoted("not a rule:", lower)
		} else {
			f.hint = "rules begin with + - ~ % & > < # ! or ( or are words such as on, off, nopass, reset"
		}
	}
	return f
}

var userKeywords = []string{
	"on", "off", "nopass", "resetpass", "reset", "clearselectors",
	"sanitize-payload", "skip-sanitize-payload",
}

var selectorKeywords = []string{
	"allkeys", "resetkeys", "allchannels", "resetchannels", "allcommands", "nocommands",
}

func keywords(yield func(string) bool) {
	for _, list := range [][]string{userKeywords, selectorKeywords} {
		for _, k := range list {
			if len(k) > 3 && !yield(k) {
				return
			}
		}
	}
}

func (l *language) categoryNames(yield func(string) bool) {
	var all command.Categories
	for _, spec := range l.specs {
		all |= spec.Categories
	}
	for _, name := range all.Names() {
		if !yield("@" + strings.TrimPrefix(name, "@")) {
			return
		}
	}
	yield("@all")
}

// quoted repeats an operator's word, cut when it is absurdly long.
func quoted(what, name string) string {
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	return what + " " + strconv.Quote(name)
}
