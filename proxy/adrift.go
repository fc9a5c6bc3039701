package proxy

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// Over several nodes the primary of a call's keys may be unknown for a while, or
// lose its part before the call has been sent to it. A call that needs a connection
// of the session's own then waits here, as one over a shared connection does in the
// Router: at most as long as the backend says, and only if it was certainly not sent.

// beginTurn notes the call that the session waits for from now on.
func (s *session) beginTurn(kind turnKind, args [][]byte) {
	s.apart.turn = turn{kind: kind, spec: s.call.Spec}
	t := &s.apart.turn
	if s.blocked() {
		t.args = copiedArgs(args) // they may be judged again before there is an answer
	}
	if s.router == nil {
		return
	}
	t.until = s.at + s.router.Patience()
	if kind == turnExec {
		return // all of it is in the transaction
	}
	t.again = copiedArgs(args)
	if writes(s.call.Spec) {
		var at spot
		at.narrow(s.router, &s.call, args)
		s.noteWrite(at)
	}
}

// whither is the node that the call which is waited for belongs to as far as is
// known now; zero: nobody.
func (s *session) whither() backend.Endpoint {
	if at := s.apart.spot; at.set {
		return s.router.Holder(at.group)
	}
	return s.router.Primary(s.router.Home())
}

// adrift keeps a call, owed n replies, for which there is no node now. It reports
// false where that isn't why it can't be sent, or where it may not wait.
func (s *session) adrift(kind turnKind, args [][]byte, n int) bool {
	if s.router == nil || s.apart.at != (backend.Endpoint{}) || s.apart.why != 0 || !s.router.Await() {
		return false
	}
	tag := s.slots.next
	for range n {
		s.slots.push(routed, wireSize(args)/n, s.at)
	}
	s.beginTurn(kind, args)
	t := &s.apart.turn
	t.stray = &stray{tag: tag, n: n, reply: replyUnavailable, until: t.until, awaits: true}
	s.w.arm(&t.stray.timer, waitAgain, s.goAfter)
	return true
}

// waitAgain is how often it is looked whether a call has a node by now.
const waitAgain = 50 * time.Millisecond

// outlasts keeps a call, owed n replies, that certainly was not sent: to a node which is no
// longer its own, or over a connection that stood and died before anybody knew of its node.
// It reports false where the call has failed for good.
func (s *session) outlasts(tag uint64, n int, f backend.Failure) bool {
	a := s.apart
	if f != backend.Unavailable || s.router == nil || a == nil || a.own == nil || a.why != 0 || a.turn.kind == noTurn {
		return false
	}
	t := &a.turn
	switch {
	case t.n > 0 || t.stray != nil || t.kind == turnExec && (a.txn == nil || a.txn.begun) || t.kind != turnExec && t.again == nil:
		return false
	case s.w.now().UnixNano() >= t.until || !a.own.Stood() && s.whither() == a.own.Key().Node || !s.router.Await():
		return false
	}
	t.stray = &stray{tag: tag, n: n, reply: replyUnavailable, until: t.until, awaits: true}
	if !s.w.post(s.goAfter) { // nothing is sent while failures are being told
		s.landed(false)
		return false
	}
	return true
}

// landed ends the search of a call for its node.
func (s *session) landed(gaveUp bool) {
	t := &s.apart.turn
	t.stray.timer.Stop()
	if t.stray.awaits {
		s.router.Awaited(gaveUp)
	}
	t.stray = nil
}

// rejudged holds a call that has waited against the policy now in force. It gives
// what is answered instead of sending it; nil: it may go.
func (s *session) rejudged() []byte {
	t := &s.apart.turn
	if t.kind == turnExec {
		if text := s.rejudge(s.apart.txn); text != "" {
			return resp.AppendError(nil, errExecRefused+strings.TrimPrefix(text, "ERR "))
		}
		return nil
	}
	reason, d := acl.None, acl.Decision{}
	if err := s.w.table.Parse(t.again, &s.call); err != nil {
		reason = faultReason(err)
	} else if s.user != nil {
		if d = s.w.policy.Decide(s.user, &s.call); !d.Allowed {
			reason = d.Reason
		}
	}
	if reason == acl.None {
		return nil
	}
	s.noteRefusal(reason, d)
	return resp.AppendError(nil, s.refusalText(reason, t.again, d))
}
