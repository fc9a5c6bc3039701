package backend

import "bytes"

// reading is one call on its way to a replica. It is the Waiter for the node's
// reply, which it passes on unless that speaks of the node alone.
type reading struct {
	r *Reads
	Read
	topo    *Topology // that Shard is of
	args    [][]byte
	size    int      // their bytes
	host    Endpoint // where it went last
	head    []byte   // an error reply, until it is whole
	until   int64    // when it is given up, Unix ns; 0: it has not had to wait yet
	hops    uint8
	passing bool // a reply is being passed on
	primary bool // it may go to the primary alone

	// Most calls are small: their copy is part of the one piece that a reading is.
	few   [4][]byte
	bytes [112]byte
}

// longestRefusal is more than any error that a node says of itself.
const longestRefusal = 512

// Reply implements Waiter.
func (f *reading) Reply(_ uint64, _ int, p []byte, last bool) {
	if f.passing || len(f.head) == 0 && (len(p) == 0 || p[0] != '-') {
		f.passing = true
		f.To.Reply(f.Tag, 1, p, last)
		return
	}
	f.head = append(f.head, p...)
	if !last && len(f.head) < longestRefusal {
		return
	}
	if last && f.elsewhere() {
		return
	}
	head := f.head
	f.head, f.passing = nil, true
	f.To.Reply(f.Tag, 1, head, last)
}

// Fail implements Waiter. What certainly was not sent may go elsewhere.
func (f *reading) Fail(_ uint64, why Failure) {
	if why == Unavailable && !f.passing && len(f.head) == 0 && f.hops < maxHops && !f.r.pool.closed {
		f.hops++
		f.r.resend(f)
		return
	}
	f.To.Fail(f.Tag, why)
}

// elsewhere acts on an error reply by which a node says that it is not the one to
// answer. It reports false for all others, and when the call has been sent on
// often enough.
func (f *reading) elsewhere() bool {
	r := f.r
	word, _, _ := bytes.Cut(f.head, []byte{' '})
	switch string(word) {
	case "-LOADING", "-MASTERDOWN", "-BUSY", "-CLUSTERDOWN":
		r.doubt(f.host)
	case "-MOVED", "-ASK":
		r.doubt(f.host)
		r.pool.b.control.Refresh()
	case "-READONLY", "-NOSCRIPT", "-TRYAGAIN":
		if r.policy == ReadReplica {
			return false
		}
		f.primary = true
	default:
		return false
	}
	if f.hops >= maxHops || r.pool.closed {
		return false
	}
	f.hops++
	f.head = nil
	r.resend(f)
	return true
}

// send sends the call to whoever is fit for it now.
func (f *reading) send() {
	r := f.r
	f.place()
	if f.Shard < 0 {
		f.To.Fail(f.Tag, Unavailable)
		return
	}
	if !f.primary {
		p, at, barred := r.pick(&f.Read)
		if p != nil {
			f.host = at
			if why := p.Send(f, 0, f.At, f.args); why != 0 {
				f.To.Fail(f.Tag, why)
			} else if f.until != 0 {
				r.count(true) // it has waited until now
			}
			return
		}
		if barred != 0 {
			f.To.Fail(f.Tag, barred)
			return
		}
	}
	if r.policy != ReadReplica {
		f.toPrimary()
		return
	}
	if f.until == 0 {
		f.until = r.deadline()
		r.pool.Stats.Waited++
	}
	if !r.park(f) {
		f.To.Fail(f.Tag, NoReplica)
	}
}

// place finds the shard in the topology now in force.
func (f *reading) place() {
	if f.topo == f.r.topo {
		return
	}
	f.topo, f.Shard = f.r.topo, 0
	if f.topo.Slotted() {
		f.Shard = f.topo.Shard(SlotOf(f.args[f.KeyAt]))
	}
}

// toPrimary sends the call to the primary, where it has the fate of any other.
func (f *reading) toPrimary() {
	pool := f.r.pool
	if r := pool.router; r != nil {
		onward := r.flight(f.To, f.Tag, f.At, f.Key, f.Shard)
		onward.keep(f.args)
		onward.slot, onward.hops = SlotOf(f.args[f.KeyAt]), f.hops
		r.forward(onward)
		return
	}
	if why := pool.Pipeline(f.Key).Send(passed{f}, 0, f.At, f.args); why != 0 {
		f.To.Fail(f.Tag, why)
	}
}

// passed hands a primary's reply to a reading call on as it comes.
type passed struct{ *reading }

func (f passed) Reply(_ uint64, _ int, p []byte, last bool) { f.To.Reply(f.Tag, 1, p, last) }
func (f passed) Fail(_ uint64, why Failure)                 { f.To.Fail(f.Tag, why) }

// keep copies the arguments.
func (f *reading) keep(args [][]byte) {
	n := 0
	for _, a := range args {
		n += len(a)
	}
	f.size = n
	all := f.bytes[:0]
	if n > len(f.bytes) {
		all = make([]byte, 0, n)
	}
	f.args = f.few[:0]
	if len(args) > len(f.few) {
		f.args = make([][]byte, 0, len(args))
	}
	for _, a := range args {
		from := len(all)
		all = append(all, a...)
		f.args = append(f.args, all[from:len(all):len(all)])
	}
}
