package tlsutil

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// dial connects to s, which plays the backend.
func (r *rig) dial(t *testing.T, s *Server, c *Client, host string) outcome {
	t.Helper()
	config, err := c.Config(host)
	check(t, err)
	return shake(t, s, config)
}

func (r *rig) clientOptions(t *testing.T) ClientOptions {
	t.Helper()
	p := r.clientPair(t, "proxy")
	o := ClientOptions{CAFile: r.opts.ClientCAFile, CertificateFile: filepath.Join(r.dir, "proxy.crt"), KeyFile: filepath.Join(r.dir, "proxy.key")}
	write(t, o.CertificateFile, p.CertPEM)
	write(t, o.KeyFile, p.KeyPEM)
	return o
}

func TestClient_shows_its_certificate_and_verifies_the_backend(t *testing.T) {
	r := newRig(t)
	c, err := LoadClient(r.clientOptions(t))
	check(t, err)
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		o := r.dial(t, r.load(t), c, host)
		o.accepted(t)
		if o.state.Identity.Subject != "CN=proxy" {
			t.Errorf("%+v", o.state.Identity)
		}
	}
	if len(c.Warnings()) != 0 || len(c.NotAfter()) != 2 || len(c.Files()) != 3 {
		t.Errorf("%v, %v, %v", c.Warnings(), c.NotAfter(), c.Files())
	}
}

func TestClient_refuses_a_backend(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	foreign := newRig(t)
	opts := r.clientOptions(t)
	named := opts
	named.ServerName = "redis.internal"
	for name, try := range map[string]func() outcome{
		"of another name":                      func() outcome { return r.dial(t, s, load(t, opts), "redis.internal") },
		"whose name is not the one configured": func() outcome { return r.dial(t, s, load(t, named), "localhost") },
		"of a foreign CA":                      func() outcome { return r.dial(t, foreign.load(t), load(t, opts), "localhost") },
		"that shows a client's certificate": func() outcome {
			odd := newRig(t)
			odd.ca = r.ca
			p, err := r.ca.Issue(&x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			check(t, err)
			odd.install(t, p)
			return r.dial(t, odd.load(t), load(t, opts), "localhost")
		},
	} {
		t.Run(name, func(t *testing.T) {
			if o := try(); o.clientErr == nil || o.reason() != ReasonClientRefused {
				t.Errorf("client: %v, server: %v", o.clientErr, o.err)
			}
		})
	}
}

func load(t *testing.T, opts ClientOptions) *Client {
	t.Helper()
	c, err := LoadClient(opts)
	check(t, err)
	return c
}

func TestClient_uses_the_configured_name_whatever_is_dialled(t *testing.T) {
	r := newRig(t)
	opts := r.clientOptions(t)
	opts.ServerName = "localhost"
	r.dial(t, r.load(t), load(t, opts), "10.0.0.1").accepted(t)
}

func TestClient_without_any_name_is_an_error(t *testing.T) {
	r := newRig(t)
	if config, err := load(t, r.clientOptions(t)).Config(""); err == nil {
		t.Errorf("ServerName %q", config.ServerName)
	}
}

func TestClient_refuses_old_versions(t *testing.T) {
	r := newRig(t)
	config, err := load(t, r.clientOptions(t)).Config("localhost")
	check(t, err)
	pair := r.serverPair(t)
	old := &tls.Config{Certificates: []tls.Certificate{pair.Certificate}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server, client := tcpPair(t)
	o := shakeOver(server, client, config, func(ctx context.Context, c net.Conn) (*tls.Conn, State, error) {
		tc := tls.Server(c, old)
		return tc, State{}, tc.HandshakeContext(ctx)
	})
	if o.clientErr == nil {
		t.Error("TLS 1.1 was spoken")
	}
}

// A CA that is named and not there never means the machine's roots.
func TestLoadClient_refuses(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, o *ClientOptions){
		"a missing CA":             func(t *testing.T, o *ClientOptions) { check(t, os.Remove(o.CAFile)) },
		"an empty CA":              func(t *testing.T, o *ClientOptions) { write(t, o.CAFile, nil) },
		"a CA of garbage":          func(t *testing.T, o *ClientOptions) { write(t, o.CAFile, []byte("x")) },
		"a certificate and no key": func(t *testing.T, o *ClientOptions) { o.KeyFile = "" },
		"a key and no certificate": func(t *testing.T, o *ClientOptions) { o.CertificateFile = "" },
		"a missing key":            func(t *testing.T, o *ClientOptions) { check(t, os.Remove(o.KeyFile)) },
		"an old version":           func(t *testing.T, o *ClientOptions) { o.MinVersion = tls.VersionTLS10 },
		"a key of another": func(t *testing.T, o *ClientOptions) {
			write(t, o.KeyFile, issueClient(t, newCA(t), "x").KeyPEM)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			opts := r.clientOptions(t)
			good, s := load(t, opts), r.load(t)
			spoil(t, &opts)
			_, err := LoadClient(opts)
			if len(Faults(err)) != 1 || Faults(err)[0].Hint == "" {
				t.Errorf("%v", err)
			}
			if changed, _ := good.Reload(); changed {
				t.Error("a reload took it")
			}
			r.dial(t, s, good, "localhost").accepted(t)
		})
	}
}

func TestLoadClient_without_CA_trusts_the_machine_and_nobody_else(t *testing.T) {
	r := newRig(t)
	l := newLoader(time.Now(), nil)
	if pool := l.systemRoots(); pool.Equal(x509.NewCertPool()) && l.err() == nil {
		t.Error("no roots and no fault")
	}
	c, err := LoadClient(ClientOptions{})
	if err != nil { // a machine without any roots
		if !strings.Contains(err.Error(), "no CA certificates of its own") {
			t.Error(err)
		}
		return
	}
	if o := r.dial(t, r.load(t), c, "localhost"); o.clientErr == nil {
		t.Error("a CA the machine does not know was trusted")
	}
}

func TestClient_reload_uses_the_new_pair(t *testing.T) {
	r := newRig(t)
	opts := r.clientOptions(t)
	c := load(t, opts)
	if changed, err := c.Reload(); changed || err != nil {
		t.Errorf("reload of the same files: %v, %v", changed, err)
	}
	p := r.clientPair(t, "next")
	write(t, opts.CertificateFile, p.CertPEM)
	if changed, err := c.Reload(); changed || err == nil {
		t.Errorf("a mismatched pair: %v, %v", changed, err)
	}
	s := r.load(t)
	if o := r.dial(t, s, c, "localhost"); o.err != nil || o.state.Identity.Subject != "CN=proxy" {
		t.Errorf("%+v, %v", o.state.Identity, o.err)
	}
	write(t, opts.KeyFile, p.KeyPEM)
	if changed, err := c.Reload(); !changed || err != nil {
		t.Errorf("the new pair: %v, %v", changed, err)
	}
	if o := r.dial(t, s, c, "localhost"); o.err != nil || !slices.Equal(o.state.Identity.CommonNames, []string{"next"}) {
		t.Errorf("%+v, %v", o.state.Identity, o.err)
	}
}

func TestLoadClient_warns_of_a_certificate_the_backend_will_refuse(t *testing.T) {
	r := newRig(t)
	opts := r.clientOptions(t)
	past := time.Now().Add(-time.Hour)
	for want, template := range map[string]*x509.Certificate{
		"only: the backend": {NotBefore: past.Add(-time.Hour), NotAfter: past},
		"not meant for":     {ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
	} {
		p, err := r.ca.Issue(template)
		check(t, err)
		write(t, opts.CertificateFile, p.CertPEM)
		write(t, opts.KeyFile, p.KeyPEM)
		if got := load(t, opts).Warnings(); len(got) != 1 || !strings.Contains(got[0].What, want) {
			t.Errorf("%v, want %q", got, want)
		}
	}
}
