package proxy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/resp"
)

// crowdOver makes a stage of two loops whose clients have begun requests of the
// given sizes, every second one on the other loop.
func crowdOver(t *testing.T, memory int64, sizes []int) *stage {
	st := newStage(t, len(sizes), 1)
	st.w.srv.memory.Store(memory)
	st.w.readerLimits.Bulk, st.w.readerLimits.Request = 64<<20, 64<<20
	other := *st.w
	st.w.srv.workers = []*worker{st.w, &other}
	for i, a := range st.sessions {
		a.s.w = st.w.srv.workers[i%2]
		a.s.reader.Reset(st.w.readerLimits, nil)
		if a.s.next = a.s.w.sessions; a.s.next != nil {
			a.s.next.prev = a.s
		}
		a.s.w.sessions = a.s
	}
	for i, a := range st.sessions {
		a.s.feed(fmt.Appendf(nil, "*2\r\n$4\r\nECHO\r\n$%d\r\n", sizes[i]+1))
		a.s.feed(bytes.Repeat([]byte("x"), sizes[i]))
	}
	return st
}

// left counts out who was closed, as the loop does at the edge of a turn.
func (st *stage) left() (closed []int) {
	for i, a := range st.sessions {
		if a.desk.closing {
			closed = append(closed, i)
			st.w.srv.kept.Add(-a.s.kept)
			a.s.kept = 0
		}
	}
	return closed
}

// The largest holder goes first, on whichever loop it is and whichever loop finds
// that memory is short; and no more go than nine tenths ask for.
func TestTheLargestHolderOfAllLoopsGoes(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		want  string
	}{
		{[]int{4 << 20, 1 << 20, 1 << 20, 3 << 20, 1 << 20}, "[0]"}, // the last one, on loop 0, finds memory short
		{[]int{1 << 20, 4 << 20, 1 << 20, 3 << 20, 1 << 20}, "[1]"}, // the largest is on the other loop
		{[]int{2 << 20, 2 << 20, 2 << 20, 2 << 20, 1}, "[]"},
		{[]int{100 << 10, 100 << 10, 8 << 20, 100 << 10}, "[2]"},
	} {
		st := crowdOver(t, 8<<20+64<<10, c.sizes)
		for range 6 {
			st.flush()
			st.left()
		}
		if got := fmt.Sprint(st.left()); got != c.want {
			t.Errorf("of %v clients %s were closed, want %s", c.sizes, got, c.want)
		}
		for _, a := range st.sessions {
			if a.desk.closing && a.s.reason != audit.CloseMemoryLimit {
				t.Errorf("closed for %v", a.s.reason)
			}
		}
		if st.w.srv.relief.began.Load() != 0 {
			t.Error("the search has no end")
		}
	}
}

// While memory is short, who holds more than its share is not read, and who holds
// little is served; when there is memory again, all are.
func TestWhoHoldsMoreThanItsShareIsNotReadWhileMemoryIsShort(t *testing.T) {
	st := newStage(t, 2, 1)
	st.w.srv.memory.Store(32 << 20)
	st.w.sessions = st.sessions[0].s
	big, small := st.sessions[0], st.sessions[1]
	big.s.feed([]byte("*2\r\n$4\r\nECHO\r\n$300000\r\n" + strings.Repeat("x", 200000)))
	st.w.srv.kept.Add(40 << 20) // what others hold
	big.s.feed([]byte("x"))
	small.s.feed(words("PING"))
	if !big.desk.paused || small.desk.paused {
		t.Fatalf("big is not read: %v, small is not read: %v", big.desk.paused, small.desk.paused)
	}
	st.flush()
	if big.desk.again {
		t.Fatal("it is asked again in every turn")
	}
	if got := string(small.desk.sent); got != "+PONG\r\n" {
		t.Fatalf("the small one read %q", got)
	}
	st.passes(strainTime * 20)
	if !big.desk.paused || big.desk.closing {
		t.Fatalf("with memory still short: paused %v, closing %v", big.desk.paused, big.desk.closing)
	}
	st.w.srv.kept.Add(-40 << 20)
	st.passes(strainTime * 20)
	if big.desk.paused {
		t.Fatal("there is memory again and it is not read")
	}
	big.s.feed([]byte(strings.Repeat("x", 99999) + "\r\n"))
	st.flush()
	if got, want := len(big.desk.sent), len(resp.AppendBulk(nil, make([]byte, 300000))); got != want {
		t.Fatalf("%d bytes came back, not %d", got, want)
	}
}

// A search whose loop does not answer is given up, and another begins.
func TestALoopThatDoesNotAnswerHoldsUpNoRelief(t *testing.T) {
	st := crowdOver(t, 8<<20, []int{4 << 20, 1 << 20})
	dead := st.w.srv.workers[1]
	dead.post = func(func()) bool { return true } // takes it and never runs it
	st.w.srv.relief.begin(st.w.srv, st.now)
	began := st.w.srv.relief.began.Load()
	st.passes(reliefTime / 2)
	st.w.srv.relief.begin(st.w.srv, st.now)
	if st.w.srv.relief.began.Load() != began {
		t.Fatal("two searches at a time")
	}
	st.passes(reliefTime)
	dead.post = func(func()) bool { return false } // its loop has ended
	st.w.srv.relief.begin(st.w.srv, st.now)
	st.flush()
	if got := st.w.srv.relief.began.Load(); got == began {
		t.Fatal("the first search goes on for ever")
	}
}
