package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// idp issues tokens and publishes its keys.
type idp struct {
	t        testing.TB
	mu       sync.Mutex
	keys     map[string]*ecdsa.PrivateKey // those it publishes, by key id
	hold     chan struct{}                // not nil: answers wait for it
	asked    atomic.Int32
	server   *httptest.Server
	verifier *token.Verifier
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	p := &idp{t: t, keys: map[string]*ecdsa.PrivateKey{}}
	p.rotate("k1")
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.server.Close)
	var err error
	p.verifier, err = token.New([]token.Issuer{{
		Name: "corp", Issuer: "https://corp.example", Audience: []string{"redis"}, Algorithms: []string{"ES256"},
		Keys: token.Keys{URL: p.server.URL}, UserClaim: "oid", Roles: token.Roles{Claim: "roles", Map: map[string][]string{"readers": {"reader"}}},
	}}, token.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); p.verifier.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	return p
}

func (p *idp) rotate(id string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[id] = key
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (p *idp) serve(w http.ResponseWriter, req *http.Request) {
	p.asked.Add(1)
	p.mu.Lock()
	hold := p.hold
	p.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-req.Context().Done():
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var keys []map[string]string
	for id, k := range p.keys {
		point, err := k.PublicKey.Bytes()
		if err != nil {
			p.t.Error(err)
		}
		keys = append(keys, map[string]string{"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "use": "sig", "x": b64(point[1:33]), "y": b64(point[33:])})
	}
	json.NewEncoder(w).Encode(map[string]any{"keys": keys})
}

// sign makes a token for a user that ends after a while.
func (p *idp) sign(kid, user string, lasting time.Duration, more ...any) string {
	p.t.Helper()
	claims := map[string]any{
		"iss": "https://corp.example", "aud": "redis", "oid": user, "sub": user, "iat": time.Now().Unix(), "exp": time.Now().Add(lasting).Unix(),
	}
	for i := 0; i+1 < len(more); i += 2 {
		claims[more[i].(string)] = more[i+1]
	}
	header, _ := json.Marshal(map[string]string{"alg": "ES256", "typ": "JWT", "kid": kid})
	body, err := json.Marshal(claims)
	if err != nil {
		p.t.Fatal(err)
	}
	signed := b64(header) + "." + b64(body)
	sum := sha256.Sum256([]byte(signed))
	p.mu.Lock()
	key := p.keys[kid]
	p.mu.Unlock()
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		p.t.Fatal(err)
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// tokens gives a rig that takes the issuer's tokens; user app is bound to the
// claim "oid-app", all others have what roles they bring.
func tokens(t *testing.T, p *idp, change func(*setup)) *rig {
	t.Helper()
	return withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.auth.Tokens = p.verifier
		s.workers = 1
		s.source = func(src *acl.Source) {
			src.Roles = append(src.Roles, acl.RoleSource{Name: text("reader"), Rules: text("+@read +@connection +acl|whoami ~shared:*")})
			src.Tokens = []acl.TokenSource{{Name: text("corp"), Roles: texts("reader")}}
			edit(src, "app").Token = &acl.TokenUserSource{Issuer: text("corp"), Subject: text("oid-app")}
		}
		if change != nil {
			change(s)
		}
	})
}

func TestATokenLogsInWhomItSpeaksFor(t *testing.T) {
	p := newIDP(t)
	r := tokens(t, p, nil)
	c := r.dial("gateway", r.clientTLS("x"))
	app, guest := p.sign("k1", "oid-app", time.Hour), p.sign("k1", "guest", time.Hour, "roles", []string{"readers"})
	r.want(c, "OK", "AUTH", "oid-app", app)
	r.want(c, "<nil>", "GET", "app:a")
	ev := r.await("auth", "user", "app", "method", "token", "status", "ok")
	if fmt.Sprint(ev["factors"]) != "[token]" || ev["token_id"] == nil || ev["expires"] == nil || strings.Contains(fmt.Sprint(ev), app[:40]) {
		t.Fatal("auth says", ev)
	}
	c = r.dial("plain", nil)
	r.want(c, "OK", "AUTH", "guest", guest)
	r.want(c, "<nil>", "GET", "shared:a")
	r.want(c, "NOPERM No permissions to access a key", "GET", "app:a")
	for _, args := range [][]string{
		{"AUTH", "app", app},           // the policy's name for it, not the token's
		{"AUTH", "root", guest},        // somebody else
		{"AUTH", app},                  // nobody's name
		{"AUTH", "oid-app", app[1:]},   // not a token at all
		{"AUTH", "oid-app", app + "A"}, // another signature
		{"HELLO", "3", "AUTH", "root", app},
		{"AUTH", "root", p.sign("k1", "root", time.Hour, "roles", []string{"readers"})}, // named as a local user
		{"AUTH", "x", p.sign("k1", "x", time.Hour)},                                     // without a role
		{"AUTH", "oid-app", p.sign("k1", "oid-app", -time.Second)},
		{"AUTH", "oid-app", p.sign("k1", "oid-app", time.Hour, "iss", "https://other.example")},
		{"AUTH", "oid-app", p.sign("k1", "oid-app", time.Hour, "aud", "mail")},
	} {
		if v, err := r.dial("plain", nil).Do(args...); fmt.Sprint(err) != wrongPass {
			t.Errorf("%.60q: %v %v", args, v, err)
		}
	}
	for _, reason := range []string{"token_expired", "token_for_other", "bad_token", "token_without_role"} {
		r.await("auth", "method", "token", "status", "failed", "reason", reason)
	}
}

func TestATokenMayBe64KiBInHELLOToo(t *testing.T) {
	p := newIDP(t)
	r := tokens(t, p, nil)
	big := p.sign("k1", "oid-app", time.Hour, "padding", strings.Repeat("x", 45<<10))
	if len(big) < 60<<10 || len(big) > 64<<10 {
		t.Fatal("the test's token has", len(big))
	}
	c := r.dial("plain", nil)
	if v, err := c.Do("AUTH", "oid-app", big); v != "OK" {
		t.Fatal(v, err)
	}
	c = r.dial("plain", nil)
	if _, err := c.Do("HELLO", "3", "AUTH", "oid-app", big, "SETNAME", "me"); err != nil {
		t.Fatal(err)
	}
	r.want(c, "me", "CLIENT", "GETNAME")
	c = r.dial("plain", nil)
	c.Send("AUTH", "oid-app", p.sign("k1", "oid-app", time.Hour, "padding", strings.Repeat("x", 50<<10)))
	if v, _ := c.Receive(); !strings.HasPrefix(fmt.Sprint(v), "ERR Protocol error") {
		t.Fatal("a larger one gets", v)
	}
	// After login the bound is the same, though other arguments may be longer.
	c = r.login("root")
	if _, err := c.Do("AUTH", "app", strings.Repeat("x", 65<<10)); fmt.Sprint(err) != wrongPass {
		t.Fatal(err)
	}
	r.want(c, "root", "ACL", "WHOAMI")
}

// While a key is fetched, the session waits and keeps little, and the loop serves everybody else.
func TestAKeyThatHasToBeFetchedHoldsUpItsOwnSessionAlone(t *testing.T) {
	p := newIDP(t)
	p.mu.Lock()
	p.hold = make(chan struct{})
	p.mu.Unlock()
	r := tokens(t, p, nil)
	c, other := r.dial("plain", nil), r.login("root")
	const pings = 1 << 20
	token := p.sign("k1", "oid-app", time.Hour)
	ping := redistest.Encode("PING")
	var written atomic.Int64
	sent := make(chan error, 1)
	go func() {
		if err := c.Write(redistest.Encode("AUTH", "oid-app", token)); err != nil {
			sent <- err
			return
		}
		chunk := []byte(strings.Repeat(string(ping), 1<<10))
		for range pings >> 10 {
			if err := c.Write(chunk); err != nil {
				sent <- err
				return
			}
			written.Add(int64(len(chunk)))
		}
		sent <- nil
	}()
	eventually(t, 5*time.Second, "the issuer is asked", func() bool { return p.asked.Load() > 0 })
	last, same := int64(-1), 0
	eventually(t, 8*time.Second, "the client can write no more", func() bool {
		r.want(other, "PONG", "PING") // on the same loop
		if w := written.Load(); w != last {
			last, same = w, 0
		} else if same++; same > 60 {
			return true
		}
		return false
	})
	if last == pings*int64(len(ping)) {
		t.Fatal("everything was read while the proof was out")
	}
	if held := buffered(t, r); held > 512<<10 {
		t.Errorf("%d bytes are held meanwhile", held)
	}
	p.mu.Lock()
	close(p.hold)
	p.hold = nil
	p.mu.Unlock()
	if v, err := c.Receive(); fmt.Sprint(v) != "OK" {
		t.Fatal(v, err)
	}
	for i := range pings {
		if v, err := c.Receive(); v != "PONG" {
			t.Fatal(i, v, err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if n := p.asked.Load(); n > 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// buffered is what the proxy says it holds for clients.
func buffered(t *testing.T, r *rig) int {
	t.Helper()
	rec := httptest.NewRecorder()
	r.server.Metrics().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		var v float64
		if n, _ := fmt.Sscanf(line, "sallyport_buffer_bytes %g", &v); n == 1 {
			return int(v)
		}
	}
	t.Fatal("no sallyport_buffer_bytes")
	return 0
}

func TestReAUTHExtendsATokenSessionAndNobodyElseTakesItOver(t *testing.T) {
	for _, open := range []bool{false, true} {
		p := newIDP(t)
		r := tokens(t, p, func(s *setup) { s.auth.TokenSwitch = open })
		c := r.dial("plain", nil)
		role := []any{"roles", []string{"readers"}}
		r.want(c, "OK", "AUTH", "anna", p.sign("k1", "anna", 4*time.Second, role...))
		r.want(c, "OK", "AUTH", "anna", p.sign("k1", "anna", time.Hour, role...))
		want, who := wrongPass, "anna"
		if open {
			want, who = "OK", "berta"
		}
		r.want(c, want, "AUTH", "berta", p.sign("k1", "berta", time.Hour, role...))
		r.want(c, who, "ACL", "WHOAMI")
		if open {
			continue
		}
		r.await("auth", "user", "berta", "reason", "token_for_other")
		over := time.NewTimer(4 * time.Second) // the first token's end passes
		<-over.C
		r.want(c, "anna", "ACL", "WHOAMI")
		// A password is a proof of its own, and the session's from then on.
		r.want(c, "OK", "AUTH", "root", "root-pw")
		r.want(c, "OK", "AUTH", "berta", p.sign("k1", "berta", time.Hour, role...))
	}
}

func TestASessionEndsWithItsTokenAndIsAnnouncedToEnd(t *testing.T) {
	p := newIDP(t)
	r := tokens(t, p, nil)
	c := r.dial("plain", nil)
	r.want(c, "OK", "AUTH", "oid-app", p.sign("k1", "oid-app", 4*time.Second))
	exp := time.Unix(time.Now().Add(4*time.Second).Unix(), 0)
	r.want(c, "<nil>", "GET", "app:a")
	closed(t, c)
	if early := time.Until(exp.Add(time.Second)); early < 0 || early > 4*time.Second {
		t.Errorf("it ended %v before the second after its end", early)
	}
	ev := r.await("close_conn", "user", "app", "reason", "token_expired")
	warned := r.await("auth", "user", "app", "status", "expiring", "method", "token")
	if warned["conn"] != ev["conn"] || warned["expires"] == nil || warned["token_id"] == nil {
		t.Error("the announcement says", warned)
	}
	if fmt.Sprint(warned["time"]) >= fmt.Sprint(ev["time"]) {
		t.Error("the announcement came at the end")
	}
}

// Replies owed at a session's end still arrive; nothing new is decided, and
// nothing is said that was not asked for.
func TestAtItsEndASessionGetsItsOwedRepliesAndNothingElse(t *testing.T) {
	redis := redistest.Start(t)
	p := newIDP(t)
	r := withRig(t, redis.Addr(), func(s *setup) {
		s.auth.Tokens = p.verifier
		s.source = func(src *acl.Source) {
			src.Tokens = []acl.TokenSource{{Name: text("corp")}}
			edit(src, "root").Token = &acl.TokenUserSource{Issuer: text("corp")}
		}
	})
	c := r.dial("plain", nil)
	r.want(c, "OK", "AUTH", "root", p.sign("k1", "root", 3*time.Second))
	r.want(c, "OK", "SET", "k", "v")
	direct, err := redistest.Dial("tcp", redis.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if _, err := direct.Do("CLIENT", "PAUSE", "3500", "ALL"); err != nil { // until after the token's end
		t.Fatal(err)
	}
	c.Send("GET", "k")
	v, err := c.Receive()
	if err == nil && v != "v" {
		t.Fatalf("instead of its reply or its end it reads %v", v)
	}
	if err == nil {
		closed(t, c)
	}
	r.await("close_conn", "user", "root", "reason", "token_expired")
}

func TestARemovedIssuerOrTokenEndsLiveSessions(t *testing.T) {
	p := newIDP(t)
	r := tokens(t, p, func(s *setup) {
		inner := s.source
		s.source = func(src *acl.Source) {
			inner(src)
			src.Users = append(src.Users, acl.UserSource{
				Name: text("ci"), Rules: text("on ~* +@all"), Tokens: []acl.OpaqueTokenSource{{Hash: text(acl.HashPassword([]byte("opaque"))), Expires: text("2100-01-01")}},
			})
		}
	})
	c, guest, ci, root := r.dial("plain", nil), r.dial("plain", nil), r.dial("plain", nil), r.login("root")
	r.want(c, "OK", "AUTH", "oid-app", p.sign("k1", "oid-app", time.Hour))
	r.want(guest, "OK", "AUTH", "guest", p.sign("k1", "guest", time.Hour, "roles", []string{"readers"}))
	r.want(ci, "OK", "AUTH", "ci", "opaque")
	r.await("auth", "user", "ci", "method", "token", "status", "ok")
	r.server.SetPolicy(compileWith(t, map[string]string{"app": everything, "root": everything}, nil, func(src *acl.Source) {
		src.Users = append(src.Users, acl.UserSource{Name: text("ci"), Rules: text("on ~* +@all >x")})
	}))
	for _, gone := range []*redistest.Client{c, guest, ci} {
		closed(t, gone)
	}
	for _, user := range []string{"app", "guest", "ci"} {
		r.await("close_conn", "user", user, "reason", "policy_changed")
	}
	r.want(root, "root", "ACL", "WHOAMI")
}

func TestTokensAreTakenAndNotTakenAfterAReload(t *testing.T) {
	p := newIDP(t)
	r := tokens(t, p, func(s *setup) { s.auth.Tokens = nil })
	tok := p.sign("k1", "oid-app", time.Hour)
	r.want(r.dial("plain", nil), wrongPass, "AUTH", "oid-app", tok)
	o := r.options
	o.Auth = proxy.Auth{Tokens: p.verifier, NoThrottle: true}
	if err := r.server.Reload(o); err != nil {
		t.Fatal(err)
	}
	r.want(r.dial("plain", nil), "OK", "AUTH", "oid-app", tok)
}
