package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/loop"
	"go.uber.org/zap"
)

// Server runs a configuration: listeners in front, loops in the middle,
// backends behind. Its methods are safe for concurrent use.
type Server struct {
	opts     Options
	log      *zap.Logger
	policy   atomic.Pointer[acl.Policy]
	backends atomic.Pointer[backendSet]
	group    *loop.Group
	metrics  *metrics.Set

	mu        sync.Mutex
	workers   []*worker // indexed by loop ID
	listeners []*listener
	limits    Limits                   // as a reload left them
	leaving   map[string]chan struct{} // backends a reload took away, until their connections are gone
	shutdown  Shutdown
	started   bool
	closed    bool

	memory           atomic.Int64 // limits.memory
	handshakeTimeout atomic.Int64 // nanoseconds

	gate     gate
	quotas   quotas
	relief   relief
	proofs   proofs
	tokens   atomic.Pointer[token.Verifier] // nil: no token is taken
	kept     atomic.Int64                   // memory of readers and slots, over all loops
	accepts  sync.WaitGroup                 // accept loops and admissions
	draining atomic.Bool
	fatal    chan error
	once     sync.Once

	changes      changes
	aclLog       aclLog
	watched      atomic.Pointer[acl.Globs]
	refusals     refusals
	seen         audit.Seen
	own          backend.Addresses
	aclFile      atomic.Pointer[ACLFile]
	refuseProbes atomic.Bool
	born         time.Time
	runID        string // tells this run of the process from others, as Redis's run_id
}

// NewServer builds a Server and starts its loops, which begin to dial their
// backends. Nothing listens before Start. The caller ends it with Close.
func NewServer(o Options) (*Server, error) {
	if o.Policy == nil || o.Table == nil || o.Recorder == nil {
		return nil, errors.New("proxy: policy, table and recorder are required")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	o.Limits = o.Limits.withDefaults()
	s := &Server{opts: o, log: o.Logger, fatal: make(chan error, 1), shutdown: o.Shutdown}
	s.policy.Store(o.Policy)
	s.changes.filed, s.changes.filedAs = o.Policy, o.Policy
	o.Policy.InForce()
	s.born, s.runID = time.Now(), newRunID()
	s.refuseProbes.Store(o.RefuseProbes)
	s.watched.Store(acl.NewGlobs(o.EventsOn))
	s.aclFile.Store(o.ACLFile)
	s.fitDescriptors(&s.opts.Limits)
	s.setLimits(s.opts.Limits)
	s.gate.init(s.opts.Limits)
	s.proofs.init(&s.opts)
	s.tokens.Store(o.Auth.Tokens)
	if err := s.measure(); err != nil {
		return nil, err
	}
	set, err := s.newBackends(o.Backends)
	if err != nil {
		return nil, err
	}
	s.backends.Store(set)
	for _, lo := range o.Listeners {
		if set.now[lo.Backend] == nil {
			return nil, fmt.Errorf("listener %s: no backend %q", lo.Name, lo.Backend)
		}
		if err := lo.routed(func(name string) bool { return set.now[name] != nil }); err != nil {
			return nil, err
		}
	}
	if err := housed(o.Policy, func(name string) bool { return set.now[name] != nil }); err != nil {
		return nil, err
	}
	group, err := loop.Start(loop.Options{
		Logger: o.Logger, Workers: o.Workers, WriteTimeout: o.Limits.WriteTimeout, Start: s.attach,
		Fatal: func(err error) {
			select {
			case s.fatal <- err:
			default:
			}
		},
	})
	if err != nil {
		return nil, err
	}
	s.group = group
	s.gate.lingering = s.lingering // nobody comes in before Start
	s.measureHashes(o.Policy)
	s.proofs.out.Add(1)
	go s.watchTime()
	s.proofs.out.Add(1)
	go s.discover()
	if o.Snapshots.Every > 0 {
		s.proofs.out.Add(1)
		go s.snapshots()
	}
	return s, nil
}

// attach gives a new loop its worker; it runs on the loop.
func (s *Server) attach(l *loop.Loop) {
	w := newWorker(s, l)
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.workers) <= l.ID() {
		s.workers = append(s.workers, nil)
	}
	s.workers[l.ID()] = w
	// A reload between building the worker and listing it must not be missed.
	w.policy, w.watched = s.policy.Load(), s.watched.Load()
	w.table = w.policy.Table()
	w.draining = s.draining.Load()
	w.setLimits(s.limits)
	w.leaveFormer()
}

// worker finds a loop's worker.
func (s *Server) worker(l *loop.Loop) *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers[l.ID()]
}

// each runs f for every worker, on its loop, and does not wait.
func (s *Server) each(f func(*worker)) {
	for _, w := range s.everyWorker() {
		w.post(func() { f(w) })
	}
}

// everyWorker lists the workers there are now.
func (s *Server) everyWorker() []*worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	workers := make([]*worker, 0, len(s.workers))
	for _, w := range s.workers {
		if w != nil {
			workers = append(workers, w)
		}
	}
	return workers
}

// Start binds every listener and begins to accept. On an error nothing stays bound.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return errors.New("proxy: already started")
	}
	for i, o := range s.opts.Listeners {
		at, err := bind(o)
		if err != nil {
			for _, bound := range s.listeners {
				bound.at.close()
			}
			s.listeners = nil
			return fmt.Errorf("listener %s: %w", o.Name, err)
		}
		s.listeners = append(s.listeners, newListener(o, i, at))
	}
	for _, l := range s.listeners {
		s.serve(l)
	}
	s.started = true
	return nil
}

// Addr is where a listener is bound, nil if there is none of that name: tests
// and logs ask after binding port 0.
func (s *Server) Addr(name string) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if l.opts.Name == name {
			return l.at.ln.Addr()
		}
	}
	return nil
}

// Ready says why clients should not be sent here now, nil if they may be.
func (s *Server) Ready() error {
	s.mu.Lock()
	started, closed := s.started, s.closed
	s.mu.Unlock()
	switch {
	case closed || s.draining.Load():
		return errors.New("draining")
	case !started:
		return errors.New("starting")
	}
	for name, b := range s.backends.Load().now {
		if !b.Up() {
			return fmt.Errorf("backend %s is not connected", name)
		}
	}
	return nil
}

// Fatal yields the error after which the process should end: loops that
// panicked too often to be trusted.
func (s *Server) Fatal() <-chan error { return s.fatal }

// Drain ends service gently: not ready, then (after Shutdown.Delay) no new
// connections, then each session closes once its owed replies have left. It
// returns when all are gone and their last bytes have left, or with an error
// when ctx or Shutdown.Timeout ends first; Close cuts what is left.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	shutdown := s.shutdown
	s.mu.Unlock()
	if err := wait(ctx, shutdown.Delay); err != nil {
		return err
	}
	s.stopAccepting()
	if t := shutdown.Timeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t)
		defer cancel()
	}
	s.each((*worker).drain)
	if err := s.gate.empty(ctx); err != nil {
		return err
	}
	return s.lastBytes(ctx)
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopAccepting closes the listeners. Admissions under way hold a place, so they
// are waited for with the sessions.
func (s *Server) stopAccepting() {
	s.mu.Lock()
	listeners := s.listeners
	s.listeners = nil
	s.closed = true
	s.mu.Unlock()
	for _, l := range listeners {
		l.at.close()
	}
}

// Close ends everything at once: listeners, sessions, backend connections and
// loops, and waits for their goroutines. Safe to call more than once.
func (s *Server) Close() {
	s.once.Do(func() {
		s.draining.Store(true)
		s.stopAccepting()
		s.gate.shut()
		s.proofs.stop()
		s.accepts.Wait()
		s.each(func(w *worker) {
			for _, p := range w.pools {
				p.Close()
			}
		})
		s.group.Close()
		s.proofs.out.Wait() // only loops and watchTime begin what it counts, so nothing can begin any more
		for _, b := range s.backends.Load().all {
			b.Wait()
		}
	})
}

// withDefaults fills zero values that mean "the default".
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	fill(&l.Connections, d.Connections)
	fill(&l.Handshakes, d.Handshakes)
	fill(&l.HandshakeTimeout, d.HandshakeTimeout)
	fill(&l.AuthTimeout, d.AuthTimeout)
	fill(&l.AuthFailureDelay, d.AuthFailureDelay)
	fill(&l.WriteTimeout, d.WriteTimeout)
	fill(&l.CommandTimeout, d.CommandTimeout)
	fill(&l.InFlight, d.InFlight)
	fill(&l.RequestBytes, d.RequestBytes)
	fill(&l.RequestBuffer, d.RequestBuffer)
	fill(&l.RequestArgs, d.RequestArgs)
	fill(&l.OutputBytes, d.OutputBytes)
	fill(&l.Memory, d.Memory)
	return l
}

func fill[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
