package proxy

import (
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/resp"
)

// Faults that interleavings brought to light, each with what it took.

// solo is a play with one client, directed line by line.
type solo struct {
	*play
	p *player
	t *testing.T
}

func newSolo(t *testing.T) *solo {
	pl := newPlay(t)
	pl.begin(0, 1)
	return &solo{pl, pl.players[0], t}
}

// say has the client send calls, divided by "|", without a turn passing.
func (s *solo) say(calls string) {
	var b []byte
	for _, line := range strings.Split(calls, "|") {
		var args [][]byte
		for _, w := range strings.Fields(line) {
			args = append(args, []byte(w))
		}
		b = resp.AppendCommand(b, args)
	}
	s.p.s.Data(nil, b)
}

// turn lets nodes take what they were sent and answer it, and everything arrive.
func (s *solo) turn() {
	for range 6 {
		s.flush(true)
		for _, ln := range s.lanes {
			if ln.link == nil && ln.pipe != nil && !ln.gone {
				ln.attach()
			}
			for range 2 * len(ln.todo) {
				ln.work(false)
			}
			if ln.pipe != nil {
				ln.deliver(1 << 20)
			}
		}
		s.sweep()
	}
	s.p.door.sent = append(s.p.door.sent, s.p.door.out...)
	s.p.door.out = nil
}

// heard checks all that the client has read since, and that nothing went wrong.
func (s *solo) heard(want string) {
	s.t.Helper()
	s.turn()
	if got := string(s.p.frames); got != want {
		s.t.Fatalf("the client read %q, want %q", got, want)
	}
	if s.fault != "" {
		s.t.Fatal(s.fault)
	}
	s.p.frames = nil
}

// own is the client's own connection.
func (s *solo) own() *lane {
	for _, ln := range s.lanes {
		if ln.own != nil {
			return ln
		}
	}
	s.t.Fatal("it has no connection of its own")
	return nil
}

func directed(t *testing.T) *solo {
	s := newSolo(t)
	s.p.anything, s.p.keep = true, true
	return s
}

const ok = "+OK\r\n"

// The reply to a skipped call and to the next one came in one piece, and were
// taken for replies that nobody was owed: a panic, and with it went the shared
// connection.
func TestASkippedCallInASecondReadOfATurnEndsNobodysConnection(t *testing.T) {
	s := directed(t)
	s.say("CLIENT REPLY SKIP|GET a")
	s.say("GET b")
	s.heard(bulk("b@0"))
}

// What was answered here within a push counted as owed for ever: RESET, and any
// other call that waits for owed replies, was never served again.
func TestAnAnswerGivenWithinAPushIsNotOwedAnyMore(t *testing.T) {
	s := directed(t)
	s.say("MONITOR")
	s.heard(ok)
	s.own().out = []byte("+li")
	s.own().deliver(3)
	s.say("GET a|RESET")
	s.own().out = []byte("ne\r\n")
	s.heard("+line\r\n-ERR Can't execute 'get': only QUIT / RESET are allowed while monitoring\r\n+RESET\r\n")
}

// RESET closed the connection on which half a push had come; its answer then
// waited for the other half.
func TestAResetWithinAPushIsAnswered(t *testing.T) {
	s := directed(t)
	s.say("MONITOR")
	s.heard(ok)
	s.own().out = []byte("+li")
	s.own().deliver(3)
	s.say("RESET|PING")
	s.own().out = []byte("ne\r\n")
	s.heard("+line\r\n+RESET\r\n+PONG\r\n")
}

// A client that was slow and had said its last word did not get the rest of a long
// reply from its own connection, which was never read again.
func TestAClientThatHasHungUpStillGetsALongReply(t *testing.T) {
	s := directed(t)
	s.say("MULTI|GET a|EXEC")
	s.flush(true)
	ln := s.own()
	ln.attach()
	s.flush(true)
	ln.work(false)
	ln.work(false)
	ln.work(false)
	ln.deliver(1 << 20)
	s.flush(true)
	s.p.door.blocked = true
	s.say("MULTI|GET a|EXEC")
	s.flush(true)
	for _, ln := range s.lanes {
		if ln.link == nil && ln.pipe != nil {
			ln.attach()
		}
	}
	s.flush(true)
	ln = s.own()
	for range 2 {
		ln.work(false)
	}
	ln.deliver(1 << 20)
	ln.todo, ln.inMulti = nil, false
	head, tail := bulkOf(3 << 20)[:2<<20], bulkOf(3 << 20)[2<<20:]
	ln.out = append([]byte("*1\r\n"), head...)
	ln.deliver(len(ln.out))
	s.p.hungUp = true
	s.p.s.EOF(nil)
	if !ln.link.paused {
		t.Fatal("the node is read on for a client that does not read")
	}
	s.flush(true)
	s.p.s.Drained(nil)
	if ln.link.paused {
		t.Fatal("the node is not read any more")
	}
	ln.out = tail
	ln.deliver(len(tail))
	if !s.p.door.closing {
		t.Fatal("the client is kept after its last reply")
	}
}

func bulkOf(n int) []byte { return []byte(bulk(strings.Repeat("x", n))) }

// A SELECT that failed within a transaction led to a database that does not
// exist: every later call was answered "backend unavailable".
func TestASelectThatFailsWithinATransactionLeadsNowhere(t *testing.T) {
	s := directed(t)
	s.say("MULTI|SELECT 1|GET a|SELECT 99|EXEC|GET b")
	s.heard(ok + "+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n" + bulk("a@1") + "-ERR DB index is out of range\r\n" + bulk("b@1"))
}

// EXEC that the node refuses, other than by aborting, leaves the connection in
// MULTI: the next session's calls were queued there.
func TestAConnectionStillInATransactionIsGivenToNobody(t *testing.T) {
	s := directed(t)
	s.say("MULTI|GET a|EXEC")
	s.flush(true)
	ln := s.own()
	ln.attach()
	s.flush(true)
	ln.todo = nil
	ln.out = []byte("+OK\r\n+QUEUED\r\n-NOPERM this user may not\r\n")
	ln.deliver(1 << 20)
	if own := ln.own; own.Given() || !own.Ended() {
		t.Fatal("it is given on")
	}
}

// A connection that has answered WAIT may be used by its session again, and by
// nobody else.
func TestAConnectionThatHasWaitedIsNobodyElses(t *testing.T) {
	s := directed(t)
	s.say("WAIT 1 0")
	s.heard(":1\r\n")
	own := s.own().own
	s.say("MULTI|GET a|EXEC")
	s.heard(ok + "+QUEUED\r\n*1\r\n" + bulk("a@0"))
	if own.Given() {
		t.Fatal("it is given on")
	}
	s.leave(s.p, errors.New("gone"))
	if !own.Ended() {
		t.Fatal("it outlives its session")
	}
}

// A call that waits, behind the end of what its client had to say, waited for
// nobody, and took an element from the others.
func TestNothingIsWaitedForOnBehalfOfAClientThatHasHungUp(t *testing.T) {
	s := directed(t)
	s.say("GET a|BLPOP b 0")
	s.p.hungUp = true
	s.p.s.EOF(nil)
	s.heard(bulk("a@0"))
	if !s.p.door.closing {
		t.Fatal("the session is kept")
	}
	for _, ln := range s.lanes {
		if ln.own != nil {
			t.Fatal("the call was made")
		}
	}
}

// A subscriber that hung up was not given the replies it was still owed.
func TestASubscriberThatHangsUpIsGivenWhatItIsOwed(t *testing.T) {
	s := directed(t)
	s.say("HELLO 3|SUBSCRIBE c")
	s.turn()
	s.p.frames = nil
	s.say("GET a")
	s.p.hungUp = true
	s.p.s.EOF(nil)
	s.heard(bulk("a@0"))
	if !s.p.door.closing {
		t.Fatal("the session is kept")
	}
}

// The node had ended a subscription by itself, as the slot moved away: a
// SUNSUBSCRIBE from all channels waited for one confirmation too many, for ever. As from Redis
// there is one for each channel that is left.
func TestAChannelThatItsNodeHasGivenUpIsNotWaitedFor(t *testing.T) {
	s := directed(t)
	s.say("SSUBSCRIBE a b")
	s.heard(confirmation(2, "ssubscribe", "a", 1) + confirmation(2, "ssubscribe", "b", 2))
	ln := s.own()
	ln.out = []byte(ln.subscription("sunsubscribe", []string{"a"}))
	s.heard(confirmation(2, "sunsubscribe", "a", 1))
	s.say("SUNSUBSCRIBE|GET x")
	s.turn()
	if got := string(s.p.frames); !strings.HasSuffix(got, bulk("x@0")) || strings.Count(got, "sunsubscribe") != 1 {
		t.Fatalf("the client read %q", got)
	}
}

// Confirmations come whatever CLIENT REPLY says, also where nothing was subscribed.
func TestUnsubscribingFromNothingIsConfirmedWithRepliesOff(t *testing.T) {
	s := directed(t)
	s.say("CLIENT REPLY OFF|UNSUBSCRIBE|GET a|CLIENT REPLY ON")
	s.heard(confirmation(2, "unsubscribe", "", 0) + ok)
}

// What came on a connection after its session was done with it was heard by the
// next one, or swallowed.
func TestAConnectionThatSpeaksUnaskedIsGivenToNobody(t *testing.T) {
	for _, surplus := range []string{"+OK\r\n", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", ">2\r\n$10\r\ninv"} {
		for _, calls := range []string{"MULTI|GET a|EXEC", "BLPOP a 0"} {
			s := directed(t)
			s.say("HELLO 3|" + calls)
			s.flush(true)
			ln := s.own()
			ln.attach()
			s.flush(true)
			for range 2 * len(ln.todo) {
				ln.work(false)
			}
			ln.out = append(ln.out, surplus...)
			own := ln.own
			if err := own.Take(ln.out); err == nil || own.Given() || !own.Ended() {
				t.Fatalf("after %s, %q is overheard: %v", calls, surplus, err)
			}
			if strings.Contains(string(s.p.door.out), "invalidate") {
				t.Fatalf("the client read %q", s.p.door.out)
			}
		}
	}
}
