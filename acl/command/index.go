package command

import (
	"encoding/binary"
	"math/bits"
)

// index finds specs by the words clients send, ASCII case ignored, without
// allocating. It is an open-addressing table whose slots hold the whole name of
// all but the longest commands, folded into two words: a hit costs a load and
// two compares, and never a string.
type index struct {
	slots []slot
	shift uint8
}

type slot struct {
	first, last uint64 // see fold
	spec        *Spec  // nil: empty
	length      int
	name        string // as in the index; only compared when longer than 16 bytes
}

// newIndex builds an index over names (lower case), which must be distinct.
func newIndex(names []string, specs []*Spec) *index {
	size := 4
	for size < 4*len(names) {
		size *= 2
	}
	x := &index{slots: make([]slot, size), shift: uint8(64 - bits.TrailingZeros(uint(size)))}
	for i, name := range names {
		first, last := fold([]byte(name))
		at := x.start(first, last, len(name))
		for x.slots[at].spec != nil {
			at = (at + 1) & (size - 1)
		}
		x.slots[at] = slot{first: first, last: last, spec: specs[i], length: len(name), name: name}
	}
	return x
}

// find gives the spec of that exact name, nil if there is none. A name with a
// NUL in it is never found: the server would compare it only so far, and find
// it or not as its hash seed has it.
func (x *index) find(name []byte) *Spec {
	if len(name) == 0 {
		return nil
	}
	first, last := fold(name)
	at := x.start(first, last, len(name))
	for {
		s := &x.slots[at]
		if s.spec == nil {
			return nil
		}
		if s.first == first && s.last == last && s.length == len(name) &&
			(len(name) <= 16 || equalFold(name, s.name)) {
			return s.spec
		}
		at = (at + 1) & (len(x.slots) - 1)
	}
}

func (x *index) start(first, last uint64, length int) int {
	h := (first ^ bits.RotateLeft64(last, 29) ^ uint64(length)) * 0x9E3779B97F4A7C15
	return int(h >> x.shift)
}

// lookup remembers what a short name was found to be, spelled as it was.
type lookup struct {
	in          *index
	first, last uint64 // see pack
	length      int    // at most 16
	spec        *Spec
}

// find is x.find(name), quicker for the name that was found last.
func (l *lookup) find(x *index, name []byte) *Spec {
	first, last := pack(name)
	if l.in == x && l.first == first && l.last == last && l.length == len(name) {
		return l.spec
	}
	spec := x.find(name)
	if spec != nil && len(name) <= 16 {
		*l = lookup{in: x, first: first, last: last, length: len(name), spec: spec}
	}
	return spec
}

// fold is pack with letters in lower case.
func fold(b []byte) (first, last uint64) {
	first, last = pack(b)
	return lower(first), lower(last)
}

// pack puts a name into two words. Together with the length they determine a name of up to
// 16 bytes; of a longer one they hold the first and the last eight.
func pack(b []byte) (first, last uint64) {
	n := len(b)
	switch {
	case n >= 8:
		return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32, 0
	case n > 0:
		return uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16, 0
	}
	return 0, 0
}

// lower turns each byte that is an ASCII capital into its small letter, eight
// at a time: a byte is a capital when adding 0x3f reaches its high bit and
// adding 0x25 does not, and its own high bit is clear.
func lower(w uint64) uint64 {
	const high = 0x8080808080808080
	low := w &^ high
	fromA := low + 0x3f3f3f3f3f3f3f3f
	beyondZ := low + 0x2525252525252525
	capital := fromA &^ beyondZ &^ w & high
	return w | capital>>2
}

// equalFold reports whether b is name but for ASCII case. name is lower case.
func equalFold(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
