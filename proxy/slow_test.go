package proxy

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/audit"
)

// listed puts the stage's sessions on the worker's list, as join does.
func (st *stage) listed() {
	st.w.sessions = nil
	for _, a := range st.sessions {
		if a.s.next = st.w.sessions; a.s.next != nil {
			a.s.next.prev = a.s
		}
		st.w.sessions = a.s
	}
}

// passes lets time go by, with the turns and timers in it.
func (st *stage) passes(d time.Duration) {
	for end := st.now.Add(d); st.now.Before(end); {
		st.now = st.now.Add(100 * time.Millisecond)
		st.fire()
		st.flush()
	}
}

// However a command is begun, its rest must come in time.
func TestWhoBeginsACommandAndSendsNoMoreIsClosed(t *testing.T) {
	for _, begun := range []string{"*", "*3\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nabc", "GET", "*1\r\n$4\r\nPING\r\n*1"} {
		st := newStage(t, 2, 1)
		st.listed()
		slow, other := st.sessions[0], st.sessions[1]
		slow.s.feed([]byte(begun))
		st.passes(29 * time.Second)
		if slow.desk.closing {
			t.Fatalf("%q: closed before its time", begun)
		}
		st.passes(2 * time.Second)
		if !slow.desk.closing || slow.s.reason != audit.CloseCommandTimeout {
			t.Fatalf("%q: closing %v for %v", begun, slow.desk.closing, slow.s.reason)
		}
		other.s.feed(words("PING"))
		st.flush()
		if other.desk.closing || string(other.desk.sent) != "+PONG\r\n" {
			t.Fatalf("%q: the other read %q", begun, other.desk.sent)
		}
	}
}

// One byte every five seconds is no progress; 64 KiB in thirty seconds are.
func TestOnlyRealProgressProlongsTheTimeOfACommand(t *testing.T) {
	head := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$900000\r\n"
	for _, c := range []struct {
		piece  int
		closed bool
	}{{1, true}, {1000, true}, {16 << 10, false}} {
		st := newStage(t, 1, 1)
		st.listed()
		a := st.sessions[0]
		a.s.pipe = st.nodes[0].pipe
		a.s.feed([]byte(head))
		for sent := 0; sent < 900000 && st.now.Before(time.Unix(1200, 0)) && !a.desk.closing; sent += c.piece {
			a.s.feed(bytes.Repeat([]byte("x"), min(c.piece, 900000-sent)))
			st.passes(5 * time.Second)
		}
		if a.desk.closing != c.closed {
			t.Errorf("%d bytes every 5 s: closing %v after %v", c.piece, a.desk.closing, st.now.Sub(time.Unix(1000, 0)))
		}
	}
}

// Each command has its own time, however closely they follow each other.
func TestACommandThatFollowsAnotherHasItsOwnTime(t *testing.T) {
	st := newStage(t, 1, 1)
	st.listed()
	a := st.sessions[0]
	a.s.feed([]byte("PI"))
	for range 20 {
		st.passes(20 * time.Second)
		a.s.feed([]byte("NG\r\nPI"))
	}
	if a.desk.closing {
		t.Fatal("closed, though each command came within 20 seconds")
	}
	a.s.feed([]byte("NG\r\n"))
	st.passes(time.Minute)
	if a.desk.closing {
		t.Fatal("closed with no command begun")
	}
}

// The time that we do not read a client is not its own.
func TestWhoIsNotReadIsNotLate(t *testing.T) {
	st := newStage(t, 1, 1)
	st.listed()
	a, n := st.sessions[0], st.nodes[0]
	a.s.pipe = n.pipe
	var calls []byte
	for i := range 1100 {
		calls = append(calls, words(fmt.Sprintf("GET %d", i))...)
	}
	a.s.feed(append(calls, "GE"...)) // more than a session may run ahead
	st.passes(5 * time.Minute)
	if a.desk.closing {
		t.Fatal("closed while the node did not answer")
	}
	for range 4 {
		if err := n.pipe.Receive(n.replies); err != nil {
			t.Fatal(err)
		}
		n.replies = nil
		st.flush()
	}
	if a.desk.paused {
		t.Fatal("it is still not read")
	}
	st.passes(29 * time.Second)
	if a.desk.closing {
		t.Fatal("closed before its time")
	}
	st.passes(35 * time.Second)
	if !a.desk.closing {
		t.Fatal("never closed")
	}
}

func TestTheWindowIsAsWideAsTheConfigurationSays(t *testing.T) {
	st := newStage(t, 1, 1)
	st.w.limits.InFlight = 7
	a, n := st.sessions[0], st.nodes[0]
	a.s.pipe = n.pipe
	var calls []byte
	var want string
	for i := range 50 {
		calls = append(calls, words(fmt.Sprintf("GET %d", i))...)
		want += string(words(fmt.Sprint(i))[4:])
	}
	a.s.feed(calls)
	for range 20 {
		if got := n.pipe.Outstanding(); got > 7 {
			t.Fatalf("%d calls are outstanding", got)
		}
		st.flush()
		if err := n.pipe.Receive(n.replies); err != nil {
			t.Fatal(err)
		}
		n.replies = nil
	}
	st.flush()
	if got := string(a.desk.sent); got != want {
		t.Fatalf("read %q", got)
	}
}
