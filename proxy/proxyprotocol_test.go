package proxy_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// headerV1 and headerV2 are headers that speak for a client.
func headerV1(client string) []byte {
	a := netip.MustParseAddrPort(client)
	family := "TCP4"
	if a.Addr().Is6() {
		family = "TCP6"
	}
	return fmt.Appendf(nil, "PROXY %s %v %v %d 6379\r\n", family, a.Addr(), a.Addr(), a.Port())
}

func headerV2(client string) []byte {
	a := netip.MustParseAddrPort(client)
	family, ip := byte(0x11), a.Addr().AsSlice()
	if a.Addr().Is6() {
		family = 0x21
	}
	body := binary.BigEndian.AppendUint16(append(bytes.Clone(ip), ip...), a.Port())
	body = append(binary.BigEndian.AppendUint16(body, 6379), 0x04, 0, 3, 'p', 'a', 'd')
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, family, 0, byte(len(body)))
	return append(b, body...)
}

// fused writes its header with the first bytes that follow, in one segment.
type fused struct {
	net.Conn
	header []byte
}

func (c *fused) Write(p []byte) (int, error) {
	if c.header == nil {
		return c.Conn.Write(p)
	}
	b := append(c.header, p...)
	c.header = nil
	_, err := c.Conn.Write(b)
	return len(p), err
}

// behind connects through a balancer that says it speaks for a client.
func (r *rig) behind(listener string, header []byte, conf *tls.Config) *redistest.Client {
	r.t.Helper()
	raw, err := net.Dial(r.server.Addr(listener).Network(), r.addr(listener))
	if err != nil {
		r.t.Fatal(err)
	}
	var nc net.Conn = &fused{raw, header}
	if conf != nil {
		nc = tls.Client(nc, conf)
	}
	c := redistest.NewClient(nc)
	r.t.Cleanup(func() { c.Close() })
	return c
}

// balanced gives a rig whose listeners take headers from loopback.
func balanced(t *testing.T, change func(*setup)) *rig {
	t.Helper()
	return withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.allow = map[string][]string{"gateway": {"192.0.2.0/24", "2001:db8::/32"}, "plain": {"192.0.2.0/24", "127.0.0.0/8"}}
		s.source = func(src *acl.Source) { certified(src, "batch") }
		s.listen = func(_ *rig, l []proxy.ListenerOptions) {
			for i := range l {
				l[i].Proxy = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
		}
		if change != nil {
			change(s)
		}
	})
}

func TestABalancerSpeaksForItsClients(t *testing.T) {
	r := balanced(t, func(s *setup) {
		inner := s.source
		s.source = func(src *acl.Source) { inner(src); edit(src, "app").From = texts("192.0.2.7") }
	})
	n := 0
	for _, header := range []func(string) []byte{headerV1, headerV2} {
		for _, listener := range []string{"plain", "gateway"} {
			n++
			var conf *tls.Config
			if listener == "gateway" {
				conf = r.clientTLS("x")
			}
			port := fmt.Sprint(40000 + n)
			c := r.behind(listener, header("192.0.2.7:"+port), conf)
			r.want(c, "OK", "AUTH", "app", "app-pw")
			r.want(c, "PONG", "PING")
			ev := r.await("new_conn", "client_port", port)
			if ev["client_ip"] != "192.0.2.7" || ev["peer_ip"] != "127.0.0.1" {
				t.Error("new_conn says", ev)
			}
			// A user's own networks are asked about the client, too.
			r.want(r.behind(listener, header("192.0.2.8:1"), conf), wrongPass, "AUTH", "app", "app-pw")
			r.await("auth", "client_ip", "192.0.2.8", "reason", "source_not_allowed")
			// And so is the allow list, whoever the balancer is.
			c = r.behind("plain", header("198.51.100.1:2"), nil)
			c.Send("PING")
			closed(t, c)
			r.await("refused", "client_ip", "198.51.100.1", "reason", "address_not_allowed", "peer_ip", "127.0.0.1")
		}
	}
	c := r.behind("gateway", headerV2("[2001:db8::9]:7"), r.clientTLS("batch"))
	r.want(c, "batch", "ACL", "WHOAMI")
	r.await("new_conn", "client_ip", "2001:db8::9")
}

func TestABalancerThatSpeaksForItselfIsJudgedByItsOwnAddress(t *testing.T) {
	r := balanced(t, nil)
	local := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20, 0, 0, 0)
	socket := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x31, 0, 216)
	for name, header := range map[string][]byte{
		"unknown": []byte("PROXY UNKNOWN\r\n"), "local": local, "a unix socket": append(socket, make([]byte, 216)...),
	} {
		t.Run(name, func(t *testing.T) {
			r.want(r.behind("plain", header, nil), "OK", "AUTH", "app", "app-pw") // loopback is on the list
			c := r.behind("gateway", header, r.clientTLS("x"))                    // and here it is not
			if v, err := c.Do("PING"); err == nil {
				t.Fatal("let in:", v)
			}
			r.await("refused", "listener", "gateway", "client_ip", "127.0.0.1", "reason", "address_not_allowed")
		})
	}
}

func TestAHeaderIsTakenFromNobodyElse(t *testing.T) {
	r := balanced(t, func(s *setup) {
		inner := s.listen
		s.listen = func(r *rig, l []proxy.ListenerOptions) {
			inner(r, l)
			l[1].Proxy = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}
	})
	closed(t, r.behind("plain", headerV1("192.0.2.7:1"), nil))
	closed(t, r.dial("plain", nil)) // with or without
	r.await("refused", "listener", "plain", "client_ip", "127.0.0.1", "reason", "proxy_header")
	// Where one is due, nothing else is taken, TLS and RESP least of all.
	if _, err := redistest.Dial("tcp", r.addr("gateway"), r.clientTLS("batch")); err == nil {
		t.Fatal("TLS without a header was let in")
	}
	c := r.behind("gateway", headerV1("192.0.2.7:1"), nil)
	c.Send("PING") // plaintext behind the header
	closed(t, c)
	// A second header is noise.
	c = r.behind("gateway", append(headerV1("192.0.2.7:1"), headerV1("192.0.2.8:1")...), r.clientTLS("batch"))
	if v, err := c.Do("PING"); err == nil {
		t.Fatal("two headers were taken:", v)
	}
	// A listener that expects none refuses one as it refuses any noise.
	plain := withRig(t, redistest.Start(t).Addr(), nil)
	c = plain.behind("plain", headerV2("192.0.2.7:1"), nil)
	c.Send("PING")
	if v, err := c.Receive(); err == nil && fmt.Sprint(v) == "PONG" {
		t.Fatal("a header was skipped")
	}
}

func TestASilentBalancerBlocksNobody(t *testing.T) {
	r := balanced(t, func(s *setup) { s.limits.HandshakeTimeout = 2 * time.Second })
	var silent []net.Conn
	for i := range 50 {
		nc, err := net.Dial("tcp", r.addr("plain"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.Write(headerV2("192.0.2.7:1")[:i%34]) // never the whole of it
		silent = append(silent, nc)
	}
	began := time.Now()
	r.want(r.behind("plain", headerV1("192.0.2.7:2"), nil), "OK", "AUTH", "app", "app-pw")
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v to be let in", took)
	}
	for _, nc := range silent {
		nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := nc.Read(make([]byte, 1)); n > 0 || os.IsTimeout(err) {
			t.Fatalf("a silent peer reads %d bytes, %v", n, err)
		}
	}
	r.await("refused", "reason", "proxy_header")
}

func TestPlacesAreCountedByTheClientBehindTheBalancer(t *testing.T) {
	r := balanced(t, func(s *setup) { s.limits.ConnectionsPerSource = 2 })
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		for i := range 2 {
			r.want(r.behind("plain", headerV1(fmt.Sprint(client, ":", 10+i)), nil), "NOAUTH Authentication required.", "PING")
		}
	}
	c := r.behind("plain", headerV1("192.0.2.2:99"), nil)
	c.Send("PING")
	if v, _ := c.Receive(); fmt.Sprint(v) != "ERR max number of clients reached" {
		t.Fatal(v)
	}
	r.await("refused", "client_ip", "192.0.2.2", "reason", "too_many_clients")
}

func TestAHeaderOverAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := balanced(t, func(s *setup) {
		s.listen = func(_ *rig, l []proxy.ListenerOptions) {
			l[1].Network, l[1].Address, l[1].ProxyUnix = "unix", path, true
		}
	})
	c := r.behind("plain", headerV1("203.0.113.7:5"), nil)
	r.want(c, "OK", "AUTH", "app", "app-pw")
	r.await("new_conn", "client_ip", "203.0.113.7")
	c = r.behind("plain", nil, nil)
	c.Send("PING")
	closed(t, c)
}

func TestABalancerThatIsNoneAnyMoreLosesItsClients(t *testing.T) {
	r := balanced(t, nil)
	c := r.behind("plain", headerV1("192.0.2.7:5"), nil)
	r.want(c, "OK", "AUTH", "app", "app-pw")
	o := r.options
	o.Listeners = append([]proxy.ListenerOptions(nil), o.Listeners...)
	o.Listeners[1].Proxy = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if err := r.server.Reload(o); err != nil {
		t.Fatal(err)
	}
	closed(t, c)
	r.await("close_conn", "user", "app", "reason", "policy_changed")
	c = r.behind("plain", headerV1("192.0.2.7:6"), nil)
	c.Send("PING")
	closed(t, c)
}
