package loop

import (
	"runtime"
	"testing"
	"time"
)

// spin keeps a loop busy with turns that each do a little, until released.
func spin(t *testing.T, l *Loop) (release func()) {
	t.Helper()
	stop := false
	h := &funcs{data: func(c *Conn, p []byte) {
		if !stop {
			c.Again()
		}
	}}
	_, c := plain(t, l, "tcp", h)
	on(t, l, c.Again)
	return func() { on(t, l, func() { stop = true }) }
}

// reach polls what is safe to ask from any goroutine; the loop is not woken by it.
func reach(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-limit:
			t.Fatalf("never came true: %s", what)
		case <-again.C:
		}
	}
}

func TestBusyFollowsTheLoad(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	reach(t, "idle at first", func() bool { return l.Busy() < 0.2 })
	release := spin(t, l)
	reach(t, "busy under load", func() bool { return l.Busy() > 0.9 })
	release()
	reach(t, "idle again", func() bool { return l.Busy() < 0.1 })
}

func TestIdleLoopSleeps(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	_, c := plain(t, l, "tcp", &funcs{data: echo})
	var timer Timer
	var before, after uint32
	on(t, l, func() { l.Arm(&timer, time.Hour, func() {}); before = l.turnNo })
	receive(t, time.After(100*time.Millisecond), "some quiet time")
	on(t, l, func() { after = l.turnNo })
	if after-before > 3 {
		t.Errorf("%d turns while idle", after-before)
	}
	on(t, l, func() {
		c.SetOut(c.Out()) // a look at the output that appends nothing
		if c.out != nil || c.held != 0 {
			t.Error("an idle connection keeps a buffer")
		}
	})
}

func TestCrowdedLoopsGetCompanyUpToTheLimit(t *testing.T) {
	old := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(old)
	started := make(chan int, 8)
	g, err := Start(Options{Start: func(l *Loop) { started <- l.ID() }})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if id := receive(t, started, "the first loop"); id != 0 || len(g.Loops()) != 1 {
		t.Fatalf("started with loop %d of %d", id, len(g.Loops()))
	}
	spin(t, g.Loops()[0])
	if id := receive(t, started, "a second loop"); id != 1 {
		t.Fatalf("loop %d was added", id)
	}
	if l := g.Pick(); l.ID() != 1 {
		t.Errorf("a new connection goes to loop %d", l.ID())
	}
	spin(t, g.Loops()[1])
	receive(t, time.After(6*window), "time in which a third would be added")
	if n := len(g.Loops()); n != 2 {
		t.Errorf("%d loops, want GOMAXPROCS-1", n)
	}
}

func TestBusyLoopLeavesOthersTheProcessor(t *testing.T) {
	old := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(old)
	l := startGroup(t, Options{}).Pick()
	release := spin(t, l)
	defer release()
	// Each Gosched queues this goroutine behind the loop. Without the loop
	// stepping aside it comes back after the scheduler's 10 ms slice.
	const rounds = 50
	best := time.Hour
	for range 5 {
		start := time.Now()
		for range rounds {
			runtime.Gosched()
		}
		best = min(best, time.Since(start))
	}
	if best > rounds*5*time.Millisecond {
		t.Errorf("%v for each turn of another goroutine", best/rounds)
	}
}

func TestBuffersKeepTheirPromises(t *testing.T) {
	var b Buffers
	for _, n := range []int{0, 1, 511, 512, 513, 4096, 65535, 65536, 65537, 1 << 20} {
		if p := b.Get(n); len(p) != 0 || cap(p) < n {
			t.Errorf("Get(%d): length %d, capacity %d", n, len(p), cap(p))
		}
	}
	for n := 1; n < 200_000; n += 97 { // odd capacities, as append makes them
		b.Put(make([]byte, n))
		if p := b.Get(n); cap(p) < n {
			t.Fatalf("Get(%d) after Put: capacity %d", n, cap(p))
		}
	}
	for range 1000 {
		b.Put(make([]byte, 64<<10))
	}
	if b.bytes > freeLimit {
		t.Errorf("%d bytes hoarded", b.bytes)
	}
	p := b.Get(1000)
	b.Put(append(p, "used"...))
	if q := b.Get(1000); len(q) != 0 || &q[:1][0] != &p[:1][0] {
		t.Error("the buffer was not reused")
	}
}
