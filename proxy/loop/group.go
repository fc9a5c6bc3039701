package loop

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	crowded = 0.8 // a loop busier than this is reported
	streak  = 3   // windows in a row with every loop crowded, before one is added
)

// Options configure a Group.
type Options struct {
	// Logger takes the operational log: panics, loops added. Nil: none.
	Logger *zap.Logger
	// Workers is the number of loops. 0: one, and more when every running one
	// is over 80 % busy, up to GOMAXPROCS-1 but at least one.
	Workers int
	// Start runs on each loop's goroutine before its first turn, to make state of that loop.
	Start func(l *Loop)
	// Fatal is called on the loop's goroutine at the third panic within a
	// minute; the process is expected to exit. Nil: the process ends with a panic.
	Fatal func(error)
	// WriteTimeout closes a connection whose unsent output makes no progress
	// for so long. 0: never.
	WriteTimeout time.Duration
}

// Group is the process's event loops. Its methods are safe for concurrent use.
type Group struct {
	opts  Options
	max   int
	loops atomic.Pointer[[]*Loop]
	turn  atomic.Uint32 // breaks ties in Pick

	kick chan struct{} // a loop was crowded for a window; nil: the number is fixed
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup // loops
	sup  sync.WaitGroup // supervisor
}

// Start runs the loops; Close ends them.
func Start(o Options) (*Group, error) {
	if o.Workers < 0 {
		return nil, errors.New("loop: negative number of workers")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	g := &Group{opts: o, max: o.Workers, stop: make(chan struct{})}
	first := o.Workers
	if o.Workers == 0 {
		first, g.max = 1, max(1, runtime.GOMAXPROCS(0)-1)
	}
	g.loops.Store(new([]*Loop))
	for range first {
		if err := g.add(); err != nil {
			for _, l := range g.Loops() {
				l.poller.close()
			}
			return nil, err
		}
	}
	if g.max > first {
		g.kick = make(chan struct{}, 1)
	}
	for _, l := range g.Loops() {
		g.launch(l)
	}
	if g.kick != nil {
		g.sup.Go(g.supervise)
	}
	return g, nil
}

// add makes a loop without running it.
func (g *Group) add() error {
	old := g.Loops()
	l, err := newLoop(g, len(old))
	if err != nil {
		return err
	}
	loops := append(old[:len(old):len(old)], l)
	g.loops.Store(&loops)
	return nil
}

func (g *Group) launch(l *Loop) {
	g.wg.Go(func() {
		if g.opts.Start != nil {
			g.opts.Start(l)
		}
		l.run()
	})
}

// Loops are the running loops by ID. The slice must not be changed.
func (g *Group) Loops() []*Loop { return *g.loops.Load() }

// spares reports whether all loops together leave a processor to other goroutines.
func (g *Group) spares() bool { return len(g.Loops()) < runtime.GOMAXPROCS(0) }

// Pick is the loop a new connection should go to: the one with the fewest,
// those on their way to it included.
func (g *Group) Pick() *Loop {
	loops := g.Loops()
	start := int(g.turn.Add(1))
	var best *Loop
	var least int64
	for i := range loops {
		l := loops[(start+i)%len(loops)]
		if n := l.conns.Load() + int64(l.queued.Load()); best == nil || n < least {
			best, least = l, n
		}
	}
	return best
}

// Close ends the loops: every connection gets Closed(ErrShutdown), unsent output
// is dropped. It waits for the goroutines, so it must not be called on a loop.
func (g *Group) Close() {
	g.once.Do(func() {
		close(g.stop)
		g.sup.Wait() // no loop is added after this
		for _, l := range g.Loops() {
			l.Post(func() { l.stopping = true })
		}
	})
	g.wg.Wait()
}

// crowded is called by a loop that was over 80 % busy for a window.
func (g *Group) crowded() {
	if g.kick == nil {
		return
	}
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// supervise adds loops. It sleeps until a loop reports being crowded, so an idle
// process stays idle.
func (g *Group) supervise() {
	var row int
	var last time.Time
	for {
		select {
		case <-g.stop:
			return
		case <-g.kick:
		}
		loops := g.Loops()
		if len(loops) >= g.max {
			continue
		}
		now := time.Now()
		if now.Sub(last) > window*5/2 {
			row = 0
		} else if now.Sub(last) < window/2 {
			continue // another loop's report of the same window
		}
		last = now
		if !allCrowded(loops) {
			row = 0
			continue
		}
		if row++; row < streak {
			continue
		}
		row = 0
		if err := g.add(); err != nil {
			g.opts.Logger.Warn("could not add an event loop", zap.Error(err))
			continue
		}
		loops = g.Loops()
		g.launch(loops[len(loops)-1])
		g.opts.Logger.Info("event loop added: the others are busy", zap.Int("loops", len(loops)))
	}
}

func allCrowded(loops []*Loop) bool {
	for _, l := range loops {
		if l.Busy() <= crowded {
			return false
		}
	}
	return true
}

func (g *Group) fatal(err error) {
	if g.opts.Fatal == nil {
		panic(err)
	}
	g.opts.Fatal(err)
}
