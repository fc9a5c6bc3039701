package proxy

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/loop"
)

var (
	interleavings    = flag.Int("interleavings", 30_000, "of TestDataReachesOnlyItsOwner")
	interleavingSeed = flag.Uint64("interleavings.seed", 0, "play this one alone; 0: as many as are asked for, from a fresh one on")
)

// play is sessions, pipelines and a node in virtual time: the seed says what
// happens next.
type play struct {
	st      *stage
	r       *rand.Rand
	seed    uint64
	players []*player
	lanes   []*lane // alive ones, shared ones first asked for included
	spare   []*lane
	count   int
	nonce   int
	most    int // own connections there may be
	fault   string

	delivered int                              // bytes of replies
	trace     func(format string, args ...any) // nil: many are played, and nobody reads along

	patience time.Duration // how long those who listen may take to do so again
	dies     bool          // the node hangs up now and then
	lies     bool          // and says what it should not
	settling bool          // everything comes to its end
}

func (pl *play) faultf(format string, args ...any) {
	if pl.fault == "" {
		pl.fault = fmt.Sprintf(format, args...)
	}
}

func newPlay(t testing.TB) *play {
	pl := &play{st: newStage(t, 0, 0)}
	w := pl.st.w
	b, err := backend.New(backend.Options{Nodes: []backend.Endpoint{{Network: "tcp", Address: "127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*backend.Backend{"": b}
	w.srv.backends.Store(&backendSet{now: all, all: all})
	w.loop = &loop.Loop{}
	text := func(s string) acl.Text { return acl.Text{Value: s} }
	src := acl.Source{
		Table:     command.Newest(),
		Listeners: []acl.ListenerSource{{Name: text("l"), Anonymous: true}},
		Users:     []acl.UserSource{{Name: text("default"), Rules: text("on nopass ~* &* +@all")}},
	}
	src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{}
	policy, problems := acl.Compile(src)
	if policy == nil {
		t.Fatal(problems)
	}
	w.policy = policy
	w.pipeline, w.own, w.probe = pl.shared, pl.ownLane, pl.probe
	w.patience = func(string) time.Duration { return pl.patience }
	return pl
}

// shared is worker.pipeline.
func (pl *play) shared(_ string, k backend.Key) *backend.Pipeline {
	for _, ln := range pl.lanes {
		if ln.own == nil && ln.holder == nil && ln.key == k && !ln.gone && !slices.Contains(pl.spare, ln) {
			return ln.pipe
		}
	}
	ln := pl.lane(k)
	ln.pipe = backend.NewPipeline(k.Proto, pl.st.w.clock, &backend.Stats{})
	return ln.pipe
}

func (pl *play) lane(k backend.Key) *lane {
	pl.count++
	ln := &lane{pl: pl, n: pl.count, key: k, proto: k.Proto, db: k.DB}
	pl.lanes = append(pl.lanes, ln)
	return ln
}

// probe is worker.probe.
func (pl *play) probe(_ string, k backend.Key, done func(error)) {
	answer := func() {
		switch {
		case k.DB >= databases:
			done(&backend.RefusedError{Step: "SELECT", Reply: "ERR DB index is out of range"})
		case pl.dies && pl.r.IntN(4) == 0:
			done(backend.ErrUnavailable)
		default:
			done(nil)
		}
	}
	if pl.r.IntN(2) == 0 {
		answer()
		return
	}
	pl.st.post(answer)
}

// ownLane is worker.own: a clean connection that nobody has, or a new one.
func (pl *play) ownLane(_ string, k backend.Key, _ string, owner backend.Owner) (*backend.Own, backend.Failure) {
	pl.sweep()
	owned := 0
	for _, ln := range pl.lanes {
		if ln.own != nil {
			owned++
		}
	}
	if owned >= pl.most {
		return nil, backend.Limited
	}
	holder := pl.players[slices.IndexFunc(pl.players, func(p *player) bool { return backend.Owner(p.s) == owner })]
	own := backend.NewOwn(k, pl.st.w.clock, &backend.Stats{}, owner)
	at := slices.IndexFunc(pl.spare, func(ln *lane) bool { return ln.key == k })
	if at < 0 {
		ln := pl.lane(k)
		ln.own, ln.pipe, ln.holder = own, own.Pipeline(), holder
		return own, 0
	}
	ln := pl.spare[at]
	pl.spare = slices.Delete(pl.spare, at, at+1)
	ln.own, ln.pipe, ln.holder, ln.serial = own, own.Pipeline(), holder, 0
	pl.count++
	ln.n = pl.count
	ln.pipe.Attach(ln.link)
	return own, 0
}

// sweep is what a Pool does with own connections whose session is done with them.
func (pl *play) sweep() {
	for _, p := range pl.players {
		if a := p.s.apart; a != nil && !a.resumed.Equal(p.resumed) {
			p.resumed = a.resumed
			p.listening()
		}
	}
	for _, ln := range pl.lanes {
		if ln.own == nil || !ln.own.Ended() {
			continue
		}
		given := ln.own.Given()
		if left := ln.own.Pipeline().Outstanding(); left != 0 {
			pl.faultf("an own connection ended with %d calls that are owed something", left)
		}
		ln.key = ln.own.Key()
		ln.own, ln.pipe = nil, nil
		switch {
		case !given || ln.gone:
			ln.gone = true
		case !ln.lied && !ln.clean():
			pl.faultf("a connection with something left on it is to be another session's: %+v", *ln)
		case len(ln.out) > 0 && !ln.lied:
			pl.faultf("a connection is to be another session's that has more to say: %q", ln.out)
		case ln.soiled:
			pl.faultf("a connection that was subscribed, tracking, monitoring or waiting is to be another session's")
		case len(ln.out) > 0 || !ln.clean():
			ln.gone = true // a Pool that reads on notices and closes it
		default:
			ln.holder = nil
			pl.spare = append(pl.spare, ln)
		}
	}
	pl.lanes = slices.DeleteFunc(pl.lanes, func(ln *lane) bool { return ln.gone && ln.own == nil })
}

// run plays one interleaving and reports what went wrong.
func (pl *play) run(seed uint64) (fault string) {
	defer func() {
		if v := recover(); v != nil {
			fault = fmt.Sprintf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	pl.begin(2, seed)
	pl.dies, pl.lies = seed%3 != 0, seed%3 == 2
	if pl.dies && pl.r.IntN(3) == 0 {
		pl.most = 2
	}
	if pl.dies && pl.r.IntN(4) > 0 {
		pl.patience = time.Duration(1+pl.r.IntN(400)) * time.Millisecond
	}
	for n := 20 + pl.r.IntN(120); n > 0 && pl.fault == ""; n-- {
		pl.step()
	}
	pl.settle()
	return pl.fault
}

// enter admits a client.
func (pl *play) enter(who int) {
	w := pl.st.w
	p := &player{pl: pl, who: who, door: &doorway{}, pushes: map[int]int{}, asked: map[string]int{}, proto: 2}
	p.framer.Reset(3)
	p.s = &session{w: w, port: p.door, proto: 2, user: w.policy.User("default"), facts: facts{listener: "l", id: uint64(who), slot: &place{}}}
	p.s.reader.Reset(w.readerLimits, nil)
	if p.s.next = w.sessions; p.s.next != nil {
		p.s.next.prev = p.s
	}
	w.sessions = p.s
	pl.players = append(pl.players, p)
}

// size is how many bytes of a stream move at a time: often few.
func (pl *play) size() int {
	switch pl.r.IntN(4) {
	case 0:
		return 1 + pl.r.IntN(4)
	case 1:
		return 1 + pl.r.IntN(60)
	}
	return 1 << 20
}

// step has one thing happen.
func (pl *play) step() {
	r := pl.r
	p := pl.players[r.IntN(len(pl.players))]
	switch pick := r.IntN(20); {
	case pick < 4:
		if len(p.backlog) < 400 && !p.hungUp {
			p.act(0)
		}
		p.feed(pl.size())
	case pick < 6:
		p.feed(pl.size())
	case pick < 9:
		pl.flush(false)
	case pick == 9 && r.IntN(6) == 0:
		pl.vanish(p)
	case pick == 10 && pl.dies && r.IntN(12) == 0:
		pl.hangUp()
	default:
		if len(pl.lanes) > 0 {
			pl.move(pl.lanes[r.IntN(len(pl.lanes))])
		}
	}
	pl.sweep()
}

func (pl *play) hangUp() {
	if len(pl.lanes) == 0 {
		return
	}
	if ln := pl.lanes[pl.r.IntN(len(pl.lanes))]; ln.own != nil || ln.pipe != nil {
		ln.close()
	}
}

// move has the node do something on one connection.
func (pl *play) move(ln *lane) {
	switch r := pl.r; {
	case ln.pipe == nil: // nobody's
		if pl.lies && r.IntN(8) == 0 {
			ln.gone = true
			pl.spare = slices.DeleteFunc(pl.spare, func(s *lane) bool { return s == ln })
		}
	case ln.link == nil:
		if pl.dies && r.IntN(12) == 0 {
			ln.close()
			return
		}
		ln.attach()
	default:
		switch r.IntN(8) {
		case 0, 1, 2:
			for range 1 + r.IntN(4) {
				ln.work(r.IntN(3) == 0)
			}
		case 3:
			ln.push()
		case 4:
			if pl.lies && r.IntN(4) == 0 {
				ln.lie()
			}
		default:
			ln.deliver(pl.size())
		}
	}
}

// flush is the edge of a turn.
func (pl *play) flush(whole bool) {
	pl.st.now = pl.st.now.Add(time.Millisecond)
	if pl.patience > 0 {
		pl.pass()
	}
	posted := pl.st.posted
	pl.st.posted = nil
	for _, f := range posted {
		f()
	}
	for _, ln := range pl.lanes {
		n := 1 << 20
		if !whole {
			n = pl.size()
		}
		ln.take(n)
	}
	for _, p := range pl.players {
		pl.clientTurn(p, whole)
	}
}

// pass lets time go by for those who wait until they may listen again.
func (pl *play) pass() {
	if pl.r.IntN(4) == 0 {
		pl.st.now = pl.st.now.Add(time.Duration(pl.r.IntN(60)) * time.Millisecond)
	}
	for _, p := range pl.players {
		s := p.s
		if s.apart == nil || s.apart.again == nil || p.left {
			continue
		}
		for _, t := range []*loop.Timer{&s.apart.again.limit, &s.apart.again.retry} {
			if a, armed := pl.st.timers[t]; armed && !a.at.After(pl.st.now) {
				delete(pl.st.timers, t)
				if a.f(); s.apart == nil || s.apart.again == nil {
					break
				}
			}
		}
	}
}

// clientTurn hands output to a client, at its pace, and has its session looked at
// again if it asked for that.
func (pl *play) clientTurn(p *player, whole bool) {
	if p.left {
		return
	}
	d := p.door
	n := len(d.out)
	if !whole && pl.r.IntN(4) == 0 {
		n = pl.r.IntN(n + 1)
	}
	d.sent = append(d.sent, d.out[:n]...)
	d.out = d.out[n:]
	was := d.blocked
	d.blocked = len(d.out) > 0
	p.read()
	switch {
	case d.closing && !d.blocked:
		pl.leave(p, nil)
		return
	case was && !d.blocked && !d.closing:
		p.s.Drained(nil)
	}
	if d.again && !d.closing {
		d.again = false
		p.s.Data(nil, nil)
	}
}

// vanish has a client go: by and by, or at once.
func (pl *play) vanish(p *player) {
	switch {
	case p.left || p.hungUp:
	case pl.r.IntN(2) == 0:
		p.fled = true
		pl.leave(p, errors.New("reset by the client"))
	case !p.door.paused && !p.door.closing:
		p.hungUp = true
		p.s.EOF(nil)
	}
}

func (pl *play) leave(p *player, cause error) {
	if !p.left {
		p.left = true
		p.s.Closed(nil, cause)
	}
}

// Clients pipeline calls of all kinds, in pieces of any size, change their mind,
// and vanish at any byte; a node answers when it likes, says things unasked, hangs
// up at any byte, and in a third of all plays lies. Whatever happens, nobody reads
// another's data, nobody gets a connection with another's state on it, and
// nothing is left of who has gone. Where the node does what it should, each client
// reads exactly what it is owed.
func TestDataReachesOnlyItsOwner(t *testing.T) {
	total, seed := int64(*interleavings), *interleavingSeed
	if testing.Short() {
		total /= 10
	}
	if seed != 0 {
		pl := newPlay(t)
		pl.trace = t.Logf
		if fault := pl.run(seed); fault != "" {
			t.Fatal(fault)
		}
		return
	}
	seed = rand.Uint64() >> 16
	t.Logf("%d interleavings from seed %d on", total, seed)
	var next, done atomic.Int64
	var failed atomic.Bool
	var all sync.WaitGroup
	ended := make(chan struct{})
	for range runtime.GOMAXPROCS(0) {
		pl := newPlay(t)
		all.Go(func() {
			for n := next.Add(1); n <= total && !failed.Load(); n = next.Add(1) {
				if fault := pl.run(seed + uint64(n)); fault != "" {
					failed.Store(true)
					t.Errorf("-interleavings.seed=%d: %s", seed+uint64(n), fault)
				}
				done.Add(1)
			}
		})
	}
	go func() { all.Wait(); close(ended) }()
	report := time.NewTicker(10 * time.Second)
	defer report.Stop()
	for {
		select {
		case <-report.C:
			t.Logf("%d of %d interleavings", done.Load(), total)
		case <-ended:
			return
		}
	}
}
