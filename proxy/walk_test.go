package proxy

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
)

// crowded is a stage whose loop has so many sessions, the last one to come first.
func crowded(t testing.TB, n int) (*stage, []*session) {
	st := newStage(t, n, 0)
	all := make([]*session, n)
	for i, a := range st.sessions {
		all[i] = a.s
		a.s.facts.in = &listener{}
		enlist(st.w, a.s)
	}
	return st, all
}

func enlist(w *worker, s *session) {
	s.duty = w.duty
	if s.next = w.sessions; s.next != nil {
		s.next.prev = s
	}
	w.sessions = s
}

// delist takes a session out of the list, as leave does.
func delist(w *worker, s *session) {
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
}

func TestAWalkVisitsEverybodyAFewATurn(t *testing.T) {
	const n = 5*walkAtOnce + 7
	st, all := crowded(t, n)
	seen, done := make(map[*session]int), false
	turn := 0
	st.w.walk(func(s *session) { seen[s]++; turn++ }, func() { done = true })
	for turns := 1; !done; turns++ {
		if turn > walkAtOnce || turns > n/walkAtOnce+1 {
			t.Fatalf("%d sessions in turn %d", turn, turns)
		}
		turn = 0
		st.flush()
	}
	for _, s := range all {
		if seen[s] != 1 {
			t.Fatalf("session %d was visited %d times", s.facts.id, seen[s])
		}
	}
	if len(st.w.walks) != 0 {
		t.Error("the walk is remembered after its end")
	}
}

// A new policy is asked about each channel: who listens to thousands takes as long as many others.
func TestAWalkVisitsFewWhoListenToMuch(t *testing.T) {
	st, all := crowded(t, 2*walkAtOnce)
	for _, s := range all[:10] {
		s.apart = &apart{why: whySubscribed}
		for i := range channelsAtOnce * walkAtOnce {
			s.apart.subs.add(bySubscribe, fmt.Append(nil, i))
		}
	}
	seen, done, turns := 0, false, 0
	st.w.walk(func(*session) { seen++ }, func() { done = true })
	for ; !done && turns < 20; turns++ {
		before := seen
		if st.flush(); seen-before > 1 && turns > 1 {
			t.Fatalf("%d of those who listen to much in one turn", seen-before)
		}
	}
	if seen != len(all) || turns < 10 {
		t.Errorf("%d of %d in %d turns", seen, len(all), turns)
	}
}

func TestAWalkPassesOverWhoLeavesAndWhoComes(t *testing.T) {
	st, all := crowded(t, 4*walkAtOnce)
	var seen []*session
	done := 0
	visit := func(s *session) {
		seen = append(seen, s)
		if s == all[len(all)-walkAtOnce-3] { // it ends another one, and the one that would be next
			delist(st.w, all[len(all)-walkAtOnce-4])
			delist(st.w, all[0])
		}
	}
	st.w.walk(visit, func() { done++ })
	st.w.walk(func(*session) {}, func() { done++ })
	at := st.w.walks[0].next
	delist(st.w, at) // the one at which both walks stand
	late := &session{w: st.w}
	enlist(st.w, late)
	for done < 2 {
		st.flush()
	}
	if slices.Contains(seen, at) || slices.Contains(seen, all[0]) || slices.Contains(seen, late) || len(seen) != len(all)-3 {
		t.Errorf("%d of %d were visited, gone ones among them or such as came later", len(seen), len(all))
	}
}

func TestAPanicOverOneSessionDoesNotKeepAWalkFromTheOthers(t *testing.T) {
	st, all := crowded(t, 3*walkAtOnce)
	visited, done := 0, false
	func() {
		defer func() { _ = recover() }() // the edge of the turn
		st.w.walk(func(s *session) {
			if visited++; s == all[len(all)-5] {
				panic("a fault of ours")
			}
		}, func() { done = true })
	}()
	for n := 0; !done && n < 10; n++ {
		st.flush()
	}
	if visited != len(all) || !done {
		t.Errorf("%d of %d were visited, to the end: %v", visited, len(all), done)
	}
	for i, s := range all {
		if atFault := i == len(all)-5; s.ended != atFault || atFault && s.reason != audit.ClosePanic {
			t.Errorf("session %d: ended %v, for %v", i, s.ended, s.reason)
		}
	}
}

// A walk that a panic held up is overtaken by the next one, which does its duty, too.
func TestWhatAPanicHeldUpIsDoneByTheNextWalk(t *testing.T) {
	st, all := crowded(t, 2*walkAtOnce)
	did := make(map[*session]string)
	func() {
		defer func() { _ = recover() }() // the edge of the turn
		st.w.oblige(func(s *session) {
			if s == all[len(all)-1] {
				panic("a fault of ours")
			}
			did[s] += "1"
		})
	}()
	st.w.oblige(func(s *session) { did[s] += "2" })
	for n := 0; len(st.w.walks) > 0 && n < 10; n++ {
		st.flush()
	}
	if len(st.w.walks) != 0 || len(st.w.duties) != 0 {
		t.Fatalf("%d walks go on, %d duties are kept", len(st.w.walks), len(st.w.duties))
	}
	for i, s := range all[:len(all)-1] {
		if did[s] != "12" {
			t.Fatalf("session %d has done %q", i, did[s])
		}
	}
	if !all[len(all)-1].ended {
		t.Error("the session at fault goes on without having done what it was to do")
	}
}

// A proof that comes back, or a token that means something else now, may find that its
// session has left.
func TestASessionThatHasLeftIsObligedToNothing(t *testing.T) {
	s := directed(t)
	one := s.p.s
	s.leave(s.p, nil)
	did := false
	one.w.oblige(func(*session) { did = true })
	one.fulfil()
	one.reproved(&acl.TokenClaims{}, nil, nil)
	one.proved(nil, nil, acl.Principal{}, acl.None)
	one.w.duties = append(one.w.duties, func(*session) { did = true })
	one.w.duty++
	one.fulfil()
	if did {
		t.Error("it did what was asked of those who are there")
	}
}

// What a session is obliged to comes before what it does next, in the order in
// which it was asked for, once.
func TestASessionFulfilsItsDutiesBeforeItActs(t *testing.T) {
	st, all := crowded(t, 4*walkAtOnce)
	done := make(map[*session]string)
	for n := range 3 {
		st.w.oblige(func(s *session) { done[s] += fmt.Sprint(n) })
		last := all[0] // the walks come to it last
		if done[last] != "012"[:n] {
			t.Fatalf("the last session has done %q before anything happened", done[last])
		}
		last.feed(nil)
		if done[last] != "012"[:n+1] {
			t.Fatalf("the last session has done %q, and went on", done[last])
		}
	}
	for len(st.w.walks) > 0 {
		st.flush()
	}
	for _, s := range all {
		if done[s] != "012" {
			t.Fatalf("session %d has done %q", s.facts.id, done[s])
		}
	}
	if len(st.w.duties) != 0 {
		t.Errorf("%d duties are kept that everybody has done", len(st.w.duties))
	}
}

// A policy that takes a user away ends its sessions, though a later one that has the
// user again comes into force before the walk has come to them.
func TestWhatAPolicyTakesAwayIsGoneThoughALaterOneGivesItBack(t *testing.T) {
	st, all := crowded(t, 3*walkAtOnce)
	with := st.w.policy
	for _, s := range all {
		s.facts.listener, s.facts.network = "l", "unix"
		s.who = acl.Principal{User: s.user, Method: acl.MethodPassword}
	}
	without, err := with.WithUser("other", []string{"on", "nopass"})
	if err != nil {
		t.Fatal(err)
	}
	gone, problems := acl.Compile(acl.Source{Table: with.Table(), Listeners: []acl.ListenerSource{{Name: acl.Text{Value: "l"}}}})
	if gone == nil {
		t.Fatal(problems)
	}
	st.w.rejudge(gone, false)
	st.w.rejudge(without, true)
	if st.w.policy != without || st.w.lenient {
		t.Fatal("the policy in force is not the one that came last")
	}
	if all[0].finishing || all[0].ended {
		t.Fatal("the walk has come to everybody at once")
	}
	for len(st.w.walks) > 0 {
		st.flush()
		if st.w.policy != without || st.w.lenient {
			t.Fatal("looking at an older policy has put it in force")
		}
	}
	for _, s := range all {
		if !s.finishing && !s.ended {
			t.Fatalf("session %d outlived its user", s.facts.id)
		}
	}
}

// A session that lost its right to listen hears nothing, though no walk has come to it.
func TestWhatASessionMayNotHearAnyMoreIsNotToldOnTheWay(t *testing.T) {
	st, all := crowded(t, 2*walkAtOnce)
	mayHear, mayNot := all[0], all[1]
	st.w.oblige(func(s *session) {
		if s != mayHear {
			s.cutOff(audit.CloseKilled)
		}
	})
	for _, s := range []*session{mayHear, mayNot} {
		s.Push([]byte("+news\r\n"), true)
	}
	if told := string(mayNot.port.Out()); told != "" {
		t.Errorf("it was told %q", told)
	}
	if told := string(mayHear.port.Out()); told != "+news\r\n" {
		t.Errorf("who may hear it was told %q", told)
	}
}

func BenchmarkRejudge(b *testing.B) {
	const n = 10_000
	st, all := crowded(b, n)
	for _, s := range all {
		s.facts.listener, s.facts.network = "l", "unix"
		s.who = acl.Principal{User: s.user, Method: acl.MethodPassword}
	}
	for b.Loop() {
		st.w.rejudge(st.w.policy, true)
		for len(st.w.walks) > 0 {
			st.flush()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/session")
}
