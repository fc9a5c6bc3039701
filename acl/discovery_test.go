package acl

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

// A discovered command needs its name and ~* &* in one selector, and no mode
// lifts that: of its keys nobody knows anything.
func TestADiscoveredCommandNeedsItsNameAndEverything(t *testing.T) {
	table := command.Newest().With([]string{"my.get"})
	for rules, want := range map[string]Reason{
		"on ~* &* +my.get":                 None,
		"on ~* &* +@all +my.get":           None,
		"on ~* &* +@all +MY.GET":           None,
		"on ~* &* +my.get|k":               None, // with this first argument alone
		"on ~* &* +@all":                   Guarded,
		"on ~* &* +my.get +@all":           Guarded, // +@all takes the name away again
		"on ~* &* +@read +@write":          CommandNotAllowed,
		"on ~* &* +my.get -@all":           CommandNotAllowed,
		"on ~* &* +my.get -my.get":         CommandNotAllowed,
		"on ~* &* +my.get|other":           CommandNotAllowed,
		"on ~app:* &* +my.get":             KeyspaceWide,
		"on %RW~* &* +my.get":              KeyspaceWide,
		"on ~* &news +my.get":              KeyspaceWide,
		"on ~* resetchannels +my.get":      KeyspaceWide,
		"on ~* &* +@all (~a &* +my.get)":   KeyspaceWide,
		"on ~a +get (~* &* -@all +my.get)": None,
		"on +@all ~* (~* &* +my.get)":      None,
		"on ~a &* +my.get (~* &* +@all)":   KeyspaceWide,
	} {
		for _, modes := range []Modes{{}, {Guard: Report}, {Guard: Off}, {ACL: Report}, {Guard: Off, ACL: Off}} {
			p := mustCompile(t, Source{Table: table, Modes: modes, Guard: GuardSource{Categories: []Text{}, Never: []Text{}}})
			with, err := p.WithUser("u", strings.Fields(strings.ReplaceAll(rules, "(", " (")))
			if err != nil {
				t.Fatalf("%s: %v", rules, err)
			}
			call := parseCall(t, table, "MY.GET k")
			d := with.Decide(with.User("u"), call)
			if d.Reason != want || d.Allowed != (want == None) || d.Reported || want == None && !d.Lifted {
				t.Errorf("%s under %+v: %+v, want %v", rules, modes, d, want)
			}
			if e := with.Explain(with.User("u"), call); e.Decision != d || want == KeyspaceWide && e.Rule != discoveredReachRule || want == Guarded && e.Rule != discoveredRule {
				t.Errorf("%s: explained as %+v", rules, e.Decision)
			}
		}
	}
	never := mustCompile(t, Source{Table: table, Guard: GuardSource{Never: textsOf("my.get")}, Users: []UserSource{member("u", "on >pw-of-u-1 ~* &* +my.get", nil)}})
	if d := decide(t, never, "u", "MY.GET k"); d.Reason != Never {
		t.Error("the never list does not hold for it:", d.Reason)
	}
}

// A table that learns commands changes nothing but what rules say of those.
func TestWithTableKeepsEverythingElse(t *testing.T) {
	base := command.Newest()
	src := Source{
		Table: base, Discovery: true, Hits: NewHits(), Now: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
		Guard:     GuardSource{Never: textsOf("shutdown", "their.admin")},
		Listeners: []ListenerSource{{Name: Text{Value: "gw"}, Allow: textsOf("any")}},
		Users:     []UserSource{member("app", "on >pw-of-app ~* &* +my.get +their.admin +get", nil)},
		ACLFile:   []UserSource{{Name: Text{Value: "filed"}, Rules: Text{Value: "on >pw-of-filed ~* &* +my.get +get"}}, {Name: Text{Value: "gone"}, Rules: Text{Value: "on"}}, {Name: Text{Value: "changed"}, Rules: Text{Value: "on +my.get"}}},
	}
	p, problems := Compile(src)
	if p == nil {
		t.Fatal(problems)
	}
	warned := 0
	for _, problem := range problems {
		if strings.Contains(problem.Hint, "until a backend says") && problem.Warning {
			warned++
		}
	}
	if warned != 5 {
		t.Errorf("%d warnings in %v", warned, problems)
	}
	p.InForce()
	decide(t, p, "app", "GET x").Rule.Hit()
	p, err := p.WithUser("made", []string{"on", "~*", "&*", "+get", "(~b +set)"})
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.WithUser("changed", []string{"+set", "~c"}); err != nil {
		t.Fatal(err)
	}
	if p, err = p.WithoutUser("gone"); err != nil {
		t.Fatal(err)
	}
	wider := base.With([]string{"my.get", "their.admin", "get"})
	q, problems := p.WithTable(wider)
	if q == nil {
		t.Fatal(problems)
	}
	if q.Table() != wider || q.User("gone") != nil || strings.Join(q.Unsaved(), " ") != "changed made" || q.User("app").Defined() != true {
		t.Error("users are lost, come back, or count as saved:", q.Unsaved())
	}
	for name, u := range p.users {
		if line := q.User(name).Line(); line != u.Line() && name != "app" && name != "filed" {
			t.Errorf("%s becomes %s", u.Line(), line)
		}
	}
	for user, want := range map[string]Reason{"app": None, "filed": None, "made": CommandNotAllowed, "changed": CommandNotAllowed} {
		if d := decide(t, q, user, "MY.GET k"); d.Reason != want {
			t.Errorf("%s gets %v", user, d.Reason)
		}
	}
	if d := decide(t, q, "app", "THEIR.ADMIN k"); d.Reason != Never {
		t.Error("a discovered command passes the never list:", d.Reason)
	}
	if d := decide(t, q, "app", "GET x"); !d.Allowed || d.Rule.Hits() != 1 {
		t.Error("counters are lost")
	}
	if d := q.Decide(p.User("app"), parseCall(t, wider, "GET x")); d.Allowed {
		t.Error("a user of the former policy may do something")
	}
	back, problems := q.WithTable(base)
	if back == nil {
		t.Fatal(problems)
	}
	if back.User("made").Line() != p.User("made").Line() || back.User("filed").Line() != p.User("filed").Line() {
		t.Error("back again users are others")
	}
}

// Without discovery a rule about an unknown command is a mistake.
func TestAnUnknownCommandIsAnErrorWithoutDiscovery(t *testing.T) {
	for _, discovery := range []bool{false, true} {
		p, problems := Compile(Source{Table: command.Newest(), Discovery: discovery, Users: []UserSource{member("u", "on >pw-of-u-1 +my.get", nil)}})
		if (p != nil) != discovery || len(problems) == 0 || problems[0].Warning != discovery {
			t.Error(discovery, problems)
		}
	}
}
