package backend

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

// Who is held up by a node that takes nothing is told when that node is no longer one
// of the deployment.
func TestANodeThatIsGoneHoldsNobodyUp(t *testing.T) {
	eased := 0
	p := &Pool{b: &Backend{}, lines: make(map[Key]*line), Eased: func() { eased++ }}
	for _, congested := range []bool{false, true} {
		ln := &line{pool: p}
		ln.Pipeline = *NewPipeline(2, time.Now, &p.Stats)
		ln.state, ln.congested = ready, congested
		ln.abandon()
		if ln.Congested() || (eased == 1) != congested {
			t.Errorf("congested %v: told %d times, and congested %v", congested, eased, ln.Congested())
		}
	}
}

// A read that has waited for a replica before is given up when its own time is over,
// whoever began to wait in between.
func TestEachReadThatWaitsHasItsOwnTime(t *testing.T) {
	group, err := loop.Start(loop.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	l := group.Loops()[0]
	failed := make(chan uint64, 2)
	l.Post(func() {
		r := &Reads{pool: &Pool{b: &Backend{}, l: l}, policy: ReadReplica}
		now := l.Now()
		for tag, wait := range []time.Duration{time.Hour, 20 * time.Millisecond} {
			if !r.park(&reading{r: r, Read: Read{To: givenUp(failed), Tag: uint64(tag)}, until: now.Add(wait).UnixNano()}) {
				t.Error("it may not wait")
			}
		}
	})
	select {
	case tag := <-failed:
		if tag != 1 {
			t.Errorf("call %d was given up", tag)
		}
	case <-time.After(20 * time.Second):
		t.Error("no call was given up")
	}
}

// A node that is doubted again and again keeps nobody waiting for another one.
func TestTheEndOfADoubtIsNotPutOffByTheNext(t *testing.T) {
	group, err := loop.Start(loop.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	l := group.Loops()[0]
	looked := make(chan bool, 1)
	var again, mark loop.Timer
	l.Post(func() {
		b := &Backend{following: following{control: &control{}}}
		r := &Reads{pool: &Pool{b: b, l: l}, policy: ReadReplica, doubts: make(map[Endpoint]int64)}
		one := Endpoint{"tcp", "one"}
		r.doubt(one)
		l.Arm(&again, doubtFor/2, func() { r.doubt(Endpoint{"tcp", "another"}) })
		l.Arm(&mark, doubtFor*7/5, func() { looked <- r.doubts[one] == 0 })
	})
	select {
	case done := <-looked:
		if !done {
			t.Error("the doubt of the first node is over, and who waits for it has not been looked at")
		}
	case <-time.After(20 * time.Second):
		t.Error("no time passes")
	}
}

// Whoever's login fails has not made the node one that is away.
func TestALoginThatFailsDoesNotMakeANodeAway(t *testing.T) {
	p := &Pool{lines: map[Key]*line{{As: 5}: {outage: outage{spent: true}}}}
	if !p.away(Endpoint{}) {
		t.Error("a node that nobody reaches is not away")
	}
	p.lines[Key{As: 5}].Pipeline.why = NoLogin
	if p.away(Endpoint{}) {
		t.Error("a node that refuses one login is away for all")
	}
}

// Whether any connection is congested is looked at once in a turn, and a turn later
// at the latest.
func TestCongestionIsNoticedInTheNextTurn(t *testing.T) {
	group, err := loop.Start(loop.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	l := group.Loops()[0]
	seen := make(chan bool, 3)
	ln := &line{}
	p := &Pool{b: &Backend{}, l: l, lines: map[Key]*line{{}: ln}}
	var later loop.Timer
	l.Post(func() {
		seen <- p.congested()
		ln.congested = true
		l.Arm(&later, 10*time.Millisecond, func() {
			seen <- p.congested()
			ln.CaughtUp()
			seen <- p.congested()
		})
	})
	for i, want := range []bool{false, true, false} {
		select {
		case got := <-seen:
			if got != want {
				t.Errorf("look %d: congested %v", i, got)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("nobody looks")
		}
	}
}

// What waits for a node is bounded by its bytes, too.
func TestWhatWaitsForANodeIsBoundedByItsBytes(t *testing.T) {
	group, err := loop.Start(loop.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	l := group.Loops()[0]
	const piece = 1 << 20
	key := make([]byte, piece) // every call's: they need not be held for this
	taken := make(chan [2]int, 1)
	var full uint64
	l.Post(func() {
		b := &Backend{opts: Options{Routing: Routing{Wait: time.Hour}}, following: following{control: &control{}}}
		p := &Pool{b: b, l: l}
		reads, router := &Reads{pool: p, policy: ReadReplica}, &Router{pool: p}
		of := [2]int{}
		for range 2 * maxParkedBytes / piece {
			f := &reading{r: reads, Read: Read{To: make(givenUp, 1)}, until: l.Now().Add(time.Hour).UnixNano()}
			f.keep([][]byte{key[:10]})
			if f.size != 10 {
				t.Errorf("%d bytes are counted of 10", f.size)
			}
			if f.size = piece; reads.park(f) {
				of[0]++
			}
			g := router.flight(make(givenUp, 1), 0, 0, Key{}, 0)
			if g.all = key; router.park(g) {
				of[1]++
			}
		}
		full = p.Stats.Full
		reads.close()
		router.close()
		if reads.heavy != 0 || router.heavy != 0 {
			t.Errorf("%d and %d bytes are left of nothing", reads.heavy, router.heavy)
		}
		taken <- of
	})
	select {
	case of := <-taken:
		for _, n := range of {
			if n < maxParkedBytes/piece-1 || n > maxParkedBytes/piece+1 {
				t.Errorf("%d calls of 1 MiB wait", n)
			}
		}
		if full == 0 {
			t.Error("nobody counts those who were refused")
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing is answered")
	}
}

// givenUp is a Caller that says which of its calls have failed.
type givenUp chan uint64

func (givenUp) Reply(uint64, int, []byte, bool) {}
func (g givenUp) Fail(tag uint64, _ Failure)    { g <- tag }
func (givenUp) Detour(int)                      {}
