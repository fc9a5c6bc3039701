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
	client        netip.Addr
	port          uint16
	remote, local string      // as CLIENT LIST prints them
	policy        *acl.Policy // which judged the address
	slot          *place
	tls           string
	cipher        string
	resumed       bool
	cert          audit.Certificate
	identity      *tlsutil.Identity
	in            *listener       // by which it came
	shookWith     *tlsutil.Server // the TLS settings it was let in by
}

// event begins an event about the connection.
func (f *facts) event(kind audit.Kind) audit.Event {
	return audit.Event{Kind: kind, Conn: f.id, Listener: f.listener, ClientIP: f.client, ClientPort: f.port}
}

var lastConn atomic.Uint64 // connection ids, unique within a process

// accept lets connections in one after the other. Errors back off: the usual
// one is that descriptors ran out, which passes.
func (s *Server) accept(l *listener) {
	defer s.accepts.Done()
	delay := time.Duration(0)
	for {
		nc, err := l.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.log.Warn("accept", zap.String("listener", l.opts.Name), zap.Error(err), zap.Duration("again_in", delay))
			if !s.pause(delay) {
				return
			}
			continue
		}
		delay = 0
		s.admit(l, nc)
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
// allow list, then a place. TLS goes on in a goroutine of its own.
func (s *Server) admit(l *listener, nc net.Conn) {
	f := &facts{
		in: l, id: lastConn.Add(1), listener: l.opts.Name, listenerIndex: l.index, backend: l.opts.Backend, network: l.opts.Network,
	}
	f.remote, f.local, f.policy = nc.RemoteAddr().String(), nc.LocalAddr().String(), s.policy.Load()
	if ap, err := netip.ParseAddrPort(f.remote); err == nil {
		f.client, f.port = ap.Addr().Unmap().WithZone(""), ap.Port()
	}
	if l.opts.Network != "unix" {
		if d := f.policy.AdmitAddr(l.opts.Name, f.client); !d.Allowed {
			s.turnAway(f, d.Reason, d.Rule)
			nc.Close()
			return
		}
	}
	p, reason := s.gate.enter(f.client, nc)
	if reason == acl.None && s.overfull() {
		s.gate.admitted(nc)
		p.release()
		reason = acl.MemoryLimit
	}
	if reason != acl.None {
		s.turnAway(f, reason, nil)
		if l.opts.TLS == nil {
			nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			nc.Write([]byte("-" + errMaxClients + "\r\n"))
		}
		nc.Close()
		return
	}
	f.slot = &p
	if l.opts.TLS == nil {
		s.moveIn(f, nc, loop.NewTransport(nc), nil)
		return
	}
	s.accepts.Add(1)
	go func() {
		defer s.accepts.Done()
		s.shakeHands(l, f, nc)
	}()
}

// shakeHands runs the TLS handshake under its deadline; of those at work at a time
// the number is bounded.
func (s *Server) shakeHands(l *listener, f *facts, nc net.Conn) {
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
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Limits.HandshakeTimeout)
	defer cancel()
	began := time.Now()
	shaking := &shaking{Conn: nc, ctx: ctx, turns: s.gate.turns}
	defer shaking.rest()
	transport := loop.NewTransport(shaking)
	f.shookWith = l.tls.Load()
	tc, state, err := tlsutil.Handshake(ctx, transport, f.shookWith)
	if shaking.busy {
		s.metrics.HandshakeFailed(metrics.HandshakeBusy)
		s.turnAway(f, acl.HandshakeTimeout, nil)
		return
	}
	if err != nil {
		s.turnAway(f, s.handshakeFailed(err), nil)
		return
	}
	s.metrics.HandshakeDone(time.Since(began))
	f.tls, f.cipher, f.resumed = strings.TrimPrefix(state.Version, "TLSv"), state.Cipher, state.Resumed
	if f.identity = state.Identity; f.identity != nil {
		f.cert = certificateOf(f.identity)
	}
	admitted = true
	s.moveIn(f, nc, transport, tc)
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
	s.opts.Recorder.Record(&e)
	s.turnedAway(f.listenerIndex, reason)
}

func certificateOf(id *tlsutil.Identity) audit.Certificate {
	c := audit.Certificate{Subject: id.Subject, Serial: id.Serial, SHA256: id.SHA256}
	if len(id.URI) > 0 {
		c.URI = id.URI[0]
	}
	return c
}
