package loop

import (
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Handler is the protocol on one connection. All methods run on the loop's
// goroutine and must not block. The Conn's methods may be called from inside any
// of them, on any Conn of the same loop.
type Handler interface {
	// Data hands over decrypted bytes, valid until it returns. p is nil when
	// the loop calls because of [Conn.Again].
	Data(c *Conn, p []byte)
	// EOF says that the peer ended its sending half (FIN or close_notify).
	// Output may still be sent. Called at most once; no bytes follow, but a Data
	// asked for with Again may.
	EOF(c *Conn)
	// Drained is called when output that had been left unsent by a short write
	// has all been handed to the kernel.
	Drained(c *Conn)
	// Closed is called exactly once, last of all, with the cause: nil after
	// Close or CloseAfterFlush by the handler, otherwise the I/O error,
	// ErrPanic, ErrShutdown or ErrWriteTimeout. It is called at the edge of a
	// turn, never from inside another Handler method of the same Conn.
	Closed(c *Conn, cause error)
}

// Causes given to Handler.Closed besides I/O errors.
var (
	// ErrPanic: a panic during the turn may have left the connection's state half changed.
	ErrPanic = errors.New("loop: connection dropped after a panic")
	// ErrShutdown: the loops were ended.
	ErrShutdown = errors.New("loop: shut down")
	// ErrWriteTimeout: unsent output made no progress for Options.WriteTimeout.
	ErrWriteTimeout = errors.New("loop: peer does not read its output")
)

const (
	readSize   = 64 << 10          // one read per connection and turn
	recordSize = 16<<10 + 2048 + 5 // the largest TLS record on the wire
	batch      = 512               // events taken per turn
	window     = 100 * time.Millisecond
	// yieldAfter bounds how long a loop that always finds work keeps its
	// processor from other goroutines: handshakes, accepts, slow proofs.
	yieldAfter = time.Millisecond
	// holdFrom is how many connections have to come in a window for a loop to keep its processor, if others are left, for the
	// millisecond in which the next event is likely. Each time it gives it back, a handshake takes it, the loop has to be
	// given another, and threads are woken for both: a fifth of what a connection costs. Without handshakes
	// nobody takes it, and a wait without a time-out is the cheaper one.
	holdFrom = 5
)

type slot struct {
	conn *Conn
	gen  uint32
}

// Loop is one event loop. Its methods belong to its own goroutine except those
// that say otherwise.
type Loop struct {
	id     int
	group  *Group
	log    *zap.Logger
	poller poller

	now     time.Time // read once a turn
	yielded time.Time // when other goroutines last had their chance
	turnNo  uint32
	wheel   wheel
	buffers Buffers

	slots     []slot
	freeSlots []uint32
	current   *Conn // whose handler runs: the one at fault if it panics

	ready   connQueue // bytes in user space, or Again: not to wait for the poller
	nodes   connQueue // output to flush, fragile connections first
	clients connQueue
	closing connQueue

	raw       []byte // what one read brings
	plain     []byte // what it decrypts to
	sealed    []byte // one flush's records
	sealing   *Conn  // whose records go to sealed
	sealedApp int    // application bytes in it

	mu      sync.Mutex
	posted  []func()
	ended   bool
	queued  atomic.Int32 // posted and not yet started
	asleep  atomic.Bool  // the loop blocks, or is about to: a poster must wake it
	running []func()     // taken from posted, being run
	ran     int

	stopping bool
	holds    bool         // see holdFrom
	fresh    int          // connections adopted since winStart
	panics   [3]time.Time // the last ones, oldest first

	conns       atomic.Int64
	lingering   atomic.Int64
	held        int64 // unsent chunks and kept input
	bufferBytes atomic.Int64

	// Busy's material, in ns since start.
	start     time.Time
	winStart  atomic.Int64
	winWaited atomic.Int64
	blockedAt atomic.Int64 // 0: running
	lastBusy  atomic.Uint64
}

func newLoop(g *Group, id int) (*Loop, error) {
	l := &Loop{
		id: id, group: g, log: g.opts.Logger,
		raw:   make([]byte, readSize),
		plain: make([]byte, readSize+recordSize),
		start: time.Now(),
	}
	l.now, l.yielded = l.start, l.start
	l.wheel.init(l.start)
	if err := l.poller.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// ID is dense from 0 over the group. Safe from any goroutine.
func (l *Loop) ID() int { return l.id }

// Now is the time of this turn, read once after the poll.
func (l *Loop) Now() time.Time { return l.now }

// Buffers is the loop's free list.
func (l *Loop) Buffers() *Buffers { return &l.buffers }

// Conns is how many adopted connections have not been Closed. Safe from any goroutine.
func (l *Loop) Conns() int { return int(l.conns.Load()) }

// Lingering is how many connections have been Closed whose socket is still open
// so that the last reply arrives. Safe from any goroutine.
func (l *Loop) Lingering() int { return int(l.lingering.Load()) }

// BufferBytes is the memory in unsent output and kept input, as of the last turn.
// The free list is not in it: it is bounded, nobody holds it, and closing
// connections does not shrink it. Safe from any goroutine.
func (l *Loop) BufferBytes() int64 { return l.bufferBytes.Load() }

// Busy is the share, 0 to 1, of the last 100 ms or so not spent waiting. Safe
// from any goroutine; it doesn't wake the loop.
func (l *Loop) Busy() float64 {
	now := int64(time.Since(l.start))
	span, waited := now-l.winStart.Load(), l.winWaited.Load()
	if at := l.blockedAt.Load(); at != 0 {
		waited += now - at
	}
	if span < int64(window/4) {
		return math.Float64frombits(l.lastBusy.Load())
	}
	return share(span, waited)
}

func share(span, waited int64) float64 {
	return min(1, max(0, 1-float64(waited)/float64(span)))
}

// Post has f run on the loop in a later turn, in the order posted. It reports
// false after the loop ended; if it reports true f does run. Safe from any goroutine.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, f)
	l.queued.Add(1)
	l.mu.Unlock()
	// The loop sets asleep before it looks at queued a last time, so one of
	// the two sees the other; only the first poster pays for the wake-up.
	if l.asleep.Load() && l.asleep.CompareAndSwap(true, false) {
		l.poller.wake()
	}
	return true
}

// Arm has f run on the loop once d has passed since Now, never earlier and about
// 10 ms later at most when the loop is idle. An armed timer is re-armed, without allocation.
func (l *Loop) Arm(t *Timer, d time.Duration, f func()) { l.wheel.arm(t, l.now, d, f) }

func (l *Loop) run() {
	for !l.stopping {
		l.turn()
	}
	l.end()
}

// turn is one pass. A panic in it ends the pass, not the loop: whatever it had
// not come to is found by the next one, because every list is taken from one by
// one and readiness is level-triggered.
func (l *Loop) turn() {
	defer l.recovered()
	n := l.wait()
	l.turnNo++
	fresh := l.ready.len()
	l.runPosted()
	l.runTimers()
	for range fresh {
		l.feed(l.ready.pop())
	}
	for i := range n {
		l.event(l.poller.event(i))
	}
	l.edge()
}

// edge ends a turn: one write per touched connection, nodes first because their
// answers take longest, then the closed ones are let go. Closed handlers may
// append to others, hence the repetition; it ends because each Conn closes once.
func (l *Loop) edge() {
	for {
		if c := l.nodes.pop(); c != nil {
			l.flush(c)
		} else if c := l.clients.pop(); c != nil {
			l.flush(c)
		} else if c := l.closing.pop(); c != nil {
			l.finish(c)
		} else {
			break
		}
	}
	if l.held != l.bufferBytes.Load() {
		l.bufferBytes.Store(l.held)
	}
}

func (l *Loop) hasWork() bool {
	return l.ready.len()|l.closing.len()|l.nodes.len()|l.clients.len() != 0 || l.queued.Load() != 0
}

// wait polls without the scheduler first, which is all a busy loop ever does,
// and blocks only if there is nothing at all to do.
func (l *Loop) wait() int {
	n := l.poller.poll()
	if n > 0 || l.hasWork() {
		l.now = time.Now()
		if l.now.Sub(l.yielded) > yieldAfter {
			runtime.Gosched()
			l.yielded = l.now
		}
	} else {
		l.asleep.Store(true)
		before := time.Now()
		timeout := l.wheel.timeout(before)
		if l.queued.Load() == 0 && timeout != 0 {
			l.blockedAt.Store(int64(before.Sub(l.start)))
			if l.holds {
				n = l.poller.hold(timeout)
			}
			if n == 0 && l.queued.Load() == 0 {
				n = l.poller.block(timeout)
			}
			l.now = time.Now()
			l.winWaited.Add(int64(l.now.Sub(before)))
			l.blockedAt.Store(0)
			l.yielded = l.now
		} else {
			l.now = before
		}
		l.asleep.Store(false)
	}
	if at := int64(l.now.Sub(l.start)); at-l.winStart.Load() >= int64(window) {
		l.closeWindow(at)
	}
	return n
}

func (l *Loop) closeWindow(at int64) {
	busy := share(at-l.winStart.Load(), l.winWaited.Load())
	l.lastBusy.Store(math.Float64bits(busy))
	l.winWaited.Store(0)
	l.winStart.Store(at)
	l.holds = l.fresh >= holdFrom && l.group.spares()
	l.fresh = 0
	if busy > crowded {
		l.group.crowded()
	}
}

func (l *Loop) runPosted() {
	if l.ran == len(l.running) {
		if l.queued.Load() == 0 {
			return
		}
		clear(l.running)
		if cap(l.running) > 4096 {
			l.running = nil
		}
		l.mu.Lock()
		l.running, l.posted = l.posted, l.running[:0]
		l.mu.Unlock()
		l.ran = 0
	}
	for l.ran < len(l.running) {
		f := l.running[l.ran]
		l.running[l.ran] = nil
		l.ran++
		l.queued.Add(-1)
		f()
	}
}

func (l *Loop) runTimers() {
	l.wheel.advance(l.now)
	for t := l.wheel.takeDue(); t != nil; t = l.wheel.takeDue() {
		t.f()
	}
}

// event acts on one readiness report. Reports for a slot whose generation has
// moved on are of a connection already gone: descriptors are reused at once.
func (l *Loop) event(index, gen uint32, ready mask) {
	if uint64(index) >= uint64(len(l.slots)) || l.slots[index].gen != gen || l.slots[index].conn == nil {
		return
	}
	c := l.slots[index].conn
	l.current = c
	if ready&mOut != 0 && c.blocked {
		l.writable(c)
	}
	if ready&(mIn|mHup) != 0 {
		l.readable(c, ready)
	}
	l.current = nil
}

// end closes what is left and runs what was posted before the end; no Post
// succeeds afterwards.
func (l *Loop) end() {
	for _, s := range l.slots {
		if s.conn == nil {
			continue
		}
		if s.conn.state == lingering {
			l.drop(s.conn)
			continue
		}
		l.fail(s.conn, ErrShutdown)
	}
	l.lastTurn()
	l.mu.Lock()
	l.ended = true // what Closed and posted functions post from now on is refused, or this might never end
	l.mu.Unlock()
	for l.hasWork() {
		l.lastTurn()
	}
	l.poller.close()
}

func (l *Loop) lastTurn() {
	defer l.recovered()
	l.runPosted()
	for l.ready.pop() != nil {
	}
	l.edge()
}
