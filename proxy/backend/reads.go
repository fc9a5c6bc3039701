package backend

import (
	"math/bits"
	"slices"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

// Reading says which nodes calls go to that only read. With any other than
// ReadPrimary a client may not see what it wrote itself.
type Reading uint8

const (
	ReadPrimary       Reading = iota
	ReadPreferReplica         // a replica that is fit, else the primary
	ReadReplica               // a replica, never the primary
	ReadNearest               // whoever answers soonest
)

// Read is one judged call that only reads.
type Read struct {
	To    Caller
	Tag   uint64
	At    int64  // the turn's time, Unix ns
	Key   Key    // without a node
	Shard int    // of the loop's topology
	KeyAt int    // the index of its first key in args
	Seat  uint64 // the session's: its reads go to the same replica as long as that one is fit
}

// Reads sends one loop's reading calls to nodes that are fit for them. It belongs
// to its loop's goroutine.
//
// Calls to different nodes have no order. What a replica says that only speaks of
// itself (that it is loading, has lost its primary, does not have the slot) is
// never a client's answer: the call, which has not run, goes elsewhere. One whose
// connection was lost is not sent again.
type Reads struct {
	pool   *Pool
	policy Reading
	topo   *Topology
	stands *standings
	shards [][]candidate      // of topo, by shard; nil: not made yet
	doubts map[Endpoint]int64 // not to be chosen until then, Unix ns

	again   []*reading // to be sent once more
	posted  bool
	parked  []*reading // of which nobody is fit to answer now
	heavy   int        // bytes of their arguments
	limit   loop.Timer
	soonest int64      // when the first of them is given up, Unix ns
	recall  loop.Timer // when who is doubted may be chosen again
}

// candidate is a node that calls of a shard may be read from.
type candidate struct {
	at      Endpoint
	draw    uint64
	tier    uint8
	primary bool
}

// Reads gives the loop's Reads, nil where all calls go to primaries.
func (p *Pool) Reads() *Reads { return p.reads }

func newReads(p *Pool) *Reads {
	o := &p.b.opts.Routing
	if o.Reads == ReadPrimary || p.b.control == nil || o.Kind == Sharded {
		return nil
	}
	return &Reads{pool: p, policy: o.Reads, doubts: make(map[Endpoint]int64)}
}

// Send sends a call to a node that is fit for it. Not taken: it is the primary's,
// and its maker's to send. A Failure other than zero means that nobody may answer
// the call, and To will hear nothing. args are copied.
func (r *Reads) Send(c Read, args [][]byte) (taken bool, why Failure) {
	var p *Pipeline
	var at Endpoint
	var barred Failure
	switch r.look(); {
	case r.topo == nil: // nobody has said yet which nodes are replicas
	case c.Shard < 0 || c.Shard >= len(r.topo.Shards):
		return false, 0
	default:
		p, at, barred = r.pick(&c)
	}
	switch {
	case p != nil:
	case r.policy != ReadReplica:
		r.count(false)
		return false, 0
	case barred != 0:
		return true, barred
	}
	f := &reading{r: r, Read: c, topo: r.topo}
	f.keep(args)
	if p == nil {
		if f.until = r.deadline(); !r.park(f) {
			return true, NoReplica
		}
		r.pool.Stats.Waited++
		return true, 0
	}
	f.host = at
	if why = p.Send(f, 0, c.At, f.args); why == 0 {
		r.count(true)
	}
	return true, why
}

func (r *Reads) count(replica bool) {
	if f := r.pool.Stats.Read; f != nil {
		f(replica)
	}
}

// Of is the name of the backend.
func (r *Reads) Of() string { return r.pool.b.opts.Name }

// Congested reports that some node takes calls slower than they come.
func (r *Reads) Congested() bool { return r.pool.congested() }

// congested reports whether any connection of the loop is. Every session asks that
// several times a turn, and there are as many connections as users' logins, nodes
// and databases make: that none is holds for the turn in which it was found out.
func (p *Pool) congested() bool {
	now := p.l.Now().UnixNano()
	if p.calm == now {
		return false
	}
	for _, ln := range p.lines {
		if ln.Congested() {
			return true
		}
	}
	p.calm = now
	return false
}

// look brings what is known up to date.
func (r *Reads) look() {
	t := r.pool.b.Topology()
	if r.pool.router != nil {
		t = r.pool.router.topo // shards are counted as the router counts them
	}
	stands := r.pool.b.control.stands.Load()
	if t == r.topo && stands == r.stands {
		return
	}
	r.topo, r.stands, r.shards = t, stands, nil
	if t != nil {
		r.shards = make([][]candidate, len(t.Shards))
	}
}

// candidates of a shard.
func (r *Reads) candidates(shard int) []candidate {
	if r.shards[shard] != nil || r.stands == nil {
		return r.shards[shard]
	}
	out := []candidate{} // not nil: it has been made
	s := &r.topo.Shards[shard]
	for _, e := range s.Replicas {
		if st := (*r.stands)[e]; st.fit && len(out) < 63 {
			out = append(out, candidate{at: e, draw: drawOf(e), tier: st.tier})
		}
	}
	if st := (*r.stands)[s.Primary]; r.policy == ReadNearest && st.fit {
		out = append(out, candidate{at: s.Primary, draw: drawOf(s.Primary), tier: st.tier, primary: true})
	}
	slices.SortStableFunc(out, func(a, b candidate) int { return int(a.tier) - int(b.tier) })
	r.shards[shard] = out
	return out
}

// pick chooses the connection for a call: of the best tier that a connection leads
// to, the node that the session's seat falls to. Each seat has an order of all
// nodes, so one that comes or goes moves only those who are nearest to it. nil:
// the primary, or nobody; barred is why waiting for another one would not help, as
// no node that is fit takes a connection of this login.
func (r *Reads) pick(c *Read) (p *Pipeline, at Endpoint, barred Failure) {
	nodes := r.candidates(c.Shard)
	var tried uint64
	var soon *Pipeline
	var soonAt Endpoint
	hope := false // of one that can't be had now
	for range nodes {
		best, most := -1, uint64(0)
		for i := range nodes {
			if tried&(1<<i) != 0 {
				continue
			}
			if best >= 0 && nodes[i].tier != nodes[best].tier {
				break
			}
			if n := mix(nodes[i].draw ^ c.Seat); best < 0 || n > most {
				best, most = i, n
			}
		}
		tried |= 1 << best
		n := &nodes[best]
		if r.doubted(n.at) {
			hope = true
			continue
		}
		if n.primary {
			return nil, Endpoint{}, 0
		}
		k := c.Key
		k.Node, k.Replica = n.at, true
		p = r.pool.Pipeline(k)
		switch why := p.absent(); {
		case p.Up():
			return p, n.at, 0
		case p.state != dialling && why != Unavailable:
			barred = why
		case p.state != dialling:
			hope = true
		case soon == nil:
			soon, soonAt = p, n.at
		}
	}
	switch {
	case r.policy != ReadReplica:
		return nil, Endpoint{}, 0 // the primary is there while a connection is made
	case soon != nil || hope:
		barred = 0
	}
	return soon, soonAt, barred
}

// doubtFor is how long a node is not asked again that said it can't answer.
const doubtFor = time.Second

func (r *Reads) doubt(e Endpoint) {
	if len(r.doubts) == 0 { // else it is armed for one that is over sooner
		r.pool.l.Arm(&r.recall, doubtFor, r.trust)
	}
	r.doubts[e] = r.pool.l.Now().Add(doubtFor).UnixNano()
	r.pool.b.control.Doubt()
}

// trust ends doubts whose time is over: calls may wait for one of those nodes.
func (r *Reads) trust() {
	now, next := r.pool.l.Now().UnixNano(), int64(0)
	for e, until := range r.doubts {
		if until <= now {
			delete(r.doubts, e)
		} else if next == 0 || until < next {
			next = until
		}
	}
	if next != 0 {
		r.pool.l.Arm(&r.recall, time.Duration(next-now), r.trust)
	}
	r.update()
}

func (r *Reads) doubted(e Endpoint) bool {
	if len(r.doubts) == 0 {
		return false
	}
	until, ok := r.doubts[e]
	return ok && r.pool.l.Now().UnixNano() < until
}

// drawOf makes a number of a node's address (FNV-1a).
func drawOf(e Endpoint) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(e.Address) {
		h = (h ^ uint64(e.Address[i])) * 1099511628211
	}
	return h
}

// mix spreads a number over all others.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9)
	hi2, lo2 := bits.Mul64(hi^lo, 0x94d049bb133111eb)
	return hi2 ^ lo2
}

func (r *Reads) deadline() int64 {
	return r.pool.l.Now().Add(r.pool.b.opts.Routing.Wait).UnixNano()
}

// park keeps a call until somebody is fit to answer it, or it has waited too long.
func (r *Reads) park(f *reading) bool {
	left := f.until - r.pool.l.Now().UnixNano()
	if left <= 0 || r.pool.closed {
		return false
	}
	if len(r.parked) >= maxParked || r.heavy >= maxParkedBytes {
		r.pool.Stats.Full++
		return false
	}
	if len(r.parked) == 0 || f.until < r.soonest { // one that has waited before comes behind later ones
		r.soonest = f.until
		r.pool.l.Arm(&r.limit, time.Duration(left), r.giveUp)
	}
	r.parked, r.heavy = append(r.parked, f), r.heavy+f.size
	return true
}

// giveUp refuses what has been parked for too long.
func (r *Reads) giveUp() {
	parked := r.parked
	r.parked, r.heavy = nil, 0
	for _, f := range parked {
		if !r.park(f) {
			r.pool.Stats.GaveUp++
			f.To.Fail(f.Tag, NoReplica)
		}
	}
}

// update is called when nodes stand otherwise, or one can be reached: what has
// been parked is looked at again.
func (r *Reads) update() {
	if r == nil || r.pool.closed {
		return
	}
	parked := r.parked
	r.parked, r.heavy = nil, 0
	r.limit.Stop()
	for _, f := range parked {
		r.resend(f)
	}
}

// resend has a call sent once more after the bytes at hand have been dealt with:
// nothing is sent while replies are being handed over.
func (r *Reads) resend(f *reading) {
	r.again = append(r.again, f)
	if !r.posted {
		if r.posted = r.pool.l.Post(r.flush); !r.posted {
			r.close()
		}
	}
}

func (r *Reads) flush() {
	r.posted = false
	again := r.again
	r.again = nil
	r.look()
	for _, f := range again {
		switch {
		case r.pool.closed:
			f.To.Fail(f.Tag, Unavailable)
		case r.topo != nil:
			f.send()
		case !r.park(f):
			f.To.Fail(f.Tag, NoReplica)
		}
	}
}

// close fails whatever is kept.
func (r *Reads) close() {
	if r == nil {
		return
	}
	kept := append(r.again, r.parked...)
	r.again, r.parked, r.heavy = nil, nil, 0
	r.limit.Stop()
	r.recall.Stop()
	for _, f := range kept {
		f.To.Fail(f.Tag, Unavailable)
	}
}

// copies reports whether a node is a replica of some shard.
func (t *Topology) copies(e Endpoint) bool {
	return slices.ContainsFunc(t.Shards, func(s Shard) bool { return slices.Contains(s.Replicas, e) })
}

// readOnly has a cluster's replica answer reads itself, which it would else send
// on to its primary. Only connections to replicas ask for that.
func (b *Backend) readOnly(n *node, k Key) error {
	if !k.Replica || b.opts.Routing.Kind != Cluster {
		return nil
	}
	d := dialogue{conn: n.conn()}
	_, err := d.ask("READONLY", "READONLY")
	return err
}

// reading states what a node is to those who read.
func (b *Backend) reading(e Endpoint, n *NodeState) {
	if b.control == nil {
		return
	}
	switch t := b.control.Topology(); {
	case t == nil:
		return
	case t.copies(e):
		n.Role = "replica"
	default:
		n.Role = "primary"
	}
	if b.opts.Routing.Reads != ReadPrimary {
		n.Zone, n.Read = printable([]byte(b.control.reviewOf(e).zone)), b.control.standing()[e].fit
	}
}
