package acl

import (
	"slices"
	"testing"
)

// An operator is told by which network, with which methods, proofs and roles
// somebody would be let in, or why not.
func TestExplainLogin(t *testing.T) {
	src := house(
		member("app", "on >pw-of-app ~app:*", func(u *UserSource) {
			u.Roles, u.From = textsOf("aside", "near", "past", "always"), textsOf("10.0.0.0/8", "192.0.2.0/24", "unix")
			u.Certificates, u.Require = []CertificateSource{{CN: textsOf("app")}}, textsOf("certificate", "password")
			u.Tokens = []OpaqueTokenSource{{Hash: Text{Value: hashOf("t")}}}
		}),
		member("alone", "on ~*", func(u *UserSource) { u.Certificates = []CertificateSource{{CN: textsOf("alone")}} }),
		member("off", "off >pw-of-off ~*", nil),
		member("bare", "on ~*", nil),
	)
	src.Listeners[1].Auth = textsOf("password")
	for _, name := range []string{"aside", "near", "past", "always"} {
		r := RoleSource{Name: Text{Value: name}, Rules: Text{Value: "+get ~" + name}}
		switch name {
		case "aside":
			r.Listeners = textsOf("side")
		case "near":
			r.From = textsOf("10.1.0.0/16")
		case "past":
			r.Note.Until = Text{Value: "2026-11-30"}
		}
		src.Roles = append(src.Roles, r)
	}
	p := mustCompile(t, src)
	e := p.ExplainLogin("app", "gw", addr("10.2.0.1"), noon)
	if e.Reason != None || e.From == nil || e.From.Text != "from: 10.0.0.0/8" || e.Requires != FactorCertificate|FactorPassword ||
		!slices.Equal(e.Methods, []Method{MethodPassword, MethodToken}) || !slices.Equal(e.User.Roles(), []string{"always"}) {
		t.Errorf("got %+v", e)
	}
	for i, want := range []Reason{ListenerNotAllowed, SourceNotAllowed, UserExpired, None} {
		if r := e.Roles[i]; r.Reason != want || r.Name != src.Roles[i].Name.Value {
			t.Errorf("role %s: %v, want %v", r.Name, r.Reason, want)
		}
	}
	for _, test := range []struct {
		user, listener, from string
		want                 Reason
	}{
		{"app", "gw", "", None}, {"app", "gw", "11.0.0.1", SourceNotAllowed}, {"alone", "gw", "11.0.0.1", None}, {"alone", "side", "11.0.0.1", MethodRefused},
		{"off", "gw", "11.0.0.1", UserDisabled}, {"bare", "gw", "11.0.0.1", MethodRefused}, {"nobody", "gw", "11.0.0.1", NoSuchUser}, {"app", "none", "10.0.0.1", MethodRefused},
	} {
		if e := p.ExplainLogin(test.user, test.listener, addr(test.from), noon); e.Reason != test.want || (e.User != nil) != (test.want == None) {
			t.Errorf("%+v: %v", test, e.Reason)
		}
	}
	for m, want := range map[Method]string{MethodNone: "none", MethodPassword: "password", MethodToken: "token", MethodCertificate: "certificate"} {
		if m.String() != want {
			t.Errorf("%d is %s", m, m)
		}
	}
	if (FactorToken|FactorNetwork).String() != "token+network" || Factors(0).String() != "none" {
		t.Error("the factors' words")
	}
}
