package proxy

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
)

// backendSet is what the proxy forwards to. It is replaced, never changed.
type backendSet struct {
	now map[string]*backend.Backend
	all map[string]*backend.Backend // and those that were left, which sessions may still name
}

// loadEvery is how often nodes are asked for their load.
const loadEvery = 5 * time.Second

// newBackend makes one backend; nothing is dialled yet.
func (s *Server) newBackend(name string, o backend.Options) (*backend.Backend, error) {
	o.Name, o.Logger, o.Addresses = name, s.log, &s.own
	if s.opts.PingEvery > 0 {
		o.LoadEvery = loadEvery
	}
	s.observe(name, &o)
	return backend.New(o)
}

func (s *Server) newBackends(options map[string]backend.Options) (*backendSet, error) {
	set := &backendSet{now: make(map[string]*backend.Backend, len(options))}
	for name, o := range options {
		b, err := s.newBackend(name, o)
		if err != nil {
			return nil, err
		}
		set.now[name] = b
	}
	set.all = maps.Clone(set.now)
	return set, nil
}

// backend finds a backend by name, one that was left included.
func (s *Server) backend(name string) *backend.Backend { return s.backends.Load().all[name] }

// backendPlan is the set after a reload, and what it leaves.
type backendPlan struct {
	set    *backendSet
	fresh  []string
	former map[string]*backend.Backend
}

// retirement is how long a reload waits for a backend to be left that it wants back.
const retirement = 5 * time.Second

// planBackends makes the backends that are new. One that is just being left is
// waited for, as its connections belong to the one before.
func (s *Server) planBackends(options map[string]backend.Options) (*backendPlan, error) {
	was := s.backends.Load()
	p := &backendPlan{
		set:    &backendSet{now: make(map[string]*backend.Backend, len(options)), all: maps.Clone(was.all)},
		former: make(map[string]*backend.Backend),
	}
	for name, o := range options {
		b := was.now[name]
		if b == nil {
			if !s.left(name) {
				return nil, fmt.Errorf("backend %s: clients are still leaving the one of that name; try again", name)
			}
			var err error
			if b, err = s.newBackend(name, o); err != nil {
				return nil, err
			}
			p.fresh = append(p.fresh, name)
		}
		p.set.now[name], p.set.all[name] = b, b
	}
	for name, b := range was.now {
		if p.set.now[name] == nil {
			p.former[name] = b
		}
	}
	return p, nil
}

// enterBackends puts the set in force, and has every loop connect to what is
// new. s.mu is held.
func (s *Server) enterBackends(p *backendPlan) {
	s.backends.Store(p.set)
	if len(p.fresh) == 0 {
		return
	}
	for _, w := range s.workers {
		if w != nil {
			w.loop.Post(func() {
				for _, name := range p.fresh {
					w.pool(name)
				}
			})
		}
	}
}

// left waits until no loop has a connection of a backend that a reload took away.
func (s *Server) left(name string) bool {
	s.mu.Lock()
	done := s.leaving[name]
	s.mu.Unlock()
	if done == nil {
		return true
	}
	t := time.NewTimer(retirement)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	case <-s.proofs.ctx.Done():
	}
	return false
}

// leaveBackends closes the connections of backends that no listener has any
// more, on each loop when its last session that needs them is gone.
func (s *Server) leaveBackends(former map[string]*backend.Backend) {
	for name, b := range former {
		done := make(chan struct{})
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return // Close ends them all
		}
		if s.leaving == nil {
			s.leaving = make(map[string]chan struct{})
		}
		s.leaving[name] = done
		var loops sync.WaitGroup
		for _, w := range s.workers {
			if w == nil {
				continue
			}
			loops.Add(1)
			if !w.loop.Post(func() { w.retiring[name] = loops.Done; w.leaveBackends() }) {
				loops.Done()
			}
		}
		s.proofs.out.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.proofs.out.Done()
			gone := make(chan struct{})
			go func() { loops.Wait(); b.Wait(); close(gone) }()
			select {
			case <-gone:
			case <-s.proofs.ctx.Done(): // the server closes, and with it the loops
				return
			}
			for _, n := range b.State() {
				s.metrics.ForgetNode(name, n.Address)
			}
			s.metrics.ForgetBackend(name)
			s.mu.Lock()
			delete(s.leaving, name)
			s.mu.Unlock()
			close(done)
		}()
	}
}

// pool is this loop's share of a backend.
func (w *worker) pool(name string) *backend.Pool {
	p := w.pools[name]
	if p == nil {
		p = w.srv.backend(name).Pool(w.loop)
		p.Stats.Latency = w.backendLatency
		p.Stats.Read = w.readCounted
		p.Eased = w.eased
		w.pools[name] = p
	}
	return p
}

// leaveBackends closes the pools that are being left and that no session needs.
func (w *worker) leaveBackends() {
	for name, done := range w.retiring {
		needed := false
		for s := w.sessions; s != nil && !needed; s = s.next {
			needed = s.needs(name)
		}
		if needed {
			continue
		}
		if p := w.pools[name]; p != nil {
			p.Close()
			countWaits(&w.former, &p.Stats)
			delete(w.pools, name)
		}
		delete(w.retiring, name)
		done()
	}
}

// leaveFormer is for a loop that began while a reload took a backend away.
func (w *worker) leaveFormer() {
	for name := range w.pools {
		if w.srv.backends.Load().now[name] == nil {
			w.retiring[name] = func() {}
		}
	}
	w.leaveBackends()
}
