package resp

// A command whose last argument is very long need not be held: once everything
// before that argument is there, its owner may judge it and hand the argument on
// as it comes in.
//
//	args, err := r.Next()
//	if args == nil && err == nil {
//		if head, n := r.Large(); head != nil {
//			… either r.Keep(), and Next goes on to hold it,
//			… or p, done, err := r.Pour() until done
//		}
//	}

// Large returns the arguments before the last one, and the length of that, if
// the command at hand is one that Next has stopped at: its last argument has
// Limits.Stream bytes or more and nothing was decided about it yet. Otherwise nil.
// The slice and what it points to are valid until the next call of Feed, Release,
// Keep, Pour or Reset.
func (r *Reader) Large() (head [][]byte, last int) {
	if !r.at.large || r.at.pouring {
		return nil, 0
	}
	b := r.in
	if r.off < len(r.own) {
		b = r.own[r.off:]
	}
	head = r.room(r.at.argc - 1)
	_, pos := trustedLength(b, 1)
	for i := range head {
		n, from := trustedLength(b, pos+1)
		head[i] = b[from : from+n : from+n]
		pos = from + n + 2
	}
	return head, r.at.bulk
}

// Keep has Next hold the command that Large has told of, if it may hold that much.
func (r *Reader) Keep() {
	if !r.at.large {
		return
	}
	r.at.large, r.at.keep = false, true
	if r.overHeld(r.at.pos + r.at.bulk + 2) {
		r.fail(errHeld)
	}
}

// Pour returns the bytes of the last argument of a command that Large has told of,
// as far as they are there, valid until the next call of the Reader. Next does not
// return that command any more. Without bytes it needs more of them; done says that
// the command is over, and Next goes on behind it. An error is final, as Next's.
func (r *Reader) Pour() (p []byte, done bool, err error) {
	if r.err != nil {
		return nil, false, r.err
	}
	if !r.at.large {
		return nil, true, nil
	}
	if !r.at.pouring {
		r.consume(r.off < len(r.own), r.at.pos)
		r.at.pouring, r.at.poured = true, 0
	}
	held := r.off < len(r.own)
	b := r.in
	if held {
		b = r.own[r.off:]
	}
	if left := r.at.bulk - r.at.poured; left > 0 {
		p = b[:min(left, len(b))]
		r.consume(held, len(p))
		r.at.poured += len(p)
		return p, false, nil
	}
	for len(b) > 0 && r.at.poured < r.at.bulk+2 {
		if b[0] != "\r\n"[r.at.poured-r.at.bulk] {
			return nil, false, r.fail(errBulkEnd)
		}
		r.consume(held, 1)
		r.at.poured++
		if held = r.off < len(r.own); held {
			b = r.own[r.off:]
		} else {
			b = r.in
		}
	}
	if r.at.poured < r.at.bulk+2 {
		return nil, false, nil
	}
	r.finish()
	r.empties = 0
	return nil, true, nil
}

// Size is the number of bytes on the wire of the command that Next returned last.
func (r *Reader) Size() int { return r.size }

// quick is what a command must stay below to be taken the short way.
type quick struct{ bulk, request int }

// limit puts limits in force.
func (r *Reader) limit(l Limits) {
	r.limits = l
	r.quick = quick{l.Bulk, l.Request}
	if l.Stream > 0 {
		r.quick.bulk = min(l.Bulk, l.Stream-1)
	}
	if l.Held > 0 {
		r.quick.request = min(l.Request, l.Held)
	}
}

// overHeld reports whether a command of n bytes is more than may be held.
func (r *Reader) overHeld(n int) bool { return r.limits.Held > 0 && n > r.limits.Held }

// offered reports whether the argument whose length was just read is left to the
// owner to judge.
func (r *Reader) offered() bool {
	return r.limits.Stream > 0 && r.at.left == 1 && r.at.argc > 1 && r.at.bulk >= r.limits.Stream && !r.at.keep
}
