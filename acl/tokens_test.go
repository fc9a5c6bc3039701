package acl

import (
	"strings"
	"testing"
	"time"
)

// tokenHouse has issuers, roles and users whom tokens may and may not enter.
func tokenHouse() Source {
	src := house(
		member("shop", "on ~shop:* +@write", func(u *UserSource) {
			u.Token = &TokenUserSource{Issuer: Text{Value: "idp"}, Subject: Text{Value: "oid-of-shop"}}
		}),
		member("named", "on ~named:* +get", func(u *UserSource) { u.Token = &TokenUserSource{Issuer: Text{Value: "idp"}} }),
		member("local", "on >pw-of-local ~* +@all", nil),
		member("off", "off ~* +@all", func(u *UserSource) { u.Token = &TokenUserSource{Issuer: Text{Value: "idp"}} }),
		member("side", "on ~* +@all", func(u *UserSource) {
			u.Token, u.Listeners = &TokenUserSource{Issuer: Text{Value: "idp"}}, textsOf("side")
		}),
		member("joint", "on ~* +@all", func(u *UserSource) {
			u.Token, u.Require = &TokenUserSource{Issuer: Text{Value: "idp"}}, textsOf("token", "certificate")
			u.Certificates = []CertificateSource{{CN: textsOf("joint")}}
		}),
		member("opaque", "on >pw-of-opaque ~* +get", func(u *UserSource) {
			u.Tokens = []OpaqueTokenSource{
				{Hash: Text{Value: "#" + hashOf("good")}, Expires: Text{Value: "2026-12-01T13:00:00Z"}},
				{Hash: Text{Value: hashOf("over")}, Expires: Text{Value: "2026-12-01T12:00:00Z"}},
			}
		}),
	)
	src.Roles = []RoleSource{
		{Name: Text{Value: "reader"}, Rules: Text{Value: "+@read ~shared:*"}},
		{Name: Text{Value: "writer"}, Rules: Text{Value: "+@write ~shared:*"}},
	}
	src.Tokens = []TokenSource{
		{Name: Text{Value: "idp"}, Login: Text{Value: "token"}, Roles: textsOf("reader", "writer")},
		{Name: Text{Value: "other"}},
		{Name: Text{Value: "aside"}, Listeners: textsOf("side")},
		{Name: Text{Value: "former"}, Note: Note{Until: Text{Value: "2026-11-01"}}},
	}
	return src
}

func TestAuthenticate_by_token(t *testing.T) {
	p := mustCompile(t, tokenHouse())
	later := noon.Add(time.Hour)
	for name, test := range map[string]struct {
		user     string // given to AUTH
		claims   TokenClaims
		listener string
		cert     *Certificate
		want     string // the principal
		roles    string
		reason   Reason
	}{
		"the user who names the claim":             {user: "oid-of-shop", claims: TokenClaims{Issuer: "idp", User: "oid-of-shop", Expires: later}, want: "shop"},
		"by the issuer's fixed name":               {user: "token", claims: TokenClaims{Issuer: "idp", User: "oid-of-shop", Expires: later}, want: "shop"},
		"with roles of the token besides":          {user: "oid-of-shop", claims: TokenClaims{Issuer: "idp", User: "oid-of-shop", Roles: []string{"reader"}, Expires: later}, want: "shop", roles: "reader"},
		"with a role nobody knows":                 {user: "oid-of-shop", claims: TokenClaims{Issuer: "idp", User: "oid-of-shop", Roles: []string{"root"}, Expires: later}, want: "shop"},
		"the user who names the issuer":            {user: "named", claims: TokenClaims{Issuer: "idp", User: "named", Expires: later}, want: "named"},
		"nobody's claim, with a role":              {user: "oid-7", claims: TokenClaims{Issuer: "idp", User: "oid-7", Roles: []string{"writer", "reader"}, Expires: later}, want: "oid-7", roles: "writer reader"},
		"the same role twice":                      {user: "oid-7", claims: TokenClaims{Issuer: "idp", User: "oid-7", Roles: []string{"reader", "reader"}, Expires: later}, want: "oid-7", roles: "reader"},
		"nobody's claim, without a role":           {user: "oid-7", claims: TokenClaims{Issuer: "idp", User: "oid-7", Expires: later}, reason: TokenWithoutRole},
		"nobody's claim, with a role nobody knows": {user: "oid-7", claims: TokenClaims{Issuer: "idp", User: "oid-7", Roles: []string{"root"}, Expires: later}, reason: TokenWithoutRole},
		"the claim is a local user's name":         {user: "local", claims: TokenClaims{Issuer: "idp", User: "local", Roles: []string{"reader"}, Expires: later}, reason: TokenForOther},
		"the user's own name is not its subject":   {user: "shop", claims: TokenClaims{Issuer: "idp", User: "shop", Roles: []string{"reader"}, Expires: later}, reason: TokenForOther},
		"another issuer says the same":             {user: "oid-of-shop", claims: TokenClaims{Issuer: "other", User: "oid-of-shop", Expires: later}, reason: TokenWithoutRole},
		"another issuer says the user's name":      {user: "named", claims: TokenClaims{Issuer: "other", User: "named", Roles: []string{"reader"}, Expires: later}, reason: TokenForOther},
		"an issuer nobody knows":                   {user: "named", claims: TokenClaims{Issuer: "evil", User: "named", Expires: later}, reason: TokenInvalid},
		"no issuer":                                {user: "named", claims: TokenClaims{User: "named", Expires: later}, reason: TokenInvalid},
		"an issuer whose time has passed":          {user: "x", claims: TokenClaims{Issuer: "former", User: "x", Roles: []string{"reader"}, Expires: later}, reason: TokenInvalid},
		"an issuer of another listener":            {user: "x", claims: TokenClaims{Issuer: "aside", User: "x", Roles: []string{"reader"}, Expires: later}, reason: ListenerNotAllowed},
		"an issuer of this listener":               {user: "x", claims: TokenClaims{Issuer: "aside", User: "x", Roles: []string{"reader"}, Expires: later}, listener: "side", want: "x", roles: "reader"},
		"another name than the claim":              {user: "local", claims: TokenClaims{Issuer: "idp", User: "oid-of-shop", Expires: later}, reason: TokenForOther},
		"the entered user's name instead of claim": {user: "shop", claims: TokenClaims{Issuer: "idp", User: "oid-of-shop", Expires: later}, reason: TokenForOther},
		"no name":                               {user: "", claims: TokenClaims{Issuer: "idp", User: "oid-of-shop", Expires: later}, reason: TokenForOther},
		"the fixed name of another issuer":      {user: "token", claims: TokenClaims{Issuer: "other", User: "x", Roles: []string{"reader"}, Expires: later}, reason: TokenForOther},
		"an empty claim":                        {user: "", claims: TokenClaims{Issuer: "idp", Roles: []string{"reader"}, Expires: later}, reason: TokenInvalid},
		"a claim with a blank":                  {user: "a b", claims: TokenClaims{Issuer: "idp", User: "a b", Roles: []string{"reader"}, Expires: later}, reason: TokenInvalid},
		"a claim with NUL":                      {user: "shop\x00", claims: TokenClaims{Issuer: "idp", User: "shop\x00", Roles: []string{"reader"}, Expires: later}, reason: TokenInvalid},
		"a token that is over":                  {user: "named", claims: TokenClaims{Issuer: "idp", User: "named", Expires: noon}, reason: TokenExpired},
		"a token without an end":                {user: "named", claims: TokenClaims{Issuer: "idp", User: "named"}, reason: TokenExpired},
		"claims that say they are opaque":       {user: "named", claims: TokenClaims{Issuer: "idp", User: "named", Expires: later, Opaque: true}, reason: TokenInvalid},
		"a user who is off":                     {user: "off", claims: TokenClaims{Issuer: "idp", User: "off", Roles: []string{"reader"}, Expires: later}, reason: UserDisabled},
		"a user of another listener":            {user: "side", claims: TokenClaims{Issuer: "idp", User: "side", Expires: later}, reason: ListenerNotAllowed},
		"a user who needs a certificate, too":   {user: "joint", claims: TokenClaims{Issuer: "idp", User: "joint", Expires: later}, reason: FactorMissing},
		"a user who shows the certificate, too": {user: "joint", claims: TokenClaims{Issuer: "idp", User: "joint", Expires: later}, cert: &Certificate{CommonNames: []string{"joint"}}, want: "joint"},
		"an unknown listener":                   {user: "named", claims: TokenClaims{Issuer: "idp", User: "named", Expires: later}, listener: "none", reason: MethodRefused},
	} {
		t.Run(name, func(t *testing.T) {
			a := Attempt{Listener: "gw", Addr: addr("10.0.0.1"), User: test.user, Password: []byte("ey…"), Token: &test.claims, Cert: test.cert, Now: noon}
			if test.listener != "" {
				a.Listener = test.listener
			}
			pr, r := p.Authenticate(&a)
			if userOf(pr) != test.want || r != test.reason {
				t.Fatalf("got %q, %v, want %q, %v", userOf(pr), r, test.want, test.reason)
			}
			if test.want == "" {
				return
			}
			if got := strings.Join(pr.User.Roles(), " "); got != test.roles {
				t.Errorf("roles %q, want %q", got, test.roles)
			}
			if pr.Method != MethodToken || pr.Factors&FactorToken == 0 || !pr.Expires.Equal(later) || pr.Issuer != test.claims.Issuer {
				t.Errorf("got %+v", pr)
			}
			for _, line := range []string{"CONFIG GET x", "FLUSHALL", "GET elsewhere"} {
				if test.want == test.claims.User && p.User(test.want) == nil && p.Decide(pr.User, parseCall(t, p.Table(), line)).Allowed {
					t.Errorf("a principal of roles alone may %s", line)
				}
			}
		})
	}
}

func TestAuthenticate_by_opaque_token(t *testing.T) {
	p := mustCompile(t, tokenHouse())
	try := func(user, secret string, now time.Time) (Principal, Reason) {
		return p.Authenticate(&Attempt{Listener: "gw", User: user, Password: []byte(secret), Now: now})
	}
	pr, r := try("opaque", "good", noon)
	if r != None || pr.Method != MethodToken || !pr.Expires.Equal(noon.Add(time.Hour)) || pr.TokenID != "sha256:"+hashOf("good")[:16] {
		t.Fatalf("%v: %+v", r, pr)
	}
	if _, r := p.Renew(pr, &Attempt{Listener: "gw", Now: noon}); r != None {
		t.Errorf("a live session: %v", r)
	}
	for _, test := range []struct {
		user, secret string
		now          time.Time
		want         Reason
	}{
		{"opaque", "over", noon, TokenExpired}, {"opaque", "good", noon.Add(time.Hour), TokenExpired}, {"opaque", "x", noon, WrongPassword},
		{"opaque", hashOf("good"), noon, WrongPassword}, {"local", "good", noon, WrongPassword}, {"nobody", "good", noon, NoSuchUser},
		{"opaque", "pw-of-opaque", noon, None},
	} {
		if _, r := try(test.user, test.secret, test.now); r != test.want {
			t.Errorf("%+v: %v", test, r)
		}
	}
	if _, r := p.Renew(pr, &Attempt{Listener: "gw", Now: noon.Add(2 * time.Hour)}); r != TokenExpired {
		t.Errorf("a live session after its token's end: %v", r)
	}
	src := tokenHouse()
	src.Users[len(src.Users)-1].Tokens[0].Expires.Value = "2026-12-01T12:30:00Z"
	if next, r := mustCompile(t, src).Renew(pr, &Attempt{Listener: "gw", Now: noon}); r != None || !next.Expires.Equal(noon.Add(30*time.Minute)) {
		t.Errorf("a live session whose token is to end earlier: %v, until %v", r, next.Expires)
	}
	src.Users[len(src.Users)-1].Tokens = src.Users[len(src.Users)-1].Tokens[1:]
	if _, r := mustCompile(t, src).Renew(pr, &Attempt{Listener: "gw", Now: noon}); r != TokenInvalid {
		t.Errorf("a live session whose token is withdrawn: %v", r)
	}
}

// A live session is held against what a new policy says: it goes on only if it
// could begin anew.
func TestRenew(t *testing.T) {
	base := func() Source {
		src := tokenHouse()
		src.Users = append(src.Users,
			member("app", "on >pw-of-app ~*", func(u *UserSource) {
				u.Certificates, u.Require, u.From = []CertificateSource{{CN: textsOf("app")}}, textsOf("certificate", "password"), textsOf("10.0.0.0/8")
			}),
			member("alone", "on ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("alone")}} }),
			member("open", "on nopass ~*", nil),
		)
		return src
	}
	user := func(src *Source, name string) *UserSource {
		for i := range src.Users {
			if src.Users[i].Name.Value == name {
				return &src.Users[i]
			}
		}
		t.Fatalf("no user %s", name)
		return nil
	}
	later := noon.Add(time.Hour)
	sessions := map[string]Attempt{
		"app":   {User: "app", Password: []byte("pw-of-app"), Cert: &Certificate{CommonNames: []string{"app"}}},
		"alone": {Cert: &Certificate{CommonNames: []string{"alone"}}},
		"open":  {User: "open", Password: []byte("x")},
		"local": {User: "local", Password: []byte("pw-of-local")},
		"shop":  {User: "token", Password: []byte("ey"), Token: &TokenClaims{Issuer: "idp", User: "oid-of-shop", Roles: []string{"reader"}, Expires: later}},
		"oid-7": {User: "oid-7", Password: []byte("ey"), Token: &TokenClaims{Issuer: "idp", User: "oid-7", Roles: []string{"reader"}, Expires: later}},
	}
	before := mustCompile(t, base())
	for name, test := range map[string]struct {
		session string
		change  func(*Source)
		at      func(*Attempt)
		want    Reason
	}{
		"nothing changed, app":    {session: "app"},
		"nothing changed, alone":  {session: "alone"},
		"nothing changed, open":   {session: "open"},
		"nothing changed, local":  {session: "local"},
		"nothing changed, shop":   {session: "shop"},
		"nothing changed, oid-7":  {session: "oid-7"},
		"the user is gone":        {session: "local", change: func(s *Source) { user(s, "local").Name.Value = "other" }, want: NoSuchUser},
		"the user is off":         {session: "local", change: func(s *Source) { user(s, "local").Rules.Value = "off" }, want: UserDisabled},
		"the password is another": {session: "local", change: func(s *Source) { user(s, "local").Rules.Value = "on >another-one" }, want: WrongPassword},
		"nopass is taken back":    {session: "open", change: func(s *Source) { user(s, "open").Rules.Value = "on >another-one" }, want: WrongPassword},
		"the user's time passed":  {session: "local", change: func(s *Source) { user(s, "local").Note.Until.Value = "2026-11-01" }, want: UserExpired},
		"out of scope":            {session: "local", change: func(s *Source) { user(s, "local").Listeners = textsOf("side") }, want: ListenerNotAllowed},
		"from elsewhere":          {session: "local", change: func(s *Source) { user(s, "local").From = textsOf("192.168.0.0/16") }, want: SourceNotAllowed},
		"password switched off":   {session: "local", change: func(s *Source) { s.Listeners[0].Auth = textsOf("token") }, want: MethodRefused},
		"a certificate is required": {session: "local", change: func(s *Source) {
			u := user(s, "local")
			u.Certificates, u.Require = []CertificateSource{{CN: textsOf("local")}}, textsOf("certificate", "password")
		}, want: FactorMissing},
		"a token is required now": {session: "local", change: func(s *Source) {
			u := user(s, "local")
			u.Token, u.Require = &TokenUserSource{Issuer: Text{Value: "idp"}}, textsOf("token")
		}, want: FactorMissing},
		"the certificate fits no more": {session: "app", change: func(s *Source) { user(s, "app").Certificates[0].CN = textsOf("app-2") }, want: FactorMissing},
		"it was the only proof":        {session: "alone", change: func(s *Source) { user(s, "alone").Certificates[0].CN = textsOf("alone-2") }, want: FactorMissing},
		"the certificate is another user's": {session: "alone", change: func(s *Source) {
			user(s, "alone").Certificates[0].CN = textsOf("alone-2")
			user(s, "local").Certificates = []CertificateSource{{CN: textsOf("alone")}}
		}, want: FactorMissing},
		"a second user fits": {session: "alone", change: func(s *Source) {
			user(s, "local").Certificates = []CertificateSource{{CN: textsOf("alone", "x"), Fingerprint: textsOf(hashOf("c"))}}
		}, at: func(a *Attempt) { a.Cert.SHA256 = hashOf("c") }, want: CertificateAmbiguous},
		"certificates switched off": {session: "alone", change: func(s *Source) { s.Listeners[0].Auth = textsOf("token") }, want: FactorMissing},
		"it needs a password now": {session: "alone", change: func(s *Source) {
			user(s, "alone").Rules.Value, user(s, "alone").Require = "on >pw-of-alone", textsOf("password")
		}, want: FactorMissing},
		"the token's end": {session: "shop", at: func(a *Attempt) { a.Now = later }, want: TokenExpired},
		"the issuer is gone": {session: "oid-7", change: func(s *Source) {
			s.Tokens = s.Tokens[1:]
			for i := range s.Users {
				s.Users[i].Token, s.Users[i].Require = nil, nil
			}
		}, want: TokenInvalid},
		"the issuer's listener":     {session: "oid-7", change: func(s *Source) { s.Tokens[0].Listeners = textsOf("side") }, want: ListenerNotAllowed},
		"the subject is another":    {session: "shop", change: func(s *Source) { user(s, "shop").Token.Subject.Value = "oid-8" }, want: TokenForOther},
		"a user of its name exists": {session: "oid-7", change: func(s *Source) { user(s, "local").Name.Value = "oid-7" }, want: TokenForOther},
		"the role is gone":          {session: "oid-7", change: func(s *Source) { s.Roles, s.Tokens[0].Roles = s.Roles[1:], textsOf("writer") }, want: TokenWithoutRole},
		"tokens switched off":       {session: "oid-7", change: func(s *Source) { s.Listeners[0].Auth = textsOf("password") }, want: MethodRefused},
		"the listener is gone":      {session: "local", change: func(s *Source) { s.Listeners[0].Name.Value = "new" }, want: MethodRefused},
	} {
		t.Run(name, func(t *testing.T) {
			a := sessions[test.session]
			if a.Cert != nil {
				c := *a.Cert
				a.Cert = &c
			}
			a.Listener, a.Addr, a.Now = "gw", addr("10.0.0.1"), noon
			begin := before.Authenticate
			if a.User == "" {
				begin = before.Identify
			}
			pr, r := begin(&a)
			if userOf(pr) != test.session || r != None {
				t.Fatalf("it does not begin: %v", r)
			}
			src := base()
			if test.change != nil {
				test.change(&src)
			}
			after := mustCompile(t, src)
			a.User, a.Password, a.Token = "", nil, nil
			if test.at != nil {
				test.at(&a)
			}
			next, r := after.Renew(pr, &a)
			switch {
			case r != test.want || (next.User != nil) != (r == None):
				t.Errorf("got %q, %v, want %v", userOf(next), r, test.want)
			case r == None && (next.User.Name() != test.session || next.Method != pr.Method || next.Factors != pr.Factors || next.Expires != pr.Expires):
				t.Errorf("got %+v, was %+v", next, pr)
			case r == None && next.User.table != after.lang.table:
				t.Error("it still is of the old policy")
			}
		})
	}
}
