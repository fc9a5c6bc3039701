package command

import "slices"

// keySpec is one key specification as Redis defines them: where to begin and
// how to go on from there.
type keySpec struct {
	flags   specFlags
	begin   beginKind
	keyword string
	pos     int16 // beginIndex: the first argument; beginKeyword: where the search starts
	find    findKind
	// findRange: the last key relative to the first, or (negative) to the end;
	// with limit over 1, to the end of the first 1/limit of the arguments.
	last, limit int16
	// findKeynum: where the count stands and where the first key, relative to pos.
	num, first int16
	step       int16
}

type specFlags uint8

const (
	specAccess specFlags = 1 << iota
	specUpdate           // insert, update or delete
	specNotKey
	specIncomplete
	specVariable
	specChanges // RW, OW or RM; without it RO
)

type beginKind uint8

const (
	beginUnknown beginKind = iota
	beginIndex
	beginKeyword
)

type findKind uint8

const (
	findUnknown findKind = iota
	findRange
	findKeynum
)

// access is what the specification's logical flags ask of a permission. RO,
// RW, OW and RM do not decide in Redis's own commands.
//
// Module commands often declare RO or RW and no logical flag at all, so that in
// Redis any pattern lets them through: a user with read permission may JSON.SET.
// That hole is not copied: there RO reads, and anything else reads and writes.
func (k *keySpec) access(module bool) Access {
	var a Access
	if k.flags&specAccess != 0 {
		a |= Read
	}
	if k.flags&specUpdate != 0 {
		a |= Write
	}
	if a == 0 && module {
		a = Read
		if k.flags&specChanges != 0 {
			a |= Write
		}
	}
	return a
}

// keyMethod says how a command's keys are found.
type keyMethod uint8

const (
	noKeys    keyMethod = iota
	oneKey              // a single key at a fixed place
	bySpecs             // by complete key specifications
	noWay               // it has keys that nothing here finds: every call is refused
	setKeys             // SET: GET makes it read
	delexKeys           // DELEX: a condition makes it read
	bitfieldKeys
	sortKeys
	sortROKeys
	geoRadiusKeys
	geoRadiusByMemberKeys
	xreadKeys
	xreadGroupKeys
	migrateKeys
	jsonDebugKeys
)

// ownMethods are the commands whose key specifications do not tell all, being
// variable, incomplete, unknown, or found by a keyword which Redis seeks among
// values too.
var ownMethods = map[string]keyMethod{
	"set":               setKeys,
	"delex":             delexKeys,
	"bitfield":          bitfieldKeys,
	"sort":              sortKeys,
	"sort_ro":           sortROKeys,
	"georadius":         geoRadiusKeys,
	"georadiusbymember": geoRadiusByMemberKeys,
	"xread":             xreadKeys,
	"xreadgroup":        xreadGroupKeys,
	"migrate":           migrateKeys,
	"json.debug":        jsonDebugKeys,
}

// ownSpecs replace key specifications that name fewer keys than the command takes.
var ownSpecs = map[string][]keySpec{
	// Redis declares the first key only; the command reads all but the path.
	"json.mget": {{flags: specAccess, begin: beginIndex, pos: 1, find: findRange, last: -2, step: 1}},
	// Redis declares the destination only: CMS.MERGE dest numkeys source... [WEIGHTS ...].
	"cms.merge": {
		{flags: specAccess | specUpdate | specChanges, begin: beginIndex, pos: 1, find: findRange, step: 1},
		{flags: specAccess, begin: beginIndex, pos: 2, find: findKeynum, first: 1, step: 1},
	},
}

// keyFinder finds the keys of one command.
type keyFinder struct {
	method    keyMethod
	access    Access // oneKey
	mayBeNone bool   // a count of 0 is a proper count (EVAL)
	pos       int32  // oneKey
	specs     []foundSpec
}

// foundSpec is a complete specification with its access worked out.
type foundSpec struct {
	keySpec
	access Access
}

// newKeyFinder chooses the method. What it cannot handle becomes noWay, never noKeys.
func newKeyFinder(name string, flags Flags, specs []keySpec) keyFinder {
	f := keyFinder{mayBeNone: flags&FlagNoMandatoryKeys != 0}
	if own, ok := ownSpecs[name]; ok {
		specs = own
	}
	specs = slices.DeleteFunc(slices.Clone(specs), func(k keySpec) bool { return k.flags&specNotKey != 0 })
	if len(specs) == 0 {
		return f
	}
	if m, ok := ownMethods[name]; ok {
		f.method = m
		return f
	}
	for _, k := range specs {
		sound := k.begin == beginIndex && k.pos > 0 && k.find != findUnknown && k.step > 0 &&
			k.num >= 0 && k.first > 0 == (k.find == findKeynum) &&
			k.flags&(specIncomplete|specVariable) == 0
		if !sound {
			return keyFinder{method: noWay}
		}
		f.specs = append(f.specs, foundSpec{keySpec: k, access: k.access(flags&FlagModule != 0)})
	}
	f.method = bySpecs
	if k := f.specs[0]; len(f.specs) == 1 && k.find == findRange && k.last == 0 {
		f.method, f.access, f.pos = oneKey, k.access, int32(k.pos)
	}
	return f
}

// find appends the keys of the call; false if they cannot be told.
func (f *keyFinder) find(c *Call) bool {
	switch f.method {
	case oneKey:
		return c.key(int(f.pos), f.access)
	case bySpecs:
		for i := range f.specs {
			if !f.specs[i].collect(c, f.mayBeNone) {
				return false
			}
		}
		return f.mayBeNone || len(c.Keys) > 0
	case setKeys:
		return c.setKeys()
	case delexKeys:
		return c.delexKeys()
	case bitfieldKeys:
		return c.bitfieldKeys()
	case sortKeys:
		return c.sortKeys(true)
	case sortROKeys:
		return c.sortKeys(false)
	case geoRadiusKeys:
		return c.geoRadiusKeys(6)
	case geoRadiusByMemberKeys:
		return c.geoRadiusKeys(5)
	case xreadKeys:
		return c.xreadKeys(false)
	case xreadGroupKeys:
		return c.xreadKeys(true)
	case migrateKeys:
		return c.migrateKeys()
	case jsonDebugKeys:
		return c.jsonDebugKeys()
	}
	return false
}

// key appends one key; false if there is no such argument.
func (c *Call) key(arg int, a Access) bool {
	if arg >= len(c.Args) {
		return false
	}
	c.Keys = append(c.Keys, Key{Arg: int32(arg), Access: a})
	return true
}

// collect appends the keys one specification names.
//
// A range counted from the end may be empty where the arguments end (PFMERGE
// with a destination alone): Redis then finds no key at all and lets the call
// pass unchecked, here the keys of the other specifications still count.
func (k *foundSpec) collect(c *Call, mayBeNone bool) bool {
	argc := len(c.Args)
	first := int(k.pos)
	var last int
	switch {
	case k.find == findKeynum:
		at := first + int(k.num)
		if at >= argc {
			return false
		}
		n, ok := count(c.Args[at], argc)
		if !ok {
			return false
		}
		if n == 0 {
			return mayBeNone
		}
		first += int(k.first)
		last = first + (n-1)*int(k.step)
	case k.last >= 0:
		last = first + int(k.last)
	case k.limit > 1:
		last = first + (argc-first)/int(k.limit) + int(k.last)
	default:
		last = argc + int(k.last)
	}
	if k.find == findRange && k.last < 0 && last == first-1 {
		return true
	}
	if last < first || last >= argc {
		return false
	}
	c.Keys = slices.Grow(c.Keys, (last-first)/int(k.step)+1)
	for i := first; i <= last; i += int(k.step) {
		c.Keys = append(c.Keys, Key{Arg: int32(i), Access: k.access})
	}
	return true
}

// count reads a number of keys as the strictest of Redis's readers does: plain
// decimal digits, no sign, space or leading zero. It fails on more than limit,
// which no real count exceeds, so nothing can overflow.
func count(b []byte, limit int) (int, bool) {
	if len(b) == 0 || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	n := 0
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		if n = n*10 + int(d-'0'); n > limit {
			return 0, false
		}
	}
	return n, true
}
