package backend

// What a session sends over a connection of its own to one of several nodes may
// belong elsewhere, too. Calls that anybody's connection could carry follow a
// redirection by themselves (Over); for the others their session decides
// (Redirected), since they must not reach a shared connection.

// Primary gives the primary of a shard, the zero Endpoint where nobody knows one.
func (r *Router) Primary(shard int) Endpoint {
	if r.topo == nil || shard < 0 || shard >= len(r.topo.Shards) {
		return Endpoint{}
	}
	return r.topo.Shards[shard].Primary
}

// Holder gives the primary of whoever has a group of keys; see Place.
func (r *Router) Holder(group int) Endpoint {
	if r.topo != nil && r.Clustered() {
		group = r.topo.Shard(group)
	}
	return r.Primary(group)
}

// Other gives a primary for what any of them can do, if possible another one than that.
func (r *Router) Other(than Endpoint) Endpoint {
	if r.topo == nil {
		return Endpoint{}
	}
	for _, s := range r.topo.Shards {
		if s.Primary != (Endpoint{}) && s.Primary != than && !r.pool.b.control.Broken(s.Primary) {
			return s.Primary
		}
	}
	return r.Primary(r.Home())
}

// Vacant reports whether a group of keys belongs to a shard whose primary nobody
// knows at present.
func (r *Router) Vacant(group int) bool {
	if r.topo == nil {
		return false
	}
	if r.Clustered() {
		group = r.topo.Shard(group)
	}
	return group >= 0 && r.Primary(group) == Endpoint{}
}

// Await lets a call wait outside the Router until there is a node for it, if there
// are not too many. Awaited follows.
func (r *Router) Await() bool {
	if r.pool.closed || r.pool.b.opts.Routing.Wait <= 0 {
		return false
	}
	if len(r.parked)+r.awaiting >= maxParked {
		r.pool.Stats.Full++
		return false
	}
	r.awaiting++
	r.pool.Stats.Waited++
	r.pool.b.control.Refresh()
	return true
}

// Awaited ends that.
func (r *Router) Awaited(gaveUp bool) {
	r.awaiting--
	if gaveUp {
		r.pool.Stats.GaveUp++
	}
}

// Over is Send for a call that goes over a connection of its caller's own to the
// shard's primary, since what was sent there before must not be overtaken.
func (r *Router) Over(o *Own, w Caller, tag uint64, at int64, shard int, args [][]byte) Failure {
	k := o.Key()
	host := k.Node
	k.Node = Endpoint{}
	f := r.flight(w, tag, at, k, shard)
	f.host = host
	f.keep(args)
	return f.send(o.Pipeline())
}

// Redirected reads an error reply of a node: where the call belongs according to
// it, and whether that holds for this call alone (ASK). What the reply says of
// the topology is looked into. false: it is no redirection.
func (r *Router) Redirected(reply []byte, from Endpoint) (to Redirect, ok bool) {
	if r.topo == nil || !r.Clustered() || r.pool.closed {
		return to, false
	}
	if hasPrefix(reply, "-CLUSTERDOWN") || hasPrefix(reply, "-READONLY") {
		r.pool.b.control.Refresh()
		return to, false
	}
	if to, ok = parseRedirect(reply, hostOf(from)); ok && (!to.Ask || !r.topo.Has(to.At)) {
		r.pool.b.control.Refresh()
	}
	return to, ok
}

// Patience is how long a call may wait until it is known where it belongs.
func (r *Router) Patience() int64 { return int64(r.pool.b.opts.Routing.Wait) }
