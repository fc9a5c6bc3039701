package backend

import (
	"time"

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

	pool     *Pool
	topo     *Topology
	pipes    map[Key][]*Pipeline // by database and protocol version: the shards'
	again    []*flight           // to be sent once more, in order
	posted   bool
	parked   []*flight // whose shard has no primary at present
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

// maxParked bounds what waits for a shard without a primary.
const maxParked = 4096

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
	r.topo, r.pipes = t, make(map[Key][]*Pipeline)
	r.Generation++
	parked := r.parked
	r.parked = nil
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

// Home is the shard for calls that any of them can answer.
func (r *Router) Home() int {
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
	pipes := r.pipes[k]
	if pipes == nil {
		pipes = make([]*Pipeline, len(r.topo.Shards))
		r.pipes[k] = pipes
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
	if r.topo == nil || shard < 0 || r.topo.Out(shard) {
		return Unavailable
	}
	f := &flight{r: r, to: w, tag: tag, key: k, shard: shard, at: at, generation: r.Generation, keyed: true}
	f.keep(args)
	p := r.pipe(k, shard)
	if p == nil {
		if !r.park(f) {
			return Unavailable
		}
		w.Detour(1)
		f.away = true
		return 0
	}
	f.host = r.topo.Shards[shard].Primary
	return p.Send(f, 0, at, f.args)
}

// park keeps a call until there is another topology, or it has waited too long.
func (r *Router) park(f *flight) bool {
	wait := r.pool.b.opts.Routing.Wait
	if wait <= 0 || r.pool.closed {
		return false
	}
	if len(r.parked)+r.awaiting >= maxParked {
		r.pool.Stats.Full++
		return false
	}
	r.pool.Stats.Waited++
	if len(r.parked) == 0 {
		r.pool.l.Arm(&r.limit, wait, r.giveUp)
	}
	r.parked = append(r.parked, f)
	r.pool.b.control.Refresh()
	return true
}

// giveUp refuses all that has been parked, the last ones a little early.
func (r *Router) giveUp() {
	parked := r.parked
	r.parked = nil
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
	if why := p.Send(f, 0, f.at, f.args); why != 0 {
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
	r.again, r.parked = nil, nil
	r.limit.Stop()
	for _, f := range kept {
		f.fail(Unavailable)
	}
}

// flight is one call on its way. It is the Waiter for the node's reply, which it
// passes on unless that says that the call belongs elsewhere.
type flight struct {
	r          *Router
	to         Caller
	tag        uint64
	key        Key
	shard      int
	slot       int // that a redirection spoke of; -1: none has
	at         int64
	args       [][]byte
	host       Endpoint // where it went last
	node       Endpoint // where a redirection says it belongs
	head       []byte   // an error reply, until it is whole
	generation uint64   // of the topology it was sent by
	moved      uint64   // of the topology that a redirection contradicts
	hops       uint8
	ask        bool
	away       bool // its caller knows of a detour
	passing    bool // a reply is being passed on
	keyed      bool
	retry      loop.Timer
}

// keep copies the arguments into one piece of memory.
func (f *flight) keep(args [][]byte) {
	n := 0
	for _, a := range args {
		n += len(a)
	}
	all := make([]byte, 0, n)
	f.args = make([][]byte, len(args))
	for i, a := range args {
		from := len(all)
		all = append(all, a...)
		f.args[i] = all[from:len(all):len(all)]
	}
	f.slot = -1
}

// Reply implements Waiter.
func (f *flight) Reply(_ uint64, _ int, p []byte, last bool) {
	if !f.passing && len(f.head) == 0 && (len(p) == 0 || p[0] != '-') {
		f.passing = true
	}
	if f.passing {
		f.give(p, last)
		return
	}
	f.head = append(f.head, p...)
	if !last {
		return
	}
	if f.detour() {
		return
	}
	head := f.head
	f.head = nil
	f.give(head, true)
}

// give passes a piece of the reply on.
func (f *flight) give(p []byte, last bool) {
	f.to.Reply(f.tag, 1, p, last)
	if last {
		f.end()
	}
}

// end closes the account of detours.
func (f *flight) end() {
	if f.away {
		f.away = false
		f.to.Detour(-1)
	}
}

// Fail implements Waiter. What certainly was not sent may go elsewhere, if it is
// known by now where that is.
func (f *flight) Fail(_ uint64, why Failure) {
	if why == Unavailable && len(f.head) == 0 && !f.passing && f.generation != f.r.Generation && f.hops < maxHops && !f.r.pool.closed {
		f.hops++
		f.detoured()
		f.r.resend(f)
		return
	}
	f.fail(why)
}

func (f *flight) fail(why Failure) {
	f.to.Fail(f.tag, why)
	f.end()
}

func (f *flight) detoured() {
	if !f.away {
		f.away = true
		f.to.Detour(1)
	}
}

// tryAgain is how long to wait where a slot's keys are on two nodes just now.
const tryAgain = 20 * time.Millisecond

// detour acts on an error reply that speaks of the topology. It reports false
// for all others, and when the call has been sent on often enough.
func (f *flight) detour() bool {
	if f.r.topo == nil || !f.r.Clustered() || f.r.pool.closed {
		return false
	}
	if hasPrefix(f.head, "-CLUSTERDOWN") || hasPrefix(f.head, "-READONLY") {
		f.r.pool.b.control.Refresh()
		return false
	}
	if f.hops >= maxHops {
		return false
	}
	if hasPrefix(f.head, "-TRYAGAIN") {
		f.hops++
		f.detoured()
		// It goes where it just went, by ASK or not: the first node says which.
		f.r.pool.l.Arm(&f.retry, tryAgain, func() { f.r.resend(f) })
		return true
	}
	to, ok := parseRedirect(f.head, hostOf(f.host))
	if !ok {
		return false
	}
	f.hops++
	f.detoured()
	f.slot, f.node, f.ask, f.moved = to.Slot, to.At, to.Ask, f.r.Generation
	if !to.Ask || !f.r.topo.Has(to.At) {
		f.r.pool.b.control.Refresh()
	}
	f.r.resend(f)
	return true
}

func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }
