package backend

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/resp"
)

// wire is a link without a socket: what was appended counts as attempted when flush says so.
type wire struct {
	out       []byte
	appended  uint64
	attempted uint64
	closed    bool
}

func (w *wire) Out() []byte { return w.out }
func (w *wire) SetOut(b []byte) {
	w.appended += uint64(len(b) - len(w.out))
	w.out = b
}
func (w *wire) Appended() uint64  { return w.appended }
func (w *wire) Attempted() uint64 { return w.attempted }
func (w *wire) Close()            { w.closed = true }
func (w *wire) flush()            { w.attempted = w.appended }

// client remembers what each of its calls got.
type client struct {
	replies map[uint64]string
	whole   map[uint64]bool
	failed  map[uint64]Failure
}

func newClient() *client {
	return &client{replies: map[uint64]string{}, whole: map[uint64]bool{}, failed: map[uint64]Failure{}}
}

// Reply cuts what it is given into replies again.
func (c *client) Reply(tag uint64, n int, p []byte, last bool) {
	for ; n > 1; n-- {
		var f resp.Framer
		f.Reset(3)
		before := len(c.replies[tag])
		m, done, err := f.Next(append([]byte(c.replies[tag]), p...))
		if !last || !done || err != nil {
			panic("a reply that should be whole is not")
		}
		c.replies[tag] += string(p[:m-before])
		c.whole[tag] = true
		p = p[m-before:]
		tag++
	}
	c.replies[tag] += string(p)
	c.whole[tag] = last
}

func (c *client) Fail(tag uint64, f Failure) { c.failed[tag] = f }

func newPipeline(proto int) (*Pipeline, *wire, *Stats) {
	st := &Stats{}
	p := &Pipeline{proto: proto, stats: st, state: dialling, clock: func() time.Time { return time.Unix(1, 0) }}
	w := &wire{}
	p.Attach(w)
	return p, w, st
}

func args(words ...string) [][]byte {
	out := make([][]byte, len(words))
	for i, w := range words {
		out[i] = []byte(w)
	}
	return out
}

func TestRepliesReachTheirWaitersInOrder(t *testing.T) {
	p, w, _ := newPipeline(2)
	a, b := newClient(), newClient()
	p.Send(a, 7, 1e9, args("GET", "a"))
	p.Send(b, 1, 1e9, args("GET", "b"))
	p.Send(a, 8, 1e9, args("GET", "c"))
	if got, want := string(w.out), "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n$1\r\nc\r\n"; got != want {
		t.Fatalf("sent %q, want %q", got, want)
	}
	w.flush()
	for _, piece := range []string{"$1\r", "\nx\r\n:5\r\n*2\r\n$1\r\n", "y\r\n:1\r\n"} {
		if err := p.Receive([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if a.replies[7] != "$1\r\nx\r\n" || b.replies[1] != ":5\r\n" || a.replies[8] != "*2\r\n$1\r\ny\r\n:1\r\n" {
		t.Fatalf("a got %v, b got %v", a.replies, b.replies)
	}
	if p.Outstanding() != 0 {
		t.Fatalf("%d outstanding", p.Outstanding())
	}
}

func TestAStreamThatCannotBeTrustedIsDead(t *testing.T) {
	for name, c := range map[string]struct {
		proto int
		calls int
		bytes string
	}{
		"a reply nobody waits for":      {2, 0, "+OK\r\n"},
		"one reply too many":            {2, 1, "+OK\r\n+OK\r\n"},
		"no RESP":                       {2, 1, "hello\r\n"},
		"a RESP3 type on RESP2":         {2, 1, "_\r\n"},
		"a push on a shared connection": {3, 1, ">2\r\n+invalidate\r\n*0\r\n"},
		"a push with nobody waiting":    {3, 0, ">1\r\n+x\r\n"},
		"a bulk without its end":        {2, 1, "$1\r\nabc"},
		"an impossible length":          {2, 1, "$99999999999999999999\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, _ := newPipeline(c.proto)
			cl := newClient()
			for i := range c.calls {
				p.Send(cl, uint64(i), 1e9, args("PING"))
			}
			if err := p.Receive([]byte(c.bytes)); err == nil {
				t.Fatal("the stream was believed")
			}
		})
	}
}

// A stray reply that comes in the turn in which a call is made, but before the
// turn's end wrote it, would be taken for that call's.
func TestAReplyBeforeItsCallHasLeftIsASurplusOne(t *testing.T) {
	for _, sent := range []int{0, 1} {
		p, w, _ := newPipeline(2)
		a, b := newClient(), newClient()
		for i := range sent {
			p.Send(a, uint64(i), 1e9, args("GET", "a"))
		}
		w.flush()
		p.Send(b, 0, 2e9, args("GET", "b"))
		if err := p.Receive([]byte(strings.Repeat("$1\r\nx\r\n", sent+1))); err != errSurplusReply {
			t.Errorf("after %d calls sent: %v", sent, err)
		}
		if a.replies[0] != strings.Repeat("$1\r\nx\r\n", sent) || len(b.replies) != 0 {
			t.Errorf("after %d calls sent: a got %v, b %v", sent, a.replies, b.replies)
		}
		if p.Drop(); b.failed[0] != Unavailable {
			t.Errorf("b's call failed with %v", b.failed[0])
		}
	}
}

func TestAfterALossUnsentCallsAreUnavailableAndSentOnesLost(t *testing.T) {
	p, w, st := newPipeline(2)
	cl := newClient()
	p.Send(cl, 0, 1e9, args("INCR", "a"))
	p.Send(cl, 1, 1e9, args("INCR", "b"))
	w.flush()
	p.Send(cl, 2, 2e9, args("INCR", "c")) // in a later turn
	if err := p.Receive([]byte(":1\r\n$5\r\nab")); err != nil {
		t.Fatal(err)
	}
	p.Drop()
	if cl.replies[0] != ":1\r\n" || cl.failed[0] != 0 {
		t.Fatalf("call 0: %q %v", cl.replies[0], cl.failed[0])
	}
	if cl.failed[1] != Lost || cl.failed[2] != Unavailable {
		t.Fatalf("call 1 failed with %v, call 2 with %v", cl.failed[1], cl.failed[2])
	}
	if f := p.Send(cl, 3, 1e9, args("PING")); f != Unavailable {
		t.Fatalf("a call while down: %v", f)
	}
	if st.Failed != 3 {
		t.Fatalf("%d failures counted", st.Failed)
	}
}

func TestCallsQueueBoundedWhileDialling(t *testing.T) {
	st := &Stats{}
	p := &Pipeline{proto: 2, stats: st, state: dialling, clock: time.Now}
	cl := newClient()
	big := strings.Repeat("x", 1<<20)
	var refused int
	for i := range 20 {
		if p.Send(cl, uint64(i), 1e9, args("SET", "k", big)) == Overloaded {
			refused++
		}
	}
	if refused == 0 || len(p.early) > maxEarlyBytes+2<<20 {
		t.Fatalf("%d refused, %d bytes queued", refused, len(p.early))
	}
	w := &wire{}
	p.Attach(w)
	if bytes.Count(w.out, []byte("*3\r\n")) != 20-refused {
		t.Fatal("what queued was not sent")
	}
	w.flush()
	if err := p.Receive([]byte("+OK\r\n")); err != nil || cl.replies[0] != "+OK\r\n" {
		t.Fatal("the first in the queue did not get the first reply")
	}
}

func TestCallsQueuedBeforeAFailedDialWereNotSent(t *testing.T) {
	p := &Pipeline{proto: 2, stats: &Stats{}, state: dialling, clock: time.Now}
	cl := newClient()
	p.Send(cl, 0, 1e9, args("PING"))
	p.Drop()
	if cl.failed[0] != Unavailable {
		t.Fatalf("failed with %v", cl.failed[0])
	}
}

// Whatever way a node's bytes are cut and whenever it dies, a client sees its
// own replies or a failure, never another's.
func TestNoInterleavingShiftsAReply(t *testing.T) {
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, w, _ := newPipeline(2 + r.IntN(2))
		clients := []*client{newClient(), newClient(), newClient()}
		want := map[int]map[uint64]string{0: {}, 1: {}, 2: {}}
		var stream, unasked []byte // what the node says; what it will once it has the calls
		next := [3]uint64{}
		now := int64(1e9)
		owed := 0
		for range 1 + r.IntN(30) {
			if r.IntN(3) > 0 || len(stream) == 0 {
				who := r.IntN(3)
				tag := next[who]
				next[who]++
				reply := fmt.Sprintf("$%d\r\n%d-%06d\r\n", 8, who, tag)
				if r.IntN(4) == 0 {
					reply = "*2\r\n" + reply + reply
				}
				if p.Send(clients[who], tag, now, args("GET", "k")) == 0 {
					want[who][tag] = reply
					unasked = append(unasked, reply...)
					owed++
				}
				if r.IntN(2) == 0 {
					w.flush()
					stream, unasked = append(stream, unasked...), nil
					now++ // a turn ends with its flush
				}
				continue
			}
			n := 1 + r.IntN(len(stream))
			if err := p.Receive(stream[:n]); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			stream = stream[n:]
		}
		if r.IntN(2) == 0 {
			w.flush()
			if err := p.Receive(append(stream, unasked...)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if p.Outstanding() != 0 {
				t.Fatalf("seed %d: %d outstanding of %d", seed, p.Outstanding(), owed)
			}
		} else {
			p.Drop()
		}
		for who, c := range clients {
			for tag, reply := range want[who] {
				got := c.replies[tag]
				switch {
				case c.whole[tag] && got != reply, !c.whole[tag] && !strings.HasPrefix(reply, got):
					t.Fatalf("seed %d: client %d call %d got %q, want %q", seed, who, tag, got, reply)
				case !c.whole[tag] && c.failed[tag] == 0:
					t.Fatalf("seed %d: client %d call %d has neither reply nor failure", seed, who, tag)
				case c.whole[tag] && c.failed[tag] != 0:
					t.Fatalf("seed %d: client %d call %d has both", seed, who, tag)
				}
			}
			if len(c.replies) > len(want[who]) {
				t.Fatalf("seed %d: client %d got replies to calls it never made", seed, who)
			}
		}
	}
}

// faulty is a waiter whose own code fails.
type faulty struct{ failed Failure }

func (f *faulty) Reply(uint64, int, []byte, bool) { panic("a fault in the waiter") }
func (f *faulty) Fail(_ uint64, why Failure)      { f.failed = why }

func TestAPanickingWaiterIsToldThatItsStateIsInDoubt(t *testing.T) {
	p, w, _ := newPipeline(2)
	bad, good := &faulty{}, newClient()
	p.Send(bad, 0, 1e9, args("PING"))
	p.Send(good, 0, 1e9, args("PING"))
	w.flush()
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("the panic did not reach the turn's edge")
			}
		}()
		p.Receive([]byte("+PONG\r\n+PONG\r\n"))
	}()
	p.Drop() // the loop closes the connection
	if bad.failed != Broken {
		t.Errorf("the faulty waiter failed with %d", bad.failed)
	}
	if good.failed[0] != Lost || good.replies[0] != "" {
		t.Errorf("the next one got %q and failure %d", good.replies[0], good.failed[0])
	}
}

// touchy fails in its own code at each reply, and if so told at each failure, too.
type touchy struct {
	failed  []string
	failing bool
}

func (c *touchy) Reply(uint64, int, []byte, bool) { panic("a fault in the waiter") }
func (c *touchy) Detour(int)                      {}
func (c *touchy) Fail(tag uint64, why Failure) {
	c.failed = append(c.failed, fmt.Sprint(tag, " ", why))
	if c.failing {
		panic("another one")
	}
}

// caught runs f up to a panic that it must end in.
func caught(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Fatal("there was no panic")
		}
	}()
	f()
}

// Who waits may be another call's by the time it would hear of a second failure.
func TestACallFailsOnceWhateverPieceOfItsReplyBrokeItsWaiter(t *testing.T) {
	for what, c := range map[string]struct{ said, want string }{
		"a piece":            {"$5\r\nab", fmt.Sprintf("[4 %d 5 %d 6 %d]", Broken, Lost, Lost)},
		"a whole one":        {"+A\r\n", fmt.Sprintf("[4 %d 5 %d 6 %d]", Broken, Lost, Lost)},
		"two, and a piece":   {"+A\r\n+B\r\n$5\r\nab", fmt.Sprintf("[4 %d 5 %d 6 %d]", Broken, Broken, Lost)},
		"all that were owed": {"+A\r\n+B\r\n+C\r\n", fmt.Sprintf("[4 %d 5 %d 6 %d]", Broken, Broken, Broken)},
	} {
		p, w, _ := newPipeline(2)
		bad, good := &touchy{}, newClient()
		for tag := range uint64(3) {
			p.Send(bad, 4+tag, 1e9, args("GET", "k"))
		}
		p.Send(good, 4, 1e9, args("GET", "k"))
		w.flush()
		caught(t, func() { p.Receive([]byte(c.said)) })
		p.Drop()
		if got := fmt.Sprint(bad.failed); got != c.want {
			t.Errorf("%s: it heard %s, want %s", what, got, c.want)
		}
		if good.failed[4] != Lost || p.Outstanding() != 0 {
			t.Errorf("%s: the next one heard %v, %d calls are left", what, good.failed, p.Outstanding())
		}
	}
}

// What stayed in the queue would be taken for what the next connection owes.
func TestAPanicOverAFailureKeepsItFromNobodyElse(t *testing.T) {
	p, w, _ := newPipeline(2)
	first, second, good := &touchy{failing: true}, &touchy{failing: true}, newClient()
	p.Send(first, 1, 1e9, args("GET", "k"))
	p.Send(second, 2, 1e9, args("GET", "k"))
	p.Send(good, 3, 1e9, args("GET", "k"))
	w.flush()
	caught(t, func() { p.Receive([]byte("$5\r\nab")) })
	caught(t, p.Drop)
	if len(first.failed) != 1 || len(second.failed) != 1 || good.failed[3] != Lost || p.Outstanding() != 0 {
		t.Fatalf("%v, %v and %v; %d calls are left", first.failed, second.failed, good.failed, p.Outstanding())
	}
	next := &wire{}
	p.Attach(next)
	p.Send(good, 4, 2e9, args("GET", "k"))
	next.flush()
	if err := p.Receive([]byte("+its own\r\n")); err != nil || good.replies[4] != "+its own\r\n" {
		t.Fatalf("over the next connection came %v, %v", good.replies, err)
	}
}
