package backend

import (
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

// A big reply must neither make everybody behind it wait nor fill memory for a
// client that reads slowly. So the shared connection it comes on is retired: it
// takes no new calls, which go over a fresh one. While others wait behind it, it
// is read on, whatever its client does. As soon as nobody does, it may be read at
// its client's pace. Drained, it stands by for the next time.

// bigReply is the size, announced or reached, from which a reply is big.
const bigReply = 1 << 20

// reserveFor is how long a drained connection stands by.
const reserveFor = 30 * time.Second

// retirement is what a Pipeline knows of the big replies it carries.
type retirement struct {
	so     bool        // no new calls; see Gone
	grown  int         // bytes of the reply at hand so far
	held   bool        // not read, at its client's wish
	retire func() bool // has a fresh connection opened; false: not now. nil: there is none to be had
	timer  loop.Timer  // of the reserve

	pouring bool   // a call has begun whose last argument is not complete
	abort   func() // ends the connection; nil: nobody pours here
}

// watch looks at a piece of a reply that is not whole. big: the connection is
// to be retired for it.
func (r *retirement) watch(piece int, announced int64) (big bool) {
	r.grown += piece
	return !r.so && r.retire != nil && (r.grown > bigReply || announced > bigReply)
}

// pausable is a Link that can be read later.
type pausable interface {
	Pause()
	Resume()
}

// Hold stops reading a retired connection, because w can't take more for now, and
// reports whether it did. It does not where anybody else is owed replies on it.
// The caller undoes it with Release, also when it leaves.
func (p *Pipeline) Hold(w Waiter) bool {
	l, ok := p.link.(pausable)
	if !ok || !p.retired.so || p.retired.held || p.state != ready || !p.only(w) {
		return false
	}
	p.retired.held = true
	l.Pause()
	return true
}

// Release goes on reading.
func (p *Pipeline) Release() {
	if !p.retired.held {
		return
	}
	p.retired.held = false
	if l, ok := p.link.(pausable); ok && p.state == ready {
		l.Resume()
	}
}

// Bystander is a Waiter that may be kept waiting: a connection is held for a client that reads slowly although
// this one is behind it.
type Bystander interface {
	Waiter
	Bystander()
}

// only reports whether nobody but w is owed replies, bystanders apart.
func (p *Pipeline) only(w Waiter) bool {
	for i := range p.fifo.n {
		if other := p.fifo.at(i).w; other != w {
			if _, ok := other.(Bystander); !ok {
				return false
			}
		}
	}
	return true
}

// maxLeaving is how many retired connections of a loop may owe replies: a big reply
// more is held by whoever gets it, up to output_bytes.
const maxLeaving = 64

// retired makes room for a fresh connection, the reserve if there is one. It
// reports false, and changes nothing, where there are too many that owe replies.
func (ln *line) retired() bool {
	pool := ln.pool
	switch {
	case pool.closed || pool.lines[ln.key] != ln:
		return true
	case len(pool.leaving) >= maxLeaving:
		return false
	}
	pool.Stats.Retired++
	pool.unlist(ln)
	if pool.router != nil {
		pool.router.Generation++ // what is sent over the fresh connection could overtake what is owed here
	}
	pool.makeRoom()
	ln.Pipeline.retired.abort = ln.abort
	pool.leaving[ln] = true
	if next := pool.reserve[ln.key]; next != nil {
		delete(pool.reserve, ln.key)
		next.Pipeline.retired.timer.Stop()
		next.Pipeline.retired.so = false
		pool.list(next)
		return true
	}
	pool.Pipeline(ln.key)
	return true
}

func (p *Pool) makeRoom() {
	if p.leaving == nil {
		p.leaving, p.reserve = make(map[*line]bool), make(map[Key]*line)
	}
}

// drained is asked after each read: a retired connection that owes nothing more
// stands by, or is closed where one does already.
func (ln *line) drained() {
	pool := ln.pool
	if ln.state != ready || ln.Pipeline.retired.pouring || ln.Outstanding() > 0 || ln.framer.Partial() || !pool.leaving[ln] {
		return
	}
	delete(pool.leaving, ln)
	ln.refund()
	if pool.reserve[ln.key] != nil {
		ln.finish()
		return
	}
	pool.reserve[ln.key] = ln
	pool.l.Arm(&ln.Pipeline.retired.timer, reserveFor, func() {
		if pool.reserve[ln.key] == ln {
			delete(pool.reserve, ln.key)
			ln.finish()
		}
	})
}

// finish closes a connection that nobody wants any more.
func (ln *line) finish() { ln.abandon() }

// forget notes that a retired connection is lost. It reports whether it was one,
// which is not dialled again.
func (ln *line) forget() bool {
	pool := ln.pool
	if !ln.Pipeline.retired.so {
		return false
	}
	ln.Pipeline.retired.timer.Stop()
	delete(pool.leaving, ln)
	ln.refund()
	if pool.reserve[ln.key] == ln {
		delete(pool.reserve, ln.key)
	}
	return true
}

// retargetRetired ends what is retired and leads elsewhere now, or to a node that
// is broken: a former primary must not come back into service.
func (p *Pool) retargetRetired(broken Endpoint) {
	elsewhere := func(ln *line) bool {
		want, err := p.b.target(ln.key)
		return err != nil || ln.at != want || ln.at == broken
	}
	for ln := range p.leaving {
		if elsewhere(ln) {
			ln.forget()
			ln.finish()
		}
	}
	for _, ln := range p.reserve {
		if elsewhere(ln) {
			ln.forget()
			ln.finish()
		}
	}
}

// closeRetired ends what is retired, with the pool.
func (p *Pool) closeRetired() {
	for ln := range p.leaving {
		ln.refund()
		ln.finish()
	}
	for _, ln := range p.reserve {
		ln.Pipeline.retired.timer.Stop()
		ln.finish()
	}
	p.leaving, p.reserve = nil, nil
}
