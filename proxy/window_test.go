package proxy

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// words encodes calls given as words, one call a line.
func words(lines ...string) []byte {
	var b []byte
	for _, line := range lines {
		var args [][]byte
		for word := range strings.FieldsSeq(line) {
			args = append(args, []byte(strings.Trim(word, `"`)))
		}
		b = resp.AppendCommand(b, args)
	}
	return b
}

// deaf waits for replies and does nothing about them.
type deaf struct{}

func (deaf) Reply(uint64, int, []byte, bool) {}
func (deaf) Fail(uint64, backend.Failure)    {}

// In one batch some calls still fit in front of a connection being dialled and
// some do not: each gets its own answer, and the client stays.
func TestOfABatchThatOverflowsTheQueueEachCallIsAnswered(t *testing.T) {
	st := newStage(t, 1, 1)
	a := st.sessions[0]
	pipe := backend.NewPipeline(2, st.w.clock, &backend.Stats{})
	get := [][]byte{[]byte("GET"), []byte("k")}
	others := uint64(0)
	for pipe.Send(deaf{}, others, 1, get) == 0 {
		others++
	}
	pipe = backend.NewPipeline(2, st.w.clock, &backend.Stats{})
	for i := range others - 2 {
		pipe.Send(deaf{}, i, 1, get)
	}
	a.s.pipe = pipe
	a.s.feed(words("GET 1", "GET 2", "GET 3", "GET 4"))
	if a.desk.closing {
		t.Fatal("the client was closed")
	}
	n := st.nodes[0]
	n.pipe = pipe
	n.attach()
	st.flush()
	if err := pipe.Receive(n.replies); err != nil {
		t.Fatal(err)
	}
	st.flush()
	want := string(words("1")[4:]) + string(words("2")[4:]) + string(replyOverloaded) + string(replyOverloaded)
	if got := string(a.desk.sent); got != want {
		t.Fatalf("the client read %q, not %q", got, want)
	}
	if pipe.Outstanding() != 0 || a.s.slots.len() != 0 || a.s.slots.owed != 0 {
		t.Fatalf("%d calls and %d bytes are still owed", a.s.slots.len(), a.s.slots.owed)
	}
}

// Answers made here wait behind a reply that does not come. They count in the
// window, or a few bytes each would make the proxy hold megabytes.
func TestLocalRepliesDoNotPileUpBehindASlowOne(t *testing.T) {
	st := newStage(t, 1, 1)
	a, n := st.sessions[0], st.nodes[0]
	a.s.pipe = n.pipe
	big := strings.Repeat("x", 100<<10)
	requests := words("GET 1")
	want := string(words("1")[4:])
	for range 40 {
		requests = append(requests, words("ECHO "+big)...)
		want += string(words(big)[4:])
	}
	a.s.feed(requests)
	if held := a.s.slots.held; held > maxInFlightBytes+len(big)+64 {
		t.Fatalf("%d bytes of replies wait", held)
	}
	if !a.desk.paused {
		t.Fatal("it is still read")
	}
	if a.desk.again {
		t.Fatal("it is asked again though only the node can help")
	}
	for range 100 {
		st.flush()
		if err := n.pipe.Receive(n.replies); err != nil {
			t.Fatal(err)
		}
		n.replies = nil
	}
	if got := string(a.desk.sent); got != want {
		t.Fatalf("%d bytes came in the end, not the %d it asked for", len(got), len(want))
	}
	if a.s.slots.owed != 0 || a.s.slots.held != 0 {
		t.Fatalf("%d bytes owed, %d held afterwards", a.s.slots.owed, a.s.slots.held)
	}
}

// A HELLO behind replies still owed is kept for later. An empty user name in it
// must not become no user name, which would make it a HELLO without AUTH.
func TestAHELLOThatHadToWaitKeepsItsEmptyUserName(t *testing.T) {
	st := newStage(t, 1, 1)
	a, n := st.sessions[0], st.nodes[0]
	a.s.pipe = n.pipe
	a.s.feed(words("GET 1", `HELLO 2 AUTH "" secret`))
	for range 3 {
		st.flush()
		if err := n.pipe.Receive(n.replies); err != nil {
			t.Fatal(err)
		}
		n.replies = nil
	}
	want := string(words("1")[4:]) + "-" + errWrongPass + "\r\n"
	if got := string(a.desk.sent); got != want {
		t.Fatalf("the client read %q, not %q", got, want)
	}
}

// A node that takes nothing has its calls stay with their senders, until it has
// taken all of what lies in front of it: nobody starves behind those who go on.
func TestSessionsWaitForANodeThatDoesNotKeepUp(t *testing.T) {
	st := newStage(t, 2, 1)
	a, b, n := st.sessions[0], st.sessions[1], st.nodes[0]
	a.s.pipe, b.s.pipe = n.pipe, n.pipe
	st.w.sessions, a.s.next = a.s, b.s
	n.link.appended += 5 << 20 // what others have sent and the kernel has not taken
	a.s.feed(words("GET 1"))
	if n.pipe.Outstanding() != 0 || !a.desk.paused || a.desk.again {
		t.Fatalf("%d calls were sent, paused %v, asked again %v", n.pipe.Outstanding(), a.desk.paused, a.desk.again)
	}
	n.link.attempted += 4 << 20
	b.s.feed(words("GET 2"))
	if n.pipe.Outstanding() != 0 || !b.desk.paused {
		t.Fatal("a client that came later goes first")
	}
	n.pipe.CaughtUp()
	st.w.eased()
	for range 3 {
		st.flush()
		if err := n.pipe.Receive(n.replies); err != nil {
			t.Fatal(err)
		}
		n.replies = nil
	}
	if got := string(a.desk.sent) + string(b.desk.sent); got != string(words("1")[4:])+string(words("2")[4:]) {
		t.Fatalf("they read %q", got)
	}
	if a.desk.paused || b.desk.paused {
		t.Fatal("they are still not read")
	}
}

func TestANodeThatDiesLetsGoOfThoseWhoWaitedForIt(t *testing.T) {
	st := newStage(t, 1, 1)
	a, n := st.sessions[0], st.nodes[0]
	a.s.pipe, st.w.sessions = n.pipe, a.s
	n.link.appended += 5 << 20
	a.s.feed(words("GET 1"))
	n.pipe.Drop()
	st.w.eased()
	st.flush()
	st.flush()
	if got := string(a.desk.sent); got != string(replyUnavailable) {
		t.Fatalf("the client read %q", got)
	}
}
