package command

import "bytes"

// The commands here are read as the server's own command code reads them:
// option by option, each with its arguments, so that a value which looks like
// an option is a value. An option this code does not know ends in a refusal,
// because how many arguments it takes, and whether they are keys, is unknown.
//
// The server compares option words only up to their first NUL; "STORE\x00x" is
// STORE there. Here such a word is an option nobody knows, and refused.

// word reports whether an argument is that option. option is lower case.
func (c *Call) word(arg int, option string) bool { return equalFold(c.Args[arg], option) }

// hasNUL reports whether an argument would be cut short by a server that reads it as a C string.
func (c *Call) hasNUL(arg int) bool { return bytes.IndexByte(c.Args[arg], 0) >= 0 }

// setKeys reads SET key value [options]. GET makes it return the old value, and
// the conditions on the old value (IFEQ and the like) tell something about it.
// The server looks for GET in every place after the value, so this does too.
func (c *Call) setKeys() bool {
	access := Write
	for i := 3; i < len(c.Args); i++ {
		switch {
		case c.word(i, "get"):
			access |= Read
		case c.word(i, "ifeq"), c.word(i, "ifne"), c.word(i, "ifdeq"), c.word(i, "ifdne"):
			access |= Read
			i++ // the value to compare with may hold anything
		case c.hasNUL(i):
			return false
		}
	}
	return c.key(1, access)
}

// delexKeys reads DELEX key [condition value]: a condition tells something
// about the value.
func (c *Call) delexKeys() bool {
	access := Write
	if len(c.Args) > 2 {
		access |= Read
	}
	return c.key(1, access)
}

// bitfieldKeys reads BITFIELD key [operations]: it reads only while all of them
// are GET (and OVERFLOW, which does nothing by itself). The first that writes
// settles it, as does anything odd.
func (c *Call) bitfieldKeys() bool {
	args := len(c.Args)
	for i := 2; i < args; i++ {
		left := args - i - 1
		switch {
		case c.hasNUL(i):
			return false
		case c.word(i, "get") && left >= 2:
			i += 2
		case c.word(i, "overflow") && left >= 1:
			i++
		default:
			return c.key(1, Read|Write)
		}
	}
	return c.key(1, Read)
}

// sortKeys reads SORT key [BY pattern] [LIMIT offset count] [GET pattern ...]
// [ASC|DESC] [ALPHA] [STORE destination]. Of several STORE the server takes the
// last; all are checked. SORT_RO has no STORE.
func (c *Call) sortKeys(store bool) bool {
	c.key(1, Read)
	args := len(c.Args)
	for i := 2; i < args; i++ {
		left := args - i - 1
		switch {
		case c.word(i, "asc"), c.word(i, "desc"), c.word(i, "alpha"):
		case c.word(i, "limit") && left >= 2:
			i += 2
		case store && c.word(i, "store") && left >= 1:
			i++
			c.key(i, Write)
		case c.word(i, "by") && left >= 1:
			i++
			if c.PatternArg == 0 && bytes.IndexByte(c.Args[i], '*') >= 0 {
				c.PatternArg = int32(i - 1)
			}
		case c.word(i, "get") && left >= 1:
			if c.PatternArg == 0 {
				c.PatternArg = int32(i)
			}
			i++
		default:
			return false
		}
	}
	return true
}

// geoRadiusKeys reads GEORADIUS and GEORADIUSBYMEMBER, whose options begin at
// that argument. STORE and STOREDIST may come several times; the server writes
// the last, all are checked.
func (c *Call) geoRadiusKeys(options int) bool {
	c.key(1, Read)
	args := len(c.Args)
	for i := options; i < args; i++ {
		left := args - i - 1
		switch {
		case c.word(i, "withdist"), c.word(i, "withhash"), c.word(i, "withcoord"),
			c.word(i, "any"), c.word(i, "asc"), c.word(i, "desc"):
		case c.word(i, "count") && left >= 1:
			i++
		case (c.word(i, "store") || c.word(i, "storedist")) && left >= 1:
			i++
			c.key(i, Write)
		default:
			return false
		}
	}
	return true
}

// xreadKeys reads XREAD and XREADGROUP up to STREAMS, after which the first
// half are keys. A group, a consumer or a count named STREAMS is none. BLOCK
// makes the call one that may wait.
func (c *Call) xreadKeys(group bool) bool {
	args := len(c.Args)
	for i := 1; i < args; i++ {
		left := args - i - 1
		switch {
		case c.word(i, "block") && left >= 1:
			c.Class = Pinned
			i++
		case c.word(i, "count") && left >= 1,
			c.word(i, "maxcount") && left >= 1,
			c.word(i, "maxsize") && left >= 1,
			group && c.word(i, "claim") && left >= 1:
			i++
		case group && c.word(i, "group") && left >= 2:
			i += 2
		case group && c.word(i, "noack"):
		case c.word(i, "streams") && left >= 2 && left%2 == 0:
			for k := i + 1; k <= i+left/2; k++ {
				c.key(k, Read)
			}
			return true
		default:
			return false
		}
	}
	return false
}

// migrateKeys reads MIGRATE host port key|"" db timeout [COPY] [REPLACE]
// [AUTH password] [AUTH2 user password] [KEYS key ...].
func (c *Call) migrateKeys() bool {
	const keyArg, options = 3, 6
	args := len(c.Args)
	for i := options; i < args; i++ {
		left := args - i - 1
		switch {
		case c.word(i, "copy"), c.word(i, "replace"):
		case c.word(i, "auth") && left >= 1:
			i++
		case c.word(i, "auth2") && left >= 2:
			i += 2
		case c.word(i, "keys") && left >= 1 && len(c.Args[keyArg]) == 0:
			for k := i + 1; k < args; k++ {
				c.key(k, Read|Write)
			}
			return true
		default:
			return false
		}
	}
	return c.key(keyArg, Read|Write)
}

// jsonDebugKeys reads JSON.DEBUG where it is one command (Redis) and not a
// container (Valkey): only MEMORY key [path] names a key.
func (c *Call) jsonDebugKeys() bool {
	if c.word(1, "help") {
		return true
	}
	return c.word(1, "memory") && c.key(2, Read)
}
