package acl

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

// Ways in which somebody would be more than he is. Each fails.

// A role is a selector of its own: what it grants and what the user's own rules
// grant do not add up on one key.
func TestEscalation_role_merge(t *testing.T) {
	src := house(member("app", "on >pw-of-app ~app:* +@write", func(u *UserSource) { u.Roles = textsOf("reader") }))
	src.Roles = []RoleSource{{Name: Text{Value: "reader"}, Rules: Text{Value: "+@read ~shared:*"}}}
	p := mustCompile(t, src)
	for line, want := range map[string]bool{
		"SET app:1 v": true, "GET shared:1": true,
		"SET shared:1 v": false, "GET app:1": false, "COPY shared:1 app:1": false, "RENAME shared:1 app:1": false,
	} {
		if d := decide(t, p, "app", line); d.Allowed != want {
			t.Errorf("%s: %s", line, verdict(d))
		}
	}
}

func TestEscalation_token_named_as_a_local_user(t *testing.T) {
	src := tokenHouse()
	src.ACLFile = []UserSource{{Name: Text{Value: "filed"}, Rules: Text{Value: "on ~* &* +@all"}}}
	p := mustCompile(t, src)
	p, err := p.WithUser("made", []string{"on", "~*", "+@all"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"local", "filed", "made", "opaque"} {
		a := Attempt{Listener: "gw", User: name, Password: []byte("ey"), Now: noon,
			Token: &TokenClaims{Issuer: "idp", User: name, Roles: []string{"reader"}, Expires: noon.Add(time.Hour)}}
		if pr, r := p.Authenticate(&a); r != TokenForOther || pr.User != nil {
			t.Errorf("%s is entered: %v", name, r)
		}
	}
}

func TestEscalation_token_of_another_issuer(t *testing.T) {
	p := mustCompile(t, tokenHouse())
	for _, issuer := range []string{"other", "aside", "former", "evil", "", "IDP", "idp "} {
		for _, claim := range []string{"oid-of-shop", "named"} {
			a := Attempt{Listener: "gw", User: claim, Password: []byte("ey"), Now: noon,
				Token: &TokenClaims{Issuer: issuer, User: claim, Expires: noon.Add(time.Hour)}}
			if pr, r := p.Authenticate(&a); r == None || pr.User != nil {
				t.Errorf("issuer %q enters as %s", issuer, claim)
			}
		}
	}
}

// Redis lets everybody in as default when its file says nothing of default.
func TestEscalation_aclfile_without_default(t *testing.T) {
	src := house()
	var problems []Problem
	src.ACLFile, problems = ParseFile("users.acl", "user app on >pw-of-app ~* +@all\n")
	if problems != nil {
		t.Fatal(problems)
	}
	src.Listeners[0].Anonymous = true
	p := mustCompile(t, src)
	if p.Anonymous("gw") != nil {
		t.Error("sessions begin as default")
	}
	for _, password := range []string{"", "x", "pw-of-app"} {
		if pr, r := p.Authenticate(&Attempt{Listener: "gw", User: "default", Password: []byte(password), Now: noon}); r != NoSuchUser || pr.User != nil {
			t.Errorf("AUTH default %q: %v", password, r)
		}
	}
}

// A script reaches every key, so the names of EVAL and its kin open nothing to
// a user of few keys, in no mode, and by no role.
func TestEscalation_eval_with_narrow_keys(t *testing.T) {
	for _, modes := range []Modes{{}, {Guard: Report}, {Guard: Off, ACL: Off}, {ACL: Report}} {
		src := house(member("app", "on >pw-of-app ~app:* &* +@all +eval +evalsha +fcall +script|load +function|load +@scripting", func(u *UserSource) { u.Roles = textsOf("all") }))
		src.Roles = []RoleSource{{Name: Text{Value: "all"}, Rules: Text{Value: "~* +eval"}}}
		src.Modes = modes
		p := mustCompile(t, src)
		for _, line := range []string{
			"EVAL redis.call('FLUSHALL') 0", "EVAL x 1 app:1", "EVALSHA x 1 app:1", "EVAL_RO x 0", "FCALL f 1 app:1", "SCRIPT LOAD x", "FUNCTION LOAD x",
			"FUNCTION RESTORE x", "FUNCTION DELETE x",
		} {
			if d := decide(t, p, "app", line); d.Allowed || d.Reported {
				t.Errorf("%+v: %s: %s", modes, line, verdict(d))
			}
		}
	}
}

// Report mode lets calls pass, but none that would change who may what.
func TestEscalation_report_mode_and_acl_setuser(t *testing.T) {
	src := house(member("app", "on >pw-of-app ~* +@all", nil))
	src.Modes = Modes{Allow: Report, Guard: Report, ACL: Report}
	p := mustCompile(t, src)
	for _, line := range []string{"ACL SETUSER app +@all", "acl setuser x on nopass", "ACL DELUSER default", "ACL LOAD", "ACL SAVE", "SHUTDOWN", "DEBUG SLEEP 1"} {
		if d := decide(t, p, "app", line); d.Allowed || d.Reported {
			t.Errorf("%s: %s", line, verdict(d))
		}
	}
	if d := decide(t, p, "app", "CONFIG GET x"); !d.Reported {
		t.Errorf("CONFIG GET is not let pass by report mode, so this test says nothing: %s", verdict(d))
	}
}

// Naming a container names none of its guarded subcommands.
func TestEscalation_config_for_config_set(t *testing.T) {
	p := mustCompile(t, house(
		member("app", "on >pw-of-app ~* +@all +config", nil),
		member("get", "on >pw-of-get ~* +@all +config|get", nil),
		member("first", "on >pw-of-first ~* +@all +config +config|get", nil),
	))
	for _, user := range []string{"app", "get", "first"} {
		for _, line := range []string{"CONFIG SET dir /", "CONFIG REWRITE", "CONFIG RESETSTAT"} {
			if d := decide(t, p, user, line); d.Allowed {
				t.Errorf("%s: %s: %s", user, line, verdict(d))
			}
		}
	}
	if !decide(t, p, "get", "CONFIG GET x").Allowed || decide(t, p, "app", "CONFIG GET x").Allowed {
		t.Error("config|get is not what its name alone opens")
	}
}

// After RESET a session is what it was after admission: the certificate's user
// only if the certificate alone suffices.
func TestEscalation_reset(t *testing.T) {
	p := mustCompile(t, house(
		member("joint", "on >pw-of-joint ~*", func(u *UserSource) {
			u.Certificates, u.Require = []CertificateSource{{CN: textsOf("joint")}}, textsOf("certificate", "password")
		}),
		member("default", "on nopass ~*", func(u *UserSource) { u.Listeners = textsOf("side") }),
	).withAnonymous("side"))
	a := Attempt{Listener: "gw", Cert: &Certificate{CommonNames: []string{"joint"}}, Now: noon}
	if pr, r := p.Identify(&a); pr.User != nil || r != None {
		t.Errorf("got %q, %v", userOf(pr), r)
	}
	if p.Anonymous("gw") != nil || p.Anonymous("side") == nil {
		t.Error("default is had where it is not meant to be")
	}
	// A session that is default without proof does not stay so where it is not anonymous.
	if _, r := p.Renew(Principal{User: p.User("default")}, &a); r == None {
		t.Error("it goes on as default")
	}
}

func (s Source) withAnonymous(name string) Source {
	for i := range s.Listeners {
		s.Listeners[i].Anonymous = s.Listeners[i].Anonymous || s.Listeners[i].Name.Value == name
	}
	return s
}

// HELLO and AUTH are outside a user's rules; nothing that travels inside MULTI
// is decided by another user than the session's.
func TestEscalation_hello_and_auth_inside_multi(t *testing.T) {
	p := mustCompile(t, house(member("app", "on >pw-of-app ~app:* +@all -auth -hello", nil)))
	for _, line := range []string{"AUTH x", "HELLO 3 AUTH a b", "RESET", "QUIT"} {
		call := parseCall(t, p.Table(), line)
		if d := p.Decide(p.User("app"), call); !d.Allowed {
			t.Errorf("%s: %s", line, verdict(d))
		}
		// They are answered by the proxy, which refuses them inside a transaction:
		// a backend must never see them.
		if call.Class != command.Local {
			t.Errorf("%s is %v", line, call.Class)
		}
	}
}

// A ticket of one listener does not resume at another; should a certificate
// come from there all the same, its user is bound to his listener.
func TestEscalation_resumption_across_listeners(t *testing.T) {
	p := mustCompile(t, house(member("app", "on ~* +@all", func(u *UserSource) {
		u.Certificates, u.Listeners = []CertificateSource{{CN: textsOf("app")}}, textsOf("side")
	})))
	a := Attempt{Listener: "side", Cert: &Certificate{CommonNames: []string{"app"}}, Now: noon}
	pr, r := p.Identify(&a)
	if r != None || userOf(pr) != "app" {
		t.Fatalf("it does not begin: %v", r)
	}
	a.Listener = "gw"
	if pr, _ := p.Identify(&a); pr.User != nil {
		t.Error("the certificate is good elsewhere")
	}
	if _, r := p.Renew(pr, &a); r == None {
		t.Error("the session is good elsewhere")
	}
}

func TestEscalation_certificate_only_user_by_AUTH(t *testing.T) {
	p := mustCompile(t, house(
		member("batch", "on ~* +@all", func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("batch")}} }),
		member("open", "on nopass ~* +@all", func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("open")}} }),
	))
	for _, user := range []string{"batch", "open"} {
		for _, password := range []string{"", user, "x", hashOf(""), strings.Repeat("0", 64)} {
			for _, cert := range []*Certificate{nil, {CommonNames: []string{user}}, {CommonNames: []string{"x"}}} {
				a := Attempt{Listener: "gw", User: user, Password: []byte(password), Cert: cert, Now: noon}
				if pr, r := p.Authenticate(&a); r == None || pr.User != nil {
					t.Errorf("AUTH %s %q with %v lets in", user, password, cert)
				}
			}
		}
		if pr, _ := p.Identify(&Attempt{Listener: "gw", Cert: &Certificate{CommonNames: []string{user}}, Now: noon}); userOf(pr) != user {
			t.Errorf("the certificate itself does not let %s in", user)
		}
	}
}

// The operator's users are out of ACL SETUSER's and DELUSER's reach.
func TestEscalation_setuser_of_a_user_in_policy_yaml(t *testing.T) {
	src := house(member("app", "on >pw-of-app ~app:* +get", nil))
	src.ACLFile = []UserSource{{Name: Text{Value: "filed"}, Rules: Text{Value: "on ~* +get"}}}
	p := mustCompile(t, src)
	want := "User 'app' is defined in policy.yaml"
	if q, err := p.WithUser("app", []string{"+@all", "~*"}); q != nil || err == nil || err.Error() != want {
		t.Errorf("SETUSER: %v", err)
	}
	if q, err := p.WithoutUser("app"); q != nil || err == nil || err.Error() != want {
		t.Errorf("DELUSER: %v", err)
	}
	if q, err := p.WithoutUser("default"); q != nil || err != ErrDefaultUser {
		t.Errorf("DELUSER default: %v", err)
	}
	if q, err := p.WithUser("filed", []string{"+set"}); err != nil || !decide(t, q, "filed", "SET a b").Allowed {
		t.Errorf("a user of the aclfile: %v", err)
	}
	if q, problems := p.WithFile([]UserSource{{Name: Text{Value: "app"}, Rules: Text{Value: "on ~* +@all"}}}); q != nil || len(problems) != 1 {
		t.Errorf("ACL LOAD: %s", problemLines(problems))
	}
}
