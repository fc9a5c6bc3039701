package proxy_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// issued writes a pair for one host name and no address, good for both ends of a
// connection, as servers of a group need it. It gives the files.
func issued(t *testing.T, ca *tlsutil.DevCA, host string) (cert, key, authority string) {
	t.Helper()
	pair, err := ca.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key, authority = filepath.Join(dir, "crt"), filepath.Join(dir, "key"), filepath.Join(dir, "ca")
	for file, content := range map[string][]byte{cert: pair.CertPEM, key: pair.KeyPEM, authority: ca.CertPEM()} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, authority
}

// named is a group under Sentinels in which everybody is known by the name
// localhost, and no certificate holds an address.
func named(t *testing.T, nodes, sentinels redistest.Option) *redistest.Sentinels {
	t.Helper()
	return redistest.StartSentinels(t, redistest.SentinelOptions{
		Host:     "localhost",
		Server:   []redistest.Option{nodes, redistest.Args("--replica-announce-ip", "localhost")},
		Sentinel: []redistest.Option{sentinels},
		Watch:    []string{"sentinel resolve-hostnames yes", "sentinel announce-hostnames yes"},
	})
}

func TestSentinelsAndTheNodesTheyNameAreReachedByNamesThatVerify(t *testing.T) {
	ca, err := tlsutil.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, authority := issued(t, ca, "localhost")
	pair := redistest.TLS(cert, key, authority)
	g := named(t, pair, pair)
	client, err := tlsutil.LoadClient(tlsutil.ClientOptions{CAFile: authority, CertificateFile: cert, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	behind := func(host string) func(*setup) {
		return func(s *setup) {
			var at []backend.Endpoint
			for _, s := range g.Sentinels {
				at = append(at, backend.Endpoint{Network: "tcp", Address: host + ":" + strconv.Itoa(s.Port())})
			}
			s.backend.Nodes, s.backend.TLS = nil, client.Config
			s.backend.Routing = backend.Routing{
				Kind: backend.Sentinel, Wait: 20 * time.Second, Refresh: 100 * time.Millisecond,
				Allow:     backend.Allowed{Names: []string{"localhost", "127.0.0.1"}},
				Sentinels: backend.Sentinels{Nodes: at, Name: g.Name, Login: backend.Login{TLS: client.Config}},
			}
		}
	}
	r := withRig(t, "", behind("localhost"))
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	if got := told(t, g.Servers[0], "GET", "k"); got != "v" {
		t.Errorf("the primary has %v", got)
	}
	t.Run("an address that no certificate holds", func(t *testing.T) {
		refusedByName(t, behind("127.0.0.1"))
	})
	// The name holds for whoever takes over.
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if err := g.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.AwaitPrimary(ctx, g.Servers[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "calls go to the new primary", func() bool { _, err := c.Do("SET", "k", "w"); return err == nil })
	if got := told(t, g.Servers[1], "GET", "k"); got != "w" {
		t.Errorf("the new primary has %v", got)
	}
}

// refusedByName runs a proxy that must not come to know any primary, since nobody
// can prove the name by which it is reached.
func refusedByName(t *testing.T, change func(*setup)) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	r := withRig(t, "", func(s *setup) {
		change(s)
		s.down, s.log = true, zap.New(core)
		s.backend.Routing.Wait = 0
	})
	eventually(t, 20*time.Second, "the log says whose name does not fit", func() bool {
		for _, e := range logs.All() {
			for _, f := range e.Context {
				if err, ok := f.Interface.(error); ok && strings.Contains(err.Error(), "x509: ") {
					return true
				}
			}
		}
		return false
	})
	if _, err := r.login("root").Do("SET", "k", "stolen"); err == nil || err.Error() != textUnavailable {
		t.Errorf("SET answered %v", err)
	}
}

func TestASentinelOrPrimaryOfAnotherNameIsRefused(t *testing.T) {
	ca, err := tlsutil.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, authority := issued(t, ca, "localhost")
	otherCert, otherKey, _ := issued(t, ca, "sentinel.elsewhere.example")
	right, wrong := redistest.TLS(cert, key, authority), redistest.TLS(otherCert, otherKey, authority)
	client, err := tlsutil.LoadClient(tlsutil.ClientOptions{CAFile: authority, CertificateFile: cert, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	for name, g := range map[string]*redistest.Sentinels{"a Sentinel": named(t, right, wrong), "a primary": named(t, wrong, right)} {
		t.Run(name, func(t *testing.T) {
			refusedByName(t, func(s *setup) {
				var at []backend.Endpoint
				for _, s := range g.Sentinels {
					at = append(at, backend.Endpoint{Network: "tcp", Address: "localhost:" + strconv.Itoa(s.Port())})
				}
				s.backend.Nodes, s.backend.TLS = nil, client.Config
				s.backend.Routing = backend.Routing{
					Kind: backend.Sentinel, Refresh: 100 * time.Millisecond,
					Sentinels: backend.Sentinels{Nodes: at, Name: g.Name, Login: backend.Login{TLS: client.Config}},
				}
			})
			if told(t, g.Servers[0], "EXISTS", "k") != int64(0) {
				t.Error("something was written")
			}
		})
	}
}
