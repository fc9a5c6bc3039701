package proxy

import (
	"errors"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/loop"
)

// event fills in what every event of a connection says.
func (s *session) event(kind audit.Kind) audit.Event {
	e := s.facts.event(kind)
	e.Time = s.w.now()
	if s.user != nil {
		e.User = s.user.Name()
	}
	return e
}

// newConnEvent reports whether the event is kept where it must be.
func (w *worker) newConnEvent(s *session) bool {
	e := s.event(audit.NewConn)
	e.TLS, e.Cipher, e.Resumed, e.Cert = s.facts.tls, s.facts.cipher, s.facts.resumed, s.facts.cert
	return w.recorder.Record(&e)
}

// authEvent records one attempt to authenticate: the name tried, and whom it
// proved. false: it must be on record and is not, so it must not count.
func (w *worker) authEvent(s *session, method acl.Method, user string, pr *acl.Principal, reason acl.Reason) bool {
	e := s.event(audit.Auth)
	e.User, e.Method, e.Reason, e.TokenID = user, methods[method], reason, pr.TokenID
	if reason == acl.None {
		e.User, e.Status, e.Factors, e.Expires = pr.User.Name(), audit.OK, pr.Factors, pr.Expires
		if pr.Weak != 0 {
			e.Mode, e.Reason = "report", acl.PasswordWeak
		}
	} else {
		e.Status = audit.Failed
		s.logFailedAuth(method, user)
		w.count.Listener(s.facts.listenerIndex).Refuse(uint8(reason))
	}
	w.count.Auth(authMethods[methods[method]], reason == acl.None)
	if !w.recorder.Record(&e) {
		return false
	}
	if reason == acl.None {
		w.noticed(e)
	}
	return true
}

// expiringEvent announces that a session ends soon unless it proves itself anew.
func (w *worker) expiringEvent(s *session) {
	e := s.event(audit.Auth)
	e.Method, e.Status, e.Factors, e.TokenID, e.Expires = s.method, audit.Expiring, s.who.Factors, s.who.TokenID, s.who.Expires
	w.recorder.Record(&e)
}

// closeEvent is the last word on a connection, after the refusals still folded.
func (w *worker) closeEvent(s *session) {
	s.fold.Rest(func(reason acl.Reason, folded uint64) {
		e := s.event(audit.Refused)
		e.Reason, e.Folded = reason, folded
		w.recorder.Record(&e)
	})
	w.count.Close(uint8(s.reason))
	e := s.event(audit.CloseConn)
	e.Close, e.Duration = s.reason, w.now().Sub(s.began)
	e.BytesIn, e.BytesOut, e.Commands, e.RefusedCalls = s.bytesIn, s.bytesOut, s.commands, s.refused
	w.recorder.Record(&e)
}

// refusedEvent records a refused call, unless the session is refused so often
// that it is only counted.
func (w *worker) refusedEvent(s *session, reason acl.Reason, d acl.Decision) {
	folded, ok := s.fold.Write(w.now(), reason)
	if !ok {
		return
	}
	e := s.event(audit.Refused)
	e.Reason, e.Folded = reason, folded
	s.describe(&e, d)
	w.recorder.Record(&e)
}

// refusedRequest records bytes that were no request.
func (w *worker) refusedRequest(s *session, reason acl.Reason) {
	s.refused++
	w.count.Listener(s.facts.listenerIndex).Refuse(uint8(reason))
	if folded, ok := s.fold.Write(w.now(), reason); ok {
		e := s.event(audit.Refused)
		e.Reason, e.Folded = reason, folded
		w.recorder.Record(&e)
	}
}

// noteworthy records an allowed call that only report mode, or naming a guarded
// command, let through, or whose keys are watched.
func (s *session) noteworthy(d acl.Decision) {
	if d.Reported {
		s.decision = metrics.Reported
		folded, ok := s.fold.Write(s.w.now(), d.Reason)
		if !ok {
			return
		}
		e := s.event(audit.Refused)
		e.Mode, e.Reason, e.Folded = "report", d.Reason, folded
		s.describe(&e, d)
		s.w.recorder.Record(&e)
		return
	}
	s.accessEvent(d)
}

// describe adds the call and the rule that decided, never an argument's value:
// of the arguments only the key or channel that was refused is named.
func (s *session) describe(e *audit.Event, d acl.Decision) {
	if s.call.Spec != nil {
		e.Command = s.call.Spec.Name
	}
	if d.Rule != nil {
		e.Rule = ruleText(d.Rule)
	}
	switch {
	case d.Arg > 0 && d.Arg < len(s.call.Args):
		e.Keys = s.call.Args[d.Arg : d.Arg+1]
	}
}

// ruleText is a rule and where it is written: "-@dangerous policy.yaml:7:12".
func ruleText(r *acl.Rule) string {
	if r.At == (acl.Origin{}) {
		return r.Text
	}
	return r.Text + " " + r.At.String()
}

// closeCause names the end of a connection that the session did not end itself.
func closeCause(cause error) audit.CloseReason {
	switch {
	case cause == nil:
		return audit.CloseClient
	case errors.Is(cause, loop.ErrPanic):
		return audit.ClosePanic
	case errors.Is(cause, loop.ErrShutdown):
		return audit.CloseDrain
	case errors.Is(cause, loop.ErrWriteTimeout):
		return audit.CloseWriteTimeout
	default:
		return audit.CloseReset
	}
}
