package proxy

import (
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/tlsutil"
)

// listener is one way in, as the configuration describes it. What a reload may
// change without ending sessions is swapped in it; for all else there is a new one.
type listener struct {
	opts  ListenerOptions
	index int // of its name, for counters
	at    *socket
	tls   atomic.Pointer[tlsutil.Server] // nil: plaintext

	senders atomic.Pointer[senders] // of PROXY headers; nil: nobody

	names atomic.Pointer[command.Names] // nil: as everywhere

	judged atomic.Pointer[certified] // by what open sessions were held last
	left   atomic.Uint32             // the audit.CloseReason by which its sessions end; 0: it serves
}

// socket is an address that is listened on. It outlives its listener where a
// reload gives the address to another one, so that no connection is turned away.
type socket struct {
	ln net.Listener
	in atomic.Pointer[listener] // whose connections come here now
}

func (a *socket) close() { a.ln.Close() }

// newListener describes the way in at a socket; serve, or storing it in the
// socket, opens it.
func newListener(o ListenerOptions, index int, at *socket) *listener {
	l := &listener{opts: o, index: index, at: at}
	l.tls.Store(o.TLS)
	l.senders.Store(sendersOf(&o))
	l.names.Store(o.Names)
	if o.TLS != nil {
		l.judged.Store(certifiedBy(o.TLS, time.Now()))
	}
	return l
}

// serve begins to accept at the listener's socket. s.mu is held.
func (s *Server) serve(l *listener) {
	l.at.in.Store(l)
	s.accepts.Add(1)
	go s.accept(l.at)
}

// gone gives why sessions of the listener end, 0 while it serves.
func (l *listener) gone() audit.CloseReason { return audit.CloseReason(l.left.Load()) }

// bind opens a listener's address.
func bind(o ListenerOptions) (*socket, error) {
	ln, err := listen(o)
	if err != nil {
		return nil, err
	}
	return &socket{ln: ln}, nil
}

// mode is what a unix socket's permissions shall be.
func (o *ListenerOptions) mode() os.FileMode {
	if o.Mode == 0 {
		return 0o660
	}
	return o.Mode
}
