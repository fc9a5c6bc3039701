package resp

import "encoding/binary"

// place is how far a command has been read. Offsets count from its first byte,
// so that they outlive a move of the bytes.
type place struct {
	pos   int  // behind the last part judged; inline: no line end before it
	argc  int  // arguments announced; 0: not known yet
	left  int  // arguments still to come
	bulk  int  // length of the argument awaited; -1: its length line is
	open  bool // some byte of the command was looked at
	login bool // the command is AUTH or HELLO

	large   bool // the owner is to judge its last argument, or pours it
	keep    bool // it has judged, and wants it held
	pouring bool
	poured  int // bytes of the last argument and its line end that are done with
}

func (p *place) begun() bool { return p.open }

// whole reads the ordinary command: an array of bulk strings that lies complete
// in b and within all limits. It returns its length, or 0 for anything else,
// on which scan has the last word.
func (r *Reader) whole(b []byte) ([][]byte, int) {
	if len(b) < 4 || b[0] != '*' {
		return nil, 0
	}
	argc, pos := int(b[1]-'0'), 4
	if argc > 9 || b[2] != '\r' || b[3] != '\n' {
		argc, pos = shortLength(b, 1)
	}
	if pos == 0 || argc == 0 || argc > r.limits.Args || argc > keptArgs {
		return nil, 0
	}
	args := r.room(argc)
	for i := range args {
		if pos+5 > len(b) || b[pos] != '$' {
			return nil, 0
		}
		var n, from int
		head := binary.LittleEndian.Uint32(b[pos:])
		if ones := head>>8&0xff - '0'; ones <= 9 && head>>16 == lineEnd {
			n, from = int(ones), pos+4
		} else if tens, units := ones, head>>16&0xff-'0'; tens-1 < 9 && units <= 9 && head>>24 == '\r' && b[pos+4] == '\n' {
			n, from = int(10*tens+units), pos+5
		} else {
			n, from = shortLength(b, pos+1)
		}
		end := from + n
		if from == 0 || n > r.quick.bulk || end+2 > len(b) || b[end] != '\r' || b[end+1] != '\n' {
			return nil, 0
		}
		args[i] = b[from:end:end]
		pos = end + 2
	}
	if pos > r.quick.request || speaksHTTP(args[0]) {
		return nil, 0
	}
	return args, pos
}

// shortLength reads a number of up to eight digits in its only spelling and the
// line end behind it, from b[i:]. next is the index behind both, or 0 if that
// is not what stands there.
func shortLength(b []byte, i int) (n, next int) {
	// The bound on b makes the accesses below free of checks.
	if i+3 > len(b) {
		return 0, 0
	}
	c := b[i] - '0'
	if c > 9 {
		return 0, 0
	}
	n = int(c)
	first := i
	for i++; i < len(b); i++ {
		c = b[i] - '0'
		if c > 9 {
			break
		}
		n = n*10 + int(c)
		if i-first > 7 {
			return 0, 0
		}
	}
	if i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' || (b[first] == '0' && i-first > 1) {
		return 0, 0
	}
	return n, i + 2
}

// scan reads on in the command that b begins with, from where it stopped last.
// It returns the command's length once it is whole, and 0 before.
func (r *Reader) scan(b []byte) (int, *ProtocolError) {
	if len(b) == 0 || r.at.large {
		return 0, nil
	}
	r.at.open = true
	if b[0] != '*' {
		return r.scanInline(b)
	}
	if r.at.argc == 0 {
		done, fault := r.scanCount(b)
		if done > 0 || fault != nil || r.at.argc == 0 {
			return done, fault
		}
	}
	for r.at.left > 0 {
		if r.at.bulk < 0 {
			if fault := r.scanLength(b[r.at.pos:]); fault != nil || r.at.bulk < 0 {
				return 0, fault
			}
			if r.at.large = r.offered(); r.at.large {
				return 0, nil
			}
		}
		more, fault := r.scanBulk(b)
		if more || fault != nil {
			return 0, fault
		}
	}
	return r.at.pos, nil
}

// scanCount reads the line that says how many arguments come. Zero and below is
// a request without a command: whole at once.
func (r *Reader) scanCount(b []byte) (done int, fault *ProtocolError) {
	n, size, state := lengthLine(b)
	switch {
	case state == lineShort:
		return 0, nil
	case state == lineLong:
		return 0, errCountLine
	case state == lineBad || n > maxCount:
		return 0, errCount
	case n <= 0:
		return size, nil
	case n > int64(r.limits.Args):
		if r.limits.Unauthenticated {
			return 0, errCountLogin
		}
		return 0, errCount
	}
	r.at.argc, r.at.left = int(n), int(n)
	r.at.bulk = -1
	r.at.pos = size
	return 0, nil
}

// scanLength reads the line that says how long the next argument is.
func (r *Reader) scanLength(b []byte) *ProtocolError {
	if len(b) == 0 {
		return nil
	}
	if b[0] != '$' {
		return unexpected(b[0])
	}
	n, size, state := lengthLine(b)
	switch {
	case state == lineShort:
		return nil
	case state == lineLong:
		return errBulkLine
	case state == lineBad || n < 0 || n > maxCount:
		return errBulk
	case n > int64(r.limits.bulk(r.at.login)):
		if r.limits.Unauthenticated && n <= ordinaryBulk {
			return errBulkLogin
		}
		return errBulk
	case r.overHeld(r.at.pos+size+int(n)+2) && (r.at.left > 1 || r.at.argc == 1 || r.limits.Stream == 0 || int(n) < r.limits.Stream):
		return errHeld
	case int(n) > r.limits.Request-r.at.pos-size-2:
		if r.limits.Unauthenticated {
			return errRequestLogin
		}
		return errRequest
	}
	r.at.pos += size
	r.at.bulk = int(n)
	return nil
}

// scanBulk steps over the argument awaited and its line end.
func (r *Reader) scanBulk(b []byte) (more bool, fault *ProtocolError) {
	end := r.at.pos + r.at.bulk
	if len(b) > end && b[end] != '\r' || len(b) > end+1 && b[end+1] != '\n' {
		return false, errBulkEnd
	}
	if len(b) < end+2 {
		return true, nil
	}
	if r.at.left == r.at.argc {
		name := b[r.at.pos:end]
		if speaksHTTP(name) {
			return false, errHTTP
		}
		r.at.login = foldEqual(name, "auth") || foldEqual(name, "hello")
	}
	r.at.pos = end + 2
	r.at.bulk = -1
	r.at.left--
	return false, nil
}

// What lengthLine found.
type lineState uint8

const (
	lineWhole lineState = iota
	lineShort           // needs more bytes
	lineBad             // no number, or not its only spelling, or no CR LF
	lineLong            // too long for any number, and no end in sight
)

// longestNumber is the length of the smallest int64 in decimal.
const longestNumber = 20

// lengthLine reads a line of a type byte, a number and CR LF. Its verdict
// depends on the bytes only, never on how many of them are there already: it
// speaks as soon as no continuation could change it.
func lengthLine(b []byte) (n int64, size int, state lineState) {
	for i := 1; i < len(b); i++ {
		c := b[i]
		switch {
		case c == '\r':
			if i+1 == len(b) {
				return 0, 0, lineShort
			}
			n, ok := integer(b[1:i])
			if !ok || b[i+1] != '\n' {
				return 0, 0, lineBad
			}
			return n, i + 2, lineWhole
		case c-'0' > 9 && (c != '-' || i > 1):
			return 0, 0, lineBad
		case i > longestNumber:
			return 0, 0, lineLong
		}
	}
	return 0, 0, lineShort
}

// integer reads an int64 in its only spelling: no plus sign, no leading zero,
// no minus zero, no overflow. That is what Redis's string2ll takes.
func integer(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) >= longestNumber || b[0] == '0' && (negative || len(b) > 1) {
		return 0, false
	}
	var n uint64 // nineteen digits fit
	for _, c := range b {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	switch {
	case negative && n <= 1<<63:
		return -int64(n), true
	case !negative && n < 1<<63:
		return int64(n), true
	}
	return 0, false
}

// split returns the arguments of a command that scan found whole.
func (r *Reader) split(b []byte) ([][]byte, *ProtocolError) {
	if b[0] != '*' {
		return r.splitInline(b)
	}
	if r.at.argc == 0 {
		return nil, nil
	}
	args := r.room(r.at.argc)
	_, pos := trustedLength(b, 1)
	for i := range args {
		n, from := trustedLength(b, pos+1)
		args[i] = b[from : from+n : from+n]
		pos = from + n + 2
	}
	return args, nil
}

// trustedLength reads the number at b[i:] that lengthLine has judged before.
func trustedLength(b []byte, i int) (n, next int) {
	for ; b[i] != '\r'; i++ {
		n = n*10 + int(b[i]-'0')
	}
	return n, i + 2
}

// room returns space for n arguments. Beyond keptArgs callers ask for no more
// than have arrived. It doubles, so that ever longer commands don't make it
// anew each time.
func (r *Reader) room(n int) [][]byte {
	if n <= len(r.few) {
		return r.few[:n]
	}
	if n > cap(r.many) {
		r.many = make([][]byte, max(n, min(2*cap(r.many), r.limits.Args)))
	}
	return r.many[:n]
}
