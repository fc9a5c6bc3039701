package proxy

import (
	"bytes"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/proxy/resp"
)

// A node of a cluster may say that a call over a session's own connection belongs
// elsewhere. Nothing of it has run then: a session that nothing binds to the node
// goes to the other one with it. The call is only ever sent again after such a
// word, never after a connection was lost.

// stray is a call that is on its way to another node.
type stray struct {
	tag    uint64
	n      int // replies that it is owed
	to     backend.Redirect
	reply  []byte // which said so
	until  int64  // when it is given up to look for that node, Unix ns
	awaits bool   // it is counted by the Router as waiting
	timer  loop.Timer
}

const (
	mostHops = 5
	// longestRedirect is more than any error that names a node.
	longestRedirect = 512
	lookAgain       = 20 * time.Millisecond
)

var askingCall = [][]byte{[]byte("ASKING")}

// astray looks at the reply to the call that the session waits for. It gives what
// the client is to hear of it now; nil: nothing yet.
func (s *session) astray(tag uint64, n int, p []byte, last bool) []byte {
	t := &s.apart.turn
	if t.n > 0 || len(t.fault) == 0 && (len(p) == 0 || p[0] != '-') {
		return p
	}
	t.fault = append(t.fault, p...)
	if !last && len(t.fault) < longestRedirect {
		return nil
	}
	fault := t.fault
	t.fault = nil
	if !last || s.apart.own == nil {
		return fault
	}
	return s.redirected(tag, n, fault)
}

// redirected acts on a whole error reply.
func (s *session) redirected(tag uint64, n int, fault []byte) []byte {
	a := s.apart
	t, word := &a.turn, fault
	if t.kind == turnExec && a.txn != nil && len(a.txn.astray) > 0 && bytes.HasPrefix(fault, []byte("-EXECABORT")) {
		word = a.txn.astray
		a.txn.astray = nil
	}
	to, ok := s.router.Redirected(word, a.own.Key().Node)
	switch {
	case !ok:
		return fault
	case t.kind == turnExec && a.why&whyWatch != 0:
		return s.nullArray() // what was watched is no longer there
	case a.why != 0:
		return resp.AppendError(nil, errBound)
	case t.hops >= mostHops:
		return fault
	}
	t.hops++
	a.own.Close()
	a.own, s.pipe = nil, nil
	t.stray = &stray{tag: tag, n: n, to: to, reply: fault, until: s.w.now().UnixNano() + s.router.Patience()}
	if !s.w.post(s.goAfter) { // nothing is sent while replies are being handed over
		t.stray = nil
		return fault
	}
	return nil
}

// goAfter sends the call to where it belongs, once that node is known: an
// address is never dialled on a redirection's word.
func (s *session) goAfter() {
	s.fulfil() // by whose rights it goes
	if s.ended || s.apart == nil || s.apart.turn.stray == nil {
		return
	}
	a := s.apart
	st := a.turn.stray
	at, pause := st.to.At, lookAgain
	if at == (backend.Endpoint{}) {
		at, pause = s.whither(), waitAgain
	}
	if at == (backend.Endpoint{}) || !s.router.Topology().Has(at) {
		if s.w.now().UnixNano() < st.until {
			s.w.arm(&st.timer, pause, s.goAfter)
			return
		}
		s.landed(true)
		s.Reply(st.tag, st.n, st.reply, true)
		return
	}
	s.landed(false)
	if no := s.rejudged(); no != nil {
		s.Reply(st.tag, st.n, no, true)
		return
	}
	a.at = at
	tainted, waited := a.tainted, a.waited
	f := s.have()
	a.tainted, a.waited = a.tainted || tainted, a.waited || waited // what taints one connection does so to the next
	if f == 0 {
		a.own.Until(st.until)
		f = s.repeat(st)
	}
	if f != 0 {
		s.leaveOwn() // with whatever it has taken of the call
		s.Reply(st.tag, st.n, failureText(f), true)
	}
}

// repeat sends the call that the session waits for once more.
func (s *session) repeat(st *stray) backend.Failure {
	a := s.apart
	t := &a.turn
	if t.kind == turnExec {
		a.txn.asking = st.to.Ask
		if f := s.sendBlock(a.txn); f != 0 {
			return f
		}
		return s.pipe.Send(s, st.tag, s.at, execCall)
	}
	if st.to.Ask {
		if f := s.pipe.Send(unheard{}, 0, s.at, askingCall); f != 0 {
			return f
		}
	}
	if name := t.spec.Name; name == "wait" || name == "waitaof" {
		a.waited = true
		if f := s.pipe.Send(unheard{}, 0, s.at, pingCall); f != 0 {
			return f
		}
	}
	if t.kind == turnSubscribe {
		a.own.Subscribed(s.proto == 2)
		return a.own.Subscribe(t.spec.Name, st.tag, st.n, s.at, t.again)
	}
	return s.pipe.Send(s, st.tag, s.at, t.again)
}

// scout hears what a node answers to the calls of a transaction as it queues
// them: one that it redirects is the reason why EXEC fails.
type scout struct {
	t    *transaction
	head []byte
	more bool // a reply is under way
	cut  bool // which is no redirection
}

func (c *scout) Reply(_ uint64, _ int, p []byte, last bool) {
	if !c.more {
		c.head, c.cut = c.head[:0], len(p) == 0 || p[0] != '-' || len(c.t.astray) > 0
	}
	c.more = !last
	if !c.cut {
		c.head = append(c.head, p...)
		c.cut = len(c.head) > longestRedirect
	}
	if last && !c.cut && (bytes.HasPrefix(c.head, []byte("-MOVED ")) || bytes.HasPrefix(c.head, []byte("-ASK "))) {
		c.t.astray = bytes.Clone(c.head)
	}
}

func (c *scout) Fail(uint64, backend.Failure) {}
