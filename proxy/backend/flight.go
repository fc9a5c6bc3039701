package backend

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

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
	retry      loop.Timer
	id         uint64 // what it is sent as; no two uses of one flight share it
	all        []byte // the arguments' bytes
}

// Flights that have ended are used again, since a call over several nodes would otherwise leave
// garbage several times its size. A reply tells by the id which use it answers.
const (
	spareFlights     = 4096    // flights kept for another call
	spareFlightBytes = 1 << 10 // of arguments, in each
	spareFlightArgs  = 64
)

// flight makes one for a call by w.
func (r *Router) flight(w Caller, tag uint64, at int64, k Key, shard int) *flight {
	var f *flight
	if n := len(r.spare); n > 0 {
		f = r.spare[n-1]
		r.spare = r.spare[:n-1]
	} else {
		f = &flight{r: r}
	}
	f.id++ // as over has: never next to the last use, or a queue would take the two for a run
	f.to, f.tag, f.key, f.shard, f.slot, f.at, f.generation = w, tag, k, shard, -1, at, r.Generation
	return f
}

// over gives the flight back: nobody will hear of it again.
func (f *flight) over() {
	r := f.r
	f.retry.Stop()
	if len(r.spare) >= spareFlights || cap(f.all) > spareFlightBytes || cap(f.args) > spareFlightArgs {
		*f = flight{r: r, id: f.id + 1}
		return
	}
	clear(f.args)
	*f = flight{r: r, id: f.id + 1, all: f.all[:0], args: f.args[:0]}
	r.spare = append(r.spare, f)
}

// keep copies the arguments into one piece of memory.
func (f *flight) keep(args [][]byte) {
	n := 0
	for _, a := range args {
		n += len(a)
	}
	all := slices.Grow(f.all[:0], n)
	f.args = f.args[:0]
	for _, a := range args {
		from := len(all)
		all = append(all, a...)
		f.args = append(f.args, all[from:len(all):len(all)])
	}
	f.all = all
}

// send has a new flight leave, or gives it back with the reason why it can't.
func (f *flight) send(p *Pipeline) Failure {
	why := p.Send(f, f.id, f.at, f.args)
	if why != 0 {
		f.over()
	}
	return why
}

// Reply implements Waiter.
func (f *flight) Reply(id uint64, _ int, p []byte, last bool) {
	if id != f.id {
		panic("backend: a reply for a call that is over")
	}
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

// end closes the account of detours. Nothing may be done with the flight afterwards.
func (f *flight) end() {
	to, away := f.to, f.away
	f.to, f.away = noCaller{}, false // it may be used again by now: what goes wrong from here on is not told it
	if away {
		to.Detour(-1)
	}
	f.over()
}

// noCaller made a call that is over.
type noCaller struct{ unheard }

func (noCaller) Detour(int) {}

// Fail implements Waiter. What certainly was not sent may go elsewhere, if it is
// known by now where that is.
func (f *flight) Fail(id uint64, why Failure) {
	if id != f.id {
		panic("backend: a failure of a call that is over")
	}
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

// tryAgain is how long to wait where a slot's keys are on two nodes just now, twice as long each time: 620 ms in all.
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
		f.r.pool.l.Arm(&f.retry, tryAgain<<(f.hops-1), func() { f.r.resend(f) })
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
