package resp

// Reader cuts a client's bytes into commands. Call Feed with what was read,
// Next until it returns no command or the owner has had enough, then Release:
//
//	r.Feed(p)
//	for {
//		args, err := r.Next()
//		if err != nil || args == nil {
//			break
//		}
//		…
//	}
//	r.Release()
//
// Commands that lie whole in the fed bytes are not copied: args alias p. Only
// what Release finds unconsumed is copied into the Reader's own memory.
//
// A zero Reader is usable after Reset. It must not be copied and isn't safe
// for concurrent use.
type Reader struct {
	in      []byte // fed bytes not yet consumed; borrowed
	at      place  // how far the command at hand has been scanned
	size    int    // of the command returned last
	empties int    // requests without a command in a row
	err     *ProtocolError

	own []byte // bytes kept over a Release: own[off:] come before in
	off int

	limits Limits
	quick  quick
	later  *Limits // take the place of limits once the command at hand is whole

	buffers Buffers
	decoded []byte    // inline arguments that had quotes
	many    [][]byte  // arguments beyond what few holds
	few     [8][]byte // arguments of an ordinary command
}

// keptArgs is how many arguments' headers stay allocated between commands.
const keptArgs = 64

// Reset makes the Reader ready for a new client and forgets all it knew. Held
// memory goes back to the Buffers it came from, so a Reader whose client is gone
// is Reset, too. b may be nil: memory is then made, and left to the garbage
// collector.
func (r *Reader) Reset(l Limits, b Buffers) {
	r.giveBack(r.own)
	r.giveBack(r.decoded)
	*r = Reader{buffers: b}
	r.limit(l)
}

// SetLimits changes the limits from the next command on. A command that Next
// has begun to read and found unfinished keeps the old ones.
func (r *Reader) SetLimits(l Limits) {
	if r.at.begun() {
		r.later = &l
		return
	}
	r.limit(l)
	r.later = nil
}

// Feed gives the Reader the next bytes of the stream. p is borrowed, and
// neither written to nor kept beyond Release. A Feed without a Release before
// it first copies what the last one left.
func (r *Reader) Feed(p []byte) {
	if r.err != nil {
		return
	}
	if len(r.in) > 0 {
		r.keep(r.in)
	}
	r.in = p
}

// Next returns the next command: its name and arguments, at least one. With
// nil, nil it needs more bytes. The slice and what it points to are valid until
// the next call of Next, Feed, Release or Reset, and must not be written to.
//
// An error is a *ProtocolError and final: every later call returns it again.
// Commands before the fault have been returned.
func (r *Reader) Next() ([][]byte, error) {
	if r.off == len(r.own) && !r.at.begun() {
		if args, n := r.whole(r.in); n > 0 {
			r.in = r.in[n:]
			r.empties, r.size = 0, n
			return args, nil
		}
	}
	return r.next()
}

// next is Next for all but the ordinary case: a command in pieces, held bytes,
// inline commands, empty requests and faults.
func (r *Reader) next() ([][]byte, error) {
	for r.err == nil {
		b := r.in
		held := r.off < len(r.own)
		if held {
			b = r.own[r.off:]
		}
		if !r.at.begun() {
			if args, n := r.whole(b); n > 0 {
				r.consume(held, n)
				r.empties, r.size = 0, n
				return args, nil
			}
		}
		n, fault := r.scan(b)
		if fault != nil {
			return nil, r.fail(fault)
		}
		if n == 0 {
			if !held || len(r.in) == 0 || r.at.large {
				return nil, nil
			}
			r.absorb(len(b), b[0] == '*')
			continue
		}
		args, fault := r.split(b[:n])
		if fault != nil {
			return nil, r.fail(fault)
		}
		r.consume(held, n)
		r.finish()
		if len(args) > 0 {
			r.empties, r.size = 0, n
			return args, nil
		}
		if r.empties++; r.empties > maxEmpties {
			return nil, r.fail(errEmpties)
		}
	}
	return nil, r.err
}

// consume drops the n bytes of a finished command.
func (r *Reader) consume(held bool, n int) {
	if held {
		r.off += n
		return
	}
	r.in = r.in[n:]
}

// finish makes ready for the next command.
func (r *Reader) finish() {
	r.at = place{}
	if r.later != nil {
		r.limit(*r.later)
		r.later = nil
	}
}

func (r *Reader) fail(e *ProtocolError) error {
	r.err = e
	r.in, r.own, r.off = nil, r.own[:0], 0
	r.at = place{}
	return e
}

// Release ends the loan of the fed bytes. What is unconsumed of them, an
// unfinished command or commands that Next was not asked for, is copied into
// the Reader's memory and comes first after the next Feed; Next may also be
// called without one. With nothing left, all memory is given back.
func (r *Reader) Release() {
	clear(r.few[:])
	if cap(r.many) > keptArgs {
		r.many = nil
	}
	clear(r.many[:cap(r.many)])
	if r.decoded != nil {
		r.giveBack(r.decoded)
		r.decoded = nil
	}
	if len(r.in) > 0 {
		r.keep(r.in)
	}
	r.in = nil // even empty it would keep the lender's memory alive
	r.trim()
}

// Buffered returns the bytes of memory the Reader holds beyond itself, used or
// not, for budgets.
func (r *Reader) Buffered() int {
	return cap(r.own) + cap(r.decoded) + cap(r.many)*24
}

// Partial reports that a command has begun and Next needs more bytes to finish
// it. The peer may be waiting for an acknowledgement before it sends these.
func (r *Reader) Partial() bool { return r.at.begun() }
