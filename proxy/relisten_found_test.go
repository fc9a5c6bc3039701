package proxy

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/audit"
)

// patient is a client in front of a node that comes back.
func patient(t *testing.T) *solo {
	s := directed(t)
	s.patience = time.Second
	return s
}

// until lets turns pass until ok says so.
func (s *solo) until(what string, ok func() bool) {
	s.t.Helper()
	for range 100 {
		if ok() {
			return
		}
		s.turn()
	}
	s.t.Fatalf("never: %s", what)
}

func (s *solo) again() bool { return !s.p.s.relistens() }

// What is left of a push that broke off can't come any more.
func TestAListenerThatReadHalfAPushIsClosed(t *testing.T) {
	for _, proto := range []int{2, 3} {
		s := patient(t)
		if proto == 3 {
			s.say("HELLO 3")
			s.turn()
		}
		s.say("SUBSCRIBE a")
		s.turn()
		message := pushHead(proto, 3) + bulk("message") + bulk("a") + bulk(strings.Repeat("m", 200))
		s.own().out = []byte(message)
		s.own().deliver(len(message) / 2)
		s.own().close()
		if !s.p.s.ended || s.p.s.reason != audit.CloseBackendLost {
			t.Errorf("RESP%d: the session goes on", proto)
		}
	}
}

// The client would have to be told twice, or never, of what it was told half.
func TestAListenerThatIsHalfConfirmedIsClosed(t *testing.T) {
	s := patient(t)
	s.say("SUBSCRIBE a")
	s.heard(confirmation(2, "subscribe", "a", 1))
	s.say("SUBSCRIBE b c")
	s.flush(true)
	s.own().out = []byte(confirmation(2, "subscribe", "b", 2))
	s.own().deliver(1 << 10)
	s.own().close()
	if !s.p.s.ended || s.p.s.reason != audit.CloseBackendLost {
		t.Error("the session goes on")
	}
}

// A call that was sent and not answered is not made again by the proxy: the client
// hears that it may have run, and goes on listening to what it had.
func TestASubscriptionUnderWayIsNotAskedForAgain(t *testing.T) {
	s := patient(t)
	s.say("SUBSCRIBE a")
	s.heard(confirmation(2, "subscribe", "a", 1))
	s.say("SUBSCRIBE b")
	s.flush(true)
	s.own().close()
	s.sweep()
	s.until("it listens again", s.again)
	if got := s.own().subs[bySubscribe]; len(got) != 1 || got[0] != "a" {
		t.Errorf("the node was asked for %v", got)
	}
	s.heard(string(replyLost))
	s.say("UNSUBSCRIBE a")
	s.heard(confirmation(2, "unsubscribe", "a", 0))
}

// What the client says meanwhile waits until it listens again.
func TestAListenerIsNotServedBeforeItListensAgain(t *testing.T) {
	s := patient(t)
	s.say("SUBSCRIBE a")
	s.heard(confirmation(2, "subscribe", "a", 1))
	s.own().close()
	s.sweep()
	s.say("PING|UNSUBSCRIBE a|GET k")
	if len(s.p.door.out) > 0 {
		t.Fatalf("it was answered %q", s.p.door.out)
	}
	s.until("it listens again", s.again)
	s.heard("*2\r\n" + bulk("pong") + bulk("") + confirmation(2, "unsubscribe", "a", 0) + bulk("k@0"))
}

// A channel whose slot has moved away is ended: it is not asked for again, in
// however many pieces the node's word on it came.
func TestAnEndedChannelIsNotAskedForAgain(t *testing.T) {
	for _, proto := range []int{2, 3} {
		long := strings.Repeat("x", 300)
		s := patient(t)
		if proto == 3 {
			s.say("HELLO 3")
			s.turn()
			s.p.frames = nil
		}
		s.say("SSUBSCRIBE gone stays " + long)
		s.turn()
		s.p.frames = nil
		ended := confirmation(proto, "sunsubscribe", "gone", 2) + confirmation(proto, "sunsubscribe", long, 1)
		for i := range len(ended) {
			s.own().out = []byte(ended[i : i+1])
			s.own().deliver(1)
		}
		s.heard(ended)
		s.own().close()
		s.sweep()
		s.until("it listens again", s.again)
		if got := s.own().subs[bySsubscribe]; len(got) != 1 || got[0] != "stays" {
			t.Errorf("RESP%d: the node was asked for %.100v", proto, got)
		}
		ended = confirmation(proto, "sunsubscribe", "stays", 0)
		s.own().out = []byte(ended)
		s.own().deliver(1 << 10)
		s.heard(ended)
		if s.p.s.apart != nil {
			t.Errorf("RESP%d: a session without subscriptions keeps %+v", proto, s.p.s.apart)
		}
		s.say("GET k")
		s.heard(bulk("k@0"))
	}
}

// Who hears what others track can't be told that the node forgot whom to tell.
func TestAListenerToWhatOthersTrackIsClosed(t *testing.T) {
	s := patient(t)
	s.say("SUBSCRIBE a")
	s.turn()
	s.p.s.apart.tracked = true
	s.own().close()
	if !s.p.s.ended {
		t.Error("the session goes on")
	}
}

// Rights that were taken away while a session waited to listen again are not had again.
func TestAListenerWithoutRightsIsNotSubscribedAgain(t *testing.T) {
	s := patient(t)
	s.say("SUBSCRIBE a")
	s.turn()
	s.own().close()
	s.sweep()
	policy := s.st.w.policy
	s.st.w.policy = compileOne(t, "default", "on nopass ~* +@all resetchannels")
	s.p.s.user = s.st.w.policy.User("default")
	s.until("it is closed", func() bool { return s.p.s.ended })
	s.st.w.policy = policy
	if s.p.s.reason != audit.ClosePolicyChanged {
		t.Errorf("closed for %v", s.p.s.reason)
	}
	for _, ln := range s.lanes {
		if ln.own != nil {
			t.Error("the node was asked for a connection")
		}
	}
}

// A session that is yet to be held against a new policy is, before it asks for anything in its user's name.
func TestAListenerIsJudgedBeforeItIsSubscribedAgain(t *testing.T) {
	s := patient(t)
	s.say("SUBSCRIBE a")
	s.turn()
	s.own().close()
	s.sweep()
	w := s.st.w
	w.duties, w.duty = append(w.duties, func(one *session) { one.expire(audit.ClosePolicyChanged) }), w.duty+1
	s.until("it listens again, or is closed", func() bool { return s.p.s.ended || s.again() })
	w.duties = nil
	if !s.p.s.ended || s.p.s.reason != audit.ClosePolicyChanged {
		t.Errorf("it goes on: ended %v, for %v", s.p.s.ended, s.p.s.reason)
	}
	for _, ln := range s.lanes {
		if ln.own != nil {
			t.Error("the node was asked for a connection")
		}
	}
}

// The same holds for a call that waits for a node.
func TestACallThatWaitsForANodeIsJudgedAnewWithItsSession(t *testing.T) {
	s := directed(t)
	one, w := s.p.s, s.st.w
	one.slots.push(routed, 16, one.at)
	one.apart = &apart{turn: turn{kind: turnWatch, stray: &stray{n: 1, reply: replyUnavailable}}}
	w.duties, w.duty = append(w.duties, func(one *session) { one.cutOff(audit.ClosePolicyChanged) }), w.duty+1
	one.goAfter()
	w.duties = nil
	if !one.ended {
		t.Error("it went on by rights that it may not have any more")
	}
}

// The node ended the last subscription amid a call of the session, and was then lost:
// nothing is left to be subscribed to again, and the session goes on.
func TestAListenerWhoseLastChannelWasEndedAmidACallGoesOn(t *testing.T) {
	s := patient(t)
	s.say("HELLO 3")
	s.turn()
	s.say("SSUBSCRIBE a")
	s.turn()
	s.p.frames = nil
	s.say("BLPOP list 0")
	s.flush(true) // the node has it, and lets it wait
	ended := confirmation(3, "sunsubscribe", "a", 0)
	s.own().out = []byte(ended)
	s.own().deliver(1 << 10)
	if !s.p.s.blocked() || !s.p.s.apart.subs.none() {
		t.Fatal("the play went otherwise")
	}
	s.own().close()
	s.sweep()
	for range 20 {
		s.turn()
	}
	s.heard(ended + string(replyLost))
	s.say("GET k")
	s.heard(bulk("k@0"))
}

// A node that ends subscriptions which it has not even confirmed is no reason to ask for them, nor for nothing.
func TestAListenerWhoseChannelsAreEndedBeforeTheyAreConfirmedGoesOn(t *testing.T) {
	for _, proto := range []int{2, 3} {
		for _, confirms := range []bool{false, true} {
			s := patient(t)
			if proto == 3 {
				s.say("HELLO 3")
				s.turn()
			}
			s.say("SSUBSCRIBE a")
			s.turn()
			s.p.frames = nil
			s.own().close()
			s.sweep()
			var ln *lane
			for n := 0; ln == nil && n < 500; n++ {
				s.flush(true)
				for _, l := range s.lanes {
					if l.own != nil {
						ln = l
					}
				}
			}
			if ln == nil {
				t.Fatal("it does not ask for its channel again")
			}
			ln.attach()
			s.flush(true)
			ended := confirmation(proto, "sunsubscribe", "a", 0)
			ln.todo, ln.out = nil, []byte(ended)
			if confirms {
				ln.out = append(ln.out, confirmation(proto, "ssubscribe", "a", 1)...)
			}
			ln.deliver(1 << 10)
			if !confirms {
				ln.close()
			}
			s.sweep()
			s.until("it goes on", s.again)
			s.heard(ended)
			if s.p.s.ended || s.p.s.apart != nil {
				t.Fatalf("RESP%d, confirmed %v: ended %v, for %v; %+v", proto, confirms, s.p.s.ended, s.p.s.reason, s.p.s.apart)
			}
			s.say("GET k")
			s.heard(bulk("k@0"))
		}
	}
}

// compileOne is a policy of one user.
func compileOne(t *testing.T, name, rules string) *acl.Policy {
	t.Helper()
	text := func(s string) acl.Text { return acl.Text{Value: s} }
	src := acl.Source{
		Table:     command.Newest(),
		Listeners: []acl.ListenerSource{{Name: text("l"), Anonymous: true}},
		Users:     []acl.UserSource{{Name: text(name), Rules: text(rules)}},
	}
	src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{}
	policy, problems := acl.Compile(src)
	if policy == nil {
		t.Fatal(problems)
	}
	return policy
}
