package resp

import "bytes"

// shortLine bounds what is copied at a time in search of a length line's end.
const shortLine = 24

// absorb moves as many fed bytes to the held, unfinished command as are sure to
// belong to it, so that those behind it need no copy. have is the number of
// bytes held of the command.
func (r *Reader) absorb(have int, multibulk bool) {
	var want int
	switch {
	case multibulk && r.at.left > 0 && r.at.bulk >= 0:
		want = r.at.pos + r.at.bulk + 2 - have
	case multibulk:
		want = lineIn(r.in, shortLine)
	default:
		want = lineIn(r.in, r.limits.Inline+2)
	}
	want = min(want, len(r.in))
	r.keep(r.in[:want])
	r.in = r.in[want:]
}

// lineIn returns the length of the line p begins with, its LF included, or most
// where no LF is that near.
func lineIn(p []byte, most int) int {
	most = min(most, len(p))
	if i := bytes.IndexByte(p[:most], '\n'); i >= 0 {
		return i + 1
	}
	return most
}

// keep appends p to the held bytes.
func (r *Reader) keep(p []byte) {
	live := len(r.own) - r.off
	if cap(r.own)-len(r.own) < len(p) {
		if r.off > live && cap(r.own)-live >= len(p) {
			copy(r.own, r.own[r.off:])
			r.own, r.off = r.own[:live], 0
		} else {
			r.move(r.grown(live, len(p)))
		}
	}
	r.own = append(r.own, p...)
}

// grown returns the capacity to hold live bytes and more arriving ones. It
// doubles, so that the copying stays linear, but not beyond the longest command
// nor, once the last argument has begun, beyond the end of the one at hand.
func (r *Reader) grown(live, more int) int {
	size := 2 * live
	if r.at.begun() {
		size = min(size, r.limits.Request)
	}
	if r.at.left == 1 && r.at.bulk >= 0 {
		size = min(size, r.at.pos+r.at.bulk+2)
	}
	return max(size, live+more)
}

// move puts the held bytes into memory of at least the given size.
func (r *Reader) move(size int) {
	var to []byte
	if r.buffers != nil {
		to = r.buffers.Get(size)[:0]
	} else {
		to = make([]byte, 0, size)
	}
	to = append(to, r.own[r.off:]...)
	r.giveBack(r.own)
	r.own, r.off = to, 0
}

// trim gives memory back: all of it when nothing is held, and most of it when
// what is left of something large is small.
func (r *Reader) trim() {
	live := len(r.own) - r.off
	switch {
	case live == 0:
		r.giveBack(r.own)
		r.own, r.off = nil, 0
	case cap(r.own) > 4<<10 && cap(r.own) > 4*live:
		r.move(live)
	}
}

func (r *Reader) giveBack(b []byte) {
	if cap(b) > 0 && r.buffers != nil {
		r.buffers.Put(b)
	}
}
