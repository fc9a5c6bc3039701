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

// Reload puts a new configuration in force without dropping a connection that it
// still lets in: the policy, listeners and backends that come and go, addresses,
// certificates and CAs, most limits, and how backends are logged in to. It is all
// or nothing; an error names what it was about. A nil policy leaves the one in
// force alone, with what ACL SETUSER and DELUSER made of it. The nodes of a
// backend, and the options that reloadable names, need a restart. Nor does a
// certificate that is out of date replace one that is not.
//
// Open sessions are held against the new policy and the new CAs; those that
// would not be let in any more end within moments. So do those of a listener that
// is gone, that changed its backend or began or ceased to speak TLS
// (policy_changed), or that moved to another address (drain). Callers do not
// overlap calls.
func (s *Server) Reload(o Options) error {
	o.Limits = o.Limits.withDefaults()
	if err := s.reloadable(&o); err != nil {
		return err
	}
	s.mu.Lock()
	now, closed := slices.Clone(s.listeners), s.closed
	s.mu.Unlock()
	if closed {
		return errors.New("the listeners are closed already; nothing is taken over any more")
	}
	backends, err := s.planBackends(o.Backends)
	if err != nil {
		return err
	}
	plan, err := s.plan(now, o.Listeners)
	if err != nil {
		return err
	}
	if o.Policy == nil && len(plan.fresh)+len(plan.heirs)+len(plan.gone) > 0 {
		plan.abandon()
		return errors.New("other listeners need a policy that knows them")
	}
	s.fitDescriptors(&o.Limits)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		plan.abandon()
		return errors.New("the listeners are closed already; nothing is taken over any more")
	}
	s.listeners, s.shutdown = plan.listeners, o.Shutdown
	s.enterBackends(backends)
	s.mu.Unlock()
	others := false
	for name, b := range s.backends.Load().now {
		b.SetLogin(o.Backends[name].User, o.Backends[name].Password, o.Backends[name].TLS)
		b.SetControlLogin(o.Backends[name].Routing)
		b.SetConnections(o.Backends[name].Connections)
		b.SetDiscover(o.Backends[name].Discover)
		others = b.SetLogins(o.Backends[name].Logins) || others
	}
	stays := s.setLimits(o.Limits)
	for _, k := range plan.kept {
		stays = s.renew(k.listener, &o.Listeners[k.option]) && stays
	}
	if o.Auth.Tokens != s.tokens.Swap(o.Auth.Tokens) {
		s.each((*worker).limitLogins)
	}
	s.refuseProbes.Store(o.RefuseProbes)
	s.watch(o.EventsOn)
	s.aclFile.Store(o.ACLFile)
	if o.Policy != nil && !(stays && s.inForce(o.Policy)) {
		s.SetPolicy(o.Policy)
	} else {
		s.forgetTickets() // no ticket outlives a reload, whatever that was about
	}
	if others {
		s.each((*worker).reintroduce)
	}
	if o.Auth.Tokens != nil {
		s.RejudgeTokens()
	}
	s.open(plan)
	s.leaveBackends(backends.former)
	s.certified(o.Listeners)
	return nil
}

// reloadable says what of o differs that can't change while running.
func (s *Server) reloadable(o *Options) error {
	if o.Policy != nil && o.Policy.Table().Base() != s.opts.Table.Base() {
		return fmt.Errorf("the policy speaks of another command table; restart to change it")
	}
	for name, now := range s.backends.Load().now {
		to, ok := o.Backends[name]
		if ok && !now.Same(&to) {
			return fmt.Errorf("backend %s: nodes, topology, nodes_allow, wait, reads, zone, max_lag and whether they speak TLS need a restart, or a backend of another name", name)
		}
	}
	for _, l := range o.Listeners {
		if _, ok := o.Backends[l.Backend]; !ok {
			return fmt.Errorf("listener %s: no backend %q", l.Name, l.Backend)
		}
		if err := l.routed(func(name string) bool { _, ok := o.Backends[name]; return ok }); err != nil {
			return err
		}
	}
	policy := o.Policy
	if policy == nil {
		policy = s.policy.Load()
	}
	if err := housed(policy, func(name string) bool { _, ok := o.Backends[name]; return ok }); err != nil {
		return err
	}
	now, to := s.opts.Limits, o.Limits
	switch {
	case len(o.Listeners) == 0:
		return errors.New("there is no listener")
	case now.Handshakes != to.Handshakes:
		return errors.New("limits.handshakes needs a restart")
	case now.WriteTimeout != to.WriteTimeout:
		return errors.New("limits.write_timeout needs a restart")
	case now.AuthFailureDelay != to.AuthFailureDelay:
		return errors.New("limits.auth_failure_delay needs a restart")
	}
	return nil
}

// setLimits puts limits in force: for those who come at once, on each loop with
// its next turn. Whoever is in stays in. It reports whether they are those that
// were in force.
func (s *Server) setLimits(l Limits) (same bool) {
	s.mu.Lock()
	same = s.limits == l
	s.mu.Unlock()
	if same {
		return true
	}
	s.memory.Store(l.Memory)
	s.handshakeTimeout.Store(int64(l.HandshakeTimeout))
	s.gate.setLimits(l)
	s.mu.Lock()
	s.limits = l
	s.mu.Unlock()
	s.each(func(w *worker) { w.relimit(l) })
	return false
}

// relimit holds open sessions to new limits, too.
func (w *worker) relimit(l Limits) {
	if w.limits == l {
		return
	}
	idle := w.limits.IdleTimeout != l.IdleTimeout
	w.setLimits(l)
	w.oblige(func(s *session) {
		if s.user != nil {
			s.reader.SetLimits(w.readerLimits)
		}
		if idle && !s.finishing && !s.ended {
			s.idleTimer.Stop()
			s.watchIdle()
		}
	})
}

// Policy gives the policy in force, with what was changed at run time.
func (s *Server) Policy() *acl.Policy { return s.policy.Load() }

// SetPolicy puts a new policy in force: at once for new connections, and on
// each loop with its next turn for calls; every open session is held against
// it. What ACL SETUSER and DELUSER changed and ACL SAVE did not save is lost,
// and the record says whose.
func (s *Server) SetPolicy(p *acl.Policy) {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	s.forgetChanges()
	s.changes.filed = p
	// A reload is read against the table there was when it began.
	if with, err := s.withFound(p); err == nil {
		p = with
	} else {
		s.log.Error("what was learned from backends is out of force until the next reload", zap.Error(err))
	}
	s.changes.filedAs = p
	s.install(p, false)
}

// inForce reports whether SetPolicy would change nothing: the files brought this
// very policy last time, and nothing has changed it since.
func (s *Server) inForce(p *acl.Policy) bool {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	return s.changes.filed == p && s.changes.filedAs == s.policy.Load() && len(s.changes.deleted) == 0
}

// rejudge holds every open session against a new policy, which is in force for
// calls at once. Where it was changed at run time, a session goes on whose user has
// another password now, as in Redis.
func (w *worker) rejudge(p *acl.Policy, atRunTime bool) {
	w.policy, w.table = p, p.Table()
	w.oblige(func(s *session) {
		// A newer one may be in force, and less strict: what this one takes away is gone all the same.
		newest := w.policy
		defer func() { w.policy, w.table, w.lenient = newest, newest.Table(), false }()
		w.policy, w.table, w.lenient = p, p.Table(), atRunTime
		if !w.renew(s) {
			s.expire(audit.ClosePolicyChanged)
		}
	})
}

// recertify ends the sessions of a listener whose certificates its new TLS
// settings would not take. Checking signatures is no work for a loop: a
// goroutine does it and sends back whom to end.
func (w *worker) recertify(l *listener, t *tlsutil.Server) {
	type holder struct {
		session *session
		state   tls.ConnectionState
	}
	var holders []holder
	w.walk(func(sn *session) {
		if c, ok := sn.port.(*loop.Conn); ok && sn.facts.in == l && c.TLS() != nil {
			holders = append(holders, holder{sn, c.TLS().ConnectionState()})
		}
	}, func() {
		w.besides(len(holders), func(n int) {
			h := &holders[n]
			if err := t.Trusts(h.state); err != nil {
				w.loop.Post(func() { h.session.expire(closeForTrust(err)) })
			}
		})
	})
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
