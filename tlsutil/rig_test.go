package tlsutil

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a folder with a CA, a server pair and options that use them.
type rig struct {
	dir  string
	ca   *DevCA
	opts ServerOptions
}

func newRig(t testing.TB) *rig {
	t.Helper()
	dir := t.TempDir()
	ca := newCA(t)
	r := &rig{dir: dir, ca: ca, opts: ServerOptions{
		CertificateFile: filepath.Join(dir, "server.crt"),
		KeyFile:         filepath.Join(dir, "server.key"),
		ClientCAFile:    filepath.Join(dir, "ca.crt"),
	}}
	r.install(t, r.serverPair(t))
	write(t, r.opts.ClientCAFile, ca.CertPEM())
	return r
}

func newCA(t testing.TB) *DevCA {
	t.Helper()
	ca, err := NewDevCA()
	check(t, err)
	return ca
}

func (r *rig) serverPair(t testing.TB) *Pair {
	t.Helper()
	p, err := r.ca.Server()
	check(t, err)
	return p
}

func (r *rig) install(t testing.TB, p *Pair) {
	t.Helper()
	write(t, r.opts.CertificateFile, p.CertPEM)
	write(t, r.opts.KeyFile, p.KeyPEM)
}

func (r *rig) load(t testing.TB) *Server {
	t.Helper()
	s, err := LoadServer(r.opts)
	check(t, err)
	return s
}

// client gives a client's configuration; with pairs, the first is what it shows.
func (r *rig) client(pairs ...*Pair) *tls.Config {
	c := &tls.Config{RootCAs: r.ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
	if len(pairs) > 0 {
		// Not Certificates: from those a client picks only what fits the CAs
		// the server names, and the bad ones would never be sent.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pairs[0].Certificate, nil }
	}
	return c
}

func (r *rig) clientPair(t testing.TB, name string, uris ...string) *Pair {
	t.Helper()
	return issueClient(t, r.ca, name, uris...)
}

func issueClient(t testing.TB, ca *DevCA, name string, uris ...string) *Pair {
	t.Helper()
	p, err := ca.Client(name, uris...)
	check(t, err)
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, file string, content []byte) {
	t.Helper()
	check(t, os.WriteFile(file, content, 0o600))
}

// outcome is what both ends saw of one connection.
type outcome struct {
	state     State
	server    tls.ConnectionState
	err       error // of the server
	client    tls.ConnectionState
	clientErr error
}

// reason is "" for a connection that came about.
func (o outcome) reason() Reason {
	if o.err == nil {
		return ""
	}
	if h, ok := errors.AsType[*HandshakeError](o.err); ok {
		return h.Reason
	}
	return "not a HandshakeError"
}

// shake connects a client with the configuration to the server over loopback
// TCP and has one byte sent each way, which also delivers tickets and alerts.
func shake(t testing.TB, s *Server, config *tls.Config) outcome {
	t.Helper()
	server, client := tcpPair(t)
	return shakeOver(server, client, config, func(ctx context.Context, c net.Conn) (*tls.Conn, State, error) {
		return Handshake(ctx, c, s)
	})
}

type handshaker func(context.Context, net.Conn) (*tls.Conn, State, error)

func shakeOver(server, client net.Conn, config *tls.Config, h handshaker) (o outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		var tc *tls.Conn
		if tc, o.state, o.err = h(ctx, server); o.err != nil {
			return
		}
		o.server = tc.ConnectionState()
		io.CopyN(tc, tc, 1)
		tc.Close()
	}()
	o.client, o.clientErr = converse(ctx, client, config)
	client.Close()
	<-done
	return o
}

func converse(ctx context.Context, conn net.Conn, config *tls.Config) (tls.ConnectionState, error) {
	tc := tls.Client(conn, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := tc.Write([]byte("x")); err != nil {
		return tc.ConnectionState(), err
	}
	_, err := io.ReadFull(tc, make([]byte, 1))
	return tc.ConnectionState(), err
}

func tcpPair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := ln.Accept()
		accepted <- c
	}()
	client, err = net.Dial("tcp", ln.Addr().String())
	check(t, err)
	if server = <-accepted; server == nil {
		t.Fatal("no connection was accepted")
	}
	return server, client
}

// refusedWith wants the server to refuse, and the client to notice.
func (o outcome) refusedWith(t testing.TB, want Reason) {
	t.Helper()
	if o.reason() != want {
		t.Errorf("the server said %q (%v), want %q", o.reason(), o.err, want)
	}
	if o.clientErr == nil {
		t.Error("the client was served")
	}
}

func (o outcome) accepted(t testing.TB) {
	t.Helper()
	if o.err != nil || o.clientErr != nil {
		t.Fatalf("server: %v, client: %v", o.err, o.clientErr)
	}
}

// cutting is a connection that rewrites the first thing written to it.
type cutting struct {
	net.Conn
	cut  func(first []byte) [][]byte
	done bool
}

func (c *cutting) Write(b []byte) (int, error) {
	if c.done {
		return c.Conn.Write(b)
	}
	c.done = true
	for _, part := range c.cut(bytes.Clone(b)) {
		if len(part) == 0 {
			continue
		}
		if _, err := c.Conn.Write(part); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
