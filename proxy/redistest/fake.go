package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Request is one request a fake node has read.
type Request struct {
	Conn  int      // which connection, from 0 in the order accepted
	Index int      // which request on that connection, from 0
	Args  []string // the command and its arguments
}

// Is reports whether the request's command is name, in any case.
func (r Request) Is(name string) bool { return strings.EqualFold(r.Args[0], name) }

// Script says what a fake node does with a request. It is called from one goroutine a connection, so a Script that
// keeps state across connections locks it.
type Script func(Request) Answer

// Answers plays the answers in order, whichever connection asks, and drops what comes after the last.
func Answers(answers ...Answer) Script {
	var mu sync.Mutex
	return func(Request) Answer {
		mu.Lock()
		defer mu.Unlock()
		if len(answers) == 0 {
			return Drop()
		}
		next := answers[0]
		answers = answers[1:]
		return next
	}
}

// AfterHandshake answers what a proxy says when it dials (HELLO, AUTH, SELECT, CLIENT, PING) as a Redis 7.0.15 without
// a password would, and asks next about all else. Request.Index still counts every request.
func AfterHandshake(next Script) Script {
	return func(r Request) Answer {
		switch {
		case r.Is("HELLO") && len(r.Args) > 1 && r.Args[1] == "3":
			return Reply("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n" +
				"$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n")
		case r.Is("HELLO"):
			return Reply("*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n" +
				"$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n")
		case r.Is("AUTH"), r.Is("SELECT"), r.Is("CLIENT"):
			return Reply("+OK\r\n")
		case r.Is("PING") && len(r.Args) == 1:
			return Reply("+PONG\r\n")
		}
		return next(r)
	}
}

// Fake is a scripted node on a free loopback port. Its methods are safe for concurrent use.
type Fake struct {
	listener net.Listener
	script   Script
	done     chan struct{} // closed by Close
	serving  sync.WaitGroup

	mu       sync.Mutex
	conns    []net.Conn // by Request.Conn; nil once closed
	requests []Request
	fault    error
	changed  chan struct{} // closed and replaced whenever requests or conns change
}

// NewFake starts a scripted node for a test and closes it when the test has ended. A request that is not canonical
// RESP (Fault) fails the test: a proxy re-encodes what it judged. Nothing the script does wrong is a failure.
func NewFake(t testing.TB, script Script) *Fake {
	t.Helper()
	f, err := OpenFake(script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		if err := f.Fault(); err != nil {
			t.Errorf("fake node: %v", err)
		}
	})
	return f
}

// OpenFake is NewFake for programs: the caller closes the node and asks for its Fault.
func OpenFake(script Script) (*Fake, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &Fake{listener: listener, script: script, done: make(chan struct{}), changed: make(chan struct{})}
	f.serving.Add(1)
	go f.accept()
	return f, nil
}

// Addr is where the node listens, 127.0.0.1:port.
func (f *Fake) Addr() string { return f.listener.Addr().String() }

// Close closes the listener and every connection, and waits for their goroutines.
func (f *Fake) Close() {
	f.mu.Lock()
	select {
	case <-f.done:
	default:
		close(f.done)
		_ = f.listener.Close()
		for _, c := range f.conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}
	f.mu.Unlock()
	f.serving.Wait()
}

// Fault is the first request that was no canonical RESP, if any came.
func (f *Fake) Fault() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// Requests is a copy of all requests so far, in the order they were read.
func (f *Fake) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Request(nil), f.requests...)
}

// Await returns the requests as soon as at least n have come, or an error when ctx ends first.
func (f *Fake) Await(ctx context.Context, n int) ([]Request, error) {
	for {
		f.mu.Lock()
		got, changed := append([]Request(nil), f.requests...), f.changed
		f.mu.Unlock()
		if len(got) >= n {
			return got, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return got, fmt.Errorf("fake node has %d of %d requests: %w", len(got), n, ctx.Err())
		}
	}
}

// Accepted is how many connections the node has taken so far, closed ones included.
func (f *Fake) Accepted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// AwaitConns returns when at least n connections have been accepted, closed ones included.
func (f *Fake) AwaitConns(ctx context.Context, n int) error {
	for {
		f.mu.Lock()
		got, changed := len(f.conns), f.changed
		f.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("fake node has %d of %d connections: %w", got, n, ctx.Err())
		}
	}
}

var errNoConn = errors.New("no such connection open")

// Send writes bytes nobody asked for on a connection: a push, a surplus reply, half of one. It may fall between an
// answer's pieces, never inside one write.
func (f *Fake) Send(conn int, raw string) error {
	c := f.conn(conn)
	if c == nil {
		return errNoConn
	}
	_, err := c.Write([]byte(raw))
	return err
}

// Hangup closes one connection; the node goes on with the others.
func (f *Fake) Hangup(conn int) error {
	c := f.conn(conn)
	if c == nil {
		return errNoConn
	}
	return c.Close()
}

func (f *Fake) conn(n int) net.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n < 0 || n >= len(f.conns) {
		return nil
	}
	return f.conns[n]
}

// note tells those who wait that something has changed. The caller holds mu.
func (f *Fake) note() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Fake) accept() {
	defer f.serving.Done()
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		select {
		case <-f.done:
			_ = conn.Close()
			f.mu.Unlock()
			return
		default:
		}
		f.conns = append(f.conns, conn)
		id := len(f.conns) - 1
		f.serving.Add(1)
		f.note()
		f.mu.Unlock()
		go f.serve(id, conn)
	}
}

// serve reads and answers one connection until either side ends it. Requests are recorded as they come, also while an
// earlier answer waits for its gate, so a test can see a pipeline pile up.
func (f *Fake) serve(id int, conn net.Conn) {
	defer f.serving.Done()
	defer func() {
		f.mu.Lock()
		f.conns[id] = nil
		f.mu.Unlock()
		_ = conn.Close()
	}()
	ended := make(chan struct{}) // the stream of requests is over
	queue := newMailbox()
	f.serving.Add(1)
	go func() {
		defer f.serving.Done()
		defer close(ended)
		defer queue.close()
		in := bufio.NewReader(conn)
		for n := 0; ; n++ {
			args, err := readRequest(in)
			if err != nil {
				f.blame(id, err)
				return
			}
			r := Request{Conn: id, Index: n, Args: args}
			f.mu.Lock()
			f.requests = append(f.requests, r)
			f.note()
			f.mu.Unlock()
			queue.put(r)
		}
	}()
	var held []byte
	for {
		r, ok := queue.take()
		if !ok {
			return
		}
		answer := f.script(r)
		if answer.Hold {
			held = append(held, answer.Bytes...)
			continue
		}
		answer.Bytes = append(held, answer.Bytes...)
		held = nil
		if !f.play(conn, answer, ended) {
			return
		}
	}
}

// blame keeps the first fault of the sender; a stream cut by a dying connection is none.
func (f *Fake) blame(id int, err error) {
	var fault errNotCanonical
	if !errors.As(err, &fault) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == nil {
		f.fault = fmt.Errorf("connection %d: %w", id, err)
	}
}

// play does what the answer says and reports whether the connection lives on.
func (f *Fake) play(conn net.Conn, a Answer, ended <-chan struct{}) bool {
	if a.After != nil {
		select {
		case <-a.After:
		case <-ended:
			return false
		case <-f.done:
			return false
		}
	}
	rest := a.Bytes
	for len(rest) > 0 {
		n := len(rest)
		if a.Split > 0 {
			n = min(n, a.Split)
		}
		if _, err := conn.Write(rest[:n]); err != nil {
			return false
		}
		if rest = rest[n:]; len(rest) > 0 && a.Gap > 0 && !f.pause(a.Gap) {
			return false
		}
	}
	if tcp, ok := conn.(*net.TCPConn); ok && a.Reset {
		_ = tcp.SetLinger(0)
	}
	return !a.Close && !a.Reset
}

func (f *Fake) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.done:
		return false
	}
}
