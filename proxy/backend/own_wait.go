package backend

import (
	"errors"
	"time"
)

// A session's own connection that can't be had, because its node is away, is
// dialled again for as long as calls may wait. What its session has sent over it
// meanwhile has certainly not left; what left over a connection that was there is
// lost with it and never sent again.

// Patience is how long calls wait for a node that is away; 0: not at all, as where
// there is one node and no other to wait for.
func (b *Backend) Patience() time.Duration {
	if b.control == nil {
		return 0
	}
	return b.opts.Routing.Wait
}

// wait begins the time within which a connection that is being dialled for one
// session has to be there. An attempt under way may end even where nothing waits.
func (o *Own) wait() {
	b := o.line.pool.b
	most := b.Patience()
	if most <= 0 || o.line.pool.away(o.line.key.Node) {
		return
	}
	o.line.outage.since = o.line.pool.l.Now()
	o.within(max(most, b.opts.DialTimeout))
}

// away reports that a node has been missing for so long that calls to it are
// refused at once. One that only takes a certain login no more is there.
func (p *Pool) away(node Endpoint) bool {
	for k, ln := range p.lines {
		if k.Node == node && ln.outage.spent && ln.Pipeline.why == 0 {
			return true
		}
	}
	return false
}

func (o *Own) within(d time.Duration) {
	o.line.pool.l.Arm(&o.line.outage.limit, d, o.giveUp)
}

// giveUp ends the wait for a node.
func (o *Own) giveUp() {
	if o.line.conn == nil && o.state == inUse {
		if o.line.failed > 0 {
			o.line.pool.Stats.GaveUp++
		}
		o.lost(false)
	}
}

// Until shortens the time that the connection's session waits for it, which ends
// at a point in time in Unix ns.
func (o *Own) Until(at int64) {
	if ln := o.line; ln.pool != nil && ln.conn == nil && o.state == inUse && !ln.outage.since.IsZero() {
		o.within(time.Duration(at - ln.pool.l.Now().UnixNano()))
	}
}

// holdOwn keeps what waits for a session's own connection through an attempt that
// failed, if it may wait longer, and plans the next one. Where the node was named
// and is no longer one of the deployment, or where it says no itself, there is
// nothing to wait for.
func (ln *line) holdOwn(err error) bool {
	var refused *RefusedError
	pool, named := ln.pool, ln.key.Node != Endpoint{}
	switch {
	case pool.closed || ln.own.state != inUse || ln.state != dialling || ln.outage.since.IsZero():
		return false
	case errors.As(err, &refused), named && errors.Is(err, errElsewhere) && (pool.router == nil || !pool.router.topo.Has(ln.key.Node)):
		return false // else this loop is yet to hear of it, and its session will be told then
	case pool.l.Now().Sub(ln.outage.since) >= pool.b.opts.Routing.Wait:
		pool.Stats.GaveUp++
		return false
	}
	if ln.failed++; ln.failed == 1 {
		pool.Stats.Waited++
	}
	ln.outage.held = true
	pool.b.complain(err)
	pool.l.Arm(&ln.retry, retryDelay(ln.failed), ln.dialAgain)
	return true
}

// retargetDialled has the attempts to connect for single sessions follow the
// topology. It reports whether the connection ended: its node has lost its part,
// and its session knows better where its calls belong.
func (o *Own) retargetDialled() (ended bool) {
	ln := o.line
	node := ln.key.Node
	switch {
	case o.state != inUse || ln.outage.since.IsZero():
	case node != Endpoint{} && ln.pool.router != nil && (!ln.pool.router.topo.leads(node) || ln.pool.router.topo.ejected(node)):
		o.lost(false)
		return true
	case ln.turns(ln.pool.b.target(ln.key)):
	case ln.outage.held:
		ln.pool.l.Arm(&ln.retry, 0, ln.dialAgain)
	}
	return false
}
