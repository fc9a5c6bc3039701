package resp

import (
	"bytes"
	"fmt"
)

var (
	errType       = fmt.Errorf("%w: unknown type", ErrReply)
	errVersion    = fmt.Errorf("%w: RESP3 type on a RESP2 connection", ErrReply)
	errPushInside = fmt.Errorf("%w: push inside another reply", ErrReply)
	errAttribute  = fmt.Errorf("%w: attribute without a value", ErrReply)
	errEnd        = fmt.Errorf("%w: end of nothing streamed", ErrReply)
	errChunk      = fmt.Errorf("%w: chunk out of place", ErrReply)
	errLine       = fmt.Errorf("%w: line does not end in CR LF", ErrReply)
	errLongLine   = fmt.Errorf("%w: line too long", ErrReply)
	errNumber     = fmt.Errorf("%w: invalid number", ErrReply)
	errLength     = fmt.Errorf("%w: invalid length", ErrReply)
	errValue      = fmt.Errorf("%w: invalid value", ErrReply)
	errVerbatim   = fmt.Errorf("%w: verbatim string without its format", ErrReply)
	errBulkTail   = fmt.Errorf("%w: bulk does not end where announced", ErrReply)
	errDepth      = fmt.Errorf("%w: nested too deeply", ErrReply)
)

// step reads the next part of a value from p, which is not empty.
func (f *Framer) step(p []byte) (n int, done bool, err error) {
	switch f.want {
	case wantType:
		return 1, false, f.begin(p[0])
	case wantText:
		n, err = f.readText(p)
		return n, false, err
	case wantNumber:
		n, err = f.readNumber(p)
		return n, false, err
	case wantLF:
		if p[0] != '\n' {
			return 0, false, errLine
		}
		done, err = f.endLine()
		return 1, done, err
	case wantBulk:
		n, err = f.readBulk(p)
		return n, false, err
	case wantBulkEnd:
		if p[0] != '\r' {
			return 0, false, errBulkTail
		}
		f.want = wantBulkLF
		return 1, false, nil
	default: // wantBulkLF
		if p[0] != '\n' {
			return 0, false, errBulkTail
		}
		f.want = wantType
		if f.chunk {
			return 1, false, nil
		}
		return 1, f.ended(), nil
	}
}

// begin judges the type byte of a value in its place.
func (f *Framer) begin(c byte) error {
	next := wantNumber
	switch c {
	case '+', '-':
		next = wantText
	case ':', '$', '*':
	case '(':
		next = wantText
		fallthrough
	case '_', '#', ',', '!', '=', '%', '~', '>', '|', ';', '.':
		if !f.resp3 {
			return errVersion
		}
	default:
		return errType
	}
	if f.chunk != (c == ';') {
		return errChunk
	}
	if err := f.place(c); err != nil {
		return err
	}
	if !f.open {
		f.open, f.kind = true, 0
	}
	if f.depth == 0 && c != '|' && c != ';' {
		f.kind = c
	}
	f.attr = false
	f.typ, f.want = c, next
	f.text, f.size, f.some = 0, 0, false
	return nil
}

// place judges the types that may not stand everywhere.
func (f *Framer) place(c byte) error {
	switch c {
	case '>':
		if f.depth > 0 || f.attr {
			return errPushInside
		}
	case '|':
		if f.attr {
			return errAttribute
		}
	case '.':
		switch {
		case f.attr:
			return errAttribute
		case f.depth == 0:
			return errEnd
		}
		if top := f.stack[f.depth-1]; top.left >= 0 || top.half {
			return errEnd
		}
	}
	return nil
}

// readText reads a line of which only the bounds and the line end matter, or
// the digits of a big number.
func (f *Framer) readText(p []byte) (int, error) {
	end := bytes.IndexByte(p, '\r')
	text := p
	if end >= 0 {
		text = p[:end]
	}
	switch {
	case len(text) > maxText-f.text:
		return 0, errLongLine
	case bytes.IndexByte(text, '\n') >= 0:
		return 0, errLine
	case f.typ == '(' && !f.bigDigits(text):
		return 0, errNumber
	}
	f.text += len(text)
	if end < 0 {
		return len(p), nil
	}
	if f.typ == '(' && !f.some {
		return 0, errNumber
	}
	f.want = wantLF
	return end + 1, nil
}

// bigDigits judges a further piece of a big number.
func (f *Framer) bigDigits(b []byte) bool {
	for i, c := range b {
		if c-'0' <= 9 {
			f.some = true
			continue
		}
		if f.text+i > 0 || c != '-' && c != '+' {
			return false
		}
	}
	return true
}

// readNumber collects a short line.
func (f *Framer) readNumber(p []byte) (int, error) {
	for i, c := range p {
		switch {
		case c == '\r':
			f.want = wantLF
			return i + 1, nil
		case c < ' ' || c > '~':
			return 0, errLine
		case f.size == len(f.line):
			return 0, errLongLine
		}
		f.line[f.size] = c
		f.size++
	}
	return len(p), nil
}

// readBulk steps over bytes of a bulk. A verbatim string has its format before
// a colon in fourth place.
func (f *Framer) readBulk(p []byte) (int, error) {
	n := min(f.left, int64(len(p)))
	if f.typ == '=' {
		if colon := 3 - (f.length - f.left); colon >= 0 && colon < n && p[colon] != ':' {
			return 0, errVerbatim
		}
	}
	if f.left -= n; f.left == 0 {
		f.want = wantBulkEnd
	}
	return int(n), nil
}

// ended takes note that a value is whole, and with it perhaps what it is part
// of. It reports the end of the frame.
func (f *Framer) ended() bool {
	f.want = wantType
	for f.depth > 0 {
		top := &f.stack[f.depth-1]
		if top.left < 0 {
			top.half = top.typ == '%' && !top.half
			return false
		}
		if top.left--; top.left > 0 {
			return false
		}
		f.depth--
		if top.typ == '|' {
			f.attr = true
			return false
		}
	}
	f.open = false
	return true
}
