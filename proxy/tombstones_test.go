package proxy

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
)

// kindred has the stage's clients log in as their user.
func (st *stage) kindred(inFlight int) {
	st.w.limits.InFlight = inFlight
	for _, a := range st.sessions {
		a.s.speakFor(acl.Principal{User: a.s.user})
	}
}

// answer has a node answer so many of its calls; -1: all.
func (st *stage) answer(n *node, calls int) {
	st.t.Helper()
	st.flush()
	end := len(n.replies)
	if calls >= 0 {
		end = len(strings.Join(strings.SplitAfterN(string(n.replies), "$", calls+2)[:calls+1], "")) - 1
	}
	if err := n.pipe.Receive(n.replies[:end]); err != nil {
		st.t.Fatal(err)
	}
	n.replies = n.replies[end:]
	st.flush()
}

func gets(n int) []byte { return []byte(strings.Repeat("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", n)) }

// Whoever leaves has what is under way answered first: those who come for the same
// user meanwhile wait for it, go on by themselves, and nothing is kept of those who
// are gone.
func TestCallsOfAClientThatLeftStayInItsUsersWindow(t *testing.T) {
	st := newStage(t, 3, 1)
	st.kindred(8)
	n := st.nodes[0]
	for _, a := range st.sessions {
		a.s.pipe = n.pipe
	}
	first, second, other := st.sessions[0], st.sessions[1], st.sessions[2]
	other.s.speakFor(acl.Principal{}) // of nobody: it counts for itself alone
	other.s.user = second.s.user
	first.s.feed(gets(20))
	if got := n.pipe.Outstanding(); got != 8 {
		t.Fatalf("%d calls are under way, not 8", got)
	}
	first.s.depart(0, 0)
	second.s.feed(gets(20))
	if got := n.pipe.Outstanding(); got != 8 || !second.desk.paused {
		t.Fatalf("%d calls are under way, and who came after them is read: %v", got, !second.desk.paused)
	}
	other.s.feed(gets(3))
	if got := n.pipe.Outstanding(); got != 11 {
		t.Fatalf("somebody else has %d under way, not 3", got-8)
	}
	st.answer(n, 3)
	if k := second.s.kin; k.calls != 5 || n.pipe.Outstanding() != 8 {
		t.Fatalf("%d are owed to who left after three answers, %d in all", k.calls, n.pipe.Outstanding())
	}
	for range 20 {
		st.answer(n, -1)
	}
	if got := strings.Count(string(second.desk.sent), "$1\r\nk\r\n"); got != 20 || second.desk.paused {
		t.Fatalf("%d of 20 answers came, and it is not read: %v", got, second.desk.paused)
	}
	if k := second.s.kin; k.calls != 0 || k.bytes != 0 {
		t.Fatalf("%d calls of %d bytes are left over", k.calls, k.bytes)
	}
	second.s.depart(0, 0)
	if len(st.w.kin) != 0 {
		t.Fatalf("%d users are remembered who are gone", len(st.w.kin))
	}
}

// Those who come and go at once get no more under way, whatever becomes of the node.
func TestComingBackBringsNoMoreCallsUnderWay(t *testing.T) {
	for _, dies := range []bool{false, true} {
		st := newStage(t, 50, 1)
		st.kindred(8)
		n := st.nodes[0]
		for _, a := range st.sessions[1:] {
			a.s.pipe = n.pipe
			a.s.feed(gets(8))
			a.s.depart(0, 0)
		}
		if got := n.pipe.Outstanding(); got != 8 {
			t.Fatalf("%d calls are under way, not 8", got)
		}
		last := st.sessions[0]
		last.s.pipe = n.pipe
		last.s.feed(gets(1))
		if len(last.s.kin.waiting) != 1 {
			t.Fatalf("%d wait, and those are gone that have left", len(last.s.kin.waiting))
		}
		if dies {
			n.pipe.Drop()
			st.flush()
		} else {
			st.answer(n, -1)
		}
		if k := last.s.kin; k.calls != 0 || k.bytes != 0 || len(k.waiting) != 0 || last.desk.paused {
			t.Fatalf("the node died: %v; %d calls of %d bytes are left, %d wait", dies, k.calls, k.bytes, len(k.waiting))
		}
	}
}

// A part of the window is left: no more than that is taken, however the calls come.
func TestTombstonesLeaveTheRestOfTheWindow(t *testing.T) {
	for name, ask := range map[string][]byte{"ordinary calls": gets(20), "with others between": []byte(strings.Repeat(string(gets(1))+"*1\r\n$4\r\nPING\r\n", 20))} {
		st := newStage(t, 2, 1)
		st.kindred(8)
		n := st.nodes[0]
		for _, a := range st.sessions {
			a.s.pipe = n.pipe
		}
		st.sessions[0].s.feed(gets(5))
		st.sessions[0].s.depart(0, 0)
		st.sessions[1].s.feed(ask)
		if s := st.sessions[1].s; n.pipe.Outstanding() > 8 || s.slots.len() != 3 || !st.sessions[1].desk.paused {
			t.Errorf("%s: %d calls are under way beside %d, not 3 beside 5", name, s.slots.len(), s.kin.calls)
		}
		for range 20 {
			st.answer(n, -1)
		}
		if got := strings.Count(string(st.sessions[1].desk.sent), "$1\r\nk\r\n"); got != 20 {
			t.Errorf("%s: %d of 20 answers came", name, got)
		}
	}
}

// Those who come and go, however many, are not served instead of one who waits.
func TestWhoWaitsForTombstonesIsNotPassedOverForEver(t *testing.T) {
	st := newStage(t, 30, 1)
	st.kindred(8)
	n := st.nodes[0]
	for _, a := range st.sessions {
		a.s.pipe = n.pipe
	}
	one, others := st.sessions[0], st.sessions[1:]
	others[0].s.feed(gets(8))
	others[0].s.depart(0, 0)
	one.s.feed(gets(1))
	if !one.desk.paused {
		t.Fatal("it need not wait")
	}
	for _, a := range others[1:] {
		st.answer(n, 2)
		if one.s.slots.len() > 0 {
			return
		}
		a.s.feed(gets(2))
		a.s.depart(0, 0)
	}
	t.Errorf("it still waits, for %d calls of those who came after it", one.s.kin.calls)
}

// A call that waits for a node is on no connection yet: nobody would ever answer it to who has left,
// and its user's other clients would wait for that for ever.
func TestACallThatWaitedForANodeLeavesNoTombstone(t *testing.T) {
	for _, cut := range []bool{false, true} {
		st := newStage(t, 2, 1)
		st.kindred(8)
		n, first, second := st.nodes[0], st.sessions[0].s, st.sessions[1].s
		tag := first.slots.next
		for range 8 {
			first.slots.push(routed, 16, first.at)
		}
		first.apart = &apart{turn: turn{kind: turnSubscribe, stray: &stray{tag: tag, n: 8, reply: replyUnavailable}}}
		if cut {
			first.cutOff(audit.CloseKilled)
		} else {
			first.depart(audit.CloseClient, 0)
		}
		if k := second.kin; k.calls != 0 || k.bytes != 0 {
			t.Errorf("%d calls of %d bytes count, and nobody has them", k.calls, k.bytes)
		}
		second.pipe = n.pipe
		second.feed(gets(8))
		if got := n.pipe.Outstanding(); got != 8 {
			t.Errorf("who stayed has %d calls under way, not 8", got)
		}
	}
}

// A fault of ours while several replies were handed over costs their client, and takes none of them from
// its user's window for good.
func TestTombstonesOfAFaultAreTakenAway(t *testing.T) {
	st := newStage(t, 2, 1)
	st.kindred(8)
	n, first, second := st.nodes[0], st.sessions[0].s, st.sessions[1].s
	first.pipe = n.pipe
	first.feed(gets(6))
	st.flush()
	first.port = &fragileDesk{desk: &desk{}}
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("there was no fault")
			}
		}()
		n.pipe.Receive(n.replies[:len(n.replies)/2])
	}()
	n.pipe.Drop()
	if k := second.kin; k.calls != 0 || k.bytes != 0 || !first.ended {
		t.Errorf("%d calls of %d bytes count for ever, ended %v", k.calls, k.bytes, first.ended)
	}
}

// fragileDesk fails when something is written to it.
type fragileDesk struct{ *desk }

func (fragileDesk) SetOut([]byte) { panic("a fault of ours") }
