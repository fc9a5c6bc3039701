package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options is what the server shows and what it can do. A nil function has no
// endpoint, but for Ready, which then always holds.
type Options struct {
	// Ready says why the proxy should get no new clients; nil: it may. The text is
	// shown to whoever asks.
	Ready   func() error
	Metrics http.Handler
	Version func() any // for JSON
	// Rules lists the rules in force and how often each decided, for JSON.
	Rules func(ctx context.Context) (any, error)
	// Sessions lists the open sessions, for JSON.
	Sessions func(ctx context.Context) (any, error)
	// Drain begins to end the proxy and returns at once. It is called once at most.
	Drain func()
	// Reload replaces the configuration, all or nothing; the error says what is
	// wrong with the new one and is shown to whoever asked. It is never called
	// twice at a time. ctx ends after ReloadTimeout or with the server, not when the
	// client leaves.
	Reload func(ctx context.Context) error
	// Acted is told of every drain and reload, for the record; nil: nobody is.
	Acted func(Action)

	Logger *zap.Logger // nil: silent
	// Hosts are names the Host header may have besides this machine's own.
	Hosts []string
}

// Action is something asked for over HTTP and done, or tried.
type Action struct {
	Time   time.Time
	Name   string // "drain", "reload"
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
	maxConnections = 64
)

// ErrNotLocal is returned by Serve for a listener that others than this machine could reach.
var ErrNotLocal = errors.New("admin address is neither loopback nor a unix socket")

// Server answers administrative requests.
type Server struct {
	options   Options
	log       *zap.Logger
	routes    map[string]route
	hosts     map[string]bool
	guard     *http.CrossOriginProtection
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
	return s
}

// Serve answers requests on ln, of which it takes ownership, until ctx ends;
// requests under way then get a few seconds. It returns nil if ctx ended it,
// ErrNotLocal, or what made ln fail.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	if !local(ln.Addr()) {
		return fmt.Errorf("serve admin endpoints on %s: %w", ln.Addr(), ErrNotLocal)
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
		DisableGeneralOptionsHandler: true, // it answers before the Host header is looked at
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(newBounded(ln, maxConnections)) }()
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
