package resp

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/tidwall/redcon"
)

// The encoders append one value, or the head of one, in its canonical form and
// return the extended slice. Where a type exists in RESP3 only they take the
// version in use, 2 or 3, and write for 2 what Redis writes there.

// AppendCommand appends a command as an array of bulk strings, the only form in
// which commands go to a node.
func AppendCommand(dst []byte, args [][]byte) []byte {
	need := headRoom
	for _, arg := range args {
		need += headRoom + len(arg) + 2
	}
	// One look at the room for all of it: the rest is stores.
	from := len(dst)
	dst = slices.Grow(dst, need)[:from+need]
	b := dst[from:]
	i := putHead(b, '*', len(args))
	for _, arg := range args {
		if len(arg) < 10 {
			binary.LittleEndian.PutUint32(b[i:], uint32('$')|uint32('0'+len(arg))<<8|lineEnd<<16)
			i += 4
		} else {
			i += putHead(b[i:], '$', len(arg))
		}
		i += copy(b[i:], arg)
		binary.LittleEndian.PutUint16(b[i:], lineEnd)
		i += 2
	}
	return dst[:from+i]
}

// headRoom is what a head takes at most: a type, 19 digits and a line end, with what putHead may write beyond it.
const headRoom = 24

// lineEnd is CR LF, the first one in the lower byte.
const lineEnd = '\r' | '\n'<<8

// putHead is appendHead into b, of at least headRoom bytes. It gives the length.
func putHead(b []byte, kind byte, n int) int {
	switch {
	case n < 10:
		binary.LittleEndian.PutUint32(b, uint32(kind)|uint32('0'+n)<<8|lineEnd<<16)
		return 4
	case n < 100:
		tens := n / 10
		binary.LittleEndian.PutUint64(b, uint64(kind)|uint64('0'+tens)<<8|uint64('0'+n-10*tens)<<16|lineEnd<<24)
		return 5
	}
	return len(appendHead(b[:0], kind, n))
}

// appendHead appends a type, a count or length, and CR LF.
func appendHead(dst []byte, kind byte, n int) []byte {
	switch {
	case n < 10:
		return append(dst, kind, byte('0'+n), '\r', '\n')
	case n < 100:
		return append(dst, kind, byte('0'+n/10), byte('0'+n%10), '\r', '\n')
	}
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}

// AppendError appends an error reply. msg begins with its code, as in "ERR
// unknown command"; a CR or LF in it becomes a space, as in Redis, so that no
// text can end the reply early.
func AppendError(dst []byte, msg string) []byte { return redcon.AppendError(dst, msg) }

// AppendSimple appends a simple string, with CR and LF replaced as in errors.
func AppendSimple(dst []byte, s string) []byte { return redcon.AppendString(dst, s) }

// AppendBulk appends a bulk string of any bytes.
func AppendBulk(dst, b []byte) []byte { return redcon.AppendBulk(dst, b) }

// AppendBulkString is AppendBulk for a string.
func AppendBulkString(dst []byte, s string) []byte { return redcon.AppendBulkString(dst, s) }

// AppendInt appends an integer.
func AppendInt(dst []byte, n int64) []byte { return redcon.AppendInt(dst, n) }

// AppendArray appends the head of an array; n values follow.
func AppendArray(dst []byte, n int) []byte { return redcon.AppendArray(dst, n) }

// AppendMap appends the head of a map; n keys, each with its value, follow. In
// RESP2 it is a flat array.
func AppendMap(dst []byte, proto, n int) []byte {
	if proto < 3 {
		return redcon.AppendArray(dst, 2*n)
	}
	return appendHead(dst, '%', n)
}

// AppendSet appends the head of a set; n values follow. In RESP2 it is an
// array.
func AppendSet(dst []byte, proto, n int) []byte {
	if proto < 3 {
		return redcon.AppendArray(dst, n)
	}
	return appendHead(dst, '~', n)
}

// AppendPush appends the head of an out-of-band message; n values follow. In
// RESP2 it is an array, which is told from a reply by the client's state only.
func AppendPush(dst []byte, proto, n int) []byte {
	if proto < 3 {
		return redcon.AppendArray(dst, n)
	}
	return appendHead(dst, '>', n)
}

// AppendNull appends the null: in RESP2 that of a bulk string.
func AppendNull(dst []byte, proto int) []byte {
	if proto < 3 {
		return redcon.AppendNull(dst)
	}
	return append(dst, "_\r\n"...)
}

// AppendNullArray appends the null that stands for an array: in RESP2 that has
// a spelling of its own.
func AppendNullArray(dst []byte, proto int) []byte {
	if proto < 3 {
		return append(dst, "*-1\r\n"...)
	}
	return append(dst, "_\r\n"...)
}

// AppendBool appends a boolean: in RESP2 the integer 1 or 0.
func AppendBool(dst []byte, proto int, b bool) []byte {
	switch {
	case proto < 3 && b:
		return append(dst, ":1\r\n"...)
	case proto < 3:
		return append(dst, ":0\r\n"...)
	case b:
		return append(dst, "#t\r\n"...)
	}
	return append(dst, "#f\r\n"...)
}

// AppendDouble appends a floating-point number in the shortest digits that read
// back as the same number: in RESP2 as a bulk string.
func AppendDouble(dst []byte, proto int, f float64) []byte {
	var space [32]byte
	digits := appendDigits(space[:0], f)
	if proto < 3 {
		return redcon.AppendBulk(dst, digits)
	}
	dst = append(dst, ',')
	dst = append(dst, digits...)
	return append(dst, '\r', '\n')
}

// appendDigits writes f as C's %g with full precision does, exponents from 17
// digits on; strconv's own choice would write a million as 1e+06.
func appendDigits(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case abs == 0 || abs >= 1e-4 && abs < 1e17:
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'e', -1, 64)
}

// AppendVerbatim appends a text as INFO and CLIENT LIST answer it in RESP3,
// marked as plain; in RESP2 it is a bulk string.
func AppendVerbatim(dst []byte, proto int, text string) []byte {
	if proto < 3 {
		return redcon.AppendBulkString(dst, text)
	}
	dst = appendHead(dst, '=', len(text)+4)
	dst = append(dst, "txt:"...)
	dst = append(dst, text...)
	return append(dst, '\r', '\n')
}

// AppendCommandHead appends a command up to where its last argument, of n bytes,
// begins; args are those before it.
func AppendCommandHead(b []byte, args [][]byte, n int) []byte {
	b = appendHead(b, '*', len(args)+1)
	for _, a := range args {
		b = appendHead(b, '$', len(a))
		b = append(b, a...)
		b = append(b, '\r', '\n')
	}
	return appendHead(b, '$', n)
}
