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
