package proxy

import (
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
)

// classNames are the values of the class label, by command.Class.
var classNames = []string{command.Pinned: "pinned", command.Shared: "shared", command.Local: "local", command.Refused: "refused"}

// authMethods maps the record's methods to the metric's.
var authMethods = [...]metrics.AuthMethod{
	audit.MethodNone: metrics.MethodNone, audit.MethodPassword: metrics.MethodPassword,
	audit.MethodToken: metrics.MethodToken, audit.MethodCertificate: metrics.MethodCertificate,
}

// measure sets up the metrics of this server.
func (s *Server) measure() error {
	o := metrics.Options{
		Classes: classNames, Gather: s.gather, Sinks: s.sinkStats, EventsKept: s.opts.Recorder.Keeps, Version: s.opts.Version,
		Closes: audit.CloseReasons(), Refresh: s.nodes,
	}
	for _, l := range s.opts.Listeners {
		o.Listeners = append(o.Listeners, l.Name)
	}
	o.Reasons = []string{acl.None: ""} // a reason is its own index; no reason has no series
	for _, r := range acl.Reasons() {
		o.Reasons = append(o.Reasons, r.String())
	}
	var err error
	if s.metrics, err = metrics.New(o); err == nil {
		s.certified(s.opts.Listeners)
	}
	return err
}

// observe has what happens to a backend's nodes counted.
func (s *Server) observe(name string, o *backend.Options) {
	o.Routing.Pinged = func(e backend.Endpoint, took time.Duration, err error) {
		if err == nil {
			s.metrics.Node(name, e.Address).Pinged(took)
		}
	}
	o.Routing.Changed = func(before, now *backend.Topology) {
		s.metrics.TopologyChanged(name)
		if before == nil {
			return
		}
		for _, e := range before.Nodes() {
			if !now.Has(e) {
				s.metrics.ForgetNode(name, e.Address)
			}
		}
	}
}

// certified states when the listeners' certificates expire, and how old their
// revocation lists are.
func (s *Server) certified(listeners []ListenerOptions) {
	notAfter, lists := make(map[string]time.Time), make(map[string]metrics.CRL)
	for _, l := range listeners {
		if l.TLS != nil {
			maps.Copy(notAfter, l.TLS.NotAfter())
			for _, list := range l.TLS.CRLs() {
				c, known := lists[list.File]
				if !known || list.ThisUpdate.Before(c.ThisUpdate) {
					c.ThisUpdate = list.ThisUpdate
				}
				if !known || list.NextUpdate.Before(c.NextUpdate) {
					c.NextUpdate = list.NextUpdate
				}
				lists[list.File] = c
			}
		}
	}
	s.metrics.SetCertificates(notAfter)
	s.metrics.SetCRLs(lists)
}

// Metrics serves what this server counted, for Prometheus.
func (s *Server) Metrics() http.Handler { return s.metrics.Handler() }

// MetricSet is where the program counts what happens around the server: reloads, certificates.
func (s *Server) MetricSet() *metrics.Set { return s.metrics }

// scrapeTimeout is how long a scrape waits for a loop before it shows what that
// loop counted last time.
const scrapeTimeout = time.Second

// gather has each loop hand over its counters, on its own goroutine.
func (s *Server) gather(add func(*metrics.Loop)) {
	s.mu.Lock()
	workers := append([]*worker(nil), s.workers...)
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, w := range workers {
		if w == nil {
			continue
		}
		wg.Add(1)
		if !w.loop.Post(func() { defer wg.Done(); w.handOver(add) }) {
			w.handOver(add) // the loop has ended: nobody else touches them any more
			wg.Done()
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	t := time.NewTimer(scrapeTimeout)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
	s.metrics.Count(func(l *metrics.Loop) { l.BufferBytes = s.kept.Load() })
}

// nodes states how the backends' nodes are.
func (s *Server) nodes() {
	for name, b := range s.backends.Load().now {
		s.metrics.SetOwned(name, b.Owned())
		s.metrics.SetLogins(name, b.LoginConnections(), b.LoginsRefused())
		if margin, ok := b.QuorumMargin(); ok {
			s.metrics.SetQuorumMargin(name, margin)
		}
		for _, n := range b.State() {
			node := s.metrics.Node(name, n.Address)
			node.Up(n.Up)
			node.SetConnections(n.Connections)
			if l, ok := b.Load(n.Address); ok {
				s.metrics.SetLoad(name, n.Address, metrics.Load(l))
			} else {
				s.metrics.ForgetLoad(name, n.Address)
			}
		}
	}
}

// handOver brings the loop's counters up to date and passes them on.
func (w *worker) handOver(add func(*metrics.Loop)) {
	w.whole.flush(&w.count.CommandSeconds)
	w.behind.flush(&w.count.BackendSeconds)
	w.count.BufferBytes = w.loop.BufferBytes()
	w.count.Lingering = int64(w.loop.Lingering())
	w.count.Waits = w.former.Waits
	for _, p := range w.pools {
		countWaits(w.count, &p.Stats)
	}
	add(w.count)
}

// countWaits adds what a loop's share of a backend had wait.
func countWaits(to *metrics.Loop, st *backend.Stats) {
	to.Waits[metrics.WaitBegan] += st.Waited
	to.Waits[metrics.WaitGaveUp] += st.GaveUp
	to.Waits[metrics.WaitFull] += st.Full
}

// latency folds equal durations before they reach a histogram: all calls that
// came in one turn and were answered in another took the same time.
type latency struct {
	d time.Duration
	n uint64
}

func (l *latency) add(d time.Duration, n uint64, h *metrics.Histogram) {
	if d != l.d {
		l.flush(h)
		l.d = d
	}
	l.n += n
}

func (l *latency) flush(h *metrics.Histogram) {
	if l.n > 0 {
		h.ObserveN(l.d, l.n)
		l.n = 0
	}
}

func (w *worker) commandLatency(d time.Duration, n uint64) {
	w.whole.add(d, n, &w.count.CommandSeconds)
}

func (w *worker) backendLatency(d time.Duration, n uint64) {
	w.behind.add(d, n, &w.count.BackendSeconds)
}

// turnedAway counts a connection that got no session.
func (s *Server) turnedAway(listener int, reason acl.Reason) {
	s.metrics.Count(func(l *metrics.Loop) {
		result := metrics.ConnectionRefused
		switch reason {
		case acl.AddressNotAllowed, acl.TooManyClients:
		default:
			result = metrics.ConnectionFailed
		}
		l.Listener(listener).Connection(result)
		l.Listener(listener).Refuse(uint8(reason))
	})
}

// sinkStats is what the sinks of events have done, for the metrics.
func (s *Server) sinkStats() map[string]metrics.Sink {
	out := make(map[string]metrics.Sink)
	for name, n := range s.opts.Recorder.Stats() {
		out[name] = metrics.Sink{Written: n.Written, Dropped: n.Dropped, Failed: n.Failed, Waiting: n.Waiting}
	}
	return out
}
