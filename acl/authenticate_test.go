package acl

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

func textsOf(values ...string) []Text {
	if len(values) == 0 {
		return nil
	}
	list := make([]Text, len(values))
	for i, v := range values {
		list[i] = Text{Value: v, At: Origin{File: "policy.yaml", Line: i + 1, Column: 1}}
	}
	return list
}

// member is a user of policy.yaml with rules, changed by what edit does to it.
func member(name, rules string, edit func(*UserSource)) UserSource {
	u := UserSource{Name: textsOf(name)[0], Rules: Text{Value: rules, At: Origin{File: "policy.yaml", Line: 1, Column: 1}}}
	if edit != nil {
		edit(&u)
	}
	return u
}

// house is a policy with two listeners that take everything from everywhere.
func house(users ...UserSource) Source {
	return Source{
		Table: command.Newest(), Users: users, Now: noon,
		Listeners: []ListenerSource{{Name: Text{Value: "gw"}, Allow: textsOf("any")}, {Name: Text{Value: "side"}, Allow: textsOf("any")}},
	}
}

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func userOf(pr Principal) string {
	if pr.User == nil {
		return ""
	}
	return pr.User.Name()
}

// The names of a certificate are compared byte by byte, kind by kind, and a
// certificate that could mean two people means nobody.
func TestIdentify(t *testing.T) {
	fingerprint := hashOf("the certificate")
	colons := strings.ToUpper(fingerprint[:2]) + ":" + fingerprint[2:]
	src := house(
		member("uri", "on ~*", func(u *UserSource) {
			u.Certificates = []CertificateSource{{URI: textsOf("spiffe://prod/app", "https://app")}}
		}),
		member("dns", "on ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{DNS: textsOf("app.internal")}} }),
		member("email", "on ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{Email: textsOf("app@example.org")}} }),
		member("cn", "on ~*", func(u *UserSource) {
			u.Certificates = []CertificateSource{{CN: textsOf("app")}, {CN: textsOf("app-2")}}
		}),
		member("print", "on ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{Fingerprint: textsOf(colons)}} }),
		member("both", "on ~*", func(u *UserSource) {
			u.Certificates = []CertificateSource{{CN: textsOf("both"), DNS: textsOf("both.internal")}}
		}),
		member("off", "off ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("off")}} }),
		member("ended", "on ~*", func(u *UserSource) {
			u.Certificates = []CertificateSource{{CN: textsOf("ended")}}
			u.Note.Until = Text{Value: "2026-11-30"}
		}),
		member("inside", "on ~*", func(u *UserSource) {
			u.Certificates, u.From = []CertificateSource{{CN: textsOf("inside")}}, textsOf("10.0.0.0/8")
		}),
		member("scoped", "on ~*", func(u *UserSource) {
			u.Certificates, u.Listeners = []CertificateSource{{CN: textsOf("scoped")}}, textsOf("side")
		}),
		member("joint", "on >pw-of-joint ~*", func(u *UserSource) {
			u.Certificates, u.Require = []CertificateSource{{CN: textsOf("joint")}}, textsOf("certificate", "password")
		}),
		member("near", "on ~*", func(u *UserSource) {
			u.Certificates, u.Require, u.From = []CertificateSource{{CN: textsOf("near")}}, textsOf("certificate", "network"), textsOf("10.0.0.0/8")
		}),
		member("plain", "on >pw-of-plain ~*", nil),
		member("shared-a", "on ~*", func(u *UserSource) {
			u.Certificates, u.Listeners = []CertificateSource{{CN: textsOf("shared")}}, textsOf("gw")
		}),
		member("shared-b", "on ~*", func(u *UserSource) {
			u.Certificates, u.Listeners = []CertificateSource{{CN: textsOf("shared")}}, textsOf("side")
		}),
	)
	p := mustCompile(t, src)
	for name, test := range map[string]struct {
		cert     Certificate
		listener string
		from     string
		user     string
		reason   Reason
	}{
		"a URI":                                  {cert: Certificate{URI: []string{"spiffe://prod/app"}}, user: "uri"},
		"the other URI of a list":                {cert: Certificate{URI: []string{"https://app"}}, user: "uri"},
		"two URIs of the same user":              {cert: Certificate{URI: []string{"https://app", "https://other"}}, user: "uri"},
		"a SPIFFE ID among several URIs":         {cert: Certificate{URI: []string{"spiffe://prod/app", "https://app"}}, reason: CertificateAmbiguous},
		"a SPIFFE ID in capitals among several":  {cert: Certificate{URI: []string{"https://app", "SPIFFE://x"}}, reason: CertificateAmbiguous},
		"a URI in another case":                  {cert: Certificate{URI: []string{"spiffe://prod/App"}}},
		"a URI with more behind it":              {cert: Certificate{URI: []string{"spiffe://prod/app/"}}},
		"a URI that begins the same":             {cert: Certificate{URI: []string{"spiffe://prod/ap"}}},
		"a DNS name":                             {cert: Certificate{DNS: []string{"app.internal"}}, user: "dns"},
		"one of several DNS names":               {cert: Certificate{DNS: []string{"x.internal", "app.internal"}}, user: "dns"},
		"a DNS name in another case":             {cert: Certificate{DNS: []string{"App.internal"}}},
		"a DNS name with a trailing dot":         {cert: Certificate{DNS: []string{"app.internal."}}},
		"a DNS wildcard":                         {cert: Certificate{DNS: []string{"*.internal"}}},
		"a DNS name that stands as CN":           {cert: Certificate{CommonNames: []string{"app.internal"}}},
		"a CN that stands as DNS name":           {cert: Certificate{DNS: []string{"app"}}},
		"an e-mail address":                      {cert: Certificate{Email: []string{"app@example.org"}}, user: "email"},
		"an e-mail address with two at signs":    {cert: Certificate{Email: []string{"app@example.org@evil.org"}}},
		"a CN":                                   {cert: Certificate{CommonNames: []string{"app"}}, user: "cn"},
		"the other CN of a user":                 {cert: Certificate{CommonNames: []string{"app-2"}}, user: "cn"},
		"a CN with a trailing blank":             {cert: Certificate{CommonNames: []string{"app "}}},
		"a CN in another case":                   {cert: Certificate{CommonNames: []string{"App"}}},
		"an empty CN":                            {cert: Certificate{CommonNames: []string{""}}},
		"no name at all":                         {cert: Certificate{}},
		"two CNs":                                {cert: Certificate{CommonNames: []string{"app", "x"}}, reason: CertificateAmbiguous},
		"two CNs of one user":                    {cert: Certificate{CommonNames: []string{"app", "app-2"}}, reason: CertificateAmbiguous},
		"two CNs as the handshake saw them":      {cert: Certificate{CommonNames: []string{"app"}, Ambiguous: true}, reason: CertificateAmbiguous},
		"two CNs and a URI that fits":            {cert: Certificate{CommonNames: []string{"a", "b"}, URI: []string{"https://app"}}, reason: CertificateAmbiguous},
		"NUL in the CN":                          {cert: Certificate{CommonNames: []string{"app\x00.evil.org"}}, reason: CertificateAmbiguous},
		"NUL in another name":                    {cert: Certificate{CommonNames: []string{"app"}, DNS: []string{"a\x00b"}}, reason: CertificateAmbiguous},
		"a line end in the CN":                   {cert: Certificate{CommonNames: []string{"app\n"}}, reason: CertificateAmbiguous},
		"a control byte in the e-mail address":   {cert: Certificate{Email: []string{"app@example.org\x7f"}}, reason: CertificateAmbiguous},
		"bytes that are no text":                 {cert: Certificate{CommonNames: []string{"app\xff"}}, reason: CertificateAmbiguous},
		"the fingerprint":                        {cert: Certificate{SHA256: fingerprint, CommonNames: []string{"whoever"}}, user: "print"},
		"another fingerprint":                    {cert: Certificate{SHA256: hashOf("another")}},
		"both names":                             {cert: Certificate{CommonNames: []string{"both"}, DNS: []string{"both.internal"}}, user: "both"},
		"one of two names that are needed":       {cert: Certificate{CommonNames: []string{"both"}}},
		"the other of two names that are needed": {cert: Certificate{DNS: []string{"both.internal"}}},
		"two users fit":                          {cert: Certificate{CommonNames: []string{"app"}, DNS: []string{"app.internal"}}, reason: CertificateAmbiguous},
		"two users fit and one of them is off":   {cert: Certificate{CommonNames: []string{"off"}, DNS: []string{"app.internal"}}, reason: CertificateAmbiguous},
		"a user who is off":                      {cert: Certificate{CommonNames: []string{"off"}}, reason: UserDisabled},
		"a user whose time has passed":           {cert: Certificate{CommonNames: []string{"ended"}}, reason: UserExpired},
		"a user of another listener":             {cert: Certificate{CommonNames: []string{"scoped"}}},
		"a user of this listener":                {cert: Certificate{CommonNames: []string{"scoped"}}, listener: "side", user: "scoped"},
		"a name shared between listeners, here":  {cert: Certificate{CommonNames: []string{"shared"}}, user: "shared-a"},
		"a name shared between listeners, there": {cert: Certificate{CommonNames: []string{"shared"}}, listener: "side", user: "shared-b"},
		"from inside":                            {cert: Certificate{CommonNames: []string{"inside"}}, from: "10.1.1.1", user: "inside"},
		"from inside, mapped into IPv6":          {cert: Certificate{CommonNames: []string{"inside"}}, from: "::ffff:10.1.1.1", user: "inside"},
		"from outside":                           {cert: Certificate{CommonNames: []string{"inside"}}, from: "11.1.1.1", reason: SourceNotAllowed},
		"from a unix socket":                     {cert: Certificate{CommonNames: []string{"inside"}}, from: "unix", reason: SourceNotAllowed},
		"a user who needs a password, too":       {cert: Certificate{CommonNames: []string{"joint"}}},
		"certificate and network":                {cert: Certificate{CommonNames: []string{"near"}}, from: "10.1.1.1", user: "near"},
		"certificate without the network":        {cert: Certificate{CommonNames: []string{"near"}}, from: "9.9.9.9", reason: SourceNotAllowed},
		"the name of a user with a password":     {cert: Certificate{CommonNames: []string{"plain"}}},
		"an unknown listener":                    {cert: Certificate{CommonNames: []string{"app"}}, listener: "none", reason: MethodRefused},
	} {
		t.Run(name, func(t *testing.T) {
			a := Attempt{Listener: "gw", Addr: addr("192.0.2.1"), Cert: &test.cert, Now: noon}
			switch {
			case test.from == "unix":
				a.Addr = netip.Addr{}
			case test.from != "":
				a.Addr = addr(test.from)
			}
			if test.listener != "" {
				a.Listener = test.listener
			}
			pr, r := p.Identify(&a)
			if userOf(pr) != test.user || r != test.reason {
				t.Fatalf("got %q, %v, want %q, %v", userOf(pr), r, test.user, test.reason)
			}
			if test.user != "" && (pr.Method != MethodCertificate || pr.Factors&FactorCertificate == 0) {
				t.Errorf("the method is %v, the factors are %v", pr.Method, pr.Factors)
			}
			// Whoever the certificate means, AUTH with any password is no way in for him.
			if test.user != "" {
				for _, password := range []string{"", "x", test.user, fingerprint} {
					a.User, a.Password = test.user, []byte(password)
					if pr, r := p.Authenticate(&a); r == None || pr.User != nil {
						t.Errorf("AUTH with %q lets in", password)
					}
				}
			}
		})
	}
	if pr, r := p.Identify(&Attempt{Listener: "gw", Now: noon}); pr.User != nil || r != None {
		t.Errorf("without a certificate: %v", r)
	}
}

func TestIdentify_where_the_listener_takes_no_certificates(t *testing.T) {
	src := house(member("app", "on >pw-of-app ~*", func(u *UserSource) {
		u.Certificates, u.Require = []CertificateSource{{CN: textsOf("app")}}, textsOf("certificate", "password")
	}), member("alone", "on ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("alone")}} }))
	src.Listeners[0].Auth = textsOf("password")
	p := mustCompile(t, src)
	a := Attempt{Listener: "gw", Cert: &Certificate{CommonNames: []string{"alone"}}, Now: noon}
	if pr, r := p.Identify(&a); pr.User != nil || r != None {
		t.Errorf("got %q, %v", userOf(pr), r)
	}
	a = Attempt{Listener: "gw", Cert: &Certificate{CommonNames: []string{"app"}}, User: "app", Password: []byte("pw-of-app"), Now: noon}
	if _, r := p.Authenticate(&a); r != FactorMissing {
		t.Errorf("a certificate counts where the listener takes none: %v", r)
	}
}

// Proofs that are required together: any that is missing is a refusal, and
// what the user does not require is no substitute.
func TestAuthenticate_joint_factors(t *testing.T) {
	cert := &Certificate{CommonNames: []string{"app"}}
	other := &Certificate{CommonNames: []string{"other"}}
	users := func(require ...string) UserSource {
		return member("app", "on #"+hashOf("pw")+" ~*", func(u *UserSource) {
			u.Require, u.Certificates = textsOf(require...), []CertificateSource{{CN: textsOf("app")}}
			u.From = textsOf("10.0.0.0/8", "unix")
			u.Tokens = []OpaqueTokenSource{{Hash: Text{Value: hashOf("token")}, Expires: Text{Value: "2026-12-31"}}}
		})
	}
	for name, test := range map[string]struct {
		require string
		a       Attempt
		factors string
		reason  Reason
	}{
		"any one: password":                       {"", Attempt{User: "app", Password: []byte("pw")}, "password+network", None},
		"any one: token":                          {"", Attempt{User: "app", Password: []byte("token")}, "token+network", None},
		"any one: neither":                        {"", Attempt{User: "app", Password: []byte("x")}, "", WrongPassword},
		"any one: the certificate is no password": {"", Attempt{User: "app", Password: []byte("x"), Cert: cert}, "", WrongPassword},
		"both":                                     {"certificate password", Attempt{User: "app", Password: []byte("pw"), Cert: cert}, "certificate+password+network", None},
		"both, without the certificate":            {"certificate password", Attempt{User: "app", Password: []byte("pw")}, "", FactorMissing},
		"both, with another's certificate":         {"certificate password", Attempt{User: "app", Password: []byte("pw"), Cert: other}, "", FactorMissing},
		"both, with an ambiguous one":              {"certificate password", Attempt{User: "app", Password: []byte("pw"), Cert: &Certificate{CommonNames: []string{"app"}, Ambiguous: true}}, "", FactorMissing},
		"both, with a wrong password":              {"certificate password", Attempt{User: "app", Password: []byte("x"), Cert: cert}, "", WrongPassword},
		"both, with a token for the password":      {"certificate password", Attempt{User: "app", Password: []byte("token"), Cert: cert}, "", FactorMissing},
		"certificate and token":                    {"certificate token", Attempt{User: "app", Password: []byte("token"), Cert: cert}, "certificate+token+network", None},
		"certificate and token, with the password": {"certificate token", Attempt{User: "app", Password: []byte("pw"), Cert: cert}, "", FactorMissing},
		"password and network":                     {"password network", Attempt{User: "app", Password: []byte("pw")}, "password+network", None},
		"password and network, over a unix socket": {"password network", Attempt{User: "app", Password: []byte("pw"), Addr: netip.Addr{}}, "password+network", None},
		"password and network, from outside":       {"password network", Attempt{User: "app", Password: []byte("pw"), Addr: addr("8.8.8.8")}, "", SourceNotAllowed},
		"certificate alone, by AUTH":               {"certificate", Attempt{User: "app", Password: []byte("x"), Cert: cert}, "", WrongPassword},
		"certificate alone, by its password":       {"certificate", Attempt{User: "app", Password: []byte("pw")}, "", FactorMissing},
		"password alone, with the certificate":     {"password", Attempt{Cert: cert}, "", None},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustCompile(t, house(users(strings.Fields(test.require)...)))
			a := test.a
			a.Listener, a.Now = "gw", noon
			if !a.Addr.IsValid() && name != "password and network, over a unix socket" {
				a.Addr = addr("10.1.2.3")
			}
			if a.User == "" {
				if pr, r := p.Identify(&a); pr.User != nil || r != None {
					t.Fatalf("got %q, %v", userOf(pr), r)
				}
				return
			}
			pr, r := p.Authenticate(&a)
			if r != test.reason || (pr.User != nil) != (r == None) || r == None && pr.Factors.String() != test.factors {
				t.Errorf("got %v with %v, want %v with %s", r, pr.Factors, test.reason, test.factors)
			}
		})
	}
}

// nopass with a certificate, a token or a slow hash would be a way round them.
func TestAuthenticate_nopass_never_opens_a_user_who_is_proved_otherwise(t *testing.T) {
	slow, err := HashArgon2id([]byte("pw"), strings.NewReader(strings.Repeat("s", 16)))
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*UserSource){
		"certificate":  func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("app")}} },
		"issuer":       func(u *UserSource) { u.Token = &TokenUserSource{Issuer: Text{Value: "idp"}} },
		"opaque token": func(u *UserSource) { u.Tokens = []OpaqueTokenSource{{Hash: Text{Value: hashOf("token")}}} },
		"argon2id":     func(u *UserSource) { u.PasswordHashes = textsOf(slow) },
	} {
		src := house(member("app", "on nopass ~* +@all", edit))
		src.Tokens = []TokenSource{{Name: Text{Value: "idp"}}}
		p, problems := Compile(src)
		if p == nil || !strings.Contains(problemLines(problems), "nopass has no effect") {
			t.Fatalf("%s: %s", name, problemLines(problems))
		}
		for _, cert := range []*Certificate{nil, {CommonNames: []string{"app"}}, {CommonNames: []string{"x"}}} {
			a := Attempt{Listener: "gw", Addr: addr("10.0.0.1"), User: "app", Password: []byte("anything"), Cert: cert, Now: noon}
			if pr, r := p.Authenticate(&a); r != WrongPassword || pr.User != nil {
				t.Errorf("%s, certificate %v: %v", name, cert, r)
			}
		}
	}
}

func TestAuthenticate_scope_and_network(t *testing.T) {
	p := mustCompile(t, house(
		member("side", "on >pw-of-side ~*", func(u *UserSource) { u.Listeners = textsOf("side") }),
		member("v4", "on >pw-of-v4 ~*", func(u *UserSource) { u.From = textsOf("10.0.0.0/8", "192.0.2.7") }),
		member("v6", "on >pw-of-v6 ~*", func(u *UserSource) { u.From = textsOf("2001:db8::/32") }),
		member("local", "on >pw-of-local ~*", func(u *UserSource) { u.From = textsOf("unix") }),
		member("any", "on >pw-of-any ~*", func(u *UserSource) { u.From = textsOf("any") }),
		member("ended", "on >pw-of-ended ~*", func(u *UserSource) { u.Note.Until = Text{Value: "2026-12-01T11:59:59Z"} }),
		member("today", "on >pw-of-today ~*", func(u *UserSource) { u.Note.Until = Text{Value: "2026-12-01"} }),
	))
	for _, test := range []struct {
		user, listener, from string
		want                 Reason
	}{
		{"side", "side", "8.8.8.8", None}, {"side", "gw", "8.8.8.8", ListenerNotAllowed},
		{"v4", "gw", "10.1.1.1", None}, {"v4", "gw", "::ffff:10.1.1.1", None}, {"v4", "gw", "192.0.2.7", None},
		{"v4", "gw", "192.0.2.8", SourceNotAllowed}, {"v4", "gw", "64:ff9b::10.1.1.1", SourceNotAllowed}, {"v4", "gw", "", SourceNotAllowed},
		{"v6", "gw", "2001:db8::1", None}, {"v6", "gw", "2001:db9::1", SourceNotAllowed}, {"v6", "gw", "10.1.1.1", SourceNotAllowed},
		{"local", "gw", "", None}, {"local", "gw", "127.0.0.1", SourceNotAllowed},
		{"any", "gw", "", None}, {"any", "gw", "8.8.8.8", None}, {"any", "gw", "2001:db8::1", None},
		{"ended", "gw", "8.8.8.8", UserExpired}, {"today", "gw", "8.8.8.8", None},
	} {
		a := Attempt{Listener: test.listener, Addr: addr(test.from), User: test.user, Password: []byte("pw-of-" + test.user), Now: noon}
		if pr, r := p.Authenticate(&a); r != test.want || (pr.User != nil) != (r == None) {
			t.Errorf("%+v: %v", test, r)
		}
		a.Password = []byte("wrong")
		if _, r := p.Authenticate(&a); r == None {
			t.Errorf("%+v: a wrong password lets in", test)
		}
		if e := p.ExplainLogin(test.user, test.listener, addr(test.from), noon); e.Reason != test.want {
			t.Errorf("%+v: explained as %v", test, e.Reason)
		}
	}
}

// A listener that says which methods it takes takes no other.
func TestAuthenticate_methods_of_a_listener(t *testing.T) {
	src := house(member("app", "on >pw-of-app ~*", func(u *UserSource) {
		u.Tokens = []OpaqueTokenSource{{Hash: Text{Value: hashOf("token")}, Expires: Text{Value: "2027-01-01"}}}
		u.Token = &TokenUserSource{Issuer: Text{Value: "idp"}}
	}))
	src.Tokens = []TokenSource{{Name: Text{Value: "idp"}}}
	claims := &TokenClaims{Issuer: "idp", User: "app", Expires: noon.Add(time.Hour)}
	for _, test := range []struct {
		auth                      string
		password, token, webtoken Reason
	}{
		{"password token", None, None, None},
		{"password", None, MethodRefused, MethodRefused},
		{"token", MethodRefused, None, None},
		{"certificate", MethodRefused, MethodRefused, MethodRefused},
	} {
		src.Listeners[0].Auth = textsOf(strings.Fields(test.auth)...)
		p := mustCompile(t, src)
		try := func(password string, c *TokenClaims) Reason {
			_, r := p.Authenticate(&Attempt{Listener: "gw", User: "app", Password: []byte(password), Token: c, Now: noon})
			return r
		}
		if r := try("pw-of-app", nil); r != test.password {
			t.Errorf("%s: password: %v", test.auth, r)
		}
		if r := try("token", nil); r != test.token {
			t.Errorf("%s: token: %v", test.auth, r)
		}
		if r := try("ey…", claims); r != test.webtoken {
			t.Errorf("%s: web token: %v", test.auth, r)
		}
	}
}

// Where a role holds it is part of the principal's user; elsewhere it is not.
func TestAuthenticate_roles_hold_where_they_say(t *testing.T) {
	src := house(member("app", "on >pw-of-app ~app:* +get", func(u *UserSource) { u.Roles = textsOf("near", "always", "aside", "past") }))
	role := func(name string, edit func(*RoleSource)) {
		r := RoleSource{Name: Text{Value: name}, Rules: Text{Value: "+@read ~" + name + ":*"}}
		edit(&r)
		src.Roles = append(src.Roles, r)
	}
	role("near", func(r *RoleSource) { r.From = textsOf("10.0.0.0/8") })
	role("always", func(*RoleSource) {})
	role("aside", func(r *RoleSource) { r.Listeners = textsOf("side") })
	role("past", func(r *RoleSource) { r.Note.Until = Text{Value: "2026-12-01T13:00:00Z"} })
	p := mustCompile(t, src)
	for _, test := range []struct {
		listener, from string
		now            time.Time
		roles          string
	}{
		{"gw", "10.1.1.1", noon, "near always past"},
		{"gw", "8.8.8.8", noon, "always past"},
		{"side", "10.1.1.1", noon, "near always aside past"},
		{"side", "8.8.8.8", noon.Add(2 * time.Hour), "always aside"},
		{"gw", "", noon.Add(2 * time.Hour), "always"},
	} {
		a := Attempt{Listener: test.listener, Addr: addr(test.from), User: "app", Password: []byte("pw-of-app"), Now: test.now}
		pr, r := p.Authenticate(&a)
		if r != None || strings.Join(pr.User.Roles(), " ") != test.roles {
			t.Fatalf("%+v: %v %v", test, r, pr.User.Roles())
		}
		for _, name := range []string{"near", "always", "aside", "past"} {
			want := slices.Contains(strings.Fields(test.roles), name)
			if d := p.Decide(pr.User, parseCall(t, p.Table(), "GET "+name+":1")); d.Allowed != want {
				t.Errorf("%+v: %s allowed %v", test, name, d.Allowed)
			}
		}
		if !p.Decide(pr.User, parseCall(t, p.Table(), "GET app:1")).Allowed {
			t.Errorf("%+v: the user's own rules are gone", test)
		}
		// The same session moved into the same policy keeps just these.
		if again, r := p.Renew(pr, &a); r != None || !slices.Equal(again.User.Roles(), pr.User.Roles()) {
			t.Errorf("%+v: renewed: %v %v", test, r, again.User.Roles())
		}
	}
	if u := p.User("app"); len(u.Roles()) != 4 || !strings.Contains(u.Line(), "~aside:*") {
		t.Errorf("the listing shows the user without its roles: %s", u.Line())
	}
}

// What the record and a session must know of a failure is one Reason; whoever
// fails, the same is compared.
func TestAuthenticate_costs_the_same_whoever_is_asked_about(t *testing.T) {
	p := mustCompile(t, house(
		member("many", "on >aaaa1 >aaaa2 >aaaa3 ~*", func(u *UserSource) {
			u.Tokens = []OpaqueTokenSource{{Hash: Text{Value: hashOf("t1")}}, {Hash: Text{Value: hashOf("t2")}}}
		}),
		member("none", "on ~*", nil), member("off", "off >aaaa1 ~*", nil),
	))
	if p.mostHashes != 3 || p.mostTokens != 2 {
		t.Errorf("%d hashes and %d tokens are compared", p.mostHashes, p.mostTokens)
	}
	for _, user := range []string{"many", "none", "off", "nobody", ""} {
		a := Attempt{Listener: "gw", User: user, Password: []byte("wrong"), Now: noon}
		if n := testing.AllocsPerRun(100, func() { p.Authenticate(&a) }); n != 0 {
			t.Errorf("%s: %v allocations", user, n)
		}
	}
}

func TestACertificateThatCouldBeTwoUsersIsNoFactorOfEither(t *testing.T) {
	source := house(
		member("ops", "on #"+hashOf("pw")+" ~* +@read", func(u *UserSource) {
			u.Certificates = []CertificateSource{{CN: textsOf("ops")}}
			u.Require = textsOf("certificate", "password")
		}),
		member("batch", "on ~* +@read", func(u *UserSource) {
			u.Certificates = []CertificateSource{{URI: textsOf("spiffe://prod/batch")}}
			u.Listeners = textsOf("gw")
		}),
	)
	p, problems := Compile(source)
	if p == nil {
		t.Fatal(problems)
	}
	both := &Certificate{CommonNames: []string{"ops"}, URI: []string{"spiffe://prod/batch"}}
	a := Attempt{Listener: "gw", Addr: addr("10.0.0.1"), User: "ops", Password: []byte("pw"), Cert: both, Now: noon}
	if pr, r := p.Authenticate(&a); r != FactorMissing {
		t.Errorf("with a certificate of two users: %q %v", userOf(pr), r)
	}
	a.Listener = "side" // where batch is nobody
	pr, r := p.Authenticate(&a)
	if r != None || pr.Factors&FactorCertificate == 0 {
		t.Errorf("where it is one user's alone: %q %v %v", userOf(pr), pr.Factors, r)
	}
	if _, r := p.Renew(pr, &a); r != None {
		t.Errorf("renewed: %v", r)
	}
}
