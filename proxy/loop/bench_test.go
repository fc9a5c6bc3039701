package loop

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
)

// BenchmarkEcho has 50 blocking clients, which share the machine with the loop,
// exchange 64-byte messages with it. What to compare is turns/op: how well the
// loop batches under load; ns/op is mostly the clients'.
func BenchmarkEcho(b *testing.B) {
	const clients, size = 50, 64
	for _, kind := range []string{"plaintext", "TLS"} {
		for _, depth := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/P%d", kind, depth), func(b *testing.B) {
				l := startGroup(b, Options{}).Pick()
				h := &funcs{data: echo}
				peers := make([]net.Conn, clients)
				for i := range peers {
					if kind == "TLS" {
						peers[i], _ = secure(b, l, tls.VersionTLS13, h)
					} else {
						peers[i], _ = plain(b, l, "tcp", h)
					}
					peers[i].SetDeadline(noDeadline)
				}
				var before, after uint32
				on(b, l, func() { before = l.turnNo })
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for _, peer := range peers {
					wg.Go(func() {
						p := make([]byte, size*depth)
						for range b.N / clients / depth {
							if _, err := peer.Write(p); err != nil {
								b.Error(err)
								return
							}
							if _, err := io.ReadFull(peer, p); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				on(b, l, func() { after = l.turnNo })
				b.ReportMetric(float64(after-before)/float64(b.N), "turns/op")
			})
		}
	}
}

// BenchmarkTurn is the loop's own cost of one connection's round trip, read and
// write included, without another goroutine: a peer descriptor is written and
// read by the benchmark itself on the loop's goroutine.
func BenchmarkTurn(b *testing.B) {
	for _, kind := range []string{"plaintext", "TLS"} {
		b.Run(kind, func(b *testing.B) {
			l := startGroup(b, Options{}).Pick()
			var c *Conn
			h := &funcs{data: echo}
			var request []byte
			a, z := socketpair(b)
			if kind == "TLS" {
				tr := NewTransport(z)
				sc, cc := configs(tls.VersionTLS13)
				rec := &tap{Conn: a}
				ts, tc := tls.Server(tr, sc), tls.Client(rec, cc)
				shake(b, ts, tc)
				c = adopt(b, l, tr, ts, h, nil)
				rec.hold = true
				for range b.N {
					rec.sizes = append(rec.sizes, len(rec.held))
					tc.Write(make([]byte, 64))
				}
				rec.sizes = append(rec.sizes, len(rec.held))
				request = rec.held
				b.ReportAllocs()
				on(b, l, func() { exchange(b, l, c, a, func(i int) []byte { return request[rec.sizes[i]:rec.sizes[i+1]] }) })
				return
			}
			c = adopt(b, l, NewTransport(z), nil, h, nil)
			request = make([]byte, 64)
			b.ReportAllocs()
			on(b, l, func() { exchange(b, l, c, a, func(int) []byte { return request }) })
		})
	}
}

// exchange plays turns by hand, the poller's part left out.
func exchange(b *testing.B, l *Loop, c *Conn, peer net.Conn, request func(int) []byte) {
	fd := descriptor(b, peer)
	p := make([]byte, 4096)
	b.ResetTimer()
	for i := range b.N {
		if _, err := writeFD(fd, request(i)); err != nil {
			b.Fatal(err)
		}
		l.turnNo++
		l.event(c.slot, l.slots[c.slot].gen, mIn)
		l.edge()
		if n, err := readFD(fd, p); err != nil || n < 64 {
			b.Fatal(n, err)
		}
	}
	b.StopTimer()
}

// tap keeps what is written instead of sending it.
type tap struct {
	net.Conn
	hold  bool
	held  []byte
	sizes []int
}

func (t *tap) Write(p []byte) (int, error) {
	if t.hold {
		t.held = append(t.held, p...)
		return len(p), nil
	}
	return t.Conn.Write(p)
}

func socketpair(b *testing.B) (x, y net.Conn) { return pair(b, "unix") }

func descriptor(b *testing.B, c net.Conn) int {
	rc, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	fd := -1
	if err := rc.Control(func(s uintptr) { fd = int(s) }); err != nil {
		b.Fatal(err)
	}
	return fd
}
