package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options is what the server shows and what it can do. A nil function has no
// endpoint, but for Ready, which then always holds. What functions give is for
// JSON, and must hold no secrets: viewers read it.
type Options struct {
	// Ready says why the proxy should get no new clients; nil: it may. The text is
	// shown to whoever asks.
	Ready func() error
	// Reloaded tells how the last reload ended, for /readyz; nil: nothing is said.
	Reloaded func() any
	Metrics  http.Handler
	Version  func() any

	// Overviews. Rules says how often each rule decided.
	Rules, Users, Backends, Listeners, Certificates func(ctx context.Context) (any, error)
	// Sessions gives a page of the open sessions.
	Sessions func(ctx context.Context, page Page) (any, error)
	// EndSession ends a session; false: there is none of that number.
	EndSession func(ctx context.Context, id uint64) (bool, error)
	// Events gives the last events, each one JSON object, oldest first: n at most, of
	// these kinds (none: all), with numbers above after. ErrKind is about a kind there is not.
	Events func(n int, after uint64, kinds []string) ([][]byte, error)
	// Explain judges a call as serving it would. ErrQuestion is about the question.
	Explain func(ctx context.Context, q Question) (any, error)

	// Drain begins to end the proxy and returns at once. It is called once at most.
	Drain func()
	// Reload replaces the configuration, all or nothing, for whom; the error says
	// what is wrong with the new one and is shown to whoever asked. It is never called
	// twice at a time. ctx ends after ReloadTimeout or with the server, not when the
	// client leaves.
	Reload func(ctx context.Context, who Caller) error
	// Acted is told of every write, done or not, for the record; nil: nobody is.
	Acted func(Action)

	// Identify says who somebody is. nil: whoever connects owns the proxy, and only
	// this machine may connect. It is called from many goroutines.
	Identify func(Proof) (Caller, bool)
	// FailureDelay is how long after its receipt a token that is nobody's is refused.
	FailureDelay time.Duration
	// Named reports a name the Host header may have, besides this machine's own and Hosts; nil: none.
	Named func(host string) bool
	Hosts []string

	Logger *zap.Logger // nil: silent
}

// Action is something asked for over HTTP and done, or tried.
type Action struct {
	Time   time.Time
	Name   string // "drain", "reload", "end session 12"
	Who    Caller
	Remote string // the client's address; "@" or empty on a unix socket
	Err    error  // nil: done
}

// Time and size limits of the server.
const (
	// ReloadTimeout is how long a reload may take.
	ReloadTimeout = 30 * time.Second

	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = ReloadTimeout + 10*time.Second
	idleTimeout   = 60 * time.Second
	endTimeout    = 5 * time.Second

	maxHeader      = 16 << 10
	maxBody        = 4 << 10
	maxQuestion    = 64 << 10
	maxConnections = 64
)

// ErrNotLocal is returned by Serve for a listener that others than this machine
// could reach, and on which nobody would have to say who they are.
var ErrNotLocal = errors.New("admin address is neither loopback nor a unix socket, and nobody would be asked who they are")

// Server answers administrative requests.
type Server struct {
	options   Options
	log       *zap.Logger
	routes    []*route
	document  map[string]any // OpenAPI's
	hosts     map[string]bool
	guard     *http.CrossOriginProtection
	mutual    bool // whoever speaks must have shown a certificate
	draining  atomic.Bool
	reloading atomic.Bool
}

// New builds a Server; it takes ownership of o.
func New(o Options) *Server {
	s := &Server{options: o, log: o.Logger, hosts: make(map[string]bool), guard: http.NewCrossOriginProtection()}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	for _, h := range o.Hosts {
		s.hosts[hostName(h)] = true
	}
	s.guard.SetDenyHandler(http.HandlerFunc(denyCrossOrigin))
	s.routes = s.table()
	s.document = document(s.routes)
	return s
}

// Serve answers requests on ln, of which it takes ownership, until ctx ends;
// requests under way then get a few seconds. conf is TLS's side, nil for plain
// HTTP. It returns nil if ctx ended it, ErrNotLocal, or what made ln fail. It is
// called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener, conf *tls.Config) error {
	defer ln.Close()
	if !local(ln.Addr()) {
		if conf == nil || s.options.Identify == nil {
			return fmt.Errorf("serve admin endpoints on %s: %w", ln.Addr(), ErrNotLocal)
		}
		s.mutual = true
	}
	// Requests outlive ctx by the time they are given to end, and no longer.
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          zap.NewStdLog(s.log.Named("admin")),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(serving, servingKey{}, serving)
		},
		ConnContext:                  placed,
		DisableGeneralOptionsHandler: true, // it answers before the Host header is looked at
	}
	var accepting net.Listener = newPlaces(ln, maxConnections)
	if conf != nil {
		accepting = tls.NewListener(accepting, conf)
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(accepting) }()
	select {
	case err := <-failed:
		server.Close()
		return fmt.Errorf("serve admin endpoints: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(serving, endTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	<-failed
	return nil
}

// servingKey finds the context all of a Serve's requests share among a request's
// values: the request's own also ends when its client leaves.
type servingKey struct{}

// local says whether only this machine reaches the address.
func local(a net.Addr) bool {
	switch a := a.(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	}
	return false
}
