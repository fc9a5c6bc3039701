package proxy_test

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// changed gives a verifier of the issuer under another configuration, with its keys read.
func (p *idp) changed(change func(*token.Issuer)) *token.Verifier {
	p.t.Helper()
	i := token.Issuer{
		Name: "corp", Issuer: "https://corp.example", Audience: []string{"redis"}, Algorithms: []string{"ES256"},
		Keys: token.Keys{URL: p.server.URL}, UserClaim: "oid", Roles: token.Roles{Claim: "roles", Map: map[string][]string{"readers": {"reader"}, "writers": {"writer"}}},
	}
	change(&i)
	v, err := token.New([]token.Issuer{i}, token.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := v.Load(context.Background()); err != nil {
		p.t.Fatal(err)
	}
	return v
}

func reloadTokens(t *testing.T, r *rig, v *token.Verifier) {
	t.Helper()
	o := r.options
	o.Auth = proxy.Auth{Tokens: v, NoThrottle: true}
	if err := r.server.Reload(o); err != nil {
		t.Fatal(err)
	}
}

// A live session whose token would not be taken any more ends, within moments,
// whatever of its issuer's configuration it is that changed; others stay.
func TestALiveTokenSessionIsJudgedByTheConfigurationInForce(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*token.Issuer)
		ends   bool
	}{
		"nothing":          {func(*token.Issuer) {}, false},
		"another audience": {func(i *token.Issuer) { i.Audience = []string{"elsewhere"} }, true},
		"its algorithm":    {func(i *token.Issuer) { i.Algorithms = []string{"RS256"} }, true},
		"its roles":        {func(i *token.Issuer) { i.Roles.Map = map[string][]string{"others": {"reader"}} }, true},
		"the user claim":   {func(i *token.Issuer) { i.UserClaim = "name" }, true},
		"the leeway":       {func(i *token.Issuer) { i.Leeway = time.Second }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			r := tokens(t, p, nil)
			c1, root := r.dial("plain", nil), r.login("root")
			r.want(c1, "OK", "AUTH", "guest", p.sign("k1", "guest", time.Hour, "roles", []string{"readers"}, "name", "somebody"))
			r.want(c1, "<nil>", "GET", "shared:a")
			reloadTokens(t, r, p.changed(c.change))
			if c.ends {
				closed(t, c1)
				r.await("close_conn", "user", "guest", "reason", "policy_changed")
			} else {
				r.want(c1, "<nil>", "GET", "shared:a")
			}
			r.want(root, "root", "ACL", "WHOAMI")
		})
	}
}

func TestAMapOfRolesThatChangesChangesWhatALiveTokenMayDo(t *testing.T) {
	p := newIDP(t)
	r := tokens(t, p, func(s *setup) {
		inner := s.source
		s.source = func(src *acl.Source) {
			inner(src)
			src.Roles = append(src.Roles, acl.RoleSource{Name: text("writer"), Rules: text("+@write ~shared:*")})
			src.Tokens[0].Roles = texts("reader", "writer")
		}
	})
	c := r.dial("plain", nil)
	r.want(c, "OK", "AUTH", "guest", p.sign("k1", "guest", time.Hour, "roles", []string{"readers", "writers"}))
	r.want(c, "NOPERM User guest has no permissions to run the 'set' command", "SET", "shared:a", "v")
	reloadTokens(t, r, p.changed(func(*token.Issuer) {}))
	eventually(t, 5*time.Second, "the token writes", func() bool { v, _ := c.Do("SET", "shared:a", "v"); return v == "OK" })
	reloadTokens(t, r, p.changed(func(i *token.Issuer) { delete(i.Roles.Map, "readers") }))
	eventually(t, 5*time.Second, "the token reads no more", func() bool { _, err := c.Do("GET", "shared:a"); return err != nil })
	r.want(c, "OK", "SET", "shared:a", "w")
}

// A key that its issuer withdraws ends the sessions it proved as soon as that is known.
func TestAWithdrawnKeyEndsTheSessionsItProved(t *testing.T) {
	p := newIDP(t)
	p.rotate("k2")
	v := p.changed(func(*token.Issuer) {})
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.auth.Tokens = v
		s.source = func(src *acl.Source) {
			src.Tokens = []acl.TokenSource{{Name: text("corp")}}
			edit(src, "app").Token = &acl.TokenUserSource{Issuer: text("corp")}
		}
	})
	old, kept := r.dial("plain", nil), r.dial("plain", nil)
	r.want(old, "OK", "AUTH", "app", p.sign("k1", "app", time.Hour))
	r.want(kept, "OK", "AUTH", "app", p.sign("k2", "app", time.Hour))
	p.mu.Lock()
	delete(p.keys, "k1")
	p.mu.Unlock()
	reloadTokens(t, r, p.changed(func(*token.Issuer) {}))
	closed(t, old)
	r.want(kept, "<nil>", "GET", "app:a")
	r.server.RejudgeTokens()
	r.want(kept, "<nil>", "GET", "app:a")
}

// What a session listens to is part of what its token lets it have.
func TestAListenerWhoseTokenMeansLessNowIsClosed(t *testing.T) {
	p := newIDP(t)
	r := tokens(t, p, func(s *setup) {
		inner := s.source
		s.source = func(src *acl.Source) {
			inner(src)
			src.Roles = append(src.Roles, acl.RoleSource{Name: text("writer"), Rules: text("+subscribe &news")})
			src.Tokens[0].Roles = texts("reader", "writer")
		}
	})
	reloadTokens(t, r, p.changed(func(*token.Issuer) {}))
	reader, listener := r.dial("plain", nil), r.dial("plain", nil)
	for _, c := range []*redistest.Client{reader, listener} {
		r.want(c, "OK", "AUTH", "guest", p.sign("k1", "guest", time.Hour, "roles", []string{"readers", "writers"}))
	}
	r.want(listener, "[subscribe news 1]", "SUBSCRIBE", "news")
	reloadTokens(t, r, p.changed(func(i *token.Issuer) { delete(i.Roles.Map, "writers") }))
	closed(t, listener)
	r.await("close_conn", "user", "guest", "reason", "policy_changed")
	r.want(reader, "<nil>", "GET", "shared:a")
}
