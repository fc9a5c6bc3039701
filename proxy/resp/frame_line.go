package resp

// endLine judges the line just finished and what it announces.
func (f *Framer) endLine() (done bool, err error) {
	line := f.line[:f.size]
	switch f.typ {
	case '+', '-', '(':
		return f.ended(), nil
	case ':':
		if !isInteger(line) {
			return false, errNumber
		}
		return f.ended(), nil
	case ',':
		if !isDouble(line) {
			return false, errNumber
		}
		return f.ended(), nil
	case '#':
		if len(line) != 1 || line[0] != 't' && line[0] != 'f' {
			return false, errValue
		}
		return f.ended(), nil
	case '_':
		if len(line) != 0 {
			return false, errValue
		}
		return f.ended(), nil
	case '.':
		if len(line) != 0 {
			return false, errValue
		}
		f.depth--
		return f.ended(), nil
	case '$', '!', '=', ';':
		return f.beginBulk(line)
	}
	return f.beginAggregate(line)
}

// beginBulk takes the length of a bulk string, error or chunk.
func (f *Framer) beginBulk(line []byte) (done bool, err error) {
	if f.typ == '$' && f.streamed(line) {
		f.chunk = true
		f.want = wantType
		return false, nil
	}
	n, ok := integer(line)
	switch {
	case !ok || n > maxLength:
		return false, errLength
	case n == -1 && f.typ == '$':
		return f.ended(), nil
	case n < 0:
		return false, errLength
	case n < 4 && f.typ == '=':
		return false, errVerbatim
	case n == 0 && f.typ == ';':
		f.chunk = false
		return f.ended(), nil
	}
	f.length, f.left = n, n
	f.want = wantBulk
	if n == 0 {
		f.want = wantBulkEnd
	}
	return false, nil
}

// beginAggregate takes the number of elements of an array, set, map, push or
// attribute.
func (f *Framer) beginAggregate(line []byte) (done bool, err error) {
	if f.streamed(line) && (f.typ == '*' || f.typ == '~' || f.typ == '%') {
		return false, f.nest(-1)
	}
	n, ok := integer(line)
	switch {
	case !ok || n > maxLength:
		return false, errLength
	case n == -1 && f.typ == '*':
		return f.ended(), nil
	case n < 0:
		return false, errLength
	case n == 0 && f.typ == '|':
		f.attr = true
		f.want = wantType
		return false, nil
	case n == 0:
		return f.ended(), nil
	case f.typ == '%' || f.typ == '|':
		n *= 2
	}
	return false, f.nest(n)
}

func (f *Framer) nest(n int64) error {
	if f.depth == MaxDepth {
		return errDepth
	}
	f.stack[f.depth] = level{left: n, typ: f.typ}
	f.depth++
	f.want = wantType
	return nil
}

// streamed reports RESP3's mark for a length that is not known yet.
func (f *Framer) streamed(line []byte) bool {
	return f.resp3 && len(line) == 1 && line[0] == '?'
}

// isInteger judges a number that decides on no boundary: any spelling of an
// int64 will do.
func isInteger(b []byte) bool {
	negative := len(b) > 0 && b[0] == '-'
	if negative || len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 || len(b) >= longestNumber {
		return false
	}
	var n uint64
	for _, c := range b {
		if c -= '0'; c > 9 {
			return false
		}
		n = n*10 + uint64(c)
	}
	return n < 1<<63 || negative && n == 1<<63
}

// isDouble judges a RESP3 double: digits with perhaps a sign, a fraction and an
// exponent, or one of the words.
func isDouble(b []byte) bool {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	if string(b) == "inf" || string(b) == "nan" {
		return true
	}
	b, whole := skipDigits(b)
	if len(b) > 0 && b[0] == '.' {
		b, _ = skipDigits(b[1:])
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		if b = b[1:]; len(b) > 0 && (b[0] == '-' || b[0] == '+') {
			b = b[1:]
		}
		var exponent bool
		if b, exponent = skipDigits(b); !exponent {
			return false
		}
	}
	return whole && len(b) == 0
}

func skipDigits(b []byte) (rest []byte, some bool) {
	n := 0
	for n < len(b) && b[n]-'0' <= 9 {
		n++
	}
	return b[n:], n > 0
}
