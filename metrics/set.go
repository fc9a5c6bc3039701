package metrics

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options gives the closed lists labels are taken from, and the ways to what is
// counted elsewhere. Slices are read by New and not kept.
type Options struct {
	Listeners []string // names; a listener is its index afterwards
	// Reasons and Classes name what package acl and package command number. An
	// empty name has no series (the number that means "no reason").
	Reasons []string // at most 64
	Classes []string // at most 8
	// Closes names why connections end, in the same way.
	Closes []string // at most 64

	// Gather is called at each scrape, concurrently if scrapes are. It passes
	// every Loop there is, live or retired, to add: on the goroutine that owns it,
	// or a copy made there. It should come back within a second; a Loop it
	// could not get counts as it was last time. nil: there are no loops.
	Gather func(add func(*Loop))
	// Refresh is called before each scrape that Handler serves, to state what is
	// stated and not counted: Node.Up. nil: nothing is.
	Refresh func()
	// Sinks says what each sink of security events has done so far; nil: no series.
	Sinks func() map[string]Sink
	// EventsKept says whether every sink that must keep the record can; nil: no series.
	EventsKept func() bool

	Version string // for build_info
}

// Set is all of the proxy's metrics. Its methods are safe for concurrent use.
type Set struct {
	registry   *prometheus.Registry
	refresh    func()
	collected  *collector
	handshakes prometheus.Histogram
	failures   *prometheus.CounterVec
	reloads    *prometheus.CounterVec
	reloadedAt prometheus.Gauge
	notAfter   *prometheus.GaugeVec
	listNext   *prometheus.GaugeVec
	listThis   *prometheus.GaugeVec
	up         *prometheus.GaugeVec
	nodeConns  *prometheus.GaugeVec
	pings      *prometheus.HistogramVec
	topology   *prometheus.CounterVec
	bypasses   *prometheus.CounterVec
	logins     *prometheus.GaugeVec
	owned      *prometheus.GaugeVec
	loginsFull *prometheus.CounterVec
	load       loadSeries
	margin     *prometheus.GaugeVec

	mu    sync.Mutex
	files map[string]bool   // label values notAfter has
	lists map[string]bool   // the same of revocation lists
	full  map[string]uint64 // what loginsFull has, by backend
}

// New builds the metrics and a registry of their own, with Go's and the
// process's. The error is about Options: a list too long or a name in it twice.
func New(o Options) (*Set, error) {
	for _, list := range []struct {
		what  string
		names []string
		most  int
	}{
		{"listeners", o.Listeners, len(o.Listeners)},
		{"reasons", o.Reasons, maxReasons},
		{"command classes", o.Classes, maxClasses},
		{"reasons to close", o.Closes, maxCloses},
	} {
		if err := closed(list.names, list.most); err != nil {
			return nil, fmt.Errorf("metrics: %s: %w", list.what, err)
		}
	}
	s := &Set{registry: prometheus.NewRegistry(), collected: newCollector(o), refresh: o.Refresh, files: make(map[string]bool)}
	s.handshakes = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    prefix + "handshake_seconds",
		Help:    "Time TLS handshakes with clients took, finished ones only.",
		Buckets: boundsSeconds(),
	})
	s.pings = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    prefix + "backend_ping_seconds",
		Help:    "Time a node took to answer a health check.",
		Buckets: boundsSeconds(),
	}, []string{"backend", "node"})
	s.failures = counter("handshake_failures_total", "TLS handshakes with clients that failed, by reason.", "reason")
	s.reloads = counter("reloads_total", "Attempts to replace the configuration, by result.", "result")
	s.topology = counter("topology_changes_total", "Changes of a backend's topology taken over.", "backend")
	s.bypasses = counter("backend_bypass_total", "Connections found at a backend that are neither the proxy's nor expected.", "backend")
	s.reloadedAt = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: prefix + "reload_success_timestamp_seconds",
		Help: "Unix time of the last configuration taken over, the one at start included.",
	})
	s.notAfter = gauge("certificate_not_after_seconds", "Unix time at which the certificate in a file expires.", "file")
	s.listNext = gauge("crl_next_update_seconds", "Unix time at which the first revocation list in a file goes stale.", "file")
	s.listThis = gauge("crl_this_update_seconds", "Unix time at which the oldest revocation list in a file was issued.", "file")
	s.up = gauge("backend_up", "Whether a node answers: 1 or 0.", "backend", "node")
	s.nodeConns = gauge("backend_connections", "Open connections to a node.", "backend", "node")
	s.owned = gauge("backend_own_connections", "Connections that one session has to itself, and spare ones.", "backend")
	s.logins = gauge("backend_login_connections", "Shared connections for users that have a login of their own.", "backend")
	s.loginsFull = counter("backend_login_connections_refused_total", "Such connections not opened, as there were as many as may be.", "backend")
	s.load = newLoadSeries()
	s.margin = gauge("backend_quorum_margin", "How many more Sentinels, or primaries of a cluster, may fail before they are no majority; negative: they are none.", "backend")
	build := gauge("build_info", "What is running; always 1.", "version", "goversion", "fips")
	build.WithLabelValues(buildLabels(o.Version)...).Set(1)
	for _, r := range handshakeFailures {
		s.failures.WithLabelValues(string(r))
	}
	for _, r := range []string{"ok", "failed"} {
		s.reloads.WithLabelValues(r)
	}
	s.registry.MustRegister(s.collected, s.handshakes, s.failures, s.reloads, s.reloadedAt, s.notAfter, s.listNext, s.listThis,
		s.up, s.nodeConns, s.pings, s.topology, s.bypasses, s.owned, s.logins, s.loginsFull, s.margin, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.registry.MustRegister(s.load.all()...)
	return s, nil
}

// closed checks a list of label values.
func closed(names []string, most int) error {
	if len(names) > most {
		return fmt.Errorf("%d names, at most %d are possible", len(names), most)
	}
	seen := make(map[string]bool, len(names))
	for _, n := range names {
		n = label(n)
		if n != "" && seen[n] {
			return fmt.Errorf("%q twice", n)
		}
		seen[n] = true
	}
	return nil
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, labels)
}

// label makes text fit for a label value: Prometheus takes UTF-8 only, and
// panics on anything else.
func label(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Handler serves the metrics. A series that fails is left out and does not hide
// the others.
func (s *Set) Handler() http.Handler {
	handler := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
	if s.refresh == nil {
		return handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refresh()
		handler.ServeHTTP(w, r)
	})
}

// Registry gives the registry, for what else the program counts and for tests.
func (s *Set) Registry() *prometheus.Registry { return s.registry }

// NewLoop makes the counters of one more loop. The caller passes it to add
// whenever Gather asks, also after the loop has ended: what it counted happened.
func (s *Set) NewLoop() *Loop { return s.collected.newLoop() }

// maxListeners bounds the names a process counts by in its life: each keeps its
// series to the end, since what was counted happened.
const maxListeners = 1024

// Listener gives the number of the listener of that name, a new one for a name
// not seen before. A listener that is gone keeps its number, and its series. The
// error says that there were too many names.
func (s *Set) Listener(name string) (int, error) { return s.collected.listener(label(name)) }

// Count calls f with counters for what happens outside loops: accepting,
// refusing by address, handshakes. f runs under a lock, so it only counts.
func (s *Set) Count(f func(l *Loop)) { s.collected.count(f) }

// HandshakeFailure is a value of the reason label of handshake_failures_total.
type HandshakeFailure string

// The reasons a TLS handshake fails.
const (
	HandshakeTimeout       HandshakeFailure = "timeout"
	HandshakeClosed        HandshakeFailure = "closed"         // the client went away
	HandshakeNotTLS        HandshakeFailure = "not_tls"        // plaintext RESP, HTTP, noise
	HandshakeProtocol      HandshakeFailure = "protocol"       // no version, suite or group in common; a broken message
	HandshakeNoCertificate HandshakeFailure = "no_certificate" // required and not given
	HandshakeCertificate   HandshakeFailure = "certificate"    // not from a trusted CA, or not for clients
	HandshakeExpired       HandshakeFailure = "expired"        // the client's certificate
	HandshakeRevoked       HandshakeFailure = "revoked"        // the client's certificate
	HandshakeRejected      HandshakeFailure = "rejected"       // the client sent an alert: it doesn't trust ours
	HandshakeBusy          HandshakeFailure = "busy"           // too many handshakes at once
	HandshakeOther         HandshakeFailure = "other"
)

var handshakeFailures = []HandshakeFailure{
	HandshakeTimeout, HandshakeClosed, HandshakeNotTLS, HandshakeProtocol, HandshakeNoCertificate, HandshakeCertificate,
	HandshakeExpired, HandshakeRevoked, HandshakeRejected, HandshakeBusy, HandshakeOther,
}

// HandshakeDone counts a finished handshake.
func (s *Set) HandshakeDone(took time.Duration) { s.handshakes.Observe(took.Seconds()) }

// HandshakeFailed counts a failed one. A reason outside the list counts as other.
func (s *Set) HandshakeFailed(reason HandshakeFailure) {
	for _, r := range handshakeFailures {
		if r == reason {
			s.failures.WithLabelValues(string(r)).Inc()
			return
		}
	}
	s.failures.WithLabelValues(string(HandshakeOther)).Inc()
}

// Reloaded counts an attempt to replace the configuration, made at the given
// time. The first start counts as one, so that the timestamp is never zero.
func (s *Set) Reloaded(ok bool, at time.Time) {
	if !ok {
		s.reloads.WithLabelValues("failed").Inc()
		return
	}
	s.reloads.WithLabelValues("ok").Inc()
	s.reloadedAt.Set(float64(at.UnixMilli()) / 1000)
}

// SetCertificates states when the certificates in use expire, by file, in place
// of those stated before.
func (s *Set) SetCertificates(notAfter map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := make(map[string]bool, len(notAfter))
	for file, at := range notAfter {
		file = label(file)
		files[file] = true
		s.notAfter.WithLabelValues(file).Set(float64(at.Unix()))
	}
	for file := range s.files {
		if !files[file] {
			s.notAfter.DeleteLabelValues(file)
		}
	}
	s.files = files
}

// CRL is when the revocation lists of a file were issued and go stale: the
// earliest of either where it holds several.
type CRL struct{ ThisUpdate, NextUpdate time.Time }

// SetCRLs states how old the revocation lists in use are, by file, in place of
// those stated before.
func (s *Set) SetCRLs(lists map[string]CRL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := make(map[string]bool, len(lists))
	for file, l := range lists {
		file = label(file)
		files[file] = true
		s.listNext.WithLabelValues(file).Set(float64(l.NextUpdate.Unix()))
		s.listThis.WithLabelValues(file).Set(float64(l.ThisUpdate.Unix()))
	}
	for file := range s.lists {
		if !files[file] {
			s.listNext.DeleteLabelValues(file)
			s.listThis.DeleteLabelValues(file)
		}
	}
	s.lists = files
}

// Sink is what a sink of security events has done so far.
type Sink struct {
	Written, Dropped, Failed uint64 // lines, events lost for good, writes that failed
	Waiting                  int    // lines in its queue
}

// Bypassed counts a connection that reached a backend past the proxy.
func (s *Set) Bypassed(backend string) { s.bypasses.WithLabelValues(label(backend)).Inc() }
