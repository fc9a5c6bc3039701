package backend

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

// caller is a client of a Router.
type caller struct {
	*client
	detours int
}

func (c *caller) Detour(by int) { c.detours += by }

func (c *client) Push([]byte, bool) {}
func (c *client) Lost()             {}

// What waits in front of a connection of a session's own is bounded, too, by as
// much as the largest transaction takes.
func TestWhatWaitsForAnOwnConnectionIsBounded(t *testing.T) {
	st, c := &Stats{}, newClient()
	o := NewOwn(Key{Proto: 2}, func() time.Time { return time.Unix(1, 0) }, st, c)
	big := [][]byte{[]byte("SET"), []byte("k"), make([]byte, 1<<20)}
	taken := 0
	for o.Pipeline().Send(c, uint64(taken), 0, big) == 0 {
		if taken++; taken > 1000 {
			t.Fatal("a gigabyte waits for one connection")
		}
	}
	if taken < 65 {
		t.Errorf("only %d MiB were taken, less than a transaction may hold", taken)
	}
	if st.Full != 1 || st.Sent != uint64(taken) || o.Pipeline().Early() < taken<<20 {
		t.Errorf("of %d calls taken: %+v, %d bytes wait", taken, st, o.Pipeline().Early())
	}
	o.End()
	if len(c.failed) != taken || o.Pipeline().Early() != 0 {
		t.Errorf("%d of %d calls heard that they were not sent; %d bytes are kept", len(c.failed), taken, o.Pipeline().Early())
	}
}

// ASKING holds for the next call on its connection: where there is room for it
// and none for the call that it is for, neither may be sent.
func TestAskingIsSentWithItsCallOrNotAtAll(t *testing.T) {
	for _, free := range []int{0, 1, 2} {
		node, k := at("127.0.0.1:7001"), Key{Proto: 2}
		k.Node = node
		pool := &Pool{b: &Backend{}, lines: make(map[Key]*line), l: &loop.Loop{}}
		ln := &line{pool: pool, key: k}
		ln.Pipeline = *NewPipeline(2, func() time.Time { return time.Unix(1, 0) }, &pool.Stats)
		pool.lines[k] = ln
		pool.router = &Router{pool: pool, topo: &Topology{Shards: []Shard{{Primary: node}}}}
		others := newClient()
		for i := range maxEarlyCalls - free {
			if f := ln.Send(others, uint64(i), 0, [][]byte{[]byte("PING")}); f != 0 {
				t.Fatal(f)
			}
		}
		c := &caller{client: newClient()}
		f := &flight{r: pool.router, to: c, tag: 7, key: Key{Proto: 2}, node: node, ask: true, away: true}
		f.slot = -1
		f.keep([][]byte{[]byte("GET"), []byte("k")})
		pool.router.forward(f)
		link := &wire{}
		ln.Attach(link)
		if free < 2 {
			if c.failed[7] != Overloaded || ln.Outstanding() != maxEarlyCalls-free || pool.Stats.Full != 1 {
				t.Errorf("with room for %d: failure %v, %d calls wait, %+v", free, c.failed[7], ln.Outstanding(), pool.Stats)
			}
			continue
		}
		if want := "*1\r\n$6\r\nASKING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"; string(link.out[len(link.out)-len(want):]) != want {
			t.Errorf("with room for both the last bytes are %q", link.out[len(link.out)-len(want):])
		}
	}
}

// Calls that wait for a node outside the Router count with those inside.
func TestWhoWaitsForANodeIsBounded(t *testing.T) {
	pool := &Pool{b: &Backend{}, l: &loop.Loop{}}
	pool.b.control = newControl(&Options{}, func() *Login { return &Login{} })
	r := &Router{pool: pool}
	if r.Await() {
		t.Fatal("a call waits although none may")
	}
	pool.b.opts.Routing.Wait = time.Second
	r.parked = make([]*flight, maxParked-2)
	for range 2 {
		if !r.Await() {
			t.Fatal("there is room, and a call may not wait")
		}
	}
	if r.Await() || pool.Stats.Full != 1 {
		t.Errorf("one more waits than may: %+v", pool.Stats)
	}
	r.Awaited(true)
	if !r.Await() || pool.Stats.Waited != 3 || pool.Stats.GaveUp != 1 {
		t.Errorf("a place that is free is not given: %+v", pool.Stats)
	}
}
