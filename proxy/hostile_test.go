package proxy_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

const patience = 10 * time.Second

// wire is a client that says what it likes, byte for byte.
type wire struct {
	net.Conn
	t testing.TB
}

// wire opens a connection to the plaintext listener, or to the other one over
// mutual TLS where conf is given.
func (r *rig) wire(t testing.TB, conf *tls.Config) *wire {
	t.Helper()
	listener := "plain"
	if conf != nil {
		listener = "gateway"
	}
	nc, err := net.DialTimeout("tcp", r.addr(listener), patience)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { nc.Close() })
	if conf != nil {
		tc := tls.Client(nc, conf)
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		nc = tc
	}
	return &wire{Conn: nc, t: t}
}

// as logs in.
func (c *wire) as(user string) *wire {
	c.t.Helper()
	c.say(string(redistest.Encode("AUTH", user, user+"-pw")))
	c.hear("+OK\r\n")
	return c
}

// say sends bytes. That the other end has closed meanwhile is for hear to find.
func (c *wire) say(s string) { c.Write([]byte(s)) }

// spell sends bytes one by one.
func (c *wire) spell(s string) {
	for i := range len(s) {
		if _, err := c.Write([]byte(s[i : i+1])); err != nil {
			return
		}
	}
}

// hear reads exactly these bytes.
func (c *wire) hear(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	if string(got[:n]) != want {
		c.t.Fatalf("heard %.300q (%v), want %.300q", got[:n], err, want)
	}
}

// ends reads to the end of the connection, which must come, with nothing before it.
func (c *wire) ends() {
	c.t.Helper()
	rest, err := io.ReadAll(io.LimitReader(c, 1000))
	if len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("instead of the end came %q, %v", rest, err)
	}
}

func (c *wire) port() string { return strconv.Itoa(c.LocalAddr().(*net.TCPAddr).Port) }

// reset ends the TCP connection as a crash would.
func (c *wire) reset() {
	nc := c.Conn
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// bystander is a logged-in client that pipelines, and verifies every reply,
// while others misbehave.
type bystander struct {
	stop   chan struct{}
	done   chan error
	rounds atomic.Int64
}

func (r *rig) bystander(t testing.TB) *bystander {
	t.Helper()
	c := r.wire(t, r.clientTLS("app")).as("app")
	b := &bystander{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { b.done <- b.run(c) }()
	t.Cleanup(func() { b.unharmed(t) })
	return b
}

// breath is how long a bystander pauses between two pipelines, so as to leave
// the processor to those it watches.
const breath = 2 * time.Millisecond

func (b *bystander) run(c *wire) error {
	pause := time.NewTicker(breath)
	defer pause.Stop()
	for n := 0; ; n++ {
		select {
		case <-b.stop:
			return nil
		case <-pause.C:
		}
		c.SetDeadline(time.Now().Add(patience))
		var ask, want []byte
		for i := range 10 {
			key, value := fmt.Sprint("app:by", i), fmt.Sprintf("nonce-%d-%d", n, i)
			ask = append(append(ask, redistest.Encode("SET", key, value)...), redistest.Encode("GET", key)...)
			want = fmt.Appendf(want, "+OK\r\n$%d\r\n%s\r\n", len(value), value)
		}
		if _, err := c.Write(ask); err != nil {
			return err
		}
		got := make([]byte, len(want))
		if m, err := io.ReadFull(c, got); !bytes.Equal(got, want) {
			return fmt.Errorf("round %d: got %q (%v), want %q", n, got[:m], err, want)
		}
		b.rounds.Add(1)
	}
}

// unharmed ends the bystander and reports what it met. A second call does nothing.
func (b *bystander) unharmed(t testing.TB) {
	t.Helper()
	select {
	case <-b.stop:
		return
	default:
	}
	// It must still be at work now, not only have been.
	before := b.rounds.Load()
	eventually(t, patience, "another round of the bystander", func() bool { return b.rounds.Load() > before || len(b.done) > 0 })
	close(b.stop)
	if err := <-b.done; err != nil {
		t.Error("a client that did nothing wrong was harmed:", err)
	}
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// comesBack waits until the heap and the loops' buffers are what they were, but
// for what a free list may keep.
func (r *rig) comesBack(t testing.TB, before int64) {
	t.Helper()
	const kept = 12 << 20
	var now int64
	var buffers float64
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		buffers = r.scrape(t).value("sallyport_buffer_bytes")
		if now = heap(); now <= before+kept && buffers <= kept {
			return
		}
	}
	t.Errorf("%d KiB of memory did not come back, buffers hold %.0f", (now-before)>>10, buffers)
}

// Each row is bytes at which a proxy or server for this protocol has crashed,
// spun, waited for ever, or run what it should not.
var hostileRows = []struct {
	name   string
	bytes  string
	before string // the reply to a stranger; "=": as after
	after  string // the reply to a user
	ends   string // why the connection closes; "": it is kept
	long   bool   // not sent byte by byte
}{
	{name: "bulk length 2^63-1", bytes: "*1\r\n$9223372036854775807\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "bulk length 2^63", bytes: "*1\r\n$9223372036854775808\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "bulk length 2^64+3", bytes: "*2\r\n$18446744073709551619\r\nGET\r\n$1\r\nx\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "bulk length -1", bytes: "*1\r\n$-1\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "bulk length over Redis's", bytes: "*2\r\n$3\r\nGET\r\n$536870913\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "count 3000000000", bytes: "*3000000000\r\n", before: "=", after: badCount, ends: "protocol_error"},
	{name: "count over the limit", bytes: "*1048577\r\n", before: strangerCount, after: badCount, ends: "protocol_error"},
	{name: "empty bulk length", bytes: "*1\r\n$\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "bulk length -0", bytes: "*1\r\n$-0\r\n\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "bulk length with zeros in front", bytes: "*1\r\n$0004\r\nPING\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "count with a zero in front", bytes: "*01\r\n$4\r\nPING\r\n", before: "=", after: badCount, ends: "protocol_error"},
	{name: "count zero", bytes: "*0\r\n*1\r\n$4\r\nPING\r\n", before: noAuth, after: "+PONG\r\n"},
	{name: "count -1", bytes: "*-1\r\n*1\r\n$4\r\nPING\r\n", before: noAuth, after: "+PONG\r\n"},
	{name: "a hundred empty requests", bytes: strings.Repeat("*0\r\n", 100) + "*1\r\n$4\r\nPING\r\n", before: noAuth, after: "+PONG\r\n"},
	{name: "a hundred and one", bytes: strings.Repeat("*0\r\n", 101) + "*1\r\n$4\r\nPING\r\n", before: "=", after: "-ERR Protocol error: too many empty requests\r\n", ends: "protocol_error"},
	{name: "no CR LF after a bulk", bytes: "*1\r\n$4\r\nPINGxx", before: "=", after: "-ERR Protocol error: expected CR LF after bulk\r\n", ends: "protocol_error"},
	{name: "an array as argument", bytes: "*2\r\n$4\r\nECHO\r\n*1\r\n$1\r\na\r\n", before: "=", after: "-ERR Protocol error: expected '$', got '*'\r\n", ends: "protocol_error"},
	{name: "bare LF after a count", bytes: "*1\n$4\nPING\n", before: "=", after: badCount, ends: "protocol_error"},
	{name: "bare LF after a bulk length", bytes: "*1\r\n$4\nPING\r\n", before: "=", after: badBulk, ends: "protocol_error"},
	{name: "inline hex", bytes: "\"\\x41\"\r\n", before: noAuth, after: "-ERR unknown command 'A', with args beginning with: \r\n"},
	{name: "inline tab", bytes: "ECHO\tab\r\n", before: noAuth, after: "$2\r\nab\r\n"},
	{name: "inline NUL", bytes: "PI\x00NG\r\n", before: "=", after: "-ERR Protocol error: NUL in inline request\r\n", ends: "protocol_error"},
	{name: "inline without end", bytes: strings.Repeat("a", 64<<10+2), before: "=", after: bigInline, ends: "protocol_error", long: true},
	{name: "inline over 64 KiB", bytes: strings.Repeat("a", 64<<10+1) + "\r\n", before: "=", after: bigInline, ends: "protocol_error", long: true},
	{name: "inline over 4 KiB", bytes: "ECHO " + strings.Repeat("a", 5<<10) + "\r\n", before: bigInline, after: "", long: true},
	{name: "unbalanced quotes", bytes: "ECHO \"a\r\n", before: "=", after: "-ERR Protocol error: unbalanced quotes in request\r\n", ends: "protocol_error"},
	{name: "HTTP POST", bytes: "POST / HTTP/1.1\r\nHost: redis\r\n\r\nSET app:smuggled 1\r\n", before: "=", ends: "cross_protocol"},
	{name: "HTTP Host", bytes: "Host: redis\r\nSET app:smuggled 1\r\n", before: "=", ends: "cross_protocol"},
	{name: "HTTP GET", bytes: "GET / HTTP/1.1\r\nSET app:smuggled 1\r\n", before: "=", ends: "cross_protocol"},
	{name: "POST in an array", bytes: "*2\r\n$4\r\nPOST\r\n$1\r\n/\r\n*3\r\n$3\r\nSET\r\n$12\r\napp:smuggled\r\n$1\r\n1\r\n", before: "=", ends: "cross_protocol"},
	{name: "a TLS ClientHello", bytes: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", before: "=", ends: "cross_protocol"},
}

const (
	badBulk       = "-ERR Protocol error: invalid bulk length\r\n"
	badCount      = "-ERR Protocol error: invalid multibulk length\r\n"
	strangerCount = "-ERR Protocol error: unauthenticated multibulk length\r\n"
	bigInline     = "-ERR Protocol error: too big inline request\r\n"
	noAuth        = "-NOAUTH Authentication required.\r\n"
)

func TestHostileBytesCostTheirSenderOnly(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	conf := r.clientTLS("app")
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	by := r.bystander(t)
	r.wire(t, conf).as("app").Close()
	before := heap()
	for _, over := range []struct {
		name string
		conf *tls.Config
	}{{"plaintext", nil}, {"mutual TLS", conf}} {
		for _, login := range []bool{false, true} {
			for _, spelled := range []bool{false, true} {
				who := map[bool]string{false: "a stranger", true: "a user"}[login]
				how := map[bool]string{false: "at once", true: "byte by byte"}[spelled]
				t.Run(over.name+"/"+who+"/"+how, func(t *testing.T) {
					for _, row := range hostileRows {
						if spelled && (row.long || testing.Short() && over.conf != nil) {
							continue
						}
						t.Run(row.name, func(t *testing.T) {
							want, ends := row.after, row.ends
							if row.name == "inline over 4 KiB" && login {
								want = fmt.Sprintf("$%d\r\n%s\r\n", 5<<10, strings.Repeat("a", 5<<10))
							}
							if !login && row.before != "=" {
								want = row.before
								if strings.HasPrefix(want, "-ERR Protocol error") {
									ends = "protocol_error"
								}
							}
							c := r.wire(t, over.conf)
							defer c.Close()
							if login {
								c.as("app")
							}
							if spelled {
								c.spell(row.bytes)
							} else {
								c.say(row.bytes)
							}
							c.hear(want)
							if ends == "" {
								c.say("PING\r\n")
								c.hear(map[bool]string{false: noAuth, true: "+PONG\r\n"}[login])
								return
							}
							c.ends()
							r.await("refused", "client_port", c.port(), "reason", ends)
							r.await("close_conn", "client_port", c.port(), "reason", ends)
						})
					}
				})
			}
		}
	}
	if v, err := redis.Do("GET", "app:smuggled"); v != nil || err != nil {
		t.Error("a smuggled command ran:", v, err)
	}
	by.unharmed(t)
	r.comesBack(t, before)
}

func TestEightyThousandArgumentsInSmallWritesAreTakenInOneGo(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	by := r.bystander(t)
	before := heap()
	const args = 80_000
	request := fmt.Appendf(nil, "*%d\r\n$4\r\nSADD\r\n$5\r\napp:s\r\n", args+2)
	for range args {
		request = append(request, "$1\r\nx\r\n"...)
	}
	for name, conf := range map[string]*tls.Config{"plaintext": nil, "mutual TLS": r.clientTLS("app")} {
		t.Run(name, func(t *testing.T) {
			c := r.wire(t, conf).as("app")
			redis.Do("DEL", "app:s")
			began := time.Now()
			go func() {
				for rest := request; len(rest) > 0; {
					n := min(len(rest), 101)
					c.Write(rest[:n])
					rest = rest[n:]
				}
			}()
			c.hear(":1\r\n")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			c.Close()
			stranger := r.wire(t, conf)
			stranger.say(string(request[:4096]))
			stranger.hear(strangerCount)
			stranger.ends()
		})
	}
	by.unharmed(t)
	r.comesBack(t, before)
}

func TestSlowSendersAreServedAndHoldUpNobody(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	by := r.bystander(t)
	const crowd = 20
	done := make(chan string, crowd)
	conf := r.clientTLS("app")
	for i := range crowd {
		var c *wire
		if i%2 == 0 {
			c = r.wire(t, nil)
		} else {
			c = r.wire(t, conf)
		}
		go func() {
			key := fmt.Sprint("app:slow", i)
			c.spell(string(redistest.Encode("AUTH", "app", "app-pw")) + string(redistest.Encode("SET", key, key)) + "GET " + key + "\r\n")
			want := fmt.Sprintf("+OK\r\n+OK\r\n$%d\r\n%s\r\n", len(key), key)
			got := make([]byte, len(want))
			if n, err := io.ReadFull(c, got); string(got) != want {
				done <- fmt.Sprintf("client %d got %q (%v), want %q", i, got[:n], err, want)
				return
			}
			done <- ""
		}()
	}
	for range crowd {
		if problem := <-done; problem != "" {
			t.Error(problem)
		}
	}
	by.unharmed(t)
}

// dripping writes one byte at a time.
type dripping struct{ net.Conn }

func (d dripping) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// A ClientHello in many pieces once reached a listener with a weaker policy.
func TestAHandshakeInPiecesMeetsTheSamePolicy(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	for name, good := range map[string]bool{"with a certificate": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			conf := r.clientTLS("app")
			if !good {
				conf.Certificates = nil
			}
			nc, err := net.Dial("tcp", r.addr("gateway"))
			if err != nil {
				t.Fatal(err)
			}
			nc.SetDeadline(time.Now().Add(patience))
			c := &wire{Conn: tls.Client(dripping{nc}, conf), t: t}
			defer c.Close()
			port := strconv.Itoa(nc.LocalAddr().(*net.TCPAddr).Port)
			if good {
				c.as("app")
				r.await("new_conn", "client_port", port, "cert_subject", "CN=app")
				return
			}
			c.say("PING\r\n")
			c.ends()
			r.await("refused", "client_port", port, "reason", "no_certificate")
		})
	}
}

func TestAClientThatNeverReadsIsClosedAtItsLimit(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.OutputBytes = 1 << 20 })
	if _, err := redis.Do("SET", "app:big", strings.Repeat("v", 256<<10)); err != nil {
		t.Fatal(err)
	}
	by := r.bystander(t)
	before := heap()
	for name, conf := range map[string]*tls.Config{"plaintext": nil, "mutual TLS": r.clientTLS("app")} {
		t.Run(name, func(t *testing.T) {
			c := r.wire(t, conf).as("app")
			// More than the kernel's buffers between the two can hold.
			c.say(strings.Repeat("GET app:big\r\n", 400))
			r.await("close_conn", "client_port", c.port(), "reason", "output_limit")
		})
	}
	by.unharmed(t)
	r.comesBack(t, before)
}

func TestAClientThatStopsReadingIsClosedAfterTheWriteTimeout(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.WriteTimeout = 300 * time.Millisecond })
	if _, err := redis.Do("SET", "app:big", strings.Repeat("v", 256<<10)); err != nil {
		t.Fatal(err)
	}
	by := r.bystander(t)
	for name, conf := range map[string]*tls.Config{"plaintext": nil, "mutual TLS": r.clientTLS("app")} {
		t.Run(name, func(t *testing.T) {
			c := r.wire(t, conf).as("app")
			c.say(strings.Repeat("GET app:big\r\n", 100)) // 25 MiB of the 64 it may
			r.await("close_conn", "client_port", c.port(), "reason", "write_timeout")
		})
	}
	by.unharmed(t)
}

// An unauthenticated client that asks and never reads once filled a server's memory.
func TestStrangersCostLittleMemory(t *testing.T) {
	redis := redistest.Start(t)
	crowd := 100
	if testing.Short() {
		crowd = 15 // under the race detector, which makes each of millions of refusals dear
	}
	const own = 8 << 10 // this test's end of the connection, and the record of it
	for _, c := range []struct {
		name, says string
		each       int64 // bytes
	}{
		{"half a login", "*3\r\n$4\r\nAUTH\r\n$16384\r\n" + strings.Repeat("a", 16384) + "\r\n$16384\r\n" + strings.Repeat("a", 16383), 64 << 10},
		{"half a line", strings.Repeat("a", 4096), 8 << 10},
		{"half a count", "*1", 4 << 10},
		{"a flood without reading", strings.Repeat("PING\r\n", 200_000), 128<<10 + 8<<20/int64(crowd)}, // of which the loop's free list is nobody's
	} {
		t.Run(c.name, func(t *testing.T) {
			r := withRig(t, redis.Addr(), func(s *setup) {
				s.limits.AuthTimeout = time.Minute
				s.limits.WriteTimeout = time.Minute
			})
			by := r.bystander(t)
			before := heap()
			received := r.scrape(t).value("sallyport_received_bytes_total")
			writers := make(chan int, crowd)
			var open []*wire
			for range crowd {
				w := r.wire(t, nil)
				w.Conn.(*net.TCPConn).SetReadBuffer(4096)
				w.SetDeadline(time.Now().Add(time.Second))
				open = append(open, w)
				go func() {
					n, _ := io.WriteString(w, c.says)
					writers <- n
				}()
			}
			for range crowd {
				<-writers
			}
			if len(c.says) < 1<<16 {
				eventually(t, patience, "all of it has arrived", func() bool {
					return r.scrape(t).value("sallyport_received_bytes_total") >= received+float64(crowd*len(c.says))
				})
			} else {
				// It takes what it will take, and then no more.
				last, same := 0.0, 0
				eventually(t, patience, "no more is taken", func() bool {
					now := r.scrape(t).value("sallyport_sent_bytes_total") - float64(by.rounds.Load()*280)
					if same++; now > last+1<<16 || now < last-1<<16 {
						last, same = now, 0
					}
					return same == 20
				})
			}
			if each := (heap()-before)/int64(crowd) - own; each > c.each {
				t.Errorf("a stranger costs %d KiB, at most %d are right", each>>10, c.each>>10)
			}
			if each := int64(r.scrape(t).value("sallyport_buffer_bytes")) / int64(crowd); each > 100<<10 {
				t.Errorf("%d KiB are held for a stranger", each>>10)
			}
			for _, w := range open {
				w.reset()
			}
			by.unharmed(t)
			r.comesBack(t, before)
		})
	}
}

func TestAHalfClosedClientGetsWhatItIsOwed(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	big := strings.Repeat("v", 1<<20)
	if _, err := redis.Do("SET", "app:big", big); err != nil {
		t.Fatal(err)
	}
	by := r.bystander(t)
	for name, conf := range map[string]*tls.Config{"plaintext": nil, "mutual TLS": r.clientTLS("app")} {
		t.Run(name, func(t *testing.T) {
			c := r.wire(t, conf).as("app")
			redis.Do("DEL", "app:n")
			c.say(strings.Repeat("INCR app:n\r\n", 5000) + "GET app:big\r\nSELECT 3\r\nGET app:n\r\nPING")
			if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			for n := range 5000 {
				fmt.Fprintf(&want, ":%d\r\n", n+1)
			}
			fmt.Fprintf(&want, "$%d\r\n%s\r\n+OK\r\n$-1\r\n", len(big), big)
			c.hear(want.String())
			c.ends() // the unfinished PING is nobody's call
			r.await("close_conn", "client_port", c.port(), "reason", "client_closed")
		})
	}
	by.unharmed(t)
}

func TestResetsAtAnyPointLeaveNothingBehind(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	by := r.bystander(t)
	conf := r.clientTLS("app")
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	before := heap()
	const user = "app"
	talk := string(redistest.Encode("AUTH", user, user+"-pw")) + strings.Repeat(
		string(redistest.Encode("SET", "app:x", strings.Repeat("v", 2000)))+"GET app:x\r\nSELECT 2\r\nGET app:x\r\nHELLO 3\r\nSELECT 0\r\nHELLO 2\r\n", 30)
	seed := rand.Uint64()
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	crowd := 400
	if testing.Short() {
		crowd = 100
	}
	for i := range crowd {
		var c *wire
		if i%3 == 0 {
			c = r.wire(t, conf)
		} else {
			c = r.wire(t, nil)
		}
		n := rnd.IntN(len(talk) + 1)
		if i%2 == 0 {
			n = rnd.IntN(200)
		}
		c.say(talk[:n])
		if rnd.IntN(2) == 0 && n > 40 {
			c.hear("+OK\r\n") // some of its replies are under way
		}
		c.reset()
	}
	eventually(t, patience, "only the bystander is connected", func() bool {
		m := r.scrape(t)
		return m.value(`sallyport_connections{listener="plain"}`) == 0 && m.value(`sallyport_connections{listener="gateway"}`) == 1
	})
	by.unharmed(t)
	r.comesBack(t, before)
	r.close()
	open, closed, failed := 0, 0, 0
	for _, ev := range r.events.all() {
		switch {
		case ev.is("new_conn"):
			open++
		case ev.is("refused", "reason", "handshake_failed"):
			failed++ // reset before its handshake had reached the proxy wholly
		case ev.is("close_conn"):
			closed++
			if why := ev["reason"]; why != "connection_reset" && why != "client_closed" && why != "drain" {
				t.Errorf("a reset client's connection ended with %v", why)
			}
		}
	}
	if open != closed || open+failed != crowd+1 {
		t.Errorf("%d connections have %d new_conn and %d close_conn, %d failed handshakes", crowd+1, open, closed, failed)
	}
}
