package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/resp"
)

// limited has the stage's clients count on their user's limits.
func (st *stage) limited(change func(*Limits)) {
	change(&st.w.limits)
	for _, a := range st.sessions {
		a.s.enroll(&acl.Principal{User: a.s.user}, true)
	}
}

// pings has a client ask n times, and tells how many were answered and how many
// refused.
func (st *stage) pings(a *actor, n int) (answered, refused int) {
	st.t.Helper()
	before := len(a.desk.sent)
	a.s.feed([]byte(strings.Repeat("*1\r\n$4\r\nPING\r\n", n)))
	for range 2 + n/1024 {
		st.flush()
	}
	got := string(a.desk.sent[before:])
	answered = strings.Count(got, "+PONG\r\n")
	refused = strings.Count(got, "-ERR rate limit exceeded\r\n")
	if answered+refused != n {
		st.t.Fatalf("%d replies to %d calls: %.200q", answered+refused, n, got)
	}
	return answered, refused
}

func TestCommandsBeyondTheRateAreRefusedAndServiceGoesOn(t *testing.T) {
	st := newStage(t, 2, 1)
	st.limited(func(l *Limits) { l.CommandsPerSecond = 100 })
	a, b := st.sessions[0], st.sessions[1]
	if answered, _ := st.pings(a, 300); answered != 100 {
		t.Fatalf("%d of 300 at once were answered, not one second's worth", answered)
	}
	if answered, _ := st.pings(b, 10); answered > 1 {
		t.Fatalf("the same user's other session got %d more", answered)
	}
	st.now = st.now.Add(200 * time.Millisecond)
	if answered, _ := st.pings(b, 100); answered < 19 || answered > 22 {
		t.Fatalf("after 200 ms %d were answered, not 20", answered)
	}
	if a.desk.closing || b.desk.closing {
		t.Fatal("a refusal closed the connection")
	}
	// What lets somebody leave, or become somebody else, is never refused.
	st.pings(b, 10)
	b.s.feed(words("QUIT"))
	st.flush()
	if got := string(b.desk.sent); !strings.HasSuffix(got, "+OK\r\n") {
		t.Fatalf("QUIT was answered %q", got[max(0, len(got)-100):])
	}
}

// Two loops draw on one user's rate: together they let through no more than it gives.
func TestLoopsShareAUsersRate(t *testing.T) {
	st := newStage(t, 2, 1)
	other := *st.w
	other.shares = nil
	st.sessions[1].s.w = &other
	st.w.limits.CommandsPerSecond, other.limits.CommandsPerSecond = 1000, 1000
	for _, a := range st.sessions {
		a.s.enroll(&acl.Principal{User: a.s.user}, true)
	}
	sum := 0
	for range 100 { // ms
		for _, a := range st.sessions {
			answered, _ := st.pings(a, 30)
			sum += answered
		}
	}
	passed := st.now.Sub(time.Unix(1000, 0))
	most := 1000 + int(passed.Milliseconds())
	if sum > most || sum < most*9/10 {
		t.Fatalf("%d calls in %v, %d are the rate and a second's worth", sum, passed, most)
	}
}

// A loop whose last session of a user leaves gives back what it had not used.
func TestWhatALoopDidNotUseGoesBack(t *testing.T) {
	st := newStage(t, 2, 1)
	st.limited(func(l *Limits) { l.CommandsPerSecond = 1000 })
	a, b := st.sessions[0], st.sessions[1]
	st.pings(a, 1) // takes more than one for the loop
	q := a.s.pace.share.quota
	a.s.withdraw()
	b.s.withdraw()
	if len(st.w.shares) != 0 {
		t.Fatalf("%d shares are left of nobody", len(st.w.shares))
	}
	if got := q.commands.take(st.w.sinceEpoch(), 5000); got < 998 {
		t.Fatalf("the bucket holds %d of 1000 after one call", got)
	}
}

// Whoever parts and comes back finds the buckets as they were left, until what
// was drawn has come in again; then nothing is kept of those who are gone.
func TestWhoPartsAndReturnsHasNoNewRate(t *testing.T) {
	st := newStage(t, 1, 1)
	a := st.sessions[0]
	st.limited(func(l *Limits) { l.CommandsPerSecond = 100 })
	if answered, _ := st.pings(a, 150); answered != 100 {
		t.Fatalf("%d were answered at once, not 100", answered)
	}
	for range 5 {
		a.s.withdraw()
		a.s.enroll(&acl.Principal{User: a.s.user}, true)
		if answered, _ := st.pings(a, 10); answered > 1 {
			t.Fatalf("a new session had %d more", answered)
		}
	}
	quotas := &st.w.srv.quotas
	a.s.withdraw()
	if quotas.forget(st.now); len(quotas.all) != 1 {
		t.Fatal("what was drawn is forgotten at once")
	}
	st.now = st.now.Add(1100 * time.Millisecond)
	if quotas.forget(st.now); len(quotas.all) != 0 {
		t.Fatal("a user who is gone and owes nothing is kept")
	}
}

func TestASelectThatHadToWaitCountsOnce(t *testing.T) {
	st := newStage(t, 1, 1)
	st.limited(func(l *Limits) { l.CommandsPerSecond = 2 })
	a, n := st.sessions[0], st.nodes[0]
	a.s.pipe = n.pipe
	a.s.feed(words("GET 1", "SELECT 0"))
	for range 3 {
		st.flush()
		if err := n.pipe.Receive(n.replies); err != nil {
			t.Fatal(err)
		}
		n.replies = nil
	}
	if got, want := string(a.desk.sent), string(words("1")[4:])+"+OK\r\n"; got != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// Bytes are not refused. Who has spent the user's waits until they are paid for,
// and so do the user's other sessions; all of them go on by themselves.
func TestWhoHasSpentTheBytesOfASecondIsNotReadUntilTheyArePaidFor(t *testing.T) {
	st := newStage(t, 2, 1)
	st.limited(func(l *Limits) { l.BytesPerSecond = 1 << 20 })
	a, b := st.sessions[0], st.sessions[1]
	echo := resp.AppendCommand(nil, [][]byte{[]byte("ECHO"), make([]byte, 100<<10)})
	moved := 0
	began := st.now
	for st.now.Sub(began) < 5*time.Second {
		for _, x := range []*actor{a, b} {
			if !x.desk.paused {
				x.s.feed(echo)
				moved += len(echo)
			}
		}
		st.flush()
		st.fire()
	}
	got := len(a.desk.sent) + len(b.desk.sent) + moved
	if want := 6 << 20; got > want+4*len(echo) || got < want*8/10 {
		t.Fatalf("%d bytes in five seconds at 1 MiB/s and a second's worth: want about %d", got, want)
	}
	if a.desk.closing || b.desk.closing {
		t.Fatal("a client was closed")
	}
	for range 3000 {
		st.flush()
		st.fire()
	}
	if a.desk.paused || b.desk.paused {
		t.Fatal("a client is still not read, with everything paid for")
	}
}

func TestAUserOfItsOwnLimitsIsHeldToThese(t *testing.T) {
	w := &worker{limits: Limits{UserConnections: 10, CommandsPerSecond: 20, BytesPerSecond: 30}}
	for _, c := range []struct{ own, want acl.Limits }{
		{acl.Limits{}, acl.Limits{Connections: 10, CommandsPerSecond: 20, BytesPerSecond: 30}},
		{acl.Limits{Connections: 1, CommandsPerSecond: 2, BytesPerSecond: 3}, acl.Limits{Connections: 1, CommandsPerSecond: 2, BytesPerSecond: 3}},
		{acl.Limits{Connections: -1, CommandsPerSecond: -1, BytesPerSecond: -1}, acl.Limits{}},
	} {
		policy, problems := acl.Compile(acl.Source{
			Table:     newStage(t, 0, 0).w.table,
			Listeners: []acl.ListenerSource{{Name: acl.Text{Value: "l"}}},
			Users:     []acl.UserSource{{Name: acl.Text{Value: "u"}, Rules: acl.Text{Value: "on nopass"}, Limits: c.own}},
		})
		if policy == nil {
			t.Fatal(problems)
		}
		if got := w.limitsOf(policy.User("u")); got != c.want {
			t.Errorf("%+v gives %+v, want %+v", c.own, got, c.want)
		}
	}
}

func TestANameThatTwoIssuersGiveIsTwoUsersToTheLimits(t *testing.T) {
	st := newStage(t, 3, 1)
	st.w.limits.UserConnections = 1
	stranger := &acl.User{}
	for i, issuer := range []string{"a", "b"} {
		if !st.sessions[i].s.enroll(&acl.Principal{User: stranger, Issuer: issuer}, false) {
			t.Fatalf("the one of issuer %s has no room", issuer)
		}
	}
	if st.sessions[2].s.enroll(&acl.Principal{User: stranger, Issuer: "a"}, false) {
		t.Fatal("a second connection of the same one is let in")
	}
	if s := fmt.Sprint(len(st.w.srv.quotas.all)); s != "2" {
		t.Fatal(s, "users are counted")
	}
}

// Who leaves while the user's bytes are not paid for is not kept until they are,
// and is not woken for a user it has nothing to do with any more.
func TestWhoLeavesDoesNotWaitForItsUsersBytesAnyMore(t *testing.T) {
	st := newStage(t, 3, 1)
	st.limited(func(l *Limits) { l.BytesPerSecond = 1 << 10 })
	echo := resp.AppendCommand(nil, [][]byte{[]byte("ECHO"), make([]byte, 4<<10)})
	for range 3 {
		for _, a := range st.sessions {
			a.s.feed(echo)
		}
		st.flush()
	}
	h := st.sessions[0].s.pace.share
	if len(h.waiting) != 3 {
		t.Fatalf("%d wait, not all three", len(h.waiting))
	}
	st.sessions[0].s.withdraw()
	if len(h.waiting) != 2 || slices.Contains(h.waiting, st.sessions[0].s) || st.sessions[0].s.pace.broke {
		t.Fatalf("%d wait after one of three has left", len(h.waiting))
	}
	for range 100 { // whatever happens meanwhile, each waits once
		for _, a := range st.sessions[1:] {
			a.s.pace.broke = false
			a.s.gauge()
		}
	}
	if len(h.waiting) != 2 {
		t.Fatalf("two wait in %d places", len(h.waiting))
	}
	st.sessions[2].s.withdraw()
	st.now = st.now.Add(time.Hour)
	st.fire()
	if len(h.waiting) != 0 || st.sessions[1].s.pace.broke || st.sessions[1].desk.paused {
		t.Fatal("who stayed does not go on")
	}
}
