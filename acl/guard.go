package acl

import (
	"strings"

	"github.com/sallyport/sallyport/acl/command"
)

// attr is what Decide must know of a command beside the user's rules. Zero is
// an ordinary command: nothing but the rules matters.
type attr uint16

const (
	attrNoAuth     attr = 1 << iota // outside a user's rules
	attrRefused                     // class Refused
	attrNever                       // on the never list
	attrGuarded                     // in a guarded category
	attrWide                        // touches keys it does not name
	attrScan                        // SCAN: MATCH may confine it
	attrKeys                        // KEYS: its pattern may confine it
	attrTracking                    // CLIENT TRACKING: wide in broadcast mode
	attrScript                      // runs or loads code that reaches everything
	attrFloor                       // ACL SETUSER, DELUSER, LOAD, SAVE, LIST, GETUSER: no mode lifts a refusal
	attrDiscovered                  // known by its name alone
	attrExpiry                      // its shape says what becomes of its keys' expiry, and expiry: asks
	attrUserRules  = attrGuarded | attrWide | attrTracking | attrScript
)

// guard is the compiled guard: section.
type guard struct {
	categories []guardedCategory
	never      map[command.ID]*Rule
}

type guardedCategory struct {
	bits command.Categories
	rule *Rule
}

var (
	defaultGuarded = []string{"admin", "dangerous", "scripting"}
	defaultNever   = []string{
		"shutdown", "debug", "module", "replicaof", "slaveof", "sync", "psync", "replconf",
		"failover", "monitor", "bgrewriteaof", "bgsave", "save", "swapdb", "migrate",
	}

	wideRule   = &Rule{Text: "guard: keyspace-wide commands need ~*"}
	scriptRule = &Rule{Text: "guard: scripts need ~* &* +@all"}

	discoveredRule      = &Rule{Text: "guard: discovered commands are allowed by name"}
	discoveredReachRule = &Rule{Text: "guard: discovered commands need ~* &*"}
)

// rule gives the entry of guard.categories that covers the command. What was
// discovered is guarded whatever they are.
func (g *guard) rule(spec *command.Spec) *Rule {
	if spec.Discovered() {
		return discoveredRule
	}
	for i := range g.categories {
		if spec.Categories&g.categories[i].bits != 0 {
			return g.categories[i].rule
		}
	}
	return nil
}

// attrOf works out the attributes of one command once, when a policy is built.
func attrOf(spec *command.Spec, g *guard) attr {
	var a attr
	if spec.Flags&command.FlagNoAuth != 0 {
		a |= attrNoAuth
	}
	if spec.Class == command.Refused {
		a |= attrRefused
	}
	if g.never[spec.ID] != nil {
		a |= attrNever
	}
	if g.rule(spec) != nil {
		a |= attrGuarded
	}
	if spec.Flags&command.FlagScript != 0 {
		a |= attrScript
	}
	if spec.Discovered() {
		a |= attrDiscovered | attrFloor
	}
	if spec.Flags&command.FlagKeyspaceWide != 0 {
		a |= attrWide
	}
	switch spec.Name {
	case "scan":
		a |= attrWide | attrScan
	case "keys":
		a |= attrWide | attrKeys
	case "client|tracking":
		a = a&^attrWide | attrTracking
	case "acl|setuser", "acl|deluser", "acl|load", "acl|save",
		"acl|list", "acl|getuser": // these two show hashes, of which a short password is soon found
		a |= attrFloor
	}
	return a
}

// wideReach says whether the selector grants every key the call may touch
// without naming it.
func (s *selector) wideReach(a attr, call *command.Call) bool {
	if s.allKeys {
		return true
	}
	args := call.Args
	switch {
	case a&attrKeys != 0:
		return len(args) == 2 && s.readsGlob(args[1])
	case a&attrScan != 0:
		return s.scanConfined(args)
	case a&attrTracking != 0:
		return s.trackingConfined(args)
	}
	return false
}

// readsGlob says whether everything a glob can match lies under one readable prefix*.
func (s *selector) readsGlob(glob []byte) bool {
	for i := range s.keys {
		if k := &s.keys[i]; k.access&command.Read != 0 && k.coversGlob(glob) {
			return true
		}
	}
	return false
}

// scanConfined reads SCAN cursor [MATCH glob] [COUNT n] [TYPE t]. The last
// MATCH counts for the server; all of them must be confined, and an option not
// known here (or one with a NUL in it, which the server would cut) confines nothing.
func (s *selector) scanConfined(args [][]byte) bool {
	confined := s.readsGlob(nil)
	if len(args) < 2 {
		return false
	}
	for i := 2; i < len(args); i += 2 {
		switch {
		case i+1 == len(args):
			return false
		case equalFoldASCII(args[i], "match"):
			if !s.readsGlob(args[i+1]) {
				return false
			}
			confined = true
		case equalFoldASCII(args[i], "count"), equalFoldASCII(args[i], "type"):
		default:
			return false
		}
	}
	return confined
}

// trackingConfined reads CLIENT TRACKING on|off [REDIRECT id] [PREFIX p]…
// [BCAST] [OPTIN] [OPTOUT] [NOLOOP]. In broadcast mode a client learns of every
// key under its prefixes, so each must lie under a readable prefix*.
func (s *selector) trackingConfined(args [][]byte) bool {
	broadcast, prefixes, confined := false, 0, true
	for i := 3; i < len(args); i++ {
		switch o := args[i]; {
		case equalFoldASCII(o, "bcast"):
			broadcast = true
		case equalFoldASCII(o, "prefix") && i+1 < len(args):
			i++
			prefixes++
			confined = confined && s.readsPrefix(args[i])
		case equalFoldASCII(o, "redirect") && i+1 < len(args):
			i++
		case equalFoldASCII(o, "optin"), equalFoldASCII(o, "optout"), equalFoldASCII(o, "noloop"):
		default:
			return false
		}
	}
	if !broadcast {
		return true
	}
	return confined && (prefixes > 0 || s.readsGlob(nil))
}

// readsPrefix says whether every key that begins with p, taken literally, is readable.
func (s *selector) readsPrefix(p []byte) bool {
	for i := range s.keys {
		k := &s.keys[i]
		if k.access&command.Read == 0 {
			continue
		}
		if k.shape == shapeAll || k.shape == shapePrefix && k.match(p) {
			return true
		}
	}
	return false
}

// compileGuard reads guard:. Unknown names are problems, save in the defaults,
// which may be ahead of an older command table.
func (c *compiler) compileGuard(src GuardSource) *guard {
	g := &guard{never: make(map[command.ID]*Rule)}
	categories, never := src.Categories, src.Never
	if categories == nil {
		categories = texts(defaultGuarded)
	}
	if never == nil {
		never = texts(defaultNever)
	}
	for _, t := range categories {
		name := strings.TrimPrefix(lowerASCII(t.Value), "@")
		bits, ok := c.lang.category(name)
		if !ok {
			c.report(c.lang.unknownCategory(word{text: t.Value, at: t.At}, "@"+name).problem("guard.categories"))
			continue
		}
		c.lang.guarded |= bits
		g.categories = append(g.categories, guardedCategory{bits, &Rule{Text: "guard: @" + name, At: t.At}})
	}
	for _, t := range never {
		c.addNever(g, t, src.Never == nil)
	}
	return g
}

func (c *compiler) addNever(g *guard, t Text, isDefault bool) {
	name := lowerASCII(t.Value)
	rule := &Rule{Text: "never: " + name, At: t.At}
	put := func(spec *command.Spec) {
		if g.never[spec.ID] == nil {
			g.never[spec.ID] = rule
		}
		for _, sub := range spec.Subs {
			if g.never[sub.ID] == nil {
				g.never[sub.ID] = rule
			}
		}
	}
	w := word{text: t.Value, at: t.At}
	if strings.HasPrefix(name, "@") {
		bits, ok := c.lang.category(name[1:])
		if !ok {
			c.report(c.lang.unknownCategory(w, name).problem("guard.never"))
			return
		}
		for _, spec := range c.lang.specs {
			if spec.Categories&bits != 0 && g.never[spec.ID] == nil {
				g.never[spec.ID] = rule
			}
		}
		return
	}
	spec := c.lang.command(name)
	switch {
	case spec != nil:
		put(spec)
	case !isDefault:
		p := c.lang.unknownCommand(w, name).problem("guard.never")
		if c.lang.discovery {
			p.Warning, p.Hint = true, untilDiscovered(p.Hint)
		}
		c.report(p)
	}
}

func texts(values []string) []Text {
	list := make([]Text, len(values))
	for i, v := range values {
		list[i] = Text{Value: v}
	}
	return list
}
