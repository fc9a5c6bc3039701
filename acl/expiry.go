package acl

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

// expiryRule is a compiled ExpirySource.
type expiryRule struct {
	keys    []pattern
	require bool
	max     int64 // ms; 0: any
	report  bool
	rule    *Rule
	note    note
}

// compileExpiry reads expiry:.
func (c *compiler) compileExpiry(list []ExpirySource) []expiryRule {
	var rules []expiryRule
	for i := range list {
		src := &list[i]
		r := expiryRule{require: src.Require, max: src.Max.Milliseconds(), report: src.Mode == Report}
		text := "expiry:"
		for _, t := range src.Keys {
			if t.Value == "" || hasSpaceOrNUL(t.Value) {
				c.fail(t.At, "expiry.keys: empty, or with white space in it", "write a pattern as behind a ~, and match such bytes with ?")
				continue
			}
			r.keys = append(r.keys, compilePattern(t.Value))
			text += " " + t.Value
		}
		switch {
		case len(src.Keys) == 0:
			c.fail(src.At, "expiry: keys are missing", `write keys: "pii:*"`)
		case src.Max < 0 || src.Max > 0 && src.Max < time.Millisecond:
			c.fail(src.At, "expiry.max: too short", "write 30d, 12h or 15m")
		case !src.Require && src.Max == 0:
			c.fail(src.At, "expiry: asks for nothing", "add require: true, or max: 30d")
		case src.Mode > Report:
			c.fail(src.At, "expiry.mode: no such mode", "refuse or report; remove the entry to switch it off")
		}
		if r.require {
			text += " require"
		}
		if r.max > 0 {
			text += " max " + src.Max.String()
		}
		r.rule = &Rule{Text: text, At: src.At}
		r.note = c.note("expiry", src.Note)
		rules = append(rules, r)
	}
	return rules
}

// lifetime is what a call's shape says about the expiry of the keys it writes.
type lifetime struct {
	kind   lifetimeKind
	millis int64 // with lifeSet and lifeMaybe
}

type lifetimeKind uint8

const (
	lifeKept     lifetimeKind = iota // it does not touch it, or nobody can tell
	lifeNone                         // the keys have none afterwards
	lifeMaybe                        // as lifeSet, but keys that have none stay without
	lifeSet                          // so many milliseconds from now
	lifeAbsolute                     // a point in time, which a decision without a clock cannot judge
	lifeUnclear                      // an option nobody knows, a number that is none, two of what there may be one
)

// lifetimes are the commands whose shape says what becomes of the expiry.
var lifetimes = map[string]func(args [][]byte) lifetime{
	"set":               setLife,
	"setnx":             noLife,
	"getset":            noLife,
	"mset":              noLife,
	"msetnx":            noLife,
	"msetex":            msetexLife,
	"setex":             func(args [][]byte) lifetime { return millisIn(args, 2, time.Second) },
	"psetex":            func(args [][]byte) lifetime { return millisIn(args, 2, time.Millisecond) },
	"getex":             getexLife,
	"increx":            increxLife,
	"persist":           noLife,
	"expire":            func(args [][]byte) lifetime { return expireLife(args, time.Second) },
	"pexpire":           func(args [][]byte) lifetime { return expireLife(args, time.Millisecond) },
	"expireat":          expireatLife,
	"pexpireat":         expireatLife,
	"restore":           restoreLife,
	"restore-asking":    restoreLife,
	"bitop":             noLife, // what stores a result replaces the key, its expiry included
	"sort":              noLife, // writes only with STORE
	"georadius":         noLife,
	"georadiusbymember": noLife,
	"geosearchstore":    noLife,
	"sdiffstore":        noLife,
	"sinterstore":       noLife,
	"sunionstore":       noLife,
	"zdiffstore":        noLife,
	"zinterstore":       noLife,
	"zunionstore":       noLife,
	"zrangestore":       noLife,
}

// lasting are the writing commands that neither make a key nor touch an expiry.
var lasting = []string{
	"blmpop", "blpop", "brpop", "bzmpop", "bzpopmax", "bzpopmin", "cf.del", "del", "delex", "delifeq", "ft.del",
	"ft.sugdel", "getdel", "hdel", "hexpire", "hexpireat", "hgetdel", "hgetex", "hpersist", "hpexpire", "hpexpireat",
	"json.arrappend", "json.arrinsert", "json.arrpop", "json.arrtrim", "json.clear", "json.del", "json.forget", "json.numincrby",
	"json.nummultby", "json.numpowby", "json.strappend", "json.toggle", "linsert", "lmpop", "lpop", "lpushx", "lrem", "lset",
	"ltrim", "rpop", "rpushx", "spop", "srem", "unlink", "vrem", "vsetattr", "xack", "xackdel", "xautoclaim", "xcfgset", "xclaim",
	"xdel", "xdelex", "xgroup|createconsumer", "xgroup|delconsumer", "xgroup|destroy", "xgroup|setid", "xnack", "xreadgroup",
	"xsetid", "xtrim", "zmpop", "zpopmax", "zpopmin", "zrem", "zremrangebylex", "zremrangebyrank", "zremrangebyscore",
	"ardel", "ardelrange", "arseek", "ts.alter", "ts.del", "ts.deleterule", "tdigest.reset", "xidmprecord",
}

// UnknownLifetime lists the commands of a table that may leave a key without an
// expiry and do not show it: they keep what a key has, and give none to a key
// they make, move or copy one from elsewhere, or run a script. expiry: lets them
// pass. The caller owns the slice.
func UnknownLifetime(table *command.Table) []string {
	var names []string
	for _, spec := range table.Specs() {
		writes := spec.Flags&command.FlagWrite != 0 && spec.TakesKeys() || spec.Flags&command.FlagScript != 0
		if writes && lifetimes[spec.Name] == nil && !slices.Contains(lasting, spec.Name) && spec.Class != command.Refused {
			names = append(names, spec.Name)
		}
	}
	slices.Sort(names)
	return names
}

// judgeExpiry holds an allowed call against expiry: and gives the decision that
// comes of it.
func (p *Policy) judgeExpiry(d Decision, call *command.Call) Decision {
	read := false
	var life lifetime
	for i := range p.expiry {
		r := &p.expiry[i]
		if r.note.ended(p.now) {
			continue
		}
		arg := r.writtenKey(call)
		if arg == 0 {
			continue
		}
		if !read {
			life, read = lifetimes[call.Spec.Name](call.Args), true
		}
		if !r.against(life) {
			continue
		}
		if !r.report {
			return Decision{Reason: TTLRequired, Rule: r.rule, Arg: arg}
		}
		if !d.Reported {
			d = Decision{Allowed: true, Reported: true, Lifted: d.Lifted, Reason: TTLRequired, Rule: r.rule, Arg: arg}
		}
	}
	return d
}

// expiryState says for explain what judgeExpiry looks at.
func (p *Policy) expiryState(call *command.Call) ExpiryState {
	for i := range p.expiry {
		r := &p.expiry[i]
		arg := r.writtenKey(call)
		if arg == 0 || r.note.ended(p.now) {
			continue
		}
		s := ExpiryState{Rule: r.rule, Arg: arg, Says: "nothing about it can be seen from here"}
		if shape := lifetimes[call.Spec.Name]; shape != nil {
			s.Says = shape(call.Args).String()
		} else if slices.Contains(lasting, call.Spec.Name) {
			s.Says = "leaves it as it is"
		}
		return s
	}
	return ExpiryState{}
}

// String says it in words.
func (l lifetime) String() string {
	switch l.kind {
	case lifeNone:
		return "leaves the key without one"
	case lifeMaybe:
		return "leaves a key without one as it is"
	case lifeSet:
		if l.millis > int64(1<<63-1)/int64(time.Millisecond) {
			return "sets it to more than 292 years"
		}
		return "sets it to " + (time.Duration(l.millis) * time.Millisecond).String()
	case lifeAbsolute:
		return "sets it to a point in time, whose distance is not looked at"
	case lifeUnclear:
		return "has an option or a number that cannot be understood"
	}
	return "leaves it as it is"
}

// writtenKey gives the first argument that is a key of the rule and written, 0 for none.
func (r *expiryRule) writtenKey(call *command.Call) int {
	for i := range call.Keys {
		k := &call.Keys[i]
		if k.Access&command.Write == 0 || int(k.Arg) >= len(call.Args) {
			continue
		}
		for j := range r.keys {
			if r.keys[j].match(call.Args[k.Arg]) {
				return int(k.Arg)
			}
		}
	}
	return 0
}

func (r *expiryRule) against(life lifetime) bool {
	switch life.kind {
	case lifeNone:
		return r.require
	case lifeMaybe:
		return r.require || r.max > 0 && life.millis > r.max
	case lifeSet:
		return r.max > 0 && life.millis > r.max
	case lifeAbsolute:
		return r.max > 0
	case lifeUnclear:
		return true
	}
	return false
}

func noLife([][]byte) lifetime { return lifetime{kind: lifeNone} }

// millisIn reads the duration that stands at args[i].
func millisIn(args [][]byte, i int, unit time.Duration) lifetime {
	if i >= len(args) {
		return lifetime{kind: lifeUnclear}
	}
	n, ok := strictInt(args[i])
	per := int64(unit / time.Millisecond)
	switch {
	case !ok:
		return lifetime{kind: lifeUnclear}
	case n > (1<<62)/per:
		return lifetime{lifeSet, 1 << 62}
	}
	return lifetime{lifeSet, n * per}
}

// strictInt reads a decimal number as the server does: no plus, no blanks, no
// leading zeros. It does not allocate.
func strictInt(b []byte) (n int64, ok bool) {
	digits := b
	negative := len(b) > 1 && b[0] == '-'
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' || n > (1<<63-1-int64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// option reads EX, PX, EXAT, PXAT, PERSIST or KEEPTTL at args[i]; used is how
// many arguments it took, 0 if it is something else.
func option(args [][]byte, i int) (life lifetime, used int) {
	switch o := args[i]; {
	case equalFoldASCII(o, "ex"):
		return millisIn(args, i+1, time.Second), 2
	case equalFoldASCII(o, "px"):
		return millisIn(args, i+1, time.Millisecond), 2
	case equalFoldASCII(o, "exat"), equalFoldASCII(o, "pxat"):
		return lifetime{kind: lifeAbsolute}, 2
	case equalFoldASCII(o, "persist"):
		return lifetime{kind: lifeNone}, 1
	case equalFoldASCII(o, "keepttl"):
		return lifetime{kind: lifeKept}, 1
	}
	return lifetime{}, 0
}

// options reads what follows the operands of a command: at most one of the
// options above, and words of its own. without is what it means if there is none.
func options(args [][]byte, from int, without lifetimeKind, words, wordsWithValue []string) lifetime {
	life, found := lifetime{kind: without}, false
	for i := from; i < len(args); {
		if l, used := option(args, i); used > 0 {
			if found {
				return lifetime{kind: lifeUnclear}
			}
			life, found = l, true
			i += used
			continue
		}
		switch {
		case isOneOf(args[i], words):
			i++
		case isOneOf(args[i], wordsWithValue):
			i += 2
		default:
			return lifetime{kind: lifeUnclear}
		}
	}
	return life
}

func isOneOf(arg []byte, words []string) bool {
	for _, w := range words {
		if equalFoldASCII(arg, w) {
			return true
		}
	}
	return false
}

var (
	setWords     = []string{"nx", "xx", "get"}
	setCondition = []string{"ifeq", "ifne", "ifdeq", "ifdne"}
	expireWords  = []string{"nx", "xx", "gt", "lt"}
)

func setLife(args [][]byte) lifetime { return options(args, 3, lifeNone, setWords, setCondition) }

func getexLife(args [][]byte) lifetime { return options(args, 2, lifeKept, nil, nil) }

// msetexLife reads MSETEX numkeys key value … [NX|XX] [EX …].
func msetexLife(args [][]byte) lifetime {
	n, ok := strictInt(args[1])
	if !ok || n < 1 || n > int64(len(args)) {
		return lifetime{kind: lifeUnclear}
	}
	return options(args, 2+2*int(n), lifeNone, setWords, nil)
}

// increxLife looks for an expiry among options whose other words do not matter
// here. Without one the key keeps what it has, or is made without.
func increxLife(args [][]byte) lifetime {
	life := lifetime{kind: lifeKept}
	for i := 2; i < len(args); i++ {
		if l, used := option(args, i); used > 0 {
			life = l
			if l.kind != lifeKept {
				return life
			}
		}
	}
	return life
}

// expireLife reads EXPIRE key n [NX|XX|GT|LT]. With XX or GT a key that has no
// expiry stays without; NX and LT give it one.
func expireLife(args [][]byte, unit time.Duration) lifetime {
	life := millisIn(args, 2, unit)
	if life.kind != lifeSet {
		return life
	}
	for _, o := range args[min(3, len(args)):] {
		switch {
		case !isOneOf(o, expireWords):
			return lifetime{kind: lifeUnclear}
		case equalFoldASCII(o, "xx"), equalFoldASCII(o, "gt"):
			return lifetime{kind: lifeMaybe, millis: life.millis}
		}
	}
	return life
}

func expireatLife(args [][]byte) lifetime {
	for _, o := range args[min(3, len(args)):] {
		if !isOneOf(o, expireWords) {
			return lifetime{kind: lifeUnclear}
		}
		if equalFoldASCII(o, "xx") || equalFoldASCII(o, "gt") {
			return lifetime{kind: lifeMaybe, millis: 1 << 62}
		}
	}
	return lifetime{kind: lifeAbsolute}
}

// restoreLife reads RESTORE key ttl value [ABSTTL] …; a ttl of 0 is none.
func restoreLife(args [][]byte) lifetime {
	life := millisIn(args, 2, time.Millisecond)
	if life.kind == lifeSet && life.millis == 0 {
		return lifetime{kind: lifeNone}
	}
	for _, o := range args[min(4, len(args)):] {
		if equalFoldASCII(o, "absttl") {
			return lifetime{kind: lifeAbsolute}
		}
	}
	return life
}
