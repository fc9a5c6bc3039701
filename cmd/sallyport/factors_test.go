package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/tlsutil"
)

// The example of certificates, networks and joint factors can be served, and
// lets in whom it says.
func TestExampleOfFactors(t *testing.T) {
	const folder, password = "deploy/examples/factors", "plover-lantern-42"
	t.Setenv("OPS_HASH", "#"+acl.HashPassword([]byte(password)))
	dir := t.TempDir()
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	server, err := ca.Server()
	must(t, err)
	list, err := ca.CRL(30 * 24 * time.Hour)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, "tls"), 0o700))
	for name, content := range map[string]string{
		"sallyport.yaml": readText(t, folder+"/sallyport.yaml"), "policy.yaml": readText(t, folder+"/policy.yaml"),
		"tls/server.crt": string(server.CertPEM), "tls/server.key": string(server.KeyPEM),
		"tls/clients.crt": string(ca.CertPEM()), "tls/clients.crl": string(list),
	} {
		put(t, filepath.Join(dir, name), content)
	}
	cfg, problems := config.Load(filepath.Join(dir, "sallyport.yaml"))
	for _, p := range problems {
		t.Errorf("%s (%s)", p.What, p.Hint)
	}
	if cfg == nil {
		t.FailNow()
	}
	batch, ops := &acl.Certificate{URI: []string{"spiffe://prod/ns/shop/sa/batch"}}, &acl.Certificate{CommonNames: []string{"ops.internal"}}
	for _, c := range []struct {
		name        string
		a           acl.Attempt
		from        string
		as          string // empty: refused
		may, mayNot string
	}{
		{"batch by its certificate", acl.Attempt{Cert: batch}, "10.1.0.1", "batch", "SET jobs:1 x", "SET shared:1 x"},
		{"batch where the import runs", acl.Attempt{Cert: batch}, "10.9.0.1", "batch", "SET shared:1 x", "SET app:1 x"},
		{"batch by a name alone", acl.Attempt{Cert: ops, User: "batch", Password: []byte("x")}, "10.1.0.1", "", "", ""},
		{"ops with everything", acl.Attempt{Cert: ops, User: "ops", Password: []byte(password)}, "10.1.0.1", "ops", "INFO", "FLUSHALL"},
		{"ops without the password", acl.Attempt{Cert: ops}, "10.1.0.1", "", "", ""},
		{"ops without the certificate", acl.Attempt{Cert: batch, User: "ops", Password: []byte(password)}, "10.1.0.1", "", "", ""},
		{"ops from elsewhere", acl.Attempt{Cert: ops, User: "ops", Password: []byte(password)}, "10.2.0.1", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.a.Listener, c.a.Addr, c.a.Now = "gateway", netip.MustParseAddr(c.from), time.Now()
			pr, reason := cfg.Policy.Identify(&c.a)
			if c.a.User != "" {
				pr, reason = cfg.Policy.Authenticate(&c.a)
			}
			if c.as == "" {
				if pr.User != nil {
					t.Fatalf("it is %s", pr.User.Name())
				}
				return
			}
			if pr.User == nil || pr.User.Name() != c.as {
				t.Fatal(reason)
			}
			if !mayRun(t, cfg, pr.User, c.may) || mayRun(t, cfg, pr.User, c.mayNot) {
				t.Errorf("%s: %v, %s: %v", c.may, mayRun(t, cfg, pr.User, c.may), c.mayNot, mayRun(t, cfg, pr.User, c.mayNot))
			}
		})
	}
}
