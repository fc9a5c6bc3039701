package loop

import (
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A panic costs the connection at fault and the fragile ones that the turn
// touched; all others go on, and so does the loop.
func TestPanicCostsWhatTheTurnTouched(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	l := startGroup(t, Options{Logger: zap.New(core), Fatal: func(err error) { t.Error(err) }}).Pick()
	closed := make(chan string, 8)
	watch := func(who string, want error) *funcs {
		return &funcs{data: echo, closed: func(c *Conn, cause error) {
			if cause != want {
				t.Errorf("%s: closed with %v", who, cause)
			}
			closed <- who
		}}
	}
	_, touched := plain(t, l, "tcp", watch("touched node", ErrPanic))
	quietPeer, quiet := plain(t, l, "tcp", watch("quiet node", ErrShutdown))
	otherPeer, other := plain(t, l, "tcp", watch("other client", ErrShutdown))
	bad := watch("client at fault", ErrPanic)
	bad.data = func(c *Conn, p []byte) {
		touched.Write([]byte("half a comm"))
		other.Write([]byte("reply"))
		panic("contains a secret: " + string(p))
	}
	badPeer, _ := plain(t, l, "tcp", bad)
	on(t, l, func() {
		touched.Fragile(true)
		quiet.Fragile(true)
	})

	badPeer.Write([]byte("hunter2"))
	first, second := receive(t, closed, "Closed"), receive(t, closed, "Closed")
	if first+second != "client at faulttouched node" && second+first != "client at faulttouched node" {
		t.Errorf("closed: %s, %s", first, second)
	}
	roundTrip(t, quietPeer, []byte("still here"))
	got := make([]byte, 5)
	if _, err := io.ReadFull(otherPeer, got); err != nil || string(got) != "reply" {
		t.Errorf("the other client got %q, %v", got, err)
	}
	roundTrip(t, otherPeer, []byte("still here"))

	entries := logs.All()
	if len(entries) != 1 {
		t.Fatalf("%d log entries", len(entries))
	}
	fields := entries[0].ContextMap()
	if stack, _ := fields["stack"].(string); !strings.Contains(stack, "TestPanicCostsWhatTheTurnTouched") {
		t.Errorf("no stack of the panic: %v", fields["stack"])
	}
	for k, v := range fields {
		if s, _ := v.(string); strings.Contains(s, "hunter2") {
			t.Errorf("%s tells the client's data", k)
		}
	}
}

// What a panicking turn had not come to is done by the next one.
func TestNothingIsLostInAPanickingTurn(t *testing.T) {
	l := startGroup(t, Options{Fatal: func(error) {}}).Pick()
	ran := make(chan string, 8)
	var one, two Timer
	hold := make(chan struct{})
	l.Post(func() { <-hold }) // so that the rest comes in one turn
	l.Post(func() {
		l.Arm(&one, 0, func() { panic("in a timer") })
		l.Arm(&two, 0, func() { ran <- "timer" })
		panic("in a posted function")
	})
	l.Post(func() { ran <- "posted" })
	close(hold)
	if got := receive(t, ran, "the posted function"); got != "posted" {
		t.Errorf("%s first", got)
	}
	receive(t, ran, "the timer")
}

func TestThreePanicsInAMinuteAreFatal(t *testing.T) {
	fatal := make(chan error, 8)
	l := startGroup(t, Options{Fatal: func(err error) { fatal <- err }}).Pick()
	shift := func(d time.Duration) {
		on(t, l, func() { l.panics[2] = l.panics[2].Add(d); l.panics[1] = l.panics[1].Add(d) })
	}
	boom := func() {
		l.Post(func() { panic("boom") })
		on(t, l, func() {})
	}
	boom()
	boom()
	if len(fatal) != 0 {
		t.Fatal("fatal after two")
	}
	shift(-2 * time.Minute) // those were long ago
	boom()
	boom()
	if len(fatal) != 0 {
		t.Fatal("fatal after two within a minute")
	}
	boom()
	if err := receive(t, fatal, "Fatal"); err == nil {
		t.Error("no reason given")
	}
}
