package loop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if runIdleServer() {
		return
	}
	goleak.VerifyTestMain(m)
}

const patience = 10 * time.Second

var noDeadline time.Time

// funcs is a Handler made of functions; the nil ones do nothing.
type funcs struct {
	data    func(c *Conn, p []byte)
	eof     func(c *Conn)
	drained func(c *Conn)
	closed  func(c *Conn, cause error)
}

func (h *funcs) Data(c *Conn, p []byte) {
	if h.data != nil {
		h.data(c, p)
	}
}

func (h *funcs) EOF(c *Conn) {
	if h.eof != nil {
		h.eof(c)
	}
}

func (h *funcs) Drained(c *Conn) {
	if h.drained != nil {
		h.drained(c)
	}
}

func (h *funcs) Closed(c *Conn, cause error) {
	if h.closed != nil {
		h.closed(c, cause)
	}
}

func echo(c *Conn, p []byte) { c.Write(p) }

func startGroup(t testing.TB, o Options) *Group {
	t.Helper()
	if o.Workers == 0 {
		o.Workers = 1
	}
	g, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// on runs f on the loop and waits for it.
func on(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { defer close(done); f() }) {
		t.Fatal("the loop has ended")
	}
	receive(t, done, "a posted function")
}

func receive[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("timed out waiting for %s", what)
		panic("unreachable")
	}
}

// eventually polls a condition on the loop.
func eventually(t testing.TB, l *Loop, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		var yes bool
		on(t, l, func() { yes = ok() })
		if yes {
			return
		}
		select {
		case <-limit:
			t.Fatalf("never came true: %s", what)
		case <-again.C:
		}
	}
}

func pair(t testing.TB, network string) (client, server net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	client.SetDeadline(time.Now().Add(patience))
	return client, server
}

func adopt(t testing.TB, l *Loop, tr *Transport, tc *tls.Conn, h Handler, leftover []byte) *Conn {
	t.Helper()
	var c *Conn
	var err error
	on(t, l, func() { c, err = l.Adopt(tr, tc, h, leftover) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// plain adopts a plaintext connection and returns its peer.
func plain(t testing.TB, l *Loop, network string, h Handler) (net.Conn, *Conn) {
	t.Helper()
	client, server := pair(t, network)
	return client, adopt(t, l, NewTransport(server), nil, h, nil)
}

var serverCert = func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "loop.test"}, DNSNames: []string{"loop.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}()

// configs are the two sides of mutual TLS at one version.
func configs(version uint16) (server, client *tls.Config) {
	pool := x509.NewCertPool()
	pool.AddCert(serverCert.Leaf)
	server = &tls.Config{
		Certificates: []tls.Certificate{serverCert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		MinVersion: version, MaxVersion: version, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true,
	}
	client = &tls.Config{
		Certificates: []tls.Certificate{serverCert}, RootCAs: pool, ServerName: "loop.test",
		MinVersion: version, MaxVersion: version,
	}
	return server, client
}

// secure adopts a connection after a mutual TLS handshake.
func secure(t testing.TB, l *Loop, version uint16, h Handler) (*tls.Conn, *Conn) {
	t.Helper()
	client, server := pair(t, "tcp")
	peer, c := secureOver(t, l, version, h, client, server)
	return peer.(*tls.Conn), c
}

func secureOver(t testing.TB, l *Loop, version uint16, h Handler, client, server net.Conn) (net.Conn, *Conn) {
	t.Helper()
	sc, cc := configs(version)
	tr := NewTransport(server)
	ts, tcl := tls.Server(tr, sc), tls.Client(client, cc)
	shake(t, ts, tcl)
	return tcl, adopt(t, l, tr, ts, h, nil)
}

func shake(t testing.TB, server, client *tls.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal("client:", err)
	}
	if err := receive(t, done, "the server's handshake"); err != nil {
		t.Fatal("server:", err)
	}
}

func name(version uint16) string { return tls.VersionName(version) }

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}
