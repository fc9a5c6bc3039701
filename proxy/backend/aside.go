package backend

import "github.com/sallyport/sallyport/proxy/resp"

// A big request goes over a connection on which nobody else is: Redis reads no
// further command of a connection before one is whole, and one that it takes for
// too long ends the connection it came on.

// Aside gives a connection on which nobody is: the reserve of drained ones, or one
// that is being dialled. It takes what Send and Begin give it at once, ends by
// itself when the last reply has come, and is for one session. Until then it counts
// as one of the account's own. Limited: there are as many of these as may be.
func (p *Pool) Aside(k Key, account string) (*Pipeline, Failure) {
	if p.closed {
		return nil, Unavailable
	}
	if !p.claim(account) {
		return nil, Limited
	}
	p.makeRoom()
	if ln := p.reserve[k]; ln != nil {
		delete(p.reserve, k)
		ln.Pipeline.retired.timer.Stop()
		p.leaving[ln], ln.payer, ln.paid = true, account, true
		return &ln.Pipeline, 0
	}
	ln := &line{pool: p, key: k, payer: account, paid: true}
	ln.Pipeline = *NewPipeline(k.Proto, p.l.Now, &p.Stats)
	ln.Pipeline.retired.so, ln.Pipeline.retired.abort = true, ln.abort
	ln.Pipeline.retired.retire = ln.retired // it may come into everybody's service later
	p.leaving[ln] = true
	ln.dial()
	return &ln.Pipeline, 0
}

// refund gives back the place of a connection that was one session's for a while,
// once no attempt to have it is under way any more.
func (ln *line) refund() {
	if !ln.paid {
		return
	}
	ln.paid = false
	owned, account := &ln.pool.b.owned, ln.payer
	if ln.trying {
		ln.unplaced = func() { owned.release(account) }
		ln.quit()
		return
	}
	owned.release(account)
}

// abort ends a connection that carries half a request.
func (ln *line) abort() {
	if ln.state != closed {
		ln.forget()
		ln.finish()
	}
}

// Begin sends all of a call but its last argument, which follows with Pour and has
// n bytes. It is Send otherwise. The Pipeline must be one of Aside.
func (p *Pipeline) Begin(w Waiter, tag uint64, at int64, head [][]byte, n int) Failure {
	start := uint64(len(p.early))
	switch p.state {
	case ready:
		start = p.link.Appended()
	case dialling:
	default:
		p.stats.Failed++
		return p.absent()
	}
	p.retired.pouring = true
	p.put(resp.AppendCommandHead(nil, head, n))
	p.fifo.push(w, tag, 1, start, at)
	p.stats.Sent++
	return 0
}

// Pour sends a piece of the last argument of the call begun, and reports whether
// the connection is still there to take it.
func (p *Pipeline) Pour(b []byte) bool { return p.retired.pouring && p.put(b) }

// put appends bytes for the node.
func (p *Pipeline) put(b []byte) bool {
	switch p.state {
	case ready:
		p.link.SetOut(append(p.link.Out(), b...))
	case dialling:
		p.early = append(p.early, b...)
	default:
		return false
	}
	return true
}

// End says that the last argument is complete.
func (p *Pipeline) End() {
	if !p.retired.pouring {
		return
	}
	p.put([]byte("\r\n"))
	p.retired.pouring = false
	if p.fifo.len() == 0 && p.retired.abort != nil {
		p.retired.abort() // answered before it was whole: out of step
	}
}

// Abort ends the connection with what was begun on it: a part of a command, which
// Redis throws away. Whoever waits on it hears Fail.
func (p *Pipeline) Abort() {
	if !p.retired.pouring {
		return
	}
	p.retired.pouring = false
	if p.retired.abort != nil {
		p.retired.abort()
	}
}

// Backlog is how many bytes wait for the kernel, or for the connection.
func (p *Pipeline) Backlog() int {
	switch p.state {
	case ready:
		return int(p.link.Appended() - p.link.Attempted())
	case dialling:
		return len(p.early)
	}
	return 0
}

// Blocked reports that the Backlog will not get smaller before Pool.Eased is called.
func (p *Pipeline) Blocked() bool {
	if p.state == dialling {
		return true
	}
	l, ok := p.link.(interface{ Blocked() bool })
	return ok && l.Blocked()
}
