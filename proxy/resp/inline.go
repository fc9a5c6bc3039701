package resp

import "bytes"

// scanInline looks for the end of an inline command. A NUL is refused where
// Redis would wait for ever, its string functions being blind behind it.
func (r *Reader) scanInline(b []byte) (int, *ProtocolError) {
	if len(b) > 1 && b[0] == 0x16 && b[1] == 0x03 {
		return 0, errTLS
	}
	most := r.limits.Inline + 2 // a line, CR LF
	seen := b[:min(len(b), most)]
	from := min(r.at.pos, len(seen))
	end := bytes.IndexByte(seen[from:], '\n')
	line := seen
	if end >= 0 {
		line = seen[:from+end]
	}
	if bytes.IndexByte(line[from:], 0) >= 0 {
		return 0, errInlineNUL
	}
	if end < 0 {
		if len(seen) == most {
			return 0, errInline
		}
		r.at.pos = len(seen)
		return 0, nil
	}
	size := len(line) + 1
	if len(trimCR(line)) > r.limits.Inline {
		return 0, errInline
	}
	return size, nil
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// splitInline cuts a line, its end included, into arguments as Redis's
// sdssplitargs does. A line of blanks has none.
func (r *Reader) splitInline(line []byte) ([][]byte, *ProtocolError) {
	line = trimCR(line[:len(line)-1])
	args := r.few[:0]
	if cap(r.many) > 0 {
		args = r.many[:0]
	}
	r.decoded = r.decoded[:0]
	for i := 0; ; {
		for i < len(line) && isBlank(line[i]) {
			i++
		}
		if i == len(line) {
			break
		}
		if len(args) == r.limits.Args {
			if r.limits.Unauthenticated {
				return nil, errCountLogin
			}
			return nil, errCount
		}
		word, size := plainWord(line[i:])
		if word == nil {
			var ok bool
			if word, size, ok = r.quotedWord(line[i:]); !ok {
				return nil, errQuotes
			}
		}
		if len(word) > r.limits.bulk(len(args) > 0 && isLogin(args[0])) {
			return nil, errBulk
		}
		args = append(args, word)
		i += size
	}
	if cap(args) > len(r.few) {
		r.many = args
	}
	if inlineHTTP(args) {
		return nil, errHTTP
	}
	return args, nil
}

// plainWord returns the word without quotes that b begins with, or nil if it
// has some.
func plainWord(b []byte) ([]byte, int) {
	for i, c := range b {
		switch c {
		case ' ', '\n', '\r', '\t':
			return b[:i:i], i
		case '"', '\'':
			return nil, 0
		}
	}
	return b[:len(b):len(b)], len(b)
}

// quotedWord decodes the word b begins with, in which plainWord saw a quote.
// Bytes before the quote join what is quoted; a closing quote ends the word and
// must have a blank, or nothing, behind it.
func (r *Reader) quotedWord(b []byte) (word []byte, size int, ok bool) {
	if len(r.decoded) == 0 {
		// Room for all that is left of the line: decoding never lengthens, so
		// memory that an argument lies in won't move while later ones are added.
		r.decodeInto(len(b))
	}
	from := len(r.decoded)
	out := r.decoded
	var quote byte
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0:
			out = append(out, c)
		case c == quote:
			if i+1 < len(b) && !isBlank(b[i+1]) {
				return nil, 0, false
			}
			r.decoded = out
			return out[from:len(out):len(out)], i + 1, true
		case c == '\\' && quote == '"':
			d, n := escape(b[i:])
			out = append(out, d)
			i += n - 1
		case c == '\\' && i+1 < len(b) && b[i+1] == '\'':
			out = append(out, '\'')
			i++
		default:
			out = append(out, c)
		}
	}
	return nil, 0, false
}

// decodeInto makes room for n decoded bytes.
func (r *Reader) decodeInto(n int) {
	if cap(r.decoded) >= n {
		return
	}
	r.giveBack(r.decoded)
	if r.buffers != nil {
		r.decoded = r.buffers.Get(n)[:0]
		return
	}
	r.decoded = make([]byte, 0, n)
}

// escape decodes the escape sequence that b, within double quotes, begins with.
// A backslash at the end stands for itself; the quote is missing anyway.
func escape(b []byte) (c byte, size int) {
	if len(b) < 2 {
		return '\\', 1
	}
	if b[1] == 'x' && len(b) >= 4 {
		high, ok1 := hexDigit(b[2])
		low, ok2 := hexDigit(b[3])
		if ok1 && ok2 {
			return high<<4 | low, 4
		}
	}
	switch b[1] {
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'b':
		return '\b', 2
	case 'a':
		return '\a', 2
	}
	return b[1], 2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c-'0' <= 9:
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// isBlank is C's isspace in the C locale.
func isBlank(c byte) bool { return c == ' ' || c-'\t' <= '\r'-'\t' }
