package backend

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Flights are used again. Whatever still held one of a call that is over must not reach the next call's maker.
func TestAFlightThatIsUsedAgainHearsNothingOfItsLastCall(t *testing.T) {
	r := &Router{pool: &Pool{b: &Backend{}}}
	first, second := &caller{client: newClient()}, &caller{client: newClient()}
	f := r.flight(first, 1, 0, Key{}, 0)
	f.keep([][]byte{[]byte("GET"), []byte("secret")})
	was := f.id
	f.Reply(was, 1, []byte("+OK\r\n"), true)
	again := r.flight(second, 2, 0, Key{}, 0)
	if again != f {
		t.Fatal("the flight is not used again")
	}
	if len(again.args) != 0 || again.away || again.hops != 0 || len(again.head) != 0 {
		t.Errorf("something of the last call is left: %+v", again)
	}
	for what, f := range map[string]func(){
		"reply":   func() { again.Reply(was, 1, []byte("+stray\r\n"), true) },
		"failure": func() { again.Fail(was, Lost) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a late %s passes", what)
				}
			}()
			f()
		}()
	}
	if len(second.failed) != 0 || len(second.replies) != 0 {
		t.Error("the second caller heard of the first one's call")
	}
}

// The arguments lie in one piece of memory and none can run into the next.
func TestAFlightKeepsArgumentsApart(t *testing.T) {
	r := &Router{pool: &Pool{b: &Backend{}}}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		f := r.flight(&caller{client: newClient()}, 1, 0, Key{}, 0)
		var args [][]byte
		for i := range 1 + rnd.IntN(80) {
			args = append(args, bytes.Repeat([]byte{byte(i)}, rnd.IntN(60)))
		}
		f.keep(args)
		if fmt.Sprint(f.args) != fmt.Sprint(args) {
			t.Fatal("arguments changed")
		}
		for i := range f.args {
			_ = append(f.args[i], "xxxxxxxx"...)
		}
		if fmt.Sprint(f.args) != fmt.Sprint(args) {
			t.Fatal("an argument runs into the next")
		}
		f.end()
		if len(r.spare) > 1 {
			t.Fatal("a flight is kept twice")
		}
	}
}

// A flight is given back once, whatever its caller does with the reply, or it would be two calls' at a time.
func TestAFlightIsGivenBackOnceWhereItsCallerPanics(t *testing.T) {
	for what, said := range map[string]string{"a piece": "$5\r\nab", "a whole reply": "+OK\r\n", "an error": "-ERR no\r\n"} {
		r := &Router{pool: &Pool{b: &Backend{}}}
		p, w, _ := newPipeline(2)
		bad, good := &touchy{}, &caller{client: newClient()}
		f := r.flight(bad, 7, 0, Key{}, 0)
		f.keep(args("GET", "k"))
		if why := f.send(p); why != 0 {
			t.Fatal(why)
		}
		w.flush()
		caught(t, func() { p.Receive([]byte(said)) })
		p.Drop()
		if fmt.Sprint(bad.failed) != fmt.Sprintf("[7 %d]", Broken) || len(r.spare) != 1 {
			t.Errorf("%s: its caller heard %v, %d flights are spare", what, bad.failed, len(r.spare))
		}
		if next := r.flight(good, 8, 0, Key{}, 0); next != f || len(good.failed) != 0 {
			t.Errorf("%s: the next call heard %v", what, good.failed)
		}
	}
}

// clumsy fails when it hears that a call of its is no longer on its way elsewhere.
type clumsy struct{ *caller }

func (c *clumsy) Detour(by int) {
	if c.caller.Detour(by); by < 0 {
		panic("a fault in the caller")
	}
}

// What was answered may have been put away: what breaks after that is not told it.
func TestACallThatWasAnsweredHearsOfNoFailure(t *testing.T) {
	r := &Router{pool: &Pool{b: &Backend{}}}
	p, w, _ := newPipeline(2)
	c := &clumsy{&caller{client: newClient()}}
	f := r.flight(c, 7, 0, Key{}, 0)
	f.keep(args("GET", "k"))
	f.detoured()
	if why := f.send(p); why != 0 {
		t.Fatal(why)
	}
	w.flush()
	caught(t, func() { p.Receive([]byte("+OK\r\n")) })
	p.Drop()
	if c.replies[7] != "+OK\r\n" || len(c.failed) != 0 || c.detours != 0 || len(r.spare) != 1 {
		t.Errorf("it heard %v and %v, is on %d detours; %d flights are spare", c.replies, c.failed, c.detours, len(r.spare))
	}
}
