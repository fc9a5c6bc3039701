package backend

import (
	"github.com/sallyport/sallyport/proxy/loop"
)

// Router spreads one loop's calls over the shards of a deployment, and follows
// what a cluster's nodes say about where a call belongs. It belongs to its
// loop's goroutine.
//
// Order: calls that went to one node run there in the order in which they were
// made. A call that is sent on to another node could be overtaken by a later
// one, so whoever makes calls waits while one of its own is on a detour (Caller),
// and, when Generation has changed, until all of its calls have been answered.
type Router struct {
	// Generation changes with the topology, and with a connection that takes no
	// more calls.
	Generation uint64

	pool  *Pool
	topo  *Topology
	pipes map[Key][]*Pipeline // by database and protocol version: the shards'
	last  struct {            // of these, what was asked for last
		key   Key
		pipes []*Pipeline
	}
	again    []*flight // to be sent once more, in order
	posted   bool
	parked   []*flight // whose shard has no primary at present
	heavy    int       // bytes of their arguments
	spare    []*flight // that have ended
	awaiting int       // calls that wait for one outside; see Await
	limit    loop.Timer
}

// Caller makes calls through a Router.
type Caller interface {
	Waiter
	// Detour says that one more (+1) or one fewer (-1) of its calls is being sent
	// on, so that later calls to the same key might overtake it.
	Detour(by int)
}

// maxHops is how often a call is sent on before its error is the client's.
const maxHops = 5

// What may wait for a shard without a primary, or for a replica.
const (
	maxParked      = 4096
	maxParkedBytes = 64 << 20 // reached, not one more waits
)

// Router gives the loop's router, nil where all calls go to one node.
func (p *Pool) Router() *Router { return p.router }

func newRouter(p *Pool) *Router {
	if k := p.b.opts.Routing.Kind; k != Cluster && k != Sharded {
		return nil
	}
	r := &Router{pool: p}
	r.update()
	return r
}

// update puts the topology in force. Calls that wait for one go out.
func (r *Router) update() {
	t := r.pool.b.Topology()
	if r.pipes != nil && t == r.topo {
		return
	}
	r.topo, r.pipes, r.last.pipes = t, make(map[Key][]*Pipeline), nil
	r.Generation++
	parked := r.parked
	r.parked, r.heavy = nil, 0
	r.limit.Stop()
	for _, f := range parked {
		r.resend(f)
	}
}

// Ready reports whether it is known where anything is.
func (r *Router) Ready() bool { return r.topo != nil }

// Clustered reports whether the nodes are a Redis Cluster, where the keys of a
// call have to share a slot, and not only a node.
func (r *Router) Clustered() bool { return r.pool.b.opts.Routing.Kind == Cluster }

// Topology is the one in force on this loop.
func (r *Router) Topology() *Topology { return r.topo }

// Place gives the shard that a key belongs to, -1 if nobody has it, and its
// group: keys of one group may stand in one call.
func (r *Router) Place(key []byte) (shard, group int) {
	if r.topo.Slotted() {
		slot := SlotOf(key)
		if shard = r.topo.Shard(slot); r.Clustered() {
			return shard, slot
		}
		return shard, shard
	}
	if r.topo.spread == nil {
		return -1, -1
	}
	shard = r.topo.spread.Of(key)
	return shard, shard
}

// Splits reports whether calls whose keys lie on several shards may be split.
func (r *Router) Splits() bool { return !r.pool.b.opts.Routing.Whole }

// Home is the shard for calls that any of them can answer; -1: there is none, as
// in a cluster that nobody has given slots to yet.
func (r *Router) Home() int {
	if len(r.topo.Shards) == 0 {
		return -1
	}
	for i, s := range r.topo.Shards {
		if s.Primary != (Endpoint{}) && !r.topo.Out(i) && !r.pool.b.control.Broken(s.Primary) {
			return i
		}
	}
	return 0
}

// Congested reports that some node takes calls slower than they come.
func (r *Router) Congested() bool {
	return r.pool.congested()
}

// pipe gives the pipeline of a shard's primary.
func (r *Router) pipe(k Key, shard int) *Pipeline {
	pipes := r.last.pipes
	if k != r.last.key || pipes == nil {
		if pipes = r.pipes[k]; pipes == nil {
			pipes = make([]*Pipeline, len(r.topo.Shards))
			r.pipes[k] = pipes
		}
		r.last.key, r.last.pipes = k, pipes
	}
	if p := pipes[shard]; p != nil && !p.Gone() {
		return p
	}
	at := r.topo.Shards[shard].Primary
	if at == (Endpoint{}) {
		return nil
	}
	k.Node = at
	pipes[shard] = r.pool.Pipeline(k)
	return pipes[shard]
}

// Send queues one judged call for a shard, made by w with a tag, at the turn's
// time in Unix ns. args are copied, since the call may have to be sent once more.
// A Failure other than zero means that the call was not taken and w will hear
// nothing.
func (r *Router) Send(w Caller, tag uint64, at int64, k Key, shard int, args [][]byte) Failure {
	if r.topo == nil || shard < 0 || shard >= len(r.topo.Shards) || r.topo.Out(shard) {
		return Unavailable
	}
	f := r.flight(w, tag, at, k, shard)
	f.keep(args)
	p := r.pipe(k, shard)
	if p == nil {
		if !r.park(f) {
			f.over()
			return Unavailable
		}
		w.Detour(1)
		f.away = true
		return 0
	}
	f.host = r.topo.Shards[shard].Primary
	return f.send(p)
}

// park keeps a call until there is another topology, or it has waited too long.
func (r *Router) park(f *flight) bool {
	wait := r.pool.b.opts.Routing.Wait
	if wait <= 0 || r.pool.closed {
		return false
	}
	if len(r.parked)+r.awaiting >= maxParked || r.heavy >= maxParkedBytes {
		r.pool.Stats.Full++
		return false
	}
	r.pool.Stats.Waited++
	if len(r.parked) == 0 {
		r.pool.l.Arm(&r.limit, wait, r.giveUp)
	}
	r.parked, r.heavy = append(r.parked, f), r.heavy+len(f.all)
	r.pool.b.control.Refresh()
	return true
}

// giveUp refuses all that has been parked, the last ones a little early.
func (r *Router) giveUp() {
	parked := r.parked
	r.parked, r.heavy = nil, 0
	r.pool.Stats.GaveUp += uint64(len(parked))
	for _, f := range parked {
		f.fail(Unavailable)
	}
}

// resend has a call sent once more after the bytes at hand have been dealt with:
// nothing is sent while replies are being handed over.
func (r *Router) resend(f *flight) {
	r.again = append(r.again, f)
	if !r.posted {
		r.posted = r.pool.l.Post(r.flush)
		if !r.posted {
			r.close()
		}
	}
}

func (r *Router) flush() {
	r.posted = false
	again := r.again
	r.again = nil
	for _, f := range again {
		r.forward(f)
	}
}

// forward sends a call where it belongs as far as is known now.
func (r *Router) forward(f *flight) {
	var p *Pipeline
	f.generation, f.head = r.Generation, f.head[:0]
	switch {
	case r.pool.closed || r.topo == nil:
	case f.shard >= 0 && f.shard < len(r.topo.Shards) && r.topo.Out(f.shard): // its keys may lie apart now
	case f.node != (Endpoint{}) && r.topo.Has(f.node):
		k := f.key
		k.Node = f.node
		p, f.host = r.pool.Pipeline(k), f.node
	case f.node != (Endpoint{}) && f.ask:
		// It is never dialled on a redirection's word: a look at the topology will show it.
		if r.park(f) {
			return
		}
	default:
		if f.node == (Endpoint{}) || !r.stale(f) {
			if f.slot >= 0 && r.topo.Slotted() {
				f.shard = r.topo.Shard(f.slot)
			}
			if f.shard >= 0 && f.shard < len(r.topo.Shards) {
				if p = r.pipe(f.key, f.shard); p != nil {
					f.host = r.topo.Shards[f.shard].Primary
				}
			}
		}
		if p == nil && r.park(f) {
			return
		}
	}
	if p == nil {
		f.fail(Unavailable)
		return
	}
	ask := f.ask
	f.node, f.ask = Endpoint{}, false
	if ask && !p.room(2) { // alone, ASKING would hold for the next call, whosever that is
		r.pool.Stats.Full++
		f.fail(Overloaded)
		return
	}
	if ask && p.Send(unheard{}, 0, f.at, asking) != 0 {
		f.fail(Unavailable)
		return
	}
	if why := p.Send(f, f.id, f.at, f.args); why != 0 {
		f.fail(why)
	}
}

// stale reports whether the topology in force is the one that a redirection to
// an unknown node contradicts.
func (r *Router) stale(f *flight) bool { return f.moved == r.Generation }

var asking = [][]byte{[]byte("ASKING")}

// unheard waits for replies that nobody wants to know.
type unheard struct{}

func (unheard) Reply(uint64, int, []byte, bool) {}
func (unheard) Fail(uint64, Failure)            {}

// close fails whatever is kept; nothing is sent any more.
func (r *Router) close() {
	kept := append(r.again, r.parked...)
	r.again, r.parked, r.heavy = nil, nil, 0
	r.limit.Stop()
	for _, f := range kept {
		f.fail(Unavailable)
	}
}

func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }
