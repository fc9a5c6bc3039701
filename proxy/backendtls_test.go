package proxy_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
)

// nodeFiles writes a CA, a server pair and a client pair for a node that wants
// mutual TLS.
func nodeFiles(t *testing.T, hosts ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := tlsutil.WriteDevDir(dir, tlsutil.DevOptions{Hosts: hosts, Clients: []tlsutil.DevClient{{Name: "proxy"}}}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestANodeIsReachedOverMutualTLSAndLoggedInTo(t *testing.T) {
	files := nodeFiles(t)
	at := func(name string) string { return filepath.Join(files, name) }
	node := redistest.Start(t, redistest.TLS(at("server.crt"), at("server.key"), at("ca.crt")), redistest.RequirePass("node-pw"))
	client := func(ca, name string) func(string) (*tls.Config, error) {
		c, err := tlsutil.LoadClient(tlsutil.ClientOptions{CAFile: ca, CertificateFile: at("proxy.crt"), KeyFile: at("proxy.key"), ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		return c.Config
	}
	password := func() (string, error) { return "node-pw", nil }

	t.Run("with the right CA, name, certificate and password", func(t *testing.T) {
		r := withRig(t, node.Addr(), func(s *setup) { s.backend.TLS, s.backend.Password = client(at("ca.crt"), "localhost"), password })
		c := r.login("root")
		r.want(c, "OK", "SET", "k", "v")
		r.want(c, "v", "GET", "k")
		r.want(c, "OK", "SELECT", "3")
		r.want(c, "<nil>", "GET", "k")
	})
	foreign := nodeFiles(t)
	for name, change := range map[string]func(*setup){
		"a foreign CA": func(s *setup) {
			s.backend.TLS, s.backend.Password = client(filepath.Join(foreign, "ca.crt"), "localhost"), password
		},
		"another host name": func(s *setup) { s.backend.TLS, s.backend.Password = client(at("ca.crt"), "redis.elsewhere"), password },
		"a wrong password": func(s *setup) {
			s.backend.TLS, s.backend.Password = client(at("ca.crt"), "localhost"), func() (string, error) { return "nope", nil }
		},
		"an unreadable password": func(s *setup) {
			s.backend.TLS, s.backend.Password = client(at("ca.crt"), "localhost"), func() (string, error) { return "", os.ErrPermission }
		},
		"plaintext to a TLS port": func(s *setup) { s.backend.Password = password },
		"no certificate": func(s *setup) {
			c, err := tlsutil.LoadClient(tlsutil.ClientOptions{CAFile: at("ca.crt"), ServerName: "localhost"})
			if err != nil {
				t.Fatal(err)
			}
			s.backend.TLS, s.backend.Password = func(string) (*tls.Config, error) { return c.Config("127.0.0.1") }, password
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := withRig(t, node.Addr(), func(s *setup) {
				change(s)
				s.down, s.log = true, zap.NewNop()
				s.backend.DialTimeout = 500 * time.Millisecond
			})
			c := r.login("root")
			if _, err := c.Do("SET", "k", "changed"); err == nil || err.Error() != textUnavailable {
				t.Fatalf("SET answered %v", err)
			}
			after, err := node.CommandStats()
			if err != nil {
				t.Fatal(err)
			}
			if after["set"].Calls != 1 {
				t.Fatalf("Redis executed SET %d times, the good connection did once", after["set"].Calls)
			}
		})
	}
}
