package proxy

import (
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/proxy/resp"
)

// worker is the proxy's share of one loop: its sessions, its pipelines and its
// counters. Everything in it belongs to the loop's goroutine.
type worker struct {
	srv      *Server
	loop     *loop.Loop
	clock    func() time.Time // the turn's
	arm      func(t *loop.Timer, d time.Duration, f func())
	post     func(f func()) bool // has f run in a later turn; from any goroutine
	table    *command.Table
	policy   *acl.Policy
	limits   Limits
	recorder *audit.Recorder
	watched  *acl.Globs // keys whose calls are recorded; nil: none
	names    [][]byte   // for naming the keys of one call
	pools    map[string]*backend.Pool
	pipeline func(name string, k backend.Key) *backend.Pipeline
	own      func(name string, k backend.Key, account string, owner backend.Owner) (*backend.Own, backend.Failure)
	probe    func(name string, k backend.Key, done func(error))
	patience func(name string) time.Duration                                                       // how long calls wait for a backend's node that is away
	aside    func(name string, k backend.Key, account string) (*backend.Pipeline, backend.Failure) // for one big request
	identity func(name, user string) backend.Identity                                              // of a user of the policy at a backend; nil: none has one
	sessions *session                                                                              // head of the list
	walks    []*walk                                                                               // through the list, under way
	duties   []func(*session)                                                                      // of sessions that no walk has come to
	duty     uint64                                                                                // the number of the last one
	count    *metrics.Loop
	whole    latency   // of calls, until they are handed to count
	behind   latency   // of the backends
	scratch  []byte    // for building one local reply
	gathers  []*gather // that are over
	pieces   []piece   // for cutting one call up
	shares   map[*quota]*share
	kin      map[quotaKey]*kin
	senders  loop.Timer // when the first of those may be out of time who have begun a command

	watchingSenders bool // that timer runs

	straits  loop.Timer // when those are looked at again who are not read for want of memory
	strained bool       // that timer runs

	loginLimits  resp.Limits // before login
	readerLimits resp.Limits // after it
	draining     bool
	former       metrics.Loop      // what was counted by backends that were left
	retiring     map[string]func() // backends to leave once no session needs them, and whom to tell
	congested    bool              // some session waits until a backend has caught up
	relieved     time.Time         // the turn that last closed holders of memory
	ruled        *acl.Rule         // decided the calls counted in rulings
	rulings      uint64
	lenient      bool      // sessions are being held against a change made at run time
	soonest      time.Time // when something may end that a session stands on; zero: nothing will
}

// now is the turn's clock.
func (w *worker) now() time.Time { return w.clock() }

// newWorker runs on the loop before its first turn.
func newWorker(srv *Server, l *loop.Loop) *worker {
	w := &worker{
		srv: srv, loop: l, clock: l.Now, arm: l.Arm, post: l.Post, table: srv.policy.Load().Table(), policy: srv.policy.Load(), limits: srv.opts.Limits,
		recorder: srv.opts.Recorder, pools: make(map[string]*backend.Pool), scratch: make([]byte, 0, 4096),
		retiring: make(map[string]func()),
	}
	w.count = srv.metrics.NewLoop()
	w.patience = func(name string) time.Duration { return srv.backend(name).Patience() }
	w.pipeline, w.own, w.probe = w.pooled, w.ownConnection, w.probePool
	w.aside = func(name string, k backend.Key, account string) (*backend.Pipeline, backend.Failure) {
		return w.pool(name).Aside(k, account)
	}
	w.identity = func(name, user string) backend.Identity { return srv.backend(name).Identity(user) }
	w.setLimits(w.limits)
	for name := range srv.backends.Load().now {
		w.pool(name)
	}
	if every := srv.opts.PingEvery; every > 0 && l.ID() == 0 {
		w.beat(every)
	}
	return w
}

// setLimits puts limits in force for what is read from now on.
func (w *worker) setLimits(l Limits) {
	w.limits = l
	w.limitLogins()
	w.readerLimits = resp.Limits{
		Args: l.RequestArgs, Bulk: int(l.RequestBytes), Inline: 64 << 10,
		Request: int(l.RequestBytes) + requestOverhead,
		Held:    int(l.RequestBuffer), Stream: int(min(bigRequest, l.RequestBuffer)),
	}
}

// requestOverhead is what headers may add to a request whose values fill its limit.
const requestOverhead = 1 << 20

// join begins a session on an adopted connection.
func (w *worker) join(s *session, c *loop.Conn) {
	s.port, s.duty = c, w.duty
	s.reader.Reset(w.loginLimits, w.loop.Buffers())
	s.names = s.facts.in.names.Load()
	s.proto = 2
	s.router = w.pool(s.facts.backend).Router()
	s.seatAt(w.pool(s.facts.backend))
	s.enter(s.facts.in.opts.Routes)
	s.active = w.now()
	s.began = w.now()
	if s.next = w.sessions; s.next != nil {
		s.next.prev = s
	}
	w.sessions = s
	w.count.Listener(s.facts.listenerIndex).Connections++
	w.count.Listener(s.facts.listenerIndex).Connection(metrics.ConnectionAccepted)
	if !w.newConnEvent(s) {
		s.unrecorded()
		return
	}
	w.look(s.facts.certEnds)
	if s.begin(); s.user == nil {
		s.awaitAuth()
	}
	if w.limits.IdleTimeout > 0 {
		s.watchIdle()
	}
	switch {
	case w.draining:
		s.expire(audit.CloseDrain)
	case s.facts.in.gone() != 0:
		s.expire(s.facts.in.gone())
	case s.facts.policy != w.policy && !w.renew(s):
		// The policy changed between the look at its address and here.
		s.expire(audit.ClosePolicyChanged)
	case c.TLS() != nil:
		w.recheck(s, c)
	}
}

// recheck judges a certificate once more if the CAs or the revocation lists
// have changed since its handshake: that change did not see this session.
func (w *worker) recheck(s *session, c *loop.Conn) {
	t := s.facts.in.tls.Load()
	if t == s.facts.shookWith && t.Generation() == s.facts.generation {
		return
	}
	if err := t.Trusts(c.TLS().ConnectionState()); err != nil {
		s.expire(closeForTrust(err))
	}
}

// limitLogins sets what may be sent before login. Tokens outgrow the rest.
func (w *worker) limitLogins() {
	most := w.limits.AuthArgumentBytes
	if w.srv.tokens.Load() != nil {
		most = max(most, token.MaxBytes)
	}
	w.loginLimits = resp.BeforeLogin
	w.loginLimits.AuthBulk = most
	w.loginLimits.Request = max(w.loginLimits.Request, most+8<<10)
}

// admits holds a session's address against the policy now in force, and a
// balancer's against who may be one.
func (w *worker) admits(s *session) bool {
	if senders := s.facts.in.senders.Load(); senders == nil == s.facts.headed || senders != nil && !senders.include(s.facts.peer) {
		return false
	}
	return s.facts.network == "unix" || w.policy.AdmitAddr(s.facts.listener, s.facts.client).Allowed
}

// leave ends a session's bookkeeping, exactly once, when its connection is gone.
func (w *worker) leave(s *session, cause error) {
	s.ended, s.gone = true, true
	s.stopTimers()
	s.closeOwn()
	s.withdraw()
	w.passed(s)
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		w.sessions = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
	s.reader.Reset(w.loginLimits, w.loop.Buffers())
	w.srv.kept.Add(-s.kept)
	s.kept = 0
	if s.reason == 0 {
		s.reason = closeCause(cause)
	}
	w.closeEvent(s)
	w.count.Listener(s.facts.listenerIndex).Connections--
	s.facts.slot.release()
	if len(w.retiring) > 0 {
		w.leaveBackends()
	}
}

// renew holds a session against the policy now in force, and gives it the rights
// it has there. false: it may not go on.
func (w *worker) renew(s *session) bool {
	if !w.admits(s) {
		return false
	}
	if s.user == nil {
		return true
	}
	a := s.attempt()
	a.Lenient = w.lenient
	pr, reason := w.policy.Renew(s.who, &a)
	if reason != acl.None || s.fixed(&pr) || s.home(pr.User) != s.home(s.user) {
		return false
	}
	s.speakFor(pr)
	return s.mayListen()
}

// drain ends sessions at a reply boundary.
func (w *worker) drain() {
	w.draining = true
	for s := w.sessions; s != nil; {
		next := s.next
		s.finish(audit.CloseDrain)
		s = next
	}
}

// eased lets sessions go on that waited until a backend has caught up.
func (w *worker) eased() {
	if !w.congested {
		return
	}
	w.congested = false
	for s := w.sessions; s != nil; s = s.next {
		if s.paused {
			s.resume()
		}
	}
}

// pooled gives the shared pipeline of a backend for a database and protocol.
func (w *worker) pooled(name string, k backend.Key) *backend.Pipeline {
	return w.pool(name).Pipeline(k)
}

// ownConnection gives a connection that one session has to itself.
func (w *worker) ownConnection(name string, k backend.Key, account string, owner backend.Owner) (*backend.Own, backend.Failure) {
	return w.pool(name).Own(k, account, owner)
}

// probePool asks whether a database and protocol version can be had.
func (w *worker) probePool(name string, k backend.Key, done func(error)) {
	w.pool(name).Probe(k, done)
}

// version is what HELLO says the server is: the backend's last word on it.
func (w *worker) version(name string) string {
	if info := w.srv.backend(name).Info(); info != nil && info.Version != "" {
		return info.Version
	}
	return serverVersion
}

// serverVersion stands in until a backend has said its own.
const serverVersion = "7.0.0"

// resp3 reports whether a backend speaks HELLO 3, as far as is known.
func (w *worker) resp3(name string) bool {
	info := w.srv.backend(name).Info()
	return info == nil || info.RESP3
}
