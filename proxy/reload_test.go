package proxy_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
)

// anew is the rig's configuration as a reload brings it, with other TLS files.
func (r *rig) anew(node string, tls *tlsutil.Server) proxy.Options {
	return proxy.Options{
		Listeners: []proxy.ListenerOptions{
			{Name: "gateway", Network: "tcp", Address: "127.0.0.1:0", TLS: tls, Backend: "main"},
			{Name: "plain", Network: "tcp", Address: "127.0.0.1:0", Backend: "main"},
		},
		Backends: map[string]backend.Options{"main": {Nodes: []backend.Endpoint{{Network: "tcp", Address: node}}}},
		Policy:   r.policy, Table: command.Newest(), Limits: r.options.Limits,
	}
}

// tlsOf is a server certificate of the rig's CA, of which clients must come.
func (r *rig) tlsOf(clients *tlsutil.DevCA, notAfter time.Time) *tlsutil.Server {
	r.t.Helper()
	pair, err := r.ca.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.loadTLS(pair, clients)
}

func TestAReloadEndsThoseWhomTheNewCAWouldNotLetIn(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	c := r.dial("gateway", r.clientTLS("app"))
	plain := r.login("app")
	r.want(c, "OK", "AUTH", "app", "app-pw")
	other, err := tlsutil.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	day := time.Now().Add(12 * time.Hour)
	if err := r.server.Reload(r.anew(node.Addr(), r.tlsOf(r.ca, day))); err != nil {
		t.Fatal(err)
	}
	r.want(c, "OK", "SET", "app:a", "1") // another certificate of ours is no reason to go
	if err := r.server.Reload(r.anew(node.Addr(), r.tlsOf(other, day))); err != nil {
		t.Fatal(err)
	}
	r.await("close_conn", "listener", "gateway", "reason", "policy_changed")
	r.want(plain, "1", "GET", "app:a")
}

// A renewal that went wrong must not end a service that works.
func TestAnExpiredCertificateDoesNotReplaceAGoodOne(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	o := r.anew(node.Addr(), r.tlsOf(r.ca, time.Now().Add(-time.Hour)))
	o.Policy = compile(t, map[string]string{"app": everything + " off"}, nil)
	err := r.server.Reload(o)
	if err == nil || !strings.Contains(err.Error(), "listener gateway") || !strings.Contains(err.Error(), "expired on") {
		t.Fatalf("the reload said %v", err)
	}
	c := r.dial("gateway", r.clientTLS("app"))
	r.want(c, "OK", "AUTH", "app", "app-pw") // nothing has changed, the policy included
}

func TestAReloadThatNeedsARestartChangesNothing(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	good := r.tlsOf(r.ca, time.Now().Add(12*time.Hour))
	for what, change := range map[string]func(*proxy.Options){
		"there is no listener":      func(o *proxy.Options) { o.Listeners = nil },
		"backend more":              func(o *proxy.Options) { o.Backends["more"] = backend.Options{} },
		"backend main":              func(o *proxy.Options) { o.Backends["main"] = backend.Options{} },
		`no backend "none"`:         func(o *proxy.Options) { o.Listeners[1].Backend = "none" },
		"limits.handshakes":         func(o *proxy.Options) { o.Limits.Handshakes = 7 },
		"limits.write_timeout":      func(o *proxy.Options) { o.Limits.WriteTimeout = time.Hour },
		"limits.auth_failure_delay": func(o *proxy.Options) { o.Limits.AuthFailureDelay = time.Hour },
		"command table": func(o *proxy.Options) {
			table, _ := command.For("redis-7.0.15")
			o.Policy = compileWith(t, nil, nil, func(s *acl.Source) { s.Table = table })
		},
	} {
		o := r.anew(node.Addr(), good)
		o.Policy = compile(t, map[string]string{"app": everything + " off"}, nil)
		change(&o)
		if err := r.server.Reload(o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: the reload said %v", what, err)
		}
	}
	r.login("app")
}
