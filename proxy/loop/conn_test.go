package loop

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestEcho(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	h := &funcs{data: echo}
	tcp, _ := plain(t, l, "tcp", h)
	unix, _ := plain(t, l, "unix", h)
	peers := map[string]net.Conn{"tcp": tcp, "unix": unix}
	for _, v := range versions {
		peers[name(v)], _ = secure(t, l, v, h)
	}
	for kind, peer := range peers {
		t.Run(kind, func(t *testing.T) {
			for _, n := range []int{1, 100, 5000, 100_000} {
				roundTrip(t, peer, randomBytes(n))
			}
		})
	}
	if n := l.Conns(); n != len(peers) {
		t.Errorf("Conns() = %d, want %d", n, len(peers))
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func roundTrip(t *testing.T, peer net.Conn, want []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := peer.Write(want)
		sent <- err
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(peer, got); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back changed", len(want))
	}
}

// A reader slower than the writer, over socket buffers far smaller than the data.
func TestSlowReaderGetsAllOfIt(t *testing.T) {
	run := func(t *testing.T, wrap func(t *testing.T, l *Loop, h Handler, client, server net.Conn) (net.Conn, *Conn)) {
		l := startGroup(t, Options{WriteTimeout: patience}).Pick()
		client, server := pair(t, "tcp")
		server.(*net.TCPConn).SetWriteBuffer(16 << 10)
		client.(*net.TCPConn).SetReadBuffer(32 << 10)
		drained := make(chan int, 1024)
		h := &funcs{data: echo, drained: func(c *Conn) { drained <- c.Unsent() }}
		peer, c := wrap(t, l, h, client, server)
		want := randomBytes(1 << 20)
		sent := make(chan error, 1)
		go func() {
			_, err := peer.Write(want)
			sent <- err
		}()
		// Nothing is read until the kernel has refused output at least once.
		eventually(t, l, "output left unsent", func() bool { return c.blocked && c.Unsent() > 0 })
		eventually(t, l, "unsent output counted", func() bool { return l.BufferBytes() > 0 && l.held >= int64(c.Unsent())/2 })
		var got []byte
		small := make([]byte, 1500)
		for len(got) < len(want) {
			n, err := peer.Read(small)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, small[:n]...)
		}
		if !bytes.Equal(got, want) {
			t.Fatal("the echo differs")
		}
		if err := receive(t, sent, "the sender"); err != nil {
			t.Fatal(err)
		}
		if left := receive(t, drained, "Drained"); left != 0 {
			t.Errorf("Drained with %d bytes unsent", left)
		}
		on(t, l, func() {
			if c.Unsent() != 0 || c.Appended() != 1<<20 || c.Attempted() != 1<<20 {
				t.Errorf("unsent %d, appended %d, attempted %d", c.Unsent(), c.Appended(), c.Attempted())
			}
			if l.held != 0 || c.queue != nil || c.out != nil || c.unsent != nil {
				t.Errorf("an idle connection holds %d bytes", l.held)
			}
			if c.armed&mOut != 0 || c.timer.w != nil {
				t.Error("still waiting for writability")
			}
		})
	}
	t.Run("plaintext", func(t *testing.T) {
		run(t, func(t *testing.T, l *Loop, h Handler, client, server net.Conn) (net.Conn, *Conn) {
			return client, adopt(t, l, NewTransport(server), nil, h, nil)
		})
	})
	for _, v := range versions {
		t.Run(name(v), func(t *testing.T) {
			run(t, func(t *testing.T, l *Loop, h Handler, client, server net.Conn) (net.Conn, *Conn) {
				return secureOver(t, l, v, h, client, server)
			})
		})
	}
}

// One append far over every bound: it is sent piecemeal, and whole.
func TestHugeOutputLeavesInBoundedWrites(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	big := randomBytes(9 << 20)
	h := &funcs{data: func(c *Conn, p []byte) { c.Write(big) }}
	plainPeer, _ := plain(t, l, "tcp", h)
	tlsPeer, _ := secure(t, l, versions[1], h)
	for _, peer := range []net.Conn{plainPeer, tlsPeer} {
		peer.Write([]byte("x"))
		got := make([]byte, len(big))
		if _, err := io.ReadFull(peer, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, big) {
			t.Fatal("the bytes differ")
		}
	}
	on(t, l, func() {
		if cap(l.sealed) > 2*sealLimit {
			t.Errorf("the shared record buffer grew to %d bytes", cap(l.sealed))
		}
	})
}

func TestCloseAfterFlushSendsAllOfIt(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	big := randomBytes(9 << 20)
	closed := make(chan error, 2)
	h := &funcs{
		data:    func(c *Conn, p []byte) { c.Write(big); c.CloseAfterFlush(patience) },
		drained: func(c *Conn) { t.Error("Drained after CloseAfterFlush") },
		closed:  func(c *Conn, cause error) { closed <- cause },
	}
	plainPeer, _ := plain(t, l, "tcp", h)
	tlsPeer, _ := secure(t, l, versions[1], h)
	for _, peer := range []net.Conn{plainPeer, tlsPeer} {
		peer.Write([]byte("x"))
		got, err := io.ReadAll(peer)
		if err != nil || !bytes.Equal(got, big) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if err := receive(t, closed, "Closed"); err != nil {
			t.Error(err)
		}
	}
}

func TestWriteTimeout(t *testing.T) {
	l := startGroup(t, Options{WriteTimeout: 30 * time.Millisecond}).Pick()
	closed := make(chan error, 1)
	h := &funcs{
		data:   func(c *Conn, p []byte) { c.Write(make([]byte, 16<<20)) },
		closed: func(c *Conn, cause error) { closed <- cause },
	}
	peer, _ := plain(t, l, "tcp", h)
	peer.Write([]byte("x")) // and never reads
	if err := receive(t, closed, "Closed"); err != ErrWriteTimeout {
		t.Fatalf("closed with %v", err)
	}
	eventually(t, l, "memory given back", func() bool { return l.held == 0 && l.BufferBytes() == 0 })
}

// The limit is on standing still, not on being slow.
func TestProgressPostponesTheWriteTimeout(t *testing.T) {
	l := startGroup(t, Options{WriteTimeout: time.Hour}).Pick()
	h := &funcs{data: func(c *Conn, p []byte) { c.Write(make([]byte, 64<<20)) }}
	peer, c := plain(t, l, "tcp", h)
	peer.Write([]byte("x"))
	var at int64
	eventually(t, l, "output left unsent", func() bool { at = c.timer.at; return c.blocked && c.timer.w != nil })
	buf := make([]byte, 64<<10)
	eventually(t, l, "timeout postponed", func() bool {
		if !c.blocked {
			t.Fatal("all was sent too early to tell")
		}
		if c.timer.at > at {
			return true
		}
		if _, err := peer.Read(buf); err != nil {
			t.Fatal(err)
		}
		return false
	})
}

func TestHalfClosedPeerGetsItsReplies(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			l := startGroup(t, Options{}).Pick()
			closed := make(chan error, 1)
			h := &funcs{
				eof: func(c *Conn) {
					c.Write([]byte("late reply"))
					c.CloseAfterFlush(time.Second)
				},
				closed: func(c *Conn, cause error) { closed <- cause },
			}
			peer, _ := plain(t, l, network, h)
			peer.Write([]byte("request"))
			peer.(interface{ CloseWrite() error }).CloseWrite()
			got, err := io.ReadAll(peer)
			if err != nil || string(got) != "late reply" {
				t.Fatalf("%q, %v", got, err)
			}
			if err := receive(t, closed, "Closed"); err != nil {
				t.Fatal(err)
			}
			eventually(t, l, "descriptor let go", func() bool { return len(l.freeSlots) == len(l.slots) })
		})
	}
}

// Closing a socket with unread input resets the connection, and the reset can
// destroy the reply: the last reply must arrive, followed by a clean end.
func TestLastReplySurvivesUnreadInput(t *testing.T) {
	check := func(t *testing.T, peer net.Conn, l *Loop, closed chan error) {
		t.Helper()
		if _, err := peer.Write(make([]byte, 200<<10)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(peer)
		if err != nil || string(got) != "-ERR last words\r\n" {
			t.Fatalf("%q, %v", got, err)
		}
		if err := receive(t, closed, "Closed"); err != nil {
			t.Fatal(err)
		}
		peer.Close()
		eventually(t, l, "lingering over", func() bool { return len(l.freeSlots) == len(l.slots) })
	}
	handler := func() (*funcs, chan error) {
		closed := make(chan error, 1)
		return &funcs{
			data: func(c *Conn, p []byte) {
				c.Write([]byte("-ERR last words\r\n"))
				c.CloseAfterFlush(time.Second)
				if !c.Closing() {
					t.Error("not Closing after CloseAfterFlush")
				}
			},
			closed: func(c *Conn, cause error) { closed <- cause },
		}, closed
	}
	t.Run("plaintext", func(t *testing.T) {
		l := startGroup(t, Options{}).Pick()
		h, closed := handler()
		peer, _ := plain(t, l, "tcp", h)
		check(t, peer, l, closed)
	})
	for _, v := range versions {
		t.Run(name(v), func(t *testing.T) {
			l := startGroup(t, Options{}).Pick()
			h, closed := handler()
			peer, _ := secure(t, l, v, h)
			check(t, peer, l, closed)
		})
	}
}

func TestLingeringEnds(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	closed := make(chan error, 1)
	h := &funcs{
		data:   func(c *Conn, p []byte) { c.CloseAfterFlush(time.Second) },
		closed: func(c *Conn, cause error) { closed <- cause },
	}
	t.Run("after its time", func(t *testing.T) {
		peer, _ := plain(t, l, "tcp", h)
		peer.Write([]byte("x"))
		receive(t, closed, "Closed")
		if n := l.Conns(); n != 0 {
			t.Errorf("%d connections counted while lingering", n)
		}
		eventually(t, l, "descriptor let go", func() bool { return len(l.freeSlots) == len(l.slots) })
	})
	t.Run("after too much input", func(t *testing.T) {
		peer, _ := plain(t, l, "tcp", h)
		var n int
		var err error
		for err == nil { // until the reset
			var m int
			m, err = peer.Write(make([]byte, 64<<10))
			if n += m; n > 64<<20 {
				t.Fatal("a lingering connection reads without limit")
			}
		}
		receive(t, closed, "Closed")
	})
	t.Run("with the group", func(t *testing.T) {
		g := startGroup(t, Options{})
		peer, _ := plain(t, g.Pick(), "tcp", h)
		peer.Write([]byte("x"))
		receive(t, closed, "Closed")
		g.Close()
		if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
	})
}

func TestCloseAfterFlushGivesUp(t *testing.T) {
	l := startGroup(t, Options{WriteTimeout: time.Hour}).Pick()
	closed := make(chan error, 1)
	h := &funcs{
		data: func(c *Conn, p []byte) {
			c.Write(make([]byte, 16<<20))
			c.CloseAfterFlush(30 * time.Millisecond)
		},
		closed: func(c *Conn, cause error) { closed <- cause },
	}
	peer, _ := plain(t, l, "tcp", h)
	peer.Write([]byte("x"))
	if err := receive(t, closed, "Closed"); err != nil {
		t.Fatal(err)
	}
}

func TestCloseDropsOutput(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	closed := make(chan error, 1)
	var inside atomic.Bool
	h := &funcs{
		data: func(c *Conn, p []byte) {
			inside.Store(true)
			c.Write([]byte("never sent"))
			c.Close()
			c.Close()
			c.Write([]byte("nor this"))
			c.Again()
			inside.Store(false)
		},
		eof: func(c *Conn) { t.Error("EOF after Close") },
		closed: func(c *Conn, cause error) {
			if inside.Load() {
				t.Error("Closed from inside Data")
			}
			c.Close()
			c.Resume()
			c.Write([]byte("nothing"))
			closed <- cause
		},
	}
	peer, _ := plain(t, l, "tcp", h)
	peer.Write([]byte("x"))
	if err := receive(t, closed, "Closed"); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(peer); len(got) != 0 {
		t.Errorf("%q was sent", got)
	}
	on(t, l, func() {}) // another turn: nothing more is called
	if len(closed) != 0 {
		t.Error("Closed twice")
	}
}

func TestPeerResetIsTheCause(t *testing.T) {
	for _, paused := range []bool{false, true} {
		l := startGroup(t, Options{}).Pick()
		closed := make(chan error, 1)
		peer, c := plain(t, l, "tcp", &funcs{closed: func(c *Conn, cause error) { closed <- cause }})
		if paused {
			on(t, l, c.Pause)
		}
		peer.(*net.TCPConn).SetLinger(0)
		peer.Close()
		if err := receive(t, closed, "Closed"); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("paused %v: closed with %v", paused, err)
		}
	}
}

func TestPausedConnectionIsNotReadAndDoesNotSpin(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			l := startGroup(t, Options{}).Pick()
			var got []byte
			ended := make(chan struct{})
			h := &funcs{
				data: func(c *Conn, p []byte) { got = append(got, p...) },
				eof:  func(c *Conn) { close(ended) },
			}
			peer, c := plain(t, l, network, h)
			on(t, l, c.Pause)
			peer.Write([]byte("while paused"))
			peer.Close() // on a unix socket: a hang-up that the poller reports for ever
			eventually(t, l, "poller told", func() bool { return c.armed&mIn == 0 })
			var before, after uint32
			on(t, l, func() { before = l.turnNo })
			receive(t, time.After(50*time.Millisecond), "some quiet time")
			on(t, l, func() { after = l.turnNo })
			if after-before > 5 {
				t.Errorf("%d turns while nothing was to do", after-before)
			}
			on(t, l, func() {
				if len(got) != 0 {
					t.Errorf("read while paused: %q", got)
				}
				c.Resume()
			})
			receive(t, ended, "EOF after Resume")
			on(t, l, func() {
				if string(got) != "while paused" {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

func TestAgainComesInAnotherTurn(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	var turns []uint32
	done := make(chan struct{})
	h := &funcs{data: func(c *Conn, p []byte) {
		turns = append(turns, l.turnNo)
		if len(turns) > 1 && p != nil {
			t.Error("Again with bytes")
		}
		if len(turns) == 1 {
			c.Pause() // Again comes all the same
		}
		if len(turns) == 4 {
			close(done)
			return
		}
		c.Again()
	}}
	peer, _ := plain(t, l, "tcp", h)
	peer.Write([]byte("x"))
	receive(t, done, "Again")
	for i := 1; i < len(turns); i++ {
		if turns[i] == turns[i-1] {
			t.Fatalf("twice in a turn: %v", turns)
		}
	}
}

// Echo by handlers that pause, put work off to another turn and answer in
// pieces at random: every byte comes back, in order, on every kind of connection.
func TestRandomTraffic(t *testing.T) {
	l := startGroup(t, Options{WriteTimeout: patience}).Pick()
	var peers []net.Conn
	for i := range 12 {
		h := &moody{}
		switch i % 4 {
		case 0:
			p, _ := plain(t, l, "tcp", h)
			peers = append(peers, p)
		case 1:
			p, _ := plain(t, l, "unix", h)
			peers = append(peers, p)
		default:
			p, _ := secure(t, l, versions[i%2], h)
			peers = append(peers, p)
		}
	}
	var wg sync.WaitGroup
	for _, peer := range peers {
		wg.Go(func() {
			for range 60 {
				want := randomBytes(1 + rand.IntN(1<<rand.IntN(18)))
				sent := make(chan error, 1)
				go func() {
					_, err := peer.Write(want)
					sent <- err
				}()
				got := make([]byte, len(want))
				if _, err := io.ReadFull(peer, got); err != nil {
					t.Error(err)
					return
				}
				if err := <-sent; err != nil || !bytes.Equal(got, want) {
					t.Errorf("%v, same %v", err, bytes.Equal(got, want))
					return
				}
			}
		})
	}
	wg.Wait()
	eventually(t, l, "nothing held", func() bool { return l.held == 0 })
}

// moody echoes what it was given, when it feels like it.
type moody struct {
	funcs
	kept  []byte
	timer Timer
}

func (m *moody) Data(c *Conn, p []byte) {
	m.kept = append(m.kept, p...)
	n := rand.IntN(len(m.kept) + 1)
	c.Write(m.kept[:n])
	m.kept = append(m.kept[:0], m.kept[n:]...)
	switch rand.IntN(5) {
	case 0:
		c.Pause()
		c.Loop().Arm(&m.timer, time.Duration(rand.IntN(2))*tick, func() { c.Resume(); c.Again() })
	case 1:
		c.Pause()
		c.Resume()
	}
	if len(m.kept) > 0 {
		c.Again()
	}
}

// Two connections are readable in one batch and the first one's handler closes
// the second: its bytes are not delivered any more.
func TestClosedInTheSameBatchIsNotRead(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	var conns [2]*Conn
	var read atomic.Int32
	closed := make(chan error, 2)
	h := &funcs{
		data: func(c *Conn, p []byte) {
			read.Add(1)
			conns[0].Close()
			conns[1].Close()
		},
		closed: func(c *Conn, cause error) { closed <- cause },
	}
	var peers [2]net.Conn
	peers[0], conns[0] = plain(t, l, "tcp", h)
	peers[1], conns[1] = plain(t, l, "tcp", h)
	on(t, l, func() { // one turn long enough for both
		peers[0].Write([]byte("x"))
		peers[1].Write([]byte("x"))
	})
	receive(t, closed, "Closed")
	receive(t, closed, "Closed")
	if n := read.Load(); n != 1 {
		t.Errorf("%d connections were read", n)
	}
}

// A descriptor and a slot are reused at once; events still around from the
// connection before are of another generation.
func TestEventsOfAFormerConnectionAreDropped(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	_, first := plain(t, l, "tcp", &funcs{})
	slot, gen := first.slot, l.slots[first.slot].gen
	on(t, l, first.Close)
	on(t, l, func() {})
	calls := make(chan string, 16)
	h := &funcs{
		data:    func(c *Conn, p []byte) { calls <- "Data" },
		eof:     func(c *Conn) { calls <- "EOF" },
		drained: func(c *Conn) { calls <- "Drained" },
		closed:  func(c *Conn, cause error) { calls <- "Closed" },
	}
	peer, second := plain(t, l, "tcp", h)
	if second.slot != slot {
		t.Fatalf("slot %d was not reused", slot)
	}
	on(t, l, func() {
		second.blocked = true // as if it waited for the very event
		l.event(slot, gen, mIn|mOut|mHup)
		second.blocked = false
	})
	on(t, l, func() {})
	if len(calls) != 0 {
		t.Fatalf("the new connection got %s", <-calls)
	}
	peer.Write([]byte("x"))
	if got := receive(t, calls, "Data"); got != "Data" {
		t.Fatal(got)
	}
}

// A server's last words are read though our write to it failed.
func TestInputBeforeAFailedWriteIsStillRead(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	var got []byte
	closed := make(chan error, 1)
	h := &funcs{
		data:   func(c *Conn, p []byte) { got = append(got, p...) },
		closed: func(c *Conn, cause error) { closed <- cause },
	}
	peer, c := plain(t, l, "unix", h)
	on(t, l, func() {
		peer.Write([]byte("-ERR max number of clients reached\r\n"))
		peer.Close()
		c.Write([]byte("a command"))
		l.edge() // before the input is read
	})
	if err := receive(t, closed, "Closed"); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("closed with %v", err)
	}
	if string(got) != "-ERR max number of clients reached\r\n" {
		t.Errorf("got %q", got)
	}
	if c.Attempted() != 0 {
		t.Errorf("%d bytes may have left, but none did", c.Attempted())
	}
}

func TestAttemptedStopsWhereTheKernelDid(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	for kind, dial := range map[string]func() *Conn{
		"plaintext": func() *Conn { _, c := plain(t, l, "tcp", &funcs{}); return c },
		"TLS":       func() *Conn { _, c := secure(t, l, versions[1], &funcs{}); return c },
	} {
		t.Run(kind, func(t *testing.T) {
			c := dial()
			on(t, l, func() {
				c.Write([]byte("12345"))
				if c.Attempted() != 0 || c.Unsent() != 5 {
					t.Errorf("before the flush: attempted %d, unsent %d", c.Attempted(), c.Unsent())
				}
				l.edge()
				if c.Attempted() != 5 || c.Unsent() != 0 {
					t.Errorf("after it: attempted %d, unsent %d", c.Attempted(), c.Unsent())
				}
				c.Write(make([]byte, 16<<20))
				l.edge()
				for c.unsent == nil { // until the kernel refuses; a turn sends a bounded share
					l.writable(c)
				}
				at := c.Attempted()
				c.Write([]byte("can still be routed anew"))
				l.edge()
				if c.Attempted() != at || c.Appended() != 5+16<<20+24 {
					t.Errorf("attempted %d then %d, appended %d", at, c.Attempted(), c.Appended())
				}
				if kind == "plaintext" && c.Appended()-c.Attempted() != uint64(c.Unsent()) {
					t.Errorf("appended %d, attempted %d, unsent %d", c.Appended(), c.Attempted(), c.Unsent())
				}
			})
		})
	}
}

func TestQuickAck(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	_, tcp := plain(t, l, "tcp", &funcs{})
	_, unix := plain(t, l, "unix", &funcs{})
	on(t, l, func() {
		unix.QuickAck() // harmless
		tcp.QuickAck()
		if runtime.GOOS == "linux" {
			const tcpQuickAck = 12
			if on, err := syscall.GetsockoptInt(tcp.fd, syscall.IPPROTO_TCP, tcpQuickAck); err != nil || on != 1 {
				t.Errorf("TCP_QUICKACK is %d, %v", on, err)
			}
		}
	})
}

func TestPostFromManyGoroutines(t *testing.T) {
	g := startGroup(t, Options{})
	l := g.Pick()
	const posters, each = 16, 2000
	var wg sync.WaitGroup
	last := make([]int, posters)
	var ran int
	for p := range posters {
		wg.Go(func() {
			for i := 1; i <= each; i++ {
				l.Post(func() {
					if last[p] != i-1 {
						t.Errorf("poster %d: %d ran after %d", p, i, last[p])
					}
					last[p] = i
					ran++
				})
			}
		})
	}
	wg.Wait()
	on(t, l, func() {
		if ran != posters*each {
			t.Errorf("%d ran, want %d", ran, posters*each)
		}
	})
	g.Close()
	if l.Post(func() { t.Error("ran after the end") }) {
		t.Error("Post succeeded after the end")
	}
}

func TestCloseOfTheGroupClosesAll(t *testing.T) {
	g := startGroup(t, Options{Workers: 3})
	closed := make(chan error, 8)
	h := &funcs{closed: func(c *Conn, cause error) { closed <- cause }}
	ids := map[int]bool{}
	for range 6 {
		l := g.Pick()
		ids[l.ID()] = true
		plain(t, l, "tcp", h)
	}
	if len(ids) != 3 {
		t.Errorf("six connections went to %d of 3 loops", len(ids))
	}
	ran := make(chan error, 1)
	l := g.Loops()[0]
	_, server := pair(t, "tcp")
	tr := NewTransport(server)
	l.Post(func() {
		l.stopping = true
		l.Post(func() { // accepted before the end, so it runs
			_, err := l.Adopt(tr, nil, h, nil)
			ran <- err
		})
	})
	if err := receive(t, ran, "a function posted before the end"); err != ErrShutdown {
		t.Errorf("Adopt at the end: %v", err)
	}
	g.Close()
	for range 6 {
		if err := receive(t, closed, "Closed"); err != ErrShutdown {
			t.Errorf("closed with %v", err)
		}
	}
}
