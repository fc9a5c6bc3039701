package redistest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func fakeClient(t *testing.T, f *Fake) *Client {
	t.Helper()
	c, err := Dial("tcp", f.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestFake(t *testing.T) {
	t.Run("answers in order and records what it was asked", func(t *testing.T) {
		f := NewFake(t, Answers(Reply("$1\r\na\r\n"), Reply(":7\r\n")))
		c := fakeClient(t, f)
		if got := mustDo(t, c, "GET", "k"); got != "a" {
			t.Fatalf("first: %v", got)
		}
		if got := mustDo(t, c, "INCR", "n\r\n"); got != int64(7) {
			t.Fatalf("second: %v", got)
		}
		requests := f.Requests()
		if len(requests) != 2 || !slices.Equal(requests[1].Args, []string{"INCR", "n\r\n"}) || requests[1].Index != 1 {
			t.Fatalf("requests: %+v", requests)
		}
	})
	t.Run("a dropped reply shifts nothing but itself", func(t *testing.T) {
		c := fakeClient(t, NewFake(t, Answers(Drop(), Reply("+second\r\n"))))
		if err := errors.Join(c.Send("GET", "a"), c.Send("GET", "b")); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Receive(); err != nil || got != "second" {
			t.Fatalf("%v, %v", got, err)
		}
	})
	t.Run("a surplus reply comes unasked", func(t *testing.T) {
		c := fakeClient(t, NewFake(t, Answers(Extra("+asked\r\n", "+surplus\r\n"))))
		mustDo(t, c, "GET", "a")
		if got, err := c.Receive(); err != nil || got != "surplus" {
			t.Fatalf("%v, %v", got, err)
		}
	})
	t.Run("a split reply is whole in the end and came in pieces", func(t *testing.T) {
		const reply = "*2\r\n$3\r\nabc\r\n:-1\r\n"
		c := fakeClient(t, NewFake(t, Answers(SplitEvery(1, reply))))
		if err := c.Send("GET", "a"); err != nil {
			t.Fatal(err)
		}
		var got []byte
		reads := 0
		for buf := make([]byte, 64); len(got) < len(reply); reads++ {
			n, err := c.conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
		}
		if string(got) != reply || reads < 2 {
			t.Fatalf("%q in %d reads", got, reads)
		}
	})
	t.Run("closes in the middle of a reply", func(t *testing.T) {
		c := fakeClient(t, NewFake(t, Answers(CutAt(5, "$10\r\n0123456789\r\n"))))
		if _, err := c.Do("GET", "a"); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Fatalf("error: %v", err)
		}
	})
	t.Run("resets", func(t *testing.T) {
		c := fakeClient(t, NewFake(t, Answers(Answer{Reset: true})))
		if _, err := c.Do("GET", "a"); err == nil {
			t.Fatal("a reply after a reset")
		}
	})
	t.Run("garbage is no reply", func(t *testing.T) {
		c := fakeClient(t, NewFake(t, Answers(Garbage())))
		c.timeout = 200 * time.Millisecond
		if got, err := c.Do("GET", "a"); err == nil {
			t.Fatalf("read as %v", got)
		}
	})
	t.Run("a gated answer lets the pipeline behind it arrive", func(t *testing.T) {
		gate := make(chan struct{})
		f := NewFake(t, Answers(When(gate, "+1\r\n"), Reply("+2\r\n"), Reply("+3\r\n")))
		c := fakeClient(t, f)
		if err := c.Write(slices.Concat(Encode("GET", "a"), Encode("GET", "b"), Encode("GET", "c"))); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Await(within(t), 3); err != nil {
			t.Fatal(err)
		}
		close(gate)
		for _, want := range []string{"1", "2", "3"} {
			if got, err := c.Receive(); err != nil || got != want {
				t.Fatalf("%v, %v, want %s", got, err, want)
			}
		}
	})
	t.Run("held answers leave in one write", func(t *testing.T) {
		hold := Reply("+1\r\n")
		hold.Hold = true
		c := fakeClient(t, NewFake(t, Answers(hold, Reply("+2\r\n"))))
		if err := c.Write(slices.Concat(Encode("GET", "a"), Encode("GET", "b"))); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		if n, err := c.conn.Read(buf); err != nil || string(buf[:n]) != "+1\r\n+2\r\n" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	})
	t.Run("sends what nobody asked for, and hangs up, by connection", func(t *testing.T) {
		f := NewFake(t, Answers())
		first, second := fakeClient(t, f), fakeClient(t, f)
		if err := f.AwaitConns(within(t), 2); err != nil {
			t.Fatal(err)
		}
		if err := f.Send(1, ">1\r\n+x\r\n"); err != nil {
			t.Fatal(err)
		}
		// Connections are numbered as accepted, which is the order of connecting on one listener.
		if got, err := second.Receive(); err != nil || !slices.Equal(got.(Push), Push{"x"}) {
			t.Fatalf("%v, %v", got, err)
		}
		if err := f.Hangup(0); err != nil {
			t.Fatal(err)
		}
		if _, err := first.Receive(); !errors.Is(err, io.EOF) {
			t.Fatalf("first connection: %v", err)
		}
		if err := f.Send(7, "x"); !errors.Is(err, errNoConn) {
			t.Fatalf("connection 7: %v", err)
		}
	})
	t.Run("the handshake is answered before the script", func(t *testing.T) {
		c := fakeClient(t, NewFake(t, AfterHandshake(Answers(Reply("+first\r\n")))))
		if hello := mustDo(t, c, "hello", "3", "AUTH", "u", "p").(Map); len(hello) != 14 {
			t.Fatalf("HELLO 3: %v", hello)
		}
		if hello := mustDo(t, c, "HELLO", "2").([]any); len(hello) != 14 {
			t.Fatalf("HELLO 2: %v", hello)
		}
		mustDo(t, c, "AUTH", "p")
		mustDo(t, c, "SELECT", "3")
		mustDo(t, c, "PING")
		if got := mustDo(t, c, "GET", "k"); got != "first" {
			t.Fatalf("GET: %v", got)
		}
	})
}

func TestFakeFault(t *testing.T) {
	for name, raw := range map[string]string{
		"inline":            "PING\r\n",
		"empty array":       "*0\r\n",
		"signed length":     "*+1\r\n$4\r\nPING\r\n",
		"leading zero":      "*01\r\n$4\r\nPING\r\n",
		"negative bulk":     "*1\r\n$-1\r\n",
		"bare newline":      "*1\n$4\nPING\n",
		"bulk not closed":   "*1\r\n$4\r\nPINGxx",
		"integer argument":  "*1\r\n:4\r\n",
		"wrong length":      "*1\r\n$3\r\nPING\r\n",
		"count beyond most": "*99999999999\r\n",
	} {
		t.Run(name+" is not canonical", func(t *testing.T) {
			f, err := OpenFake(Answers())
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c := fakeClient(t, f)
			if err := c.Write([]byte(raw)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Receive(); err == nil {
				t.Fatal("the node answered")
			}
			if f.Fault() == nil {
				t.Fatal("no fault recorded")
			}
		})
	}
	t.Run("a request cut by a dying connection is no fault", func(t *testing.T) {
		whole := string(Encode("SET", "k", "value"))
		for n := range whole {
			_, err := readRequest(bufio.NewReader(strings.NewReader(whole[:n])))
			var fault errNotCanonical
			if err == nil || errors.As(err, &fault) {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	})
	t.Run("canonical requests read the same at every split", func(t *testing.T) {
		want := []string{"SET", "", "\r\n*1\r\n"}
		whole := Encode(want...)
		for n := 1; n < len(whole); n++ {
			left, right := net.Pipe()
			go func() {
				_, _ = left.Write(whole[:n])
				_, _ = left.Write(whole[n:])
				_ = left.Close()
			}()
			got, err := readRequest(bufio.NewReader(right))
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("split at %d: %q, %v", n, got, err)
			}
			_ = right.Close()
		}
	})
}
