package proxy_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
)

const wrongPass = "WRONGPASS invalid username-password pair or user is disabled."

func text(s string) acl.Text { return acl.Text{Value: s} }

func texts(list ...string) []acl.Text {
	var all []acl.Text
	for _, s := range list {
		all = append(all, text(s))
	}
	return all
}

// edit finds a user of a source, for a test to change.
func edit(src *acl.Source, name string) *acl.UserSource {
	for i := range src.Users {
		if src.Users[i].Name.Value == name {
			return &src.Users[i]
		}
	}
	src.Users = append(src.Users, acl.UserSource{Name: text(name)})
	return &src.Users[len(src.Users)-1]
}

// certified makes a user of a certificate's name, who has no password.
func certified(src *acl.Source, name string) *acl.UserSource {
	u := edit(src, name)
	u.Rules = text("on ~* +@all")
	u.Certificates = []acl.CertificateSource{{CN: texts(name)}}
	return u
}

// closed waits until the proxy has closed a connection without another reply.
func closed(t testing.TB, c *redistest.Client) {
	t.Helper()
	if v, err := c.Receive(); err == nil {
		t.Fatalf("still open, and says %v", v)
	} else if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
		t.Fatal("still open")
	}
}

func TestACertificateAloneLogsInWhoItNames(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) { certified(src, "batch") }
	})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conf := r.clientTLS("batch")
		conf.MinVersion, conf.MaxVersion = version, version
		conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		for _, resumed := range []bool{false, true} {
			c := r.dial("gateway", conf)
			r.want(c, "batch", "ACL", "WHOAMI")
			r.want(c, "PONG", "PING")
			c.Close()
			ev := r.await("new_conn", "resumed", fmt.Sprint(resumed), "tls", map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[version])
			ev = r.await("auth", "conn", fmt.Sprint(ev["conn"]))
			if ev["user"] != "batch" || ev["method"] != "certificate" || ev["status"] != "ok" || fmt.Sprint(ev["factors"]) != "[certificate]" {
				t.Fatal("auth says", ev)
			}
		}
	}
	// Whom no user names stays a stranger.
	c := r.dial("gateway", r.clientTLS("somebody"))
	r.want(c, "NOAUTH Authentication required.", "PING")
	r.want(c, "OK", "AUTH", "app", "app-pw")
}

func TestACertificateOnlyUserCannotBeEnteredByAUTH(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) {
			certified(src, "batch")
			certified(src, "careless").Rules = text("on nopass ~* +@all")
		}
	})
	for _, conf := range []*tls.Config{nil, r.clientTLS("batch"), r.clientTLS("other")} {
		listener := "gateway"
		if conf == nil {
			listener = "plain"
		}
		c := r.dial(listener, conf)
		for _, user := range []string{"batch", "careless"} {
			for _, password := range []string{"", "x", user, user + "-pw"} {
				r.want(c, wrongPass, "AUTH", user, password)
				r.want(c, wrongPass, "HELLO", "3", "AUTH", user, password)
			}
		}
	}
	r.await("auth", "user", "batch", "method", "password", "status", "failed")
}

func TestAnAmbiguousCertificateLogsNobodyIn(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) {
			certified(src, "batch")
			certified(src, "twin")
			edit(src, "twin").Certificates = []acl.CertificateSource{{URI: texts("spiffe://prod/batch")}}
		}
	})
	pair, err := r.ca.Client("batch", "spiffe://prod/batch") // two users' certificate
	if err != nil {
		t.Fatal(err)
	}
	conf := r.clientTLS("batch")
	conf.Certificates = []tls.Certificate{pair.Certificate}
	r.want(r.dial("gateway", conf), "NOAUTH Authentication required.", "PING")
	r.await("auth", "method", "certificate", "status", "failed", "reason", "ambiguous_certificate")

	template := &x509.Certificate{
		Subject:     pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "batch"}, {Type: []int{2, 5, 4, 3}, Value: "batch"}}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if pair, err = r.ca.Issue(template); err != nil {
		t.Fatal(err)
	}
	conf.Certificates = []tls.Certificate{pair.Certificate}
	r.want(r.dial("gateway", conf), "NOAUTH Authentication required.", "PING")
}

func TestJointFactorsAreAllNeededAndAllOnRecord(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) {
			u := edit(src, "app")
			u.Require, u.Certificates = texts("certificate", "password", "network"), []acl.CertificateSource{{CN: texts("app")}}
			u.From = texts("127.0.0.0/8")
		}
	})
	c := r.dial("gateway", r.clientTLS("app"))
	r.want(c, "NOAUTH Authentication required.", "GET", "app:a") // the certificate alone is not enough
	r.want(c, wrongPass, "AUTH", "app", "wrong")
	r.want(c, "OK", "AUTH", "app", "app-pw")
	ev := r.await("auth", "user", "app", "status", "ok")
	if fmt.Sprint(ev["factors"]) != "[certificate password network]" || ev["method"] != "password" {
		t.Fatal("auth says", ev)
	}
	// Nor is the password.
	r.want(r.dial("plain", nil), wrongPass, "AUTH", "app", "app-pw")
	r.want(r.dial("gateway", r.clientTLS("other")), wrongPass, "HELLO", "3", "AUTH", "app", "app-pw")
	r.await("auth", "user", "app", "reason", "factor_missing")
}

func TestRESETReturnsToTheStateAfterAdmission(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) {
			certified(src, "batch")
			edit(src, "default").Rules = text("on nopass +ping +acl|whoami +@connection")
			src.Listeners[0].Auth = texts("certificate", "password")
			src.Listeners[1].Anonymous = true
			edit(src, "default").Listeners = texts("plain")
		}
	})
	c := r.dial("gateway", r.clientTLS("batch"))
	r.want(c, "batch", "ACL", "WHOAMI")
	r.want(c, "OK", "AUTH", "root", "root-pw")
	r.want(c, "OK", "SELECT", "3")
	r.want(c, "OK", "CLIENT", "SETNAME", "me")
	r.want(c, "RESET", "RESET")
	r.want(c, "batch", "ACL", "WHOAMI")
	r.want(c, "<nil>", "CLIENT", "GETNAME")

	c = r.dial("gateway", r.clientTLS("nobody"))
	r.want(c, "OK", "AUTH", "root", "root-pw")
	r.want(c, "RESET", "RESET")
	r.want(c, "NOAUTH Authentication required.", "GET", "a")
	// The small limits of strangers are back, too.
	c.Send("AUTH", "root", strings.Repeat("x", 20<<10))
	if v, _ := c.Receive(); !strings.HasPrefix(fmt.Sprint(v), "ERR Protocol error") {
		t.Fatal("after RESET, 20 KiB get", v)
	}

	c = r.dial("plain", nil)
	r.want(c, "default", "ACL", "WHOAMI")
	r.want(c, "OK", "AUTH", "root", "root-pw")
	r.want(c, "root", "ACL", "WHOAMI")
	r.want(c, "RESET", "RESET")
	r.want(c, "default", "ACL", "WHOAMI")
}

// Before its failure is told, an attempt costs time and nothing else, whatever
// is wrong with it; what was sent behind it waits.
func TestEveryFailingLoginIsAnsweredAtTheSameTimeInTheSameWords(t *testing.T) {
	const delay = 100 * time.Millisecond
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.limits.AuthFailureDelay = 0 // the default
		s.users["off"] = "off ~* +@all"
		s.source = func(src *acl.Source) { certified(src, "batch") }
	})
	c, other := r.dial("plain", nil), r.login("root")
	for _, args := range [][]string{
		{"AUTH", "app", "wrong"}, {"AUTH", "nobody", "wrong"}, {"AUTH", "off", "off-pw"}, {"AUTH", "wrong"}, {"AUTH", "batch", ""},
		{"HELLO", "3", "AUTH", "nobody", "wrong"}, {"HELLO", "2", "AUTH", "app", "wrong", "SETNAME", "me"},
	} {
		sent := time.Now()
		if err := c.Write(append(redistest.Encode(args...), redistest.Encode("PING")...)); err != nil {
			t.Fatal(err)
		}
		r.want(other, "PONG", "PING")
		if waited := time.Since(sent); waited > delay {
			t.Errorf("%v held up another session for %v", args, waited)
		}
		v, err := c.Receive()
		if took := time.Since(sent); took < delay || took > 3*delay {
			t.Errorf("%v was answered after %v", args, took)
		}
		if fmt.Sprint(v) != wrongPass {
			t.Errorf("%v: %v %v", args, v, err)
		}
		if v, _ := c.Receive(); fmt.Sprint(v) != "NOAUTH Authentication required." {
			t.Errorf("PING behind %v: %v", args, v)
		}
	}
	sent := time.Now()
	r.want(c, "OK", "AUTH", "app", "app-pw")
	if took := time.Since(sent); took > delay/2 {
		t.Errorf("a login that succeeds took %v", took)
	}
	// A client that goes while its failure waits leaves nothing behind.
	c = r.dial("plain", nil)
	c.Send("AUTH", "app", "wrong")
	c.Close()
	r.await("close_conn", "reason", "client_closed")
}

func TestGuessingIsSlowedDownForTheGuesserAlone(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.auth = proxy.Auth{Throttle: acl.ThrottleOptions{PairFailures: 5, PairRefill: time.Hour}}
	})
	c := r.dial("plain", nil)
	for range 5 {
		r.want(c, wrongPass, "AUTH", "app", "guess")
	}
	r.want(c, wrongPass, "AUTH", "app", "app-pw") // right, and too late
	r.await("auth", "user", "app", "status", "failed", "reason", "auth_throttled")
	r.want(c, wrongPass, "HELLO", "3", "AUTH", "app", "app-pw")
	r.want(r.dial("plain", nil), wrongPass, "AUTH", "app", "app-pw") // a new connection does not help
	r.want(c, "OK", "AUTH", "root", "root-pw")                       // other users of this source go on
}

func TestSlowHashesAreComputedAsideAndOthersAreServedMeanwhile(t *testing.T) {
	hash, err := acl.HashArgon2id([]byte("human"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) {
			src.Users = append(src.Users, acl.UserSource{Name: text("human"), Rules: text("on ~* +@all"), PasswordHashes: texts(hash)})
		}
	})
	var waiting []*redistest.Client
	for i := range 20 {
		c := r.dial("plain", nil)
		waiting = append(waiting, c)
		password := "human"
		if i%2 == 1 {
			password = "wrong"
		}
		if err := c.Write(append(redistest.Encode("AUTH", "human", password), redistest.Encode("ACL", "WHOAMI")...)); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range waiting {
		want := []string{"OK", "human"}
		if i%2 == 1 {
			want = []string{wrongPass, "NOAUTH Authentication required."}
		}
		for _, w := range want {
			if v, err := c.Receive(); fmt.Sprint(v) != w {
				t.Fatalf("client %d: %v %v, want %s", i, v, err, w)
			}
		}
	}
	r.want(waiting[0], "1", "HSET", "h", "f", "v")
	// One that is gone before its hash is done costs nobody anything.
	c := r.dial("plain", nil)
	c.Send("AUTH", "human", "human")
	c.Close()
	r.want(waiting[0], "PONG", "PING")
	// Who comes back with many connections has computed it once; a wrong password
	// is in no hurry, and is not known by a right one.
	release := r.server.HoldHashes()
	for range 20 {
		r.want(r.dial("plain", nil), "OK", "AUTH", "human", "human")
	}
	guess := r.dial("plain", nil)
	guess.Send("AUTH", "human", "Human")
	r.want(r.dial("plain", nil), "OK", "AUTH", "root", "root-pw")
	release()
	if v, err := guess.Receive(); fmt.Sprint(v) != wrongPass {
		t.Error(v, err)
	}
}

// revocable gives a rig whose gateway checks a revocation list, the file of the
// list, and the TLS side of the gateway.
func revocable(t *testing.T, change func(*setup)) (r *rig, list string, server *tlsutil.Server) {
	t.Helper()
	list = filepath.Join(t.TempDir(), "clients.crl")
	r = withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) { certified(src, "batch"); certified(src, "other") }
		s.listen = func(r *rig, l []proxy.ListenerOptions) {
			r.revoke(list)
			server = r.serverTLSWith(func(o *tlsutil.ServerOptions) { o.CRLFiles = []string{list} })
			l[0].TLS = server
		}
		if change != nil {
			change(s)
		}
	})
	return r, list, server
}

// revoke writes a list that names certificates.
func (r *rig) revoke(file string, revoked ...*x509.Certificate) {
	r.t.Helper()
	crl, err := r.ca.CRL(time.Hour, revoked...)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, crl, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func TestARevokedCertificateEndsItsLiveSessionsWithinFiveSeconds(t *testing.T) {
	r, list, server := revocable(t, nil)
	conf := r.clientTLS("batch")
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	c, other := r.dial("gateway", conf), r.dial("gateway", r.clientTLS("other"))
	r.want(c, "batch", "ACL", "WHOAMI")
	r.want(other, "other", "ACL", "WHOAMI")
	r.revoke(list, conf.Certificates[0].Leaf)
	began := time.Now()
	if changed, err := server.Reload(); !changed || err != nil { // in place: nobody told the proxy
		t.Fatal(changed, err)
	}
	closed(t, c)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	r.await("close_conn", "user", "batch", "reason", "certificate_revoked")
	r.want(other, "PONG", "PING")
	if c, err := redistest.Dial("tcp", r.addr("gateway"), conf); err == nil { // TLS 1.3 tells it with the first reply
		if v, err := c.Do("PING"); err == nil {
			t.Fatal("a revoked certificate was let in again, resumed or not: ", v)
		}
		c.Close()
	}
	r.await("refused", "reason", "certificate_revoked")
}

func TestACertificateThatExpiresEndsItsLiveSessions(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) { certified(src, "batch") }
	})
	ends := time.Now().Add(2 * time.Second)
	pair, err := r.ca.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "batch"}, NotAfter: ends, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		t.Fatal(err)
	}
	conf := r.clientTLS("batch")
	conf.Certificates = []tls.Certificate{pair.Certificate}
	c := r.dial("gateway", conf)
	r.want(c, "batch", "ACL", "WHOAMI")
	closed(t, c)
	if late := time.Since(ends); late > 5*time.Second {
		t.Errorf("%v late", late)
	}
	r.await("close_conn", "user", "batch", "reason", "certificate_expired")
}

func TestAListThatGoesStaleEndsSessionsUnlessThatIsAllowed(t *testing.T) {
	for _, missing := range []tlsutil.CRLMissing{tlsutil.RefuseMissing, tlsutil.AllowMissing} {
		t.Run(missing.String(), func(t *testing.T) {
			t.Parallel()
			r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
				s.source = func(src *acl.Source) { certified(src, "batch") }
				s.listen = func(r *rig, l []proxy.ListenerOptions) {
					crl, err := r.ca.CRL(3 * time.Second)
					if err != nil {
						t.Fatal(err)
					}
					file := filepath.Join(t.TempDir(), "clients.crl")
					if err := os.WriteFile(file, crl, 0o600); err != nil {
						t.Fatal(err)
					}
					l[0].TLS = r.serverTLSWith(func(o *tlsutil.ServerOptions) { o.CRLFiles, o.CRLMissing = []string{file}, missing })
				}
			})
			c := r.dial("gateway", r.clientTLS("batch"))
			r.want(c, "batch", "ACL", "WHOAMI")
			if missing == tlsutil.RefuseMissing {
				closed(t, c)
				r.await("close_conn", "user", "batch", "reason", "certificate_revoked")
				return
			}
			stale := time.NewTimer(6 * time.Second)
			defer stale.Stop()
			<-stale.C // nothing may happen, so there is nothing to wait for but time
			r.want(c, "PONG", "PING")
		})
	}
}

func TestATicketOfOneListenerResumesOnNoOther(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.source = func(src *acl.Source) { certified(src, "batch"); edit(src, "batch").Listeners = texts("gateway") }
		s.listen = func(r *rig, l []proxy.ListenerOptions) { l[1].TLS = r.serverTLS() } // the same CA
	})
	conf := r.clientTLS("batch")
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for i, listener := range []string{"gateway", "gateway", "plain", "plain", "gateway"} {
		raw, err := tls.Dial("tcp", r.addr(listener), conf)
		if err != nil {
			t.Fatal(err)
		}
		c := redistest.NewClient(raw)
		want := "batch"
		if listener == "plain" {
			want = "NOAUTH Authentication required." // its user is not for this listener, resumed or not
		}
		r.want(c, want, "ACL", "WHOAMI")
		if resumed := raw.ConnectionState().DidResume; resumed != (i == 1 || i == 3) {
			t.Errorf("connection %d, to %s: resumed is %v", i, listener, resumed)
		}
		c.Close()
	}
	// Nor does one from before a change of the policy.
	c := r.dial("gateway", conf)
	r.want(c, "batch", "ACL", "WHOAMI")
	c.Close()
	r.server.SetPolicy(r.policy)
	raw, err := tls.Dial("tcp", r.addr("gateway"), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if raw.ConnectionState().DidResume {
		t.Error("a ticket from before the change was taken")
	}
}

// Whatever takes away what a session stands on ends it, and leaves the others.
func TestAChangedPolicyReachesLiveSessions(t *testing.T) {
	base := func(src *acl.Source) {
		certified(src, "batch")
		edit(src, "app").From = texts("127.0.0.0/8")
	}
	for name, change := range map[string]func(*acl.Source){
		"the certificate is another's": func(src *acl.Source) { edit(src, "batch").Certificates = []acl.CertificateSource{{CN: texts("x")}} },
		"the user is off":              func(src *acl.Source) { edit(src, "batch").Rules = text("off ~* +@all") },
		"more is required": func(src *acl.Source) {
			edit(src, "batch").Rules, edit(src, "batch").Require = text("on >pw ~* +@all"), texts("certificate", "password")
		},
		"another network":            func(src *acl.Source) { edit(src, "batch").From = texts("10.0.0.0/8") },
		"another listener":           func(src *acl.Source) { edit(src, "batch").Listeners = texts("plain") },
		"the method is switched off": func(src *acl.Source) { src.Listeners[0].Auth = texts("password") },
		"the user's time is over":    func(src *acl.Source) { edit(src, "batch").Note.Until = text("2020-01-01") },
		"its time is over in a moment": func(src *acl.Source) {
			edit(src, "batch").Note.Until = text(time.Now().Add(1500 * time.Millisecond).UTC().Format(time.RFC3339))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := withRig(t, redistest.Start(t).Addr(), func(s *setup) { s.source = base })
			batch, app, stranger := r.dial("gateway", r.clientTLS("batch")), r.login("app"), r.dial("gateway", r.clientTLS("x"))
			r.want(batch, "batch", "ACL", "WHOAMI")
			r.want(stranger, "NOAUTH Authentication required.", "PING")
			began := time.Now()
			r.server.SetPolicy(compileWith(t, map[string]string{"app": "on ~app:* +@all", "root": everything}, nil, func(src *acl.Source) {
				base(src)
				change(src)
			}))
			closed(t, batch)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			r.await("close_conn", "user", "batch", "reason", "policy_changed")
			r.want(app, "PONG", "PING")
			r.want(stranger, "NOAUTH Authentication required.", "PING")
		})
	}
}

// MULTI is not offered, so AUTH and HELLO behind it are what they are anywhere:
// no queue carries a right from one user to another.
func TestAUTHAndHELLOBehindMULTIGiveNothing(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), nil)
	c := r.login("app")
	for _, args := range [][]string{{"MULTI"}, {"AUTH", "root", "wrong"}, {"HELLO", "3", "AUTH", "root", "wrong"}, {"EXEC"}} {
		if v, err := c.Do(args...); err == nil {
			t.Errorf("%v: %v", args, v)
		}
	}
	r.want(c, "NOPERM No permissions to access a key", "SET", "root:a", "1")
	r.want(c, "<nil>", "GET", "app:a")
}
