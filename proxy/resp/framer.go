package resp

// MaxDepth is how deep arrays, maps, sets and attributes may lie within each
// other in a reply. Redis's own replies stay below ten; the rest is for scripts
// and modules.
const MaxDepth = 128

const (
	// maxText bounds simple strings, errors and big numbers, in bytes without
	// type and line end. Redis's own are a few hundred at most.
	maxText = 64 << 10
	// maxNumber bounds the lines of all other types, doubles being the longest.
	maxNumber = 64
	// maxLength bounds an announced length or count: far beyond any reply, and
	// far from overflow even where a map doubles it.
	maxLength = 1 << 40
)

// Framer finds where replies end in a node's bytes, without decoding or keeping
// them, so that a reply can be handed on while it is still coming in:
//
//	for len(p) > 0 {
//		n, done, err := f.Next(p)
//		if err != nil {
//			… give the connection up
//		}
//		… p[:n] belongs to the reply at hand, and done says it ends there
//		p = p[n:]
//	}
//
// It takes RESP as specified and nothing else: the sooner a stream that lost
// its step is known, the less of one client's data can reach another. Lengths
// have one spelling, lines end in CR LF and hold neither alone, a bulk ends
// where it said, a push stands at top level only.
//
// A zero Framer speaks RESP2. It isn't safe for concurrent use.
type Framer struct {
	resp3 bool
	open  bool // a frame has begun and is not at its end
	kind  byte
	want  want
	typ   byte // of the value at hand
	attr  bool // an attribute ended; its value must follow
	chunk bool // within a streamed string
	err   error

	length int64 // of the bulk at hand
	left   int64 // of it still to come
	text   int   // bytes of a text line so far
	some   bool  // the big number at hand has a digit
	size   int   // bytes in line
	line   [maxNumber]byte

	depth int
	stack [MaxDepth]level
}

// level is an aggregate whose elements are coming.
type level struct {
	left int64 // elements to come, -1 in a streamed one
	typ  byte
	half bool // a streamed map's key waits for its value
}

// want is what a Framer expects next.
type want uint8

const (
	wantType    want = iota
	wantText         // the rest of a simple string, an error or a big number
	wantNumber       // the rest of any other line
	wantLF           // behind a line's CR
	wantBulk         // bytes of a bulk
	wantBulkEnd      // CR behind these
	wantBulkLF       // LF behind that
)

// Reset makes the Framer ready for a new connection that speaks RESP version
// proto, 2 or 3. In 2 the types of 3 are errors. To change the version within a
// connection, call it between the frames of HELLO's reply and the next.
func (f *Framer) Reset(proto int) { *f = Framer{resp3: proto >= 3} }

// Next reads from p up to the end of the frame at hand, or all of p. The first
// n bytes of p belong to that frame, and done tells that it ends with them. An
// error wraps ErrReply and is final; n is 0 then and nothing of p may be used.
func (f *Framer) Next(p []byte) (n int, done bool, err error) {
	if !f.open && f.err == nil {
		if n = f.scalar(p); n > 0 {
			f.kind = p[0]
			return n, true, nil
		}
	}
	return f.next(p)
}

func (f *Framer) next(p []byte) (n int, done bool, err error) {
	if f.err != nil {
		return 0, false, f.err
	}
	for n < len(p) {
		rest := p[n:]
		if f.want == wantType && f.depth > 0 && !f.chunk {
			if size := f.scalar(rest); size > 0 {
				n += size
				f.attr = false
				if f.ended() {
					return n, true, nil
				}
				continue
			}
		}
		size, done, err := f.step(rest)
		if err != nil {
			f.err = err
			return 0, false, err
		}
		n += size
		if done {
			return n, true, nil
		}
	}
	return n, false, nil
}

// scalar returns the size of the ordinary value that lies whole at the
// beginning of p: a bulk string, null, a short number, OK. It returns 0 for anything
// else, on which step has the last word.
func (f *Framer) scalar(p []byte) int {
	if len(p) < 4 {
		return 0
	}
	switch p[0] {
	case '$':
		n, from := shortLength(p, 1)
		end := from + n
		if from > 0 && end+2 <= len(p) && p[end] == '\r' && p[end+1] == '\n' {
			return end + 2
		}
		if from == 0 && len(p) > 4 && p[1] == '-' && p[2] == '1' && p[3] == '\r' && p[4] == '\n' {
			return 5
		}
	case ':':
		_, next := shortLength(p, 1)
		return next
	case '+':
		if len(p) > 4 && p[1] == 'O' && p[2] == 'K' && p[3] == '\r' && p[4] == '\n' {
			return 5
		}
	}
	return 0
}

// Kind returns the type byte of the frame at hand or, between frames, of the
// last one. An attribute is part of the frame it precedes: the kind is that of
// the value behind it, and 0 until this comes.
func (f *Framer) Kind() byte { return f.kind }

// Partial reports that a frame has begun and not ended.
func (f *Framer) Partial() bool { return f.open }

// Announced returns the length of the bulk that is being read, at any depth, as
// its head told it; 0 when none is being read.
func (f *Framer) Announced() int64 {
	switch f.want {
	case wantBulk, wantBulkEnd, wantBulkLF:
		return f.length
	}
	return 0
}
