package loop

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// bench is one side of a TLS connection on the non-blocking transport, without a
// socket: bytes are put in by hand and records taken out.
type bench struct {
	l   *Loop
	c   *Conn
	got []byte
}

func newBench(t *testing.T, tr *Transport, tc *tls.Conn) *bench {
	b := &bench{l: &Loop{raw: make([]byte, readSize), plain: make([]byte, readSize+recordSize), group: &Group{}}}
	b.l.slots = make([]slot, 1)
	b.c = &Conn{loop: b.l, t: tr, tc: tc, eof: true}
	b.c.h = &funcs{data: func(c *Conn, p []byte) { b.got = append(b.got, p...) }}
	tr.nc, tr.c = nil, b.c
	b.feed(t, nil) // what the handshake left
	return b
}

// feed gives p as one read would.
func (b *bench) feed(t *testing.T, p []byte) {
	t.Helper()
	n := copy(b.l.raw, p)
	b.c.t.in = b.l.raw[:n]
	b.l.decrypt(b.c)
	b.l.keep(b.c)
	clear(b.l.raw[:n]) // whatever still points into it would be found out
	if b.c.state != open {
		t.Fatalf("closed: %v", b.c.cause)
	}
}

// send encrypts p and gives the bytes for the wire, answers of crypto/tls first.
func (b *bench) send(t *testing.T, p []byte) []byte {
	t.Helper()
	b.c.out = append(b.c.out, p...)
	if !b.l.seal(b.c) {
		return nil
	}
	wire := bytes.Clone(b.c.unsent)
	b.c.unsent = nil
	return wire
}

// pieces cuts p into 1 to 9 bytes each.
func pieces(p []byte) [][]byte {
	var all [][]byte
	for len(p) > 0 {
		n := min(len(p), 1+rand.IntN(9))
		all = append(all, p[:n])
		p = p[n:]
	}
	return all
}

// The whole design stands on crypto/tls taking up a record where a temporary
// error interrupted it.
func TestTLSInPiecesOfOneToNineBytes(t *testing.T) {
	for _, v := range versions {
		t.Run(name(v), func(t *testing.T) {
			client, server := pair(t, "tcp")
			sc, cc := configs(v)
			trs, trc := NewTransport(server), NewTransport(client)
			ts, tc := tls.Server(trs, sc), tls.Client(trc, cc)
			shake(t, ts, tc)
			s, c := newBench(t, trs, ts), newBench(t, trc, tc)
			var toServer, toClient []byte
			for _, size := range []int{1, 2, 17, 300, 5000, 20_000, 40_000} {
				up, down := randomBytes(size), randomBytes(size)
				toServer, toClient = append(toServer, up...), append(toClient, down...)
				upWire, downWire := pieces(c.send(t, up)), pieces(s.send(t, down))
				for i := range max(len(upWire), len(downWire)) { // in both directions by turns
					if i < len(upWire) {
						s.feed(t, upWire[i])
					}
					if i < len(downWire) {
						c.feed(t, downWire[i])
					}
				}
			}
			if !bytes.Equal(s.got, toServer) || !bytes.Equal(c.got, toClient) {
				t.Fatalf("server got %d of %d bytes, client %d of %d", len(s.got), len(toServer), len(c.got), len(toClient))
			}
		})
	}
}

// When the plaintext buffer is full, what crypto/tls has not taken yet still lies
// in the buffer that the next connection's read overwrites.
func TestRecordsBeyondOneTurnAreKept(t *testing.T) {
	for _, v := range versions {
		t.Run(name(v), func(t *testing.T) {
			client, server := pair(t, "tcp")
			sc, cc := configs(v)
			trs, trc := NewTransport(server), NewTransport(client)
			ts, tc := tls.Server(trs, sc), tls.Client(trc, cc)
			shake(t, ts, tc)
			s, c := newBench(t, trs, ts), newBench(t, trc, tc)
			s.l.plain = make([]byte, 1000) // instead of more than a whole read
			want := randomBytes(60_000)
			s.feed(t, c.send(t, want))
			if !s.c.onReady {
				t.Fatal("not on the ready list")
			}
			for turns := 1; s.c.more; turns++ {
				s.l.buffered(s.c)
				if turns > 100 {
					t.Fatal("it never ends")
				}
			}
			if !bytes.Equal(s.got, want) {
				t.Fatalf("got %d of %d bytes, or others", len(s.got), len(want))
			}
			if s.c.t.in != nil {
				t.Error("kept memory is not let go")
			}
		})
	}
}

// half is one direction of a TLS 1.3 connection (TLS_AES_128_GCM_SHA256), done
// by hand because crypto/tls never starts a KeyUpdate.
type half struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func expand(t *testing.T, secret []byte, label string, n int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newHalf(t *testing.T, secret []byte) *half {
	t.Helper()
	block, err := aes.NewCipher(expand(t, secret, "key", 16))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return &half{secret: secret, aead: aead, iv: expand(t, secret, "iv", 12)}
}

func (h *half) update(t *testing.T) { *h = *newHalf(t, expand(t, h.secret, "traffic upd", 32)) }

func (h *half) nonce() []byte {
	n := slices.Clone(h.iv)
	for i := range 8 {
		n[4+i] ^= byte(h.seq >> (56 - 8*i))
	}
	h.seq++
	return n
}

func (h *half) record(kind byte, p []byte) []byte {
	inner := append(slices.Clone(p), kind)
	n := len(inner) + h.aead.Overhead()
	head := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	return h.aead.Seal(head, h.nonce(), inner, head)
}

// open takes one record off the wire.
func (h *half) open(t *testing.T, wire []byte) (kind byte, p, rest []byte) {
	t.Helper()
	n := 5 + int(binary.BigEndian.Uint16(wire[3:]))
	p, err := h.aead.Open(nil, h.nonce(), wire[5:n], wire[:5])
	if err != nil {
		t.Fatal(err)
	}
	return p[len(p)-1], p[:len(p)-1], wire[n:]
}

const (
	handshakeRecord = 22
	dataRecord      = 23
)

func keyUpdate(request byte) []byte { return []byte{24, 0, 0, 1, request} }

// byHand is a server's side on a bench and the two directions of its peer.
func byHand(t *testing.T) (s *bench, up, down *half) {
	t.Helper()
	client, server := pair(t, "tcp")
	sc, cc := configs(tls.VersionTLS13)
	var log bytes.Buffer
	cc.KeyLogWriter = &log
	cc.CurvePreferences = []tls.CurveID{tls.X25519}
	trs := NewTransport(server)
	ts, tc := tls.Server(trs, sc), tls.Client(client, cc)
	shake(t, ts, tc)
	if suite := tc.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Fatalf("the handshake chose %s", tls.CipherSuiteName(suite))
	}
	secret := func(label string) []byte {
		for line := range strings.Lines(log.String()) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == label {
				s, err := hex.DecodeString(f[2])
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
		}
		t.Fatalf("no %s", label)
		return nil
	}
	up, down = newHalf(t, secret("CLIENT_TRAFFIC_SECRET_0")), newHalf(t, secret("SERVER_TRAFFIC_SECRET_0"))
	return newBench(t, trs, ts), up, down
}

func TestKeyUpdateInPieces(t *testing.T) {
	const handshake, data = handshakeRecord, dataRecord
	s, up, down := byHand(t)
	var want []byte
	feed := func(kind byte, p []byte) {
		for _, piece := range pieces(up.record(kind, p)) {
			s.feed(t, piece)
		}
		if kind == data {
			want = append(want, p...)
		}
	}
	for round := range 40 {
		feed(data, []byte("before "))
		ask := byte(round % 2)
		if round%5 == 0 { // the message itself over two records
			m := keyUpdate(ask)
			feed(handshake, m[:2])
			feed(handshake, m[2:])
		} else {
			feed(handshake, keyUpdate(ask))
		}
		up.update(t)
		feed(data, []byte("after "))

		if ask == 1 && !s.c.dirty {
			t.Fatal("the answer waits for nothing to be flushed")
		}
		reply := []byte("reply")
		wire := s.send(t, reply)
		if ask == 1 {
			kind, p, rest := down.open(t, wire)
			if kind != handshake || !bytes.Equal(p, keyUpdate(0)) {
				t.Fatalf("round %d: answered with type %d, %x", round, kind, p)
			}
			down.update(t)
			wire = rest
		}
		s.c.dirty = false
		kind, p, rest := down.open(t, wire)
		if kind != data || !bytes.Equal(p, reply) || len(rest) != 0 {
			t.Fatalf("round %d: type %d, %q, and %d bytes more", round, kind, p, len(rest))
		}
	}
	if !bytes.Equal(s.got, want) {
		t.Fatalf("got %q", s.got)
	}
}

// A peer may ask for a key update in every other record, and each asks for an
// answer; one that never reads them must not make us keep them all.
func TestKeyUpdatesUnreadAreBounded(t *testing.T) {
	s, up, _ := byHand(t)
	s.c.blocked = true // the kernel takes no more
	for rounds := 0; s.c.state == open; rounds++ {
		if rounds > 10_000 {
			t.Fatalf("%d bytes of answers and no end", s.c.Unsent())
		}
		s.feed(t, up.record(dataRecord, []byte("x")))
		s.feed(t, up.record(handshakeRecord, keyUpdate(1)))
		up.update(t)
		if len(s.c.control) > controlLimit {
			s.l.flush(s.c)
		}
	}
	if s.c.cause != ErrWriteTimeout {
		t.Errorf("closed with %v", s.c.cause)
	}
}

// held gathers what is written until the next read, as one segment.
type held struct {
	net.Conn
	out []byte
}

func (h *held) Write(p []byte) (int, error) { h.out = append(h.out, p...); return len(p), nil }

func (h *held) flush() error {
	p := h.out
	h.out = nil
	_, err := h.Conn.Write(p)
	return err
}

func (h *held) Read(p []byte) (int, error) {
	if len(h.out) > 0 {
		if err := h.flush(); err != nil {
			return 0, err
		}
	}
	return h.Conn.Read(p)
}

// In TLS 1.3 the client may send its first command together with Finished; the
// server's handshake has then read it from the socket and the poller knows nothing of it.
func TestFirstCommandInTheSegmentOfFinished(t *testing.T) {
	for _, v := range versions {
		for _, size := range []int{14, 30_000} {
			t.Run(name(v), func(t *testing.T) {
				l := startGroup(t, Options{}).Pick()
				client, server := pair(t, "tcp")
				sc, cc := configs(v)
				tr := NewTransport(server)
				ts := tls.Server(tr, sc)
				h := &held{Conn: client}
				tc := tls.Client(h, cc)
				done := make(chan error, 1)
				go func() { done <- ts.Handshake() }()
				if err := tc.Handshake(); err != nil {
					t.Fatal(err)
				}
				command := randomBytes(size)
				if _, err := tc.Write(command); err != nil {
					t.Fatal(err)
				}
				if err := h.flush(); err != nil {
					t.Fatal(err)
				}
				if err := receive(t, done, "the server's handshake"); err != nil {
					t.Fatal(err)
				}
				adopt(t, l, tr, ts, &funcs{data: echo}, nil)
				got := make([]byte, len(command))
				if _, err := io.ReadFull(tc, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, command) {
					t.Fatal("it came back changed")
				}
			})
		}
	}
}

func TestLeftoverIsFedWithoutThePoller(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	t.Run("plaintext", func(t *testing.T) {
		for _, unread := range []bool{false, true} {
			client, server := pair(t, "tcp")
			tr := NewTransport(server)
			leftover := []byte("PING\r\n")
			if unread {
				tr.Unread(leftover)
				leftover = nil
			}
			adopt(t, l, tr, nil, &funcs{data: echo}, leftover)
			got := make([]byte, 6)
			if _, err := io.ReadFull(client, got); err != nil || string(got) != "PING\r\n" {
				t.Fatalf("%q, %v", got, err)
			}
		}
	})
	t.Run("first TLS bytes behind a PROXY header", func(t *testing.T) {
		client, server := pair(t, "tcp")
		sc, cc := configs(tls.VersionTLS13)
		h := &held{Conn: client}
		h.Write([]byte("PROXY UNKNOWN\r\n"))
		tc := tls.Client(h, cc)
		tr := NewTransport(server)
		done := make(chan error, 1)
		ts := tls.Server(tr, sc)
		go func() {
			first := make([]byte, 4096)
			n, err := server.Read(first)
			if err != nil {
				done <- err
				return
			}
			_, rest, _ := bytes.Cut(first[:n], []byte("\r\n"))
			tr.Unread(rest)
			done <- ts.Handshake()
		}()
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := h.flush(); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, done, "the server's handshake"); err != nil {
			t.Fatal(err)
		}
		adopt(t, l, tr, ts, &funcs{data: echo}, nil)
		tc.Write([]byte("PING"))
		h.flush()
		got := make([]byte, 4)
		if _, err := io.ReadFull(tc, got); err != nil || string(got) != "PING" {
			t.Fatalf("%q, %v", got, err)
		}
	})
	t.Run("TLS records as leftover", func(t *testing.T) {
		client, server := pair(t, "tcp")
		sc, cc := configs(tls.VersionTLS13)
		h := &held{Conn: client}
		tr := NewTransport(server)
		ts, tc := tls.Server(tr, sc), tls.Client(h, cc)
		done := make(chan error, 1)
		go func() { done <- ts.Handshake() }()
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		h.flush()
		if err := receive(t, done, "the server's handshake"); err != nil {
			t.Fatal(err)
		}
		// More than one turn's plaintext, so that the rest has to wait on the ready list.
		command := randomBytes(300_000)
		tc.Write(command)
		leftover := h.out
		h.out = nil
		adopt(t, l, tr, ts, &funcs{data: echo}, leftover)
		got := make([]byte, len(command))
		if _, err := io.ReadFull(tc, got); err != nil || !bytes.Equal(got, command) {
			t.Fatalf("%v, same %v", err, bytes.Equal(got, command))
		}
	})
}

func TestCloseNotifyIsEOFAndOutputGoesOn(t *testing.T) {
	for _, v := range versions {
		t.Run(name(v), func(t *testing.T) {
			l := startGroup(t, Options{}).Pick()
			closed := make(chan error, 1)
			h := &funcs{
				data: func(c *Conn, p []byte) { c.Write([]byte("one ")) },
				eof: func(c *Conn) {
					c.Write([]byte("two"))
					c.CloseAfterFlush(time.Second)
				},
				closed: func(c *Conn, cause error) { closed <- cause },
			}
			peer, _ := secure(t, l, v, h)
			peer.Write([]byte("x"))
			peer.CloseWrite()
			got, err := io.ReadAll(peer) // ends with close_notify, else an error
			if err != nil || string(got) != "one two" {
				t.Fatalf("%q, %v", got, err)
			}
			if err := receive(t, closed, "Closed"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCloseNotifyWhilePausedComesAfterResume(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	var got []byte
	ended := make(chan struct{})
	h := &funcs{
		data: func(c *Conn, p []byte) { got = append(got, p...); c.Pause() },
		eof:  func(c *Conn) { close(ended) },
	}
	peer, c := secure(t, l, tls.VersionTLS13, h)
	on(t, l, func() { // one read for both
		peer.Write([]byte("data"))
		peer.CloseWrite()
	})
	eventually(t, l, "data", func() bool { return len(got) == 4 })
	select {
	case <-ended:
		t.Fatal("EOF while paused")
	default:
	}
	on(t, l, c.Resume)
	receive(t, ended, "EOF")
}

func TestCutOffTLSIsAnErrorAndCorruptionGetsAnAlert(t *testing.T) {
	for _, v := range versions {
		t.Run(name(v), func(t *testing.T) {
			l := startGroup(t, Options{}).Pick()
			closed := make(chan error, 1)
			h := &funcs{
				eof:    func(c *Conn) { t.Error("EOF") },
				closed: func(c *Conn, cause error) { closed <- cause },
			}
			peer, _ := secure(t, l, v, h)
			peer.NetConn().Write([]byte{23, 3, 3, 0, 100, 1, 2, 3}) // the head of a record
			peer.NetConn().(*net.TCPConn).CloseWrite()
			if err := receive(t, closed, "Closed"); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut off: closed with %v", err)
			}

			peer, _ = secure(t, l, v, h)
			peer.NetConn().Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...))
			err := receive(t, closed, "Closed")
			if err == nil || !strings.Contains(err.Error(), "bad record MAC") {
				t.Errorf("corrupted: closed with %v", err)
			}
			if _, err := peer.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
				t.Errorf("the peer was told %v", err)
			}
		})
	}
}

func TestAdoptRefusesWhatItCannotOwn(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	_, server := pair(t, "tcp")
	sc, _ := configs(tls.VersionTLS13)
	tr := NewTransport(server)
	on(t, l, func() {
		if _, err := l.Adopt(tr, tls.Server(tr, sc), &funcs{}, nil); err == nil {
			t.Error("adopted before the handshake")
		}
	})
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	on(t, l, func() {
		if _, err := l.Adopt(NewTransport(a), nil, &funcs{}, nil); err == nil {
			t.Error("adopted a connection without a descriptor")
		}
	})
	adopt(t, l, tr, nil, &funcs{}, nil)
	on(t, l, func() {
		if _, err := l.Adopt(tr, nil, &funcs{}, nil); err == nil {
			t.Error("adopted twice")
		}
	})
	if n := l.Conns(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
