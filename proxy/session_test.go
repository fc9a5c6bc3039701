package proxy

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/proxy/resp"
)

// desk is a session's connection without a socket.
type desk struct {
	out                    []byte
	sent                   []byte // what the client has read
	paused, again, closing bool
}

func (d *desk) Out() []byte                   { return d.out }
func (d *desk) SetOut(b []byte)               { d.out = b }
func (d *desk) Unsent() int                   { return len(d.out) }
func (d *desk) Blocked() bool                 { return false }
func (d *desk) Pause()                        { d.paused = true }
func (d *desk) Resume()                       { d.paused = false }
func (d *desk) Again()                        { d.again = true }
func (d *desk) QuickAck()                     {}
func (d *desk) CloseAfterFlush(time.Duration) { d.closing = true }
func (d *desk) Close()                        { d.closing, d.out = true, nil }

// nodeLink is a node's connection without a socket.
type nodeLink struct {
	out                 []byte
	appended, attempted uint64
}

func (l *nodeLink) Out() []byte { return l.out }
func (l *nodeLink) SetOut(b []byte) {
	l.appended += uint64(len(b) - len(l.out))
	l.out = b
}
func (l *nodeLink) Appended() uint64  { return l.appended }
func (l *nodeLink) Attempted() uint64 { return l.attempted }
func (l *nodeLink) Close()            {}

// stage is sessions and pipelines in virtual time: nothing happens but what the
// test makes happen.
type stage struct {
	t        testing.TB
	w        *worker
	now      time.Time
	sessions []*actor
	nodes    []*node
	timers   map[*loop.Timer]alarm
	posted   []func()
}

func (st *stage) post(f func()) bool {
	st.posted = append(st.posted, f)
	return true
}

// alarm is an armed timer.
type alarm struct {
	at time.Time
	f  func()
}

func (st *stage) armed(t *loop.Timer, d time.Duration, f func()) {
	st.timers[t] = alarm{st.now.Add(d), f}
}

// fire runs the timers whose time has come.
func (st *stage) fire() {
	for t, a := range st.timers {
		if !a.at.After(st.now) {
			delete(st.timers, t)
			a.f()
		}
	}
}

// node answers ECHO-like: every GET of a key is answered with that key, so that a
// reply tells whose it is.
type node struct {
	pipe    *backend.Pipeline
	link    *nodeLink
	reader  resp.Reader
	replies []byte // made, not yet delivered
}

// actor is a client: what it asked and what it must read.
type actor struct {
	s    *session
	desk *desk
	want []byte
	next int
}

func newStage(t testing.TB, clients, nodes int) *stage {
	t.Helper()
	recorder, err := audit.New(audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) acl.Text { return acl.Text{Value: s} }
	policy, problems := acl.Compile(acl.Source{
		Table:     command.Newest(),
		Listeners: []acl.ListenerSource{{Name: text("l")}},
		Users:     []acl.UserSource{{Name: text("u"), Rules: text("on nopass ~* +@all")}},
	})
	if policy == nil {
		t.Fatal(problems)
	}
	st := &stage{t: t, now: time.Unix(1000, 0), timers: make(map[*loop.Timer]alarm)}
	set, err := metrics.New(metrics.Options{Listeners: []string{"l"}, Reasons: []string{"", "x"}, Classes: classNames})
	if err != nil {
		t.Fatal(err)
	}
	group, err := loop.Start(loop.Options{Workers: 1}) // asked for its memory only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	srv := &Server{group: group}
	srv.memory.Store(DefaultLimits().Memory)
	st.w = &worker{
		srv: srv, clock: func() time.Time { return st.now }, arm: st.armed, post: st.post, table: command.Newest(), policy: policy,
		patience: func(string) time.Duration { return 0 },
		limits:   Limits{}.withDefaults(), recorder: recorder, count: set.NewLoop(), scratch: make([]byte, 0, 1024),
		readerLimits: resp.Limits{Args: 1024, Bulk: 1 << 20, Inline: 1 << 16, Request: 1 << 20},
	}
	for range nodes {
		n := &node{pipe: backend.NewPipeline(2, st.w.clock, &backend.Stats{})}
		st.nodes = append(st.nodes, n)
	}
	st.sessions = make([]*actor, clients)
	st.reset()
	return st
}

// reset gives the stage new clients and fresh node connections.
func (st *stage) reset() {
	for _, n := range st.nodes {
		n.attach()
	}
	for i := range st.sessions {
		d := &desk{}
		s := &session{w: st.w, port: d, proto: 2, user: st.w.policy.User("u"), facts: facts{id: uint64(i), slot: &place{}}}
		s.reader.Reset(st.w.readerLimits, nil)
		st.sessions[i] = &actor{s: s, desk: d}
	}
}

func (n *node) attach() {
	n.link = &nodeLink{}
	n.replies = nil
	n.reader.Reset(resp.Limits{Args: 1024, Bulk: 1 << 20, Inline: 1 << 16, Request: 1 << 20}, nil)
	n.pipe.Attach(n.link)
}

// ask has a client send one call over a node.
func (st *stage) ask(r *rand.Rand, who int) {
	a := st.sessions[who]
	a.s.pipe = st.nodes[r.IntN(len(st.nodes))].pipe
	a.next++
	word := fmt.Sprintf("%d-%d", who, a.next)
	if r.IntN(4) == 0 {
		word = fmt.Sprintf("%s-%0200d", word, r.IntN(1e9))
	}
	name := "GET"
	if r.IntN(3) == 0 {
		name = "ECHO" // answered by the proxy itself
	}
	a.want = resp.AppendBulkString(a.want, word)
	a.s.feed(resp.AppendCommand(nil, [][]byte{[]byte(name), []byte(word)}))
}

// flush is the edge of a turn: nodes get what was sent to them and make replies.
func (st *stage) flush() {
	st.now = st.now.Add(time.Millisecond)
	posted := st.posted
	st.posted = nil
	for _, f := range posted {
		f()
	}
	for _, n := range st.nodes {
		n.reader.Feed(n.link.out)
		n.link.attempted, n.link.out = n.link.appended, nil
		for {
			args, err := n.reader.Next()
			if err != nil {
				st.t.Fatal("the node was sent", err)
			}
			if args == nil {
				break
			}
			n.replies = resp.AppendBulk(n.replies, args[1])
		}
		n.reader.Release()
	}
	for _, a := range st.sessions {
		a.desk.sent = append(a.desk.sent, a.desk.out...)
		a.desk.out = nil
		if a.desk.again {
			a.desk.again = false
			a.s.feed(nil)
		}
	}
}

// Replies come back from several nodes in any order and in any pieces, between
// answers made here: each client reads its own, in the order it asked.
func TestRepliesLeaveInTheOrderOfTheCalls(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	st := newStage(t, 4, 3)
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 7))
		for range r.IntN(200) {
			switch r.IntN(4) {
			case 0, 1:
				st.ask(r, r.IntN(len(st.sessions)))
			case 2:
				st.flush()
			default:
				n := st.nodes[r.IntN(len(st.nodes))]
				piece := n.replies[:r.IntN(len(n.replies)+1)]
				if err := n.pipe.Receive(piece); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				n.replies = n.replies[len(piece):]
			}
		}
		for range 20 { // let everything come to its end
			st.flush()
			for _, n := range st.nodes {
				if err := n.pipe.Receive(n.replies); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				n.replies = nil
			}
		}
		st.flush()
		for i, a := range st.sessions {
			if string(a.desk.sent) != string(a.want) {
				t.Fatalf("seed %d: client %d read\n%q, want\n%q", seed, i, a.desk.sent, a.want)
			}
			if a.s.slots.len() != 0 || a.s.slots.n != 0 || a.s.slots.held != 0 || a.s.slots.owed != 0 {
				t.Fatalf("seed %d: client %d still has %+v", seed, i, a.s.slots)
			}
			a.desk.sent, a.want = nil, nil
		}
	}
}

// A node dies at any moment: each client reads its own replies up to there and
// errors after, or is closed if half of one was out.
func TestADyingNodeNeverShiftsAReply(t *testing.T) {
	st := newStage(t, 3, 1)
	n := st.nodes[0]
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 8))
		st.reset()
		for range 1 + r.IntN(60) {
			switch r.IntN(3) {
			case 0:
				st.ask(r, r.IntN(len(st.sessions)))
			case 1:
				st.flush()
			default:
				piece := n.replies[:r.IntN(len(n.replies)+1)]
				if err := n.pipe.Receive(piece); err != nil {
					t.Fatal(err)
				}
				n.replies = n.replies[len(piece):]
			}
		}
		n.pipe.Drop()
		st.flush()
		for i, a := range st.sessions {
			verifyUpToErrors(t, seed, i, a)
		}
	}
}

// verifyUpToErrors holds what a client read against what it must read, where any
// whole reply may be an error instead, and the last may be cut if it was closed.
func verifyUpToErrors(t *testing.T, seed uint64, who int, a *actor) {
	t.Helper()
	got, want := a.desk.sent, a.want
	var framer resp.Framer
	framer.Reset(2)
	for len(want) > 0 {
		var f resp.Framer
		f.Reset(2)
		m, _, _ := f.Next(want)
		g, done, err := framer.Next(got)
		if err != nil {
			t.Fatalf("seed %d client %d: %v", seed, who, err)
		}
		if !done {
			if !a.desk.closing || string(want[:g]) != string(got[:g]) {
				t.Fatalf("seed %d client %d: %q stands for %q, closed %v", seed, who, got, want[:m], a.desk.closing)
			}
			return
		}
		if text := string(got[:g]); text != string(want[:m]) && text != string(replyLost) && text != string(replyUnavailable) {
			t.Fatalf("seed %d client %d read %q instead of %q", seed, who, text, want[:m])
		}
		got, want = got[g:], want[m:]
	}
	if len(got) > 0 {
		t.Fatalf("seed %d client %d read %q too much", seed, who, got)
	}
}

func TestASessionRunsOnlySoFarAheadOfItsReplies(t *testing.T) {
	st := newStage(t, 1, 1)
	a, n := st.sessions[0], st.nodes[0]
	a.s.pipe = n.pipe
	var requests []byte
	for i := range 5000 {
		requests = resp.AppendCommand(requests, [][]byte{[]byte("GET"), fmt.Appendf(nil, "%d", i)})
		a.want = resp.AppendBulkString(a.want, fmt.Sprint(i))
	}
	a.s.feed(requests)
	if n.pipe.Outstanding() != maxInFlight || !a.desk.paused {
		t.Fatalf("%d calls outstanding, paused %v", n.pipe.Outstanding(), a.desk.paused)
	}
	for range 20 {
		st.flush()
		if err := n.pipe.Receive(n.replies); err != nil {
			t.Fatal(err)
		}
		n.replies = nil
		if n.pipe.Outstanding() > maxInFlight {
			t.Fatalf("%d calls outstanding", n.pipe.Outstanding())
		}
	}
	st.flush()
	if string(a.desk.sent) != string(a.want) {
		t.Fatal("not all replies came, or not in order")
	}
	if a.desk.paused || a.s.reader.Buffered() != 0 {
		t.Fatalf("paused %v, %d bytes buffered afterwards", a.desk.paused, a.s.reader.Buffered())
	}
}

func TestLocalRepliesDoNotPileUpForAClientThatDoesNotRead(t *testing.T) {
	st := newStage(t, 1, 1)
	a := st.sessions[0]
	big := make([]byte, 100<<10)
	request := resp.AppendCommand(nil, [][]byte{[]byte("ECHO"), big})
	var all []byte
	for range 20 {
		all = append(all, request...)
	}
	a.s.feed(all)
	if n := len(a.desk.out); n > outputHighWater+len(big)+64 {
		t.Fatalf("%d bytes of output wait", n)
	}
	if !a.desk.paused {
		t.Fatal("it is still read")
	}
	for range 40 {
		st.flush()
	}
	if n := len(a.desk.sent); n < 20*len(big) {
		t.Fatalf("only %d bytes came in the end", n)
	}
	if a.desk.paused {
		t.Fatal("it is not read any more though it has read everything")
	}
}

// Over several nodes a reply may come while a message of another one is half out,
// and at any time a call that ends what is listened to: both wait for its end.
func TestNothingStandsWithinAMessage(t *testing.T) {
	st := newStage(t, 1, 1)
	a, n := st.sessions[0], st.nodes[0]
	a.s.proto, a.s.apart = 3, &apart{why: whySubscribed}
	a.s.pipe = n.pipe
	a.s.Push([]byte(">3\r\n$7\r\nmess"), false)
	a.s.feed(words("GET 1", "GET 2"))
	st.flush()
	half := len(n.replies) / 2
	for _, piece := range [][]byte{n.replies[:half-1], n.replies[half-1 : half+1], n.replies[half+1:]} {
		if err := n.pipe.Receive(piece); err != nil {
			t.Fatal(err)
		}
		st.flush()
	}
	n.replies = nil
	a.s.feed(words("RESET"))
	st.flush()
	const begun, rest = ">3\r\n$7\r\nmess", "age\r\n$1\r\nc\r\n$1\r\nm\r\n"
	if got := string(a.desk.sent); got != begun {
		t.Fatalf("amid a message came %q", got)
	}
	a.s.Push([]byte(rest), true)
	for range 3 {
		st.flush()
	}
	want := begun + rest + "$1\r\n1\r\n$1\r\n2\r\n+RESET\r\n"
	if got := string(a.desk.sent); got != want {
		t.Fatalf("read %q, want %q", got, want)
	}
	if s := a.s; s.pushing || s.slots.n != 0 || s.slots.held != 0 || s.apart != nil {
		t.Fatalf("left behind: %+v", s.slots)
	}
}

// A policy that takes a right away between a call and the node's answer to it is
// not outrun by that answer.
func TestWhatTheNodeHasNotConfirmedIsJudgedToo(t *testing.T) {
	st := newStage(t, 1, 1)
	s := st.sessions[0].s
	policy, problems := acl.Compile(acl.Source{
		Table:     command.Newest(),
		Listeners: []acl.ListenerSource{{Name: acl.Text{Value: "l"}}},
		Users:     []acl.UserSource{{Name: acl.Text{Value: "u"}, Rules: acl.Text{Value: "on nopass +get"}}},
	})
	if policy == nil {
		t.Fatal(problems)
	}
	st.w.policy, s.user = policy, policy.User("u")
	spec := st.w.table.ByName
	for name, a := range map[string]*apart{
		"SUBSCRIBE": {turn: turn{kind: turnSubscribe, spec: spec("subscribe"), args: [][]byte{[]byte("c")}}},
		"MONITOR":   {turn: turn{kind: turnMonitor, spec: spec("monitor")}},
		"tracking":  {turn: turn{kind: turnMode, spec: spec("client|tracking")}, track: track{next: &tracking{}}},
		"BLPOP":     {turn: turn{kind: turnAlone, spec: spec("blpop"), args: [][]byte{[]byte("BLPOP"), []byte("l"), []byte("0")}}},
	} {
		s.apart = a
		if s.mayListen() {
			t.Errorf("%s goes on without the right to it", name)
		}
	}
	s.apart = &apart{turn: turn{kind: turnSubscribe, spec: spec("unsubscribe")}}
	if !s.mayListen() {
		t.Error("UNSUBSCRIBE needs no right to what is left")
	}
}
