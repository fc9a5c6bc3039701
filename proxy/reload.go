package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
)

// Reload puts a new configuration in force without dropping a connection: the
// policy, each listener's certificates and CAs, and how backends are logged in
// to. It is all or nothing. Addresses, limits, sinks, the number of loops and
// the set of listeners and backends can't change; an error names what would. Nor
// does a certificate that is out of date replace one that is not.
//
// Open sessions are held against the new policy and the new CAs; those that
// would not be let in any more end within moments. Callers do not overlap calls.
func (s *Server) Reload(o Options) error {
	if err := s.reloadable(o); err != nil {
		return err
	}
	s.mu.Lock()
	listeners := slices.Clone(s.listeners)
	s.mu.Unlock()
	for _, l := range listeners {
		if t := o.Listeners[l.index].TLS; t != nil {
			if err := t.Succeeds(l.tls.Load()); err != nil {
				return fmt.Errorf("listener %s: %w", l.opts.Name, err)
			}
		}
	}
	for name, b := range s.backends {
		b.SetLogin(o.Backends[name].User, o.Backends[name].Password, o.Backends[name].TLS)
	}
	for _, l := range listeners {
		l.senders.Store(sendersOf(&o.Listeners[l.index]))
		if t := o.Listeners[l.index].TLS; t != nil {
			l.tls.Store(t)
			s.recertify(l)
		}
	}
	if o.Auth.Tokens != s.tokens.Swap(o.Auth.Tokens) {
		s.each((*worker).limitLogins)
	}
	s.refuseProbes.Store(o.RefuseProbes)
	s.aclFile.Store(o.ACLFile)
	s.SetPolicy(o.Policy)
	s.RejudgeTokens()
	s.certified(o.Listeners)
	return nil
}

// reloadable says what of o differs that can't change while running.
func (s *Server) reloadable(o Options) error {
	if o.Policy == nil || o.Policy.Table().Base() != s.opts.Table.Base() {
		return fmt.Errorf("the policy speaks of another command table; restart to change it")
	}
	if len(o.Listeners) != len(s.opts.Listeners) {
		return fmt.Errorf("the number of listeners differs; restart to change it")
	}
	for i, now := range s.opts.Listeners {
		to := o.Listeners[i]
		if to.Name != now.Name || to.Network != now.Network || to.Address != now.Address || to.Backend != now.Backend || (to.TLS == nil) != (now.TLS == nil) {
			return fmt.Errorf("listener %s: name, address, backend and whether it speaks TLS need a restart", now.Name)
		}
	}
	if len(o.Backends) != len(s.opts.Backends) {
		return fmt.Errorf("the number of backends differs; restart to change it")
	}
	for name, now := range s.opts.Backends {
		to, ok := o.Backends[name]
		if ok && to.Discover != now.Discover {
			return fmt.Errorf("backend %s: whether its commands are learned needs a restart", name)
		}
		if !ok || !slices.Equal(to.Nodes, now.Nodes) || (to.TLS == nil) != (now.TLS == nil) {
			return fmt.Errorf("backend %s: nodes and whether they speak TLS need a restart", name)
		}
	}
	return nil
}

// SetPolicy puts a new policy in force: at once for new connections, and on
// each loop with its next turn for calls; every open session is held against
// it. What ACL SETUSER and DELUSER changed and ACL SAVE did not save is lost,
// and the record says whose.
func (s *Server) SetPolicy(p *acl.Policy) {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	s.forgetChanges()
	// A reload is read against the table there was when it began.
	if with, err := s.withFound(p); err == nil {
		p = with
	} else {
		s.log.Error("what was learned from backends is out of force until the next reload", zap.Error(err))
	}
	s.install(p, false)
}

// rejudge holds every open session against a new policy. Where it was changed at
// run time, a session goes on whose user has another password now, as in Redis.
func (w *worker) rejudge(p *acl.Policy, atRunTime bool) {
	w.policy, w.table = p, p.Table()
	w.lenient = atRunTime
	defer func() { w.lenient = false }()
	for sn := w.sessions; sn != nil; {
		next := sn.next
		if !w.renew(sn) {
			sn.expire(audit.ClosePolicyChanged)
		}
		sn = next
	}
}

// recertify ends the sessions of a listener whose certificates its new TLS
// settings would not take. Checking signatures is no work for a loop: a
// goroutine does it and sends back whom to end.
func (w *worker) recertify(listener int, t *tlsutil.Server) {
	type holder struct {
		session *session
		state   tls.ConnectionState
	}
	var holders []holder
	for sn := w.sessions; sn != nil; sn = sn.next {
		if c, ok := sn.port.(*loop.Conn); ok && sn.facts.listenerIndex == listener && c.TLS() != nil {
			holders = append(holders, holder{sn, c.TLS().ConnectionState()})
		}
	}
	if len(holders) == 0 {
		return
	}
	w.srv.proofs.out.Add(1)
	go func() {
		defer w.srv.proofs.out.Done()
		for _, h := range holders {
			if w.srv.proofs.ctx.Err() != nil {
				return
			}
			if err := t.Trusts(h.state); err != nil {
				w.loop.Post(func() { h.session.expire(closeForTrust(err)) })
			}
		}
	}()
}

// closeForTrust is why a connection ends whose certificate is not trusted any more.
func closeForTrust(err error) audit.CloseReason {
	var failure *tlsutil.HandshakeError
	if errors.As(err, &failure) {
		switch failure.Reason {
		case tlsutil.ReasonRevoked, tlsutil.ReasonRevocationUnknown:
			return audit.CloseRevoked
		case tlsutil.ReasonExpiredCertificate:
			return audit.CloseCertExpired
		}
	}
	return audit.ClosePolicyChanged
}
