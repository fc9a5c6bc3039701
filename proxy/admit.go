package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
)

// facts are what is known of a connection since its admission; they never change.
type facts struct {
	id            uint64
	listener      string
	listenerIndex int
	backend       string
	network       string
	client        netip.Addr // whom it speaks for: a PROXY header's address where there is one
	port          uint16
	peer          netip.Addr     // who is on the other end of the socket
	target        netip.AddrPort // of ours, which it reached
	headed        bool           // it began with a PROXY header
	remote, local string         // as CLIENT LIST prints them
	policy        *acl.Policy    // which judged the address
	slot          *place
	tls           string
	cipher        string
	resumed       bool
	cert          audit.Certificate
	identity      *tlsutil.Identity
	shown         *acl.Certificate // what the certificate says, nil without one
	certEnds      time.Time        // when the certificate, or one above it, expires
	in            *listener        // by which it came
	shookWith     *tlsutil.Server  // the TLS settings it was let in by
	generation    uint64           // of these, at its handshake
}

// event begins an event about the connection.
func (f *facts) event(kind audit.Kind) audit.Event {
	e := audit.Event{Kind: kind, Conn: f.id, Listener: f.listener, ClientIP: f.client, ClientPort: f.port, Target: f.target}
	if f.peer != f.client {
		e.PeerIP = f.peer
	}
	return e
}

var lastConn atomic.Uint64 // connection ids, unique within a process

// accept lets connections in one after the other. Errors back off: the usual
// one is that descriptors ran out, which passes.
func (s *Server) accept(at *socket) {
	defer s.accepts.Done()
	delay := time.Duration(0)
	for {
		nc, err := at.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.log.Warn("accept", zap.String("listener", at.in.Load().opts.Name), zap.Error(err), zap.Duration("again_in", delay))
			if !s.pause(delay) {
				return
			}
			continue
		}
		delay = 0
		s.admit(at.in.Load(), nc)
	}
}

// pause waits unless the server is closing.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed
}

// admit decides on an address before anything is spent on the connection: the
// allow list, then a place. What has to wait for the peer, a PROXY header and
// TLS, goes on in a goroutine of its own.
func (s *Server) admit(l *listener, nc net.Conn) {
	f := &facts{
		in: l, id: lastConn.Add(1), listener: l.opts.Name, listenerIndex: l.index, backend: l.opts.Backend, network: l.opts.Network,
	}
	f.remote, f.local, f.policy = nc.RemoteAddr().String(), nc.LocalAddr().String(), s.policy.Load()
	if ap, err := netip.ParseAddrPort(f.remote); err == nil {
		f.client, f.port = ap.Addr().Unmap().WithZone(""), ap.Port()
	}
	f.peer = f.client
	f.target, _ = netip.ParseAddrPort(f.local) // a unix socket has none
	senders := l.senders.Load()
	if senders != nil {
		f.headed = true
		if !senders.include(f.peer) {
			s.turnAway(f, acl.ProxyHeader, nil)
			nc.Close()
			return
		}
	} else if !s.allowed(f) {
		nc.Close()
		return
	}
	if !s.opts.Recorder.Keeps() {
		s.noRoom(l, f, nc, acl.RecordUnavailable)
		nc.Close()
		return
	}
	p, reason := s.gate.enter(nc)
	if reason == acl.None {
		f.slot = &p
		if senders == nil {
			reason = p.claim(f.client)
		}
		if reason == acl.None && s.overfull() {
			reason = acl.MemoryLimit
		}
		if reason != acl.None {
			s.gate.admitted(nc)
			p.release()
		}
	}
	if reason != acl.None {
		s.noRoom(l, f, nc, reason)
		nc.Close()
		return
	}
	if senders == nil && l.opts.TLS == nil {
		s.moveIn(f, nc, loop.NewTransport(nc), nil)
		return
	}
	s.accepts.Add(1)
	go func() {
		defer s.accepts.Done()
		s.bringIn(l, f, nc)
	}()
}

// allowed holds the client's address against the listener's allow list, and
// records a refusal.
func (s *Server) allowed(f *facts) bool {
	if f.network == "unix" {
		return true
	}
	d := f.policy.AdmitAddr(f.listener, f.client)
	d.Rule.Hit()
	if !d.Allowed {
		s.turnAway(f, d.Reason, d.Rule)
	}
	return d.Allowed
}

// noRoom turns a connection away for a limit, in Redis's words where it can read them.
func (s *Server) noRoom(l *listener, f *facts, nc net.Conn, reason acl.Reason) {
	s.turnAway(f, reason, nil)
	if l.opts.TLS == nil {
		nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		text := errMaxClients
		if reason == acl.RecordUnavailable {
			text = errUnrecorded
		}
		nc.Write([]byte("-" + text + "\r\n"))
	}
}

// bringIn does what has to wait for the peer, under one deadline.
func (s *Server) bringIn(l *listener, f *facts, nc net.Conn) {
	admitted := false
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic while admitting", zap.String("panic", loop.PanicText(v)), zap.ByteString("stack", debug.Stack()))
		}
		if !admitted {
			s.gate.admitted(nc)
			nc.Close()
			f.slot.release()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.handshakeTimeout.Load()))
	defer cancel()
	var tc *tls.Conn
	transport := loop.NewTransport(nc)
	var shaken *shaking
	if l.opts.TLS != nil {
		shaken = &shaking{Conn: nc, ctx: ctx, turns: s.gate.turns, serves: s.gate.serves}
		defer shaken.rest()
		transport = loop.NewTransport(shaken)
	}
	if f.headed && !s.takeHeader(ctx, l, f, nc, transport) {
		return
	}
	if shaken != nil {
		if tc = s.shakeHands(ctx, l, f, shaken, transport); tc == nil {
			return
		}
	}
	admitted = true
	s.moveIn(f, nc, transport, tc)
}

// takeHeader reads whom a balancer speaks for, and judges that address as it
// would a peer's.
func (s *Server) takeHeader(ctx context.Context, l *listener, f *facts, nc net.Conn, t *loop.Transport) bool {
	deadline, _ := ctx.Deadline()
	from, rest, err := readHeader(nc, deadline)
	if err != nil {
		s.turnAway(f, acl.ProxyHeader, nil)
		return false
	}
	if from.IsValid() {
		f.client, f.port, f.remote = from.Addr(), from.Port(), from.String()
	}
	if !s.allowed(f) {
		return false
	}
	if reason := f.slot.claim(f.client); reason != acl.None {
		s.noRoom(l, f, nc, reason)
		return false
	}
	if len(rest) > 0 {
		t.Unread(rest)
	}
	return true
}

// shakeHands runs the TLS handshake; of those at work at a time the number is
// bounded. nil: it failed, which is on record.
func (s *Server) shakeHands(ctx context.Context, l *listener, f *facts, nc *shaking, t *loop.Transport) *tls.Conn {
	began := time.Now()
	f.shookWith = l.tls.Load()
	tc, state, err := tlsutil.Handshake(ctx, t, f.shookWith)
	if nc.busy {
		s.metrics.HandshakeFailed(metrics.HandshakeBusy)
		s.turnAway(f, acl.HandshakeTimeout, nil)
		return nil
	}
	if err != nil {
		s.turnAway(f, s.handshakeFailed(err), nil)
		return nil
	}
	s.metrics.HandshakeDone(time.Since(began))
	f.tls, f.cipher, f.resumed = strings.TrimPrefix(state.Version, "TLSv"), state.Cipher, state.Resumed
	f.generation = state.Generation
	if f.identity = state.Identity; f.identity != nil {
		f.cert, f.shown = certificateOf(f.identity), shownBy(f.identity)
		f.certEnds = chainEnds(tc.ConnectionState())
	}
	return tc
}

// moveIn hands the connection to the loop with the fewest; from there on
// nothing blocks and nothing locks.
func (s *Server) moveIn(f *facts, nc net.Conn, t *loop.Transport, tc *tls.Conn) {
	l := s.group.Pick()
	posted := l.Post(func() {
		w := s.worker(l) // a new loop may have had none before this ran
		s.gate.admitted(nc)
		session := &session{w: w, facts: *f}
		c, err := l.Adopt(t, tc, session, nil)
		if err != nil {
			s.log.Warn("moving a connection onto its loop", zap.Error(err))
			nc.Close()
			f.slot.release()
			return
		}
		w.join(session, c)
	})
	if !posted {
		s.gate.admitted(nc)
		nc.Close()
		f.slot.release()
	}
}

// turnAway records a connection that was not let in.
func (s *Server) turnAway(f *facts, reason acl.Reason, rule *acl.Rule) {
	e := f.event(audit.Refused)
	e.Time, e.Reason = time.Now(), reason
	if rule != nil {
		e.Rule = ruleText(rule)
	}
	if s.foldRefusal(&e) {
		s.opts.Recorder.Record(&e)
	}
	s.turnedAway(f.listenerIndex, reason)
}

func certificateOf(id *tlsutil.Identity) audit.Certificate {
	c := audit.Certificate{Subject: id.Subject, Serial: id.Serial, SHA256: id.SHA256}
	if len(id.URI) > 0 {
		c.URI = id.URI[0]
	}
	return c
}

// shownBy is what a verified certificate says, as the policy compares it.
func shownBy(id *tlsutil.Identity) *acl.Certificate {
	return &acl.Certificate{
		CommonNames: id.CommonNames, DNS: id.DNS, Email: id.Email, URI: id.URI, SHA256: id.SHA256, Ambiguous: id.Ambiguous,
	}
}

// chainEnds is when the last of a certificate's verified chains falls apart.
func chainEnds(state tls.ConnectionState) time.Time {
	var last time.Time
	for _, chain := range state.VerifiedChains {
		ends := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(ends) {
				ends = c.NotAfter
			}
		}
		if ends.After(last) {
			last = ends
		}
	}
	return last
}
