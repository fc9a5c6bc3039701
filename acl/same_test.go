package acl

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

// A reload goes on with the policy there is only if compiling would make the same
// again; what is in doubt is compiled.
func TestAPolicyKnowsTheSourceItCameOf(t *testing.T) {
	text := func(s string) Text { return Text{Value: s, At: Origin{File: "policy.yaml", Line: 3, Column: 4}} }
	source := func() *Source {
		return &Source{
			Table: command.Newest(), Now: time.Now(),
			Roles:     []RoleSource{{Name: text("reader"), Rules: text("+@read ~shared:*")}},
			Users:     []UserSource{{Name: text("app"), Rules: text("on nopass ~app:* +@read"), Roles: []Text{text("reader")}}},
			ACLFile:   []UserSource{{Name: text("old"), Rules: text("on nopass ~old:* +@read")}},
			Listeners: []ListenerSource{{Name: text("l"), Allow: []Text{text("any")}, AllowNotes: []Note{{}}}},
		}
	}
	p, problems := Compile(*source())
	if p == nil {
		t.Fatal(problems)
	}
	if later := source(); !p.CompiledFrom(later) {
		t.Error("the same words a moment later make another policy")
	}
	table, _ := command.For("redis-7.0.15")
	for what, change := range map[string]func(src *Source){
		"a rule":            func(src *Source) { src.Users[0].Rules.Value += " +set" },
		"a rule's place":    func(src *Source) { src.Users[0].Rules.At.Line++ },
		"a role":            func(src *Source) { src.Roles[0].Rules.Value += " +@write" },
		"a user less":       func(src *Source) { src.Users = nil },
		"the ACL file":      func(src *Source) { src.ACLFile[0].Rules.Value += " +set" },
		"a network":         func(src *Source) { src.Listeners[0].Allow[0].Value = "10.0.0.0/8" },
		"the guard":         func(src *Source) { src.Guard.Never = []Text{} },
		"a mode":            func(src *Source) { src.Modes.Guard = Report },
		"the table":         func(src *Source) { src.Table = table },
		"the counters":      func(src *Source) { src.Hits = NewHits() },
		"open channels":     func(src *Source) { src.OpenChannels = true },
		"discovery":         func(src *Source) { src.Discovery = true },
		"a user's end":      func(src *Source) { src.Users[0].Note.Until = text("2099-12-31") },
		"a certificate":     func(src *Source) { src.Users[0].Certificates = []CertificateSource{{CN: []Text{text("x")}}} },
		"a subject":         func(src *Source) { src.Users[0].Token = &TokenUserSource{Issuer: text("i")} },
		"rules of lifetime": func(src *Source) { src.Expiry = []ExpirySource{{Keys: []Text{text("app:*")}, Require: true}} },
	} {
		src := source()
		change(src)
		if p.CompiledFrom(src) {
			t.Errorf("%s makes no difference", what)
		}
	}
}

// What has an end of its own may mean something else a moment later.
func TestAPolicyWithAnEndIsCompiledEachTime(t *testing.T) {
	text := func(s string) Text { return Text{Value: s} }
	end := Note{Until: text("2099-12-31")}
	for what, add := range map[string]func(src *Source){
		"user":           func(src *Source) { src.Users[0].Note = end },
		"password":       func(src *Source) { src.Users[0].PasswordsSet = text("2026-01-01") },
		"token":          func(src *Source) { src.Users[0].Tokens = []OpaqueTokenSource{{Expires: text("2099-12-31")}} },
		"role":           func(src *Source) { src.Roles = []RoleSource{{Note: end}} },
		"issuer":         func(src *Source) { src.Tokens = []TokenSource{{Note: end}} },
		"rule of expiry": func(src *Source) { src.Expiry = []ExpirySource{{Note: end}} },
		"network":        func(src *Source) { src.Listeners[0].AllowNotes = []Note{{}, end} },
	} {
		src := Source{Table: command.Newest(), Users: []UserSource{{Name: text("app")}}, Listeners: []ListenerSource{{Name: text("l")}}}
		add(&src)
		p := &Policy{source: src}
		if p.CompiledFrom(&src) {
			t.Errorf("the end of a %s is not seen", what)
		}
	}
}
