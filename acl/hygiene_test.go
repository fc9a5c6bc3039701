package acl

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An entry works through its until and no longer, and says so when it is read.
func TestUntil(t *testing.T) {
	src := house(
		member("app", "on >pw-of-app ~*", func(u *UserSource) {
			u.Note = Note{Why: Text{Value: "migration"}, Owner: Text{Value: "shop team"}, Until: Text{Value: "2026-12-02"}}
		}),
		member("gone", "on >pw-of-gone ~*", func(u *UserSource) {
			u.Note.Until = Text{Value: "2026-11-30", At: Origin{File: "policy.yaml", Line: 9}}
		}),
	)
	src.Listeners[0].Allow = textsOf("10.0.0.0/8", "192.0.2.0/24", "198.51.100.7")
	src.Listeners[0].AllowNotes = []Note{{}, {Until: Text{Value: "2026-12-01T15:00:00+02:00"}}}
	p, problems := Compile(src)
	if p == nil || len(problems) != 1 || !problems[0].Warning || problems[0].String() != `policy.yaml:9: users.gone: ended with "2026-11-30", it does not work any more` {
		t.Fatal(problemLines(problems))
	}
	if why, owner, until := p.User("app").Note(); why != "migration" || owner != "shop team" || !until.Equal(time.Date(2026, 12, 3, 0, 0, 0, -1, time.UTC)) {
		t.Errorf("got %s, %s, %v", why, owner, until)
	}
	one := time.Date(2026, 12, 1, 13, 0, 0, 0, time.UTC)
	if p.NextEnd() != one.In(p.NextEnd().Location()) && !p.NextEnd().Equal(one) || p.At(one) != p || p.At(noon) != p {
		t.Errorf("the first end is %v", p.NextEnd())
	}
	admitted := func(p *Policy, a string) bool { return p.AdmitAddr("gw", netip.MustParseAddr(a)).Allowed }
	if !admitted(p, "192.0.2.1") {
		t.Error("it ended before its time")
	}
	after := p.At(one.Add(time.Nanosecond))
	if after == p || admitted(after, "192.0.2.1") || !admitted(after, "10.1.1.1") || !admitted(after, "198.51.100.7") || !admitted(p, "192.0.2.1") {
		t.Error("not just the entry whose time has passed is gone")
	}
	if !after.NextEnd().Equal(time.Date(2026, 12, 3, 0, 0, 0, -1, time.UTC)) {
		t.Errorf("the next end is %v", after.NextEnd())
	}
	last := after.At(noon.AddDate(1, 0, 0))
	if !last.NextEnd().IsZero() || last.At(noon.AddDate(2, 0, 0)) != last {
		t.Errorf("there is another end: %v", last.NextEnd())
	}
	if _, r := last.Authenticate(&Attempt{Listener: "side", User: "app", Password: []byte("pw-of-app"), Now: noon.AddDate(1, 0, 0)}); r != UserExpired {
		t.Errorf("got %v", r)
	}
	for _, bad := range []string{"tomorrow", "2026-13-01", "2026-12-01 12:00", "01.12.2026"} {
		src.Users[0].Note.Until.Value = bad
		if p, problems := Compile(src); p != nil || !strings.Contains(problemLines(problems), "users.app.until: not a day or time:") {
			t.Errorf("%s: %s", bad, problemLines(problems))
		}
	}
}

func TestProblems_of_who_and_whence(t *testing.T) {
	in := func(edit func(*UserSource)) Source { return house(member("app", "on >pw-of-app ~*", edit)) }
	cert := func(c CertificateSource) Source {
		return in(func(u *UserSource) { u.Certificates = []CertificateSource{c} })
	}
	twins := house(
		member("a", "on ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("x", "same")}} }),
		member("b", "on ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("same")}} }),
	)
	for want, src := range map[string]Source{
		`users.app.require: unknown proof "pasword"`:                in(func(u *UserSource) { u.Require = textsOf("pasword") }),
		"users.app.require: certificate, but none is named":         in(func(u *UserSource) { u.Require = textsOf("certificate", "password") }),
		"users.app.require: token, but none may enter as this user": in(func(u *UserSource) { u.Require = textsOf("token") }),
		"users.app.require: network, but from: names none":          in(func(u *UserSource) { u.Require = textsOf("password", "network") }),
		"users.app.require: an address alone proves nobody":         in(func(u *UserSource) { u.Require, u.From = textsOf("network"), textsOf("10.0.0.0/8") }),
		"users.app.require: AUTH carries a password or a token, never both": in(func(u *UserSource) {
			u.Require, u.Tokens = textsOf("password", "token"), []OpaqueTokenSource{{Hash: Text{Value: hashOf("t")}}}
		}),
		"users.open.require: password, but the user is nopass":                   house(member("open", "on nopass ~*", func(u *UserSource) { u.Require = textsOf("password") })),
		"users.none.require: password, but the user has none":                    house(member("none", "on ~*", func(u *UserSource) { u.Require = textsOf("password") })),
		`users.app.from: not an address or network: "10.0.0"`:                    in(func(u *UserSource) { u.From = textsOf("10.0.0") }),
		`users.app.from: bits are set beyond the network's length: "10.0.0.1/8"`: in(func(u *UserSource) { u.From = textsOf("10.0.0.1/8") }),
		`users.app.listeners: unknown listener "gww"; did you mean "gw"?`:        in(func(u *UserSource) { u.Listeners = textsOf("gww") }),
		`users.app.token.issuer: unknown issuer "entra"`:                         in(func(u *UserSource) { u.Token = &TokenUserSource{Issuer: Text{Value: "entra"}} }),
		"users.app.certificate: names nothing":                                   cert(CertificateSource{}),
		"users.app.certificate.fingerprint: not the SHA-256 of a certificate":    cert(CertificateSource{Fingerprint: textsOf("ab:cd")}),
		"users.app.certificate.dns: no wildcards:":                               cert(CertificateSource{DNS: textsOf("*.internal")}),
		"users.app.certificate.cn: begins or ends with a blank":                  cert(CertificateSource{CN: textsOf("app ")}),
		"users.app.certificate.cn: holds a byte that does not print":             cert(CertificateSource{CN: textsOf("app\x00")}),
		`users.b.certificate: cn "same" stands for user a, too`:                  twins,
		"users.app.tokens: a token's hash is 64 lower-case hexadecimal digits":   in(func(u *UserSource) { u.Tokens = []OpaqueTokenSource{{Hash: Text{Value: "secret"}}} }),
		"users.app.tokens: the same token or password twice":                     in(func(u *UserSource) { u.Tokens = []OpaqueTokenSource{{Hash: Text{Value: hashOf("pw-of-app")}}} }),
		`users.app.tokens.expires: not a day or time: "soon"`: in(func(u *UserSource) {
			u.Tokens = []OpaqueTokenSource{{Hash: Text{Value: hashOf("t")}, Expires: Text{Value: "soon"}}}
		}),
		"users.app.password_hashes: not an argon2id hash": in(func(u *UserSource) { u.PasswordHashes = textsOf("$2b$10$secret") }),
		`users.app.passwords_set: not a day: "x"`:         in(func(u *UserSource) { u.PasswordsSet = Text{Value: "x"} }),
		"users.app: defined twice":                        func() Source { s := in(nil); s.ACLFile = []UserSource{{Name: Text{Value: "app"}}}; return s }(),
		"tokens.idp: defined twice": func() Source {
			s := in(nil)
			s.Tokens = []TokenSource{{Name: Text{Value: "idp"}}, {Name: Text{Value: "idp"}}}
			return s
		}(),
		`tokens.idp.roles: unknown role "raeder"`: func() Source {
			s := in(nil)
			s.Tokens = []TokenSource{{Name: Text{Value: "idp"}, Roles: textsOf("raeder")}}
			return s
		}(),
		"users.b.token: the same subject of this issuer is user a, too": func() Source {
			s := house(
				member("a", "on ~*", func(u *UserSource) { u.Token = &TokenUserSource{Issuer: Text{Value: "idp"}, Subject: Text{Value: "x"}} }),
				member("b", "on ~*", func(u *UserSource) { u.Token = &TokenUserSource{Issuer: Text{Value: "idp"}, Subject: Text{Value: "x"}} }),
			)
			s.Tokens = []TokenSource{{Name: Text{Value: "idp"}}}
			return s
		}(),
	} {
		p, problems := Compile(src)
		if text := problemLines(problems); p != nil || !strings.Contains(text, want) || strings.Contains(text, "secret") {
			t.Errorf("want %s\ngot  %s", want, text)
		}
	}
	// One name may stand for two users where no listener takes both.
	twins.Users[0].Listeners, twins.Users[1].Listeners = textsOf("gw"), textsOf("side")
	if p, problems := Compile(twins); p == nil {
		t.Error(problemLines(problems))
	}
}

// What is no fault, but seldom meant.
func TestWarnings(t *testing.T) {
	for rules, want := range map[string]string{
		"on >pw-of-app +get +@read ~a":         `rule "+get"`,
		"on >pw-of-app +@all ~a -@all +get":    `rule "+@all"`,
		"on >pw-of-app -get +get ~a":           `rule "-get"`,
		"on >pw-of-app +select|0 +select ~a":   "",
		"on >pw-of-app +select +select|0 ~a":   `rule "+select|0"`,
		"on >pw-of-app +get ~app:* ~app:x:*":   `rule "~app:x:*"`,
		"on >pw-of-app +get ~app:* %R~app:x":   `rule "%R~app:x"`,
		"on >pw-of-app +get %R~app:* ~app:x":   "",
		"on >pw-of-app +get ~app:* ~ap?:x":     "",
		"on >pw-of-app ~a +info +@dangerous":   "", // it lifts the guard
		"on >pw-of-app ~a +@read +@write +set": "",
		"on >pw-of-app ~a -@all +@read":        "",
		"on >pw-of-app ~a (+get +@read ~b)":    `rule "+get"`,
	} {
		p, problems := Compile(house(member("app", rules, nil)))
		text := problemLines(problems)
		if p == nil || want == "" && text != "" || !strings.Contains(text, want) || want != "" && len(problems) != 1 {
			t.Errorf("%s: %s", rules, text)
		}
		src := house()
		src.ACLFile = []UserSource{{Name: Text{Value: "app"}, Rules: Text{Value: rules}}}
		if _, problems := Compile(src); len(problems) != 0 {
			t.Errorf("in an aclfile: %s", problemLines(problems))
		}
	}
	for network, broad := range map[string]bool{
		"0.0.0.0/0": true, "8.0.0.0/8": true, "::/0": true, "2000::/3": true, "2a00::/12": true, "0.0.0.0/1": true,
		"8.8.0.0/16": false, "8.8.8.8": false, "10.0.0.0/8": false, "172.16.0.0/12": false, "fd00::/8": false, "2a00:1450::/32": false, "any": false, "unix": false,
		"9.0.0.0/15": true, "100.64.0.0/10": false, "127.0.0.0/8": false,
	} {
		_, problems := Compile(house(member("app", "on >pw-of-app ~*", func(u *UserSource) { u.From = textsOf(network) })))
		if got := strings.Contains(problemLines(problems), "broad public network"); got != broad || len(problems) > 1 {
			t.Errorf("%s: %s", network, problemLines(problems))
		}
	}
}

// Counters belong to whoever keeps them: a reload goes on counting, a rule that
// is gone is forgotten, and policies themselves stay as they are.
func TestHits(t *testing.T) {
	hits := NewHits()
	src := house(member("app", "on >pw-of-app ~* +get +@write", func(u *UserSource) { u.Roles = textsOf("reader") }))
	src.Roles = []RoleSource{{Name: Text{Value: "reader"}, Rules: Text{Value: "+@read ~*"}}}
	src.Hits = hits
	p := mustCompile(t, src)
	p.InForce()
	count := func(p *Policy, owner, text string) uint64 {
		for _, r := range p.Rules() {
			if r.Owner == owner && r.Text == text {
				return r.Hits()
			}
		}
		t.Fatalf("no rule %s of %s", text, owner)
		return 0
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 250 {
				p.Decide(p.User("app"), parseCall(t, p.Table(), "GET x")).Rule.Hit()
				p.Decide(p.User("app"), parseCall(t, p.Table(), "SET x v")).Rule.Hit()
				p.AdmitAddr("gw", netip.MustParseAddr("10.0.0.1")).Rule.Hit()
			}
		})
	}
	all.Wait()
	decide(t, p, "app", "MGET x").Rule.Hit()
	if a, b, c, d := count(p, "user app", "+get"), count(p, "user app", "+@write"), count(p, "listener gw", "allow: any"), count(p, "role reader", "+@read"); a != 1000 || b != 1000 || c != 1000 || d != 1 {
		t.Errorf("%d, %d, %d, %d", a, b, c, d)
	}
	src.Users[0].Rules = Text{Value: "on >pw-of-app ~* +get +@hash", At: Origin{File: "policy.yaml", Line: 77}}
	// One that compiles and never comes into force takes nothing away.
	never := src
	never.Users = []UserSource{member("other", "on >pw-of-app +set", nil)}
	mustCompile(t, never)
	q := mustCompile(t, src)
	q.InForce()
	if count(q, "user app", "+get") != 1000 || count(q, "user app", "+@hash") != 0 || count(q, "listener gw", "allow: any") != 1000 {
		t.Error("a reload forgets what was counted, or invents something")
	}
	src.Users[0].Rules.Value = "on >pw-of-app ~* +get +@write"
	if r := mustCompile(t, src); count(r, "user app", "+@write") != 0 {
		t.Error("a rule that was gone comes back with its count")
	}
	p.InForce()
	bad := src
	bad.Users = []UserSource{member("app", "on +nix", nil)}
	if b, _ := Compile(bad); b != nil {
		t.Fatal("a bad policy is taken")
	}
	if r := mustCompile(t, src); count(r, "user app", "+get") != 1000 {
		t.Error("a faulty reload loses what was counted")
	}
	with, err := p.WithUser("new", []string{"on", "+set", "~*"})
	if err != nil {
		t.Fatal(err)
	}
	decide(t, with, "new", "SET a b").Rule.Hit()
	if count(with, "user new", "+set") != 1 {
		t.Error("a user made at run time is not counted")
	}
	src.Hits = nil
	decide(t, mustCompile(t, src), "app", "GET x").Rule.Hit()
	(*Rule)(nil).Hit()
}

func TestParseFile(t *testing.T) {
	users, problems := ParseFile("users.acl", "user default off\n\n  user  app on ~a  +get \r\nuser bare\nUSER big on\n")
	if problems != nil || len(users) != 4 {
		t.Fatal(users, problems)
	}
	if u := users[1]; u.Name.Value != "app" || u.Rules.Value != "on ~a  +get" || u.Name.At != (Origin{"users.acl", 3, 9}) || u.Rules.At != (Origin{"users.acl", 3, 13}) {
		t.Errorf("got %+v", u)
	}
	if u := users[2]; u.Name.Value != "bare" || u.Rules.Value != "" {
		t.Errorf("got %+v", u)
	}
	src := house()
	src.ACLFile = append(users, UserSource{Name: Text{Value: "bad"}, Rules: Text{Value: "on +nix", At: Origin{"users.acl", 9, 10}}})
	if p, problems := Compile(src); p != nil || problemLines(problems) != `users.acl:9:13: users.bad.rules: unknown command "nix"` {
		t.Errorf("got %s", problemLines(problems))
	}
	for _, bad := range []string{"app on", "user", "user ", "# a comment", "users app on", "user\tapp on"} {
		if _, problems := ParseFile("users.acl", "user ok on\n"+bad+"\n"); len(problems) != 1 || problems[0].At.Line != 2 {
			t.Errorf("%q: %s", bad, problemLines(problems))
		}
	}
}

// ACL SETUSER, SAVE and LOAD: what is saved is what is there, but for the
// operator's own users; what is loaded stands in the place of all others.
func TestFileText_and_WithFile(t *testing.T) {
	src := house(member("mine", "on >pw-of-mine ~* +@all", nil))
	src.ACLFile, _ = ParseFile("users.acl", "user zed on ~z +get\nuser app on >pw ~a &c +@all -@dangerous (+get ~x)\n")
	p := mustCompile(t, src)
	if p.User("mine").Defined() != true || p.User("zed").Defined() || len(p.Unsaved()) != 0 {
		t.Error("who is whose is not known")
	}
	q, err := p.WithUser("made", []string{"on", ">secret", "~m", "+set"})
	if err != nil {
		t.Fatal(err)
	}
	if q, err = q.WithUser("zed", []string{"+set"}); err != nil {
		t.Fatal(err)
	}
	if got := q.Unsaved(); !slices.Equal(got, []string{"made", "zed"}) {
		t.Errorf("unsaved: %v", got)
	}
	text := q.FileText()
	want := "user app on sanitize-payload #" + hashOf("pw") + " ~a resetchannels &c +@all -@dangerous (~x resetchannels -@all +get)\n" +
		"user made on sanitize-payload #" + hashOf("secret") + " ~m resetchannels -@all +set\n" +
		"user zed on sanitize-payload ~z resetchannels -@all +get +set\n"
	if text != want {
		t.Errorf("got\n%s", text)
	}
	if s := q.Saved(); len(s.Unsaved()) != 0 || len(q.Unsaved()) != 2 || s.FileText() != text {
		t.Error("saving")
	}
	lines, problems := ParseFile("users.acl", text)
	r, more := p.WithFile(lines)
	if problems != nil || more != nil || r.FileText() != text || r.User("mine") != p.User("mine") || len(r.Unsaved()) != 0 {
		t.Errorf("loading: %v %v", problems, more)
	}
	if r, _ := q.WithFile(nil); len(r.Users()) != 1 || r.User("mine") == nil {
		t.Error("an empty file leaves users")
	}
	for _, bad := range []string{"user app on +nix\n", "user app on\nuser app on\n", "user default on nopass ~*\n", "user mine on\n"} {
		lines, _ := ParseFile("users.acl", "user ok on\n"+bad)
		if r, problems := q.WithFile(lines); r != nil || len(problems) == 0 {
			t.Errorf("%q: %s", bad, problemLines(problems))
		}
	}
}

// acl-pubsub-default allchannels: users and selectors begin with all channels,
// and return to them with reset; roles do not.
func TestOpenChannels(t *testing.T) {
	src := house(member("app", "on >pw-of-app +@all ~* (+publish ~x)", func(u *UserSource) { u.Roles = textsOf("r") }),
		member("few", "on >pw-of-few +@all resetchannels &news", nil))
	src.Roles = []RoleSource{{Name: Text{Value: "r"}, Rules: Text{Value: "+subscribe"}}}
	src.OpenChannels = true
	p := mustCompile(t, src)
	if !decide(t, p, "app", "PUBLISH any m").Allowed || decide(t, p, "few", "PUBLISH any m").Allowed || !decide(t, p, "few", "PUBLISH news m").Allowed {
		t.Error("the channels are not what was asked")
	}
	if s := p.User("app").Selectors(); s[0].Channels != "&*" || s[1].Channels != "&*" || s[2].Channels != "" {
		t.Errorf("got %+v", s)
	}
	q, err := p.WithUser("made", []string{"resetchannels", "on", "+publish", "reset", "on", "+publish"})
	if err != nil || !decide(t, q, "made", "PUBLISH any m").Allowed {
		t.Errorf("made at run time: %v", err)
	}
	if _, err := p.WithUser("made", []string{"&news"}); err == nil {
		t.Error("a channel after all channels is taken")
	}
	lines, _ := ParseFile("users.acl", q.FileText())
	if r, problems := p.WithFile(lines); r == nil || r.FileText() != q.FileText() {
		t.Errorf("what is saved reads back otherwise: %s", problemLines(problems))
	}
}
