package acl

import "testing"

// The deciding rule is named with the place where the operator wrote it.
func TestDecision_names_the_rule_and_its_place(t *testing.T) {
	p := mustCompile(t, parseSource(t, "policy.yaml", `
role reader: +@read ~shared:*
never: debug shutdown
user app: on ~app:* +@write -set (+get|x +info ~x:*)
roles app: reader
`))
	for _, test := range []struct{ call, rule, at string }{
		{"DEL app:1", "+@write", "policy.yaml:4:21"},
		{"SET app:1 v", "-set", "policy.yaml:4:29"},
		{"GET x:1", "", ""},
		{"INFO", "+info", "policy.yaml:4:42"},
		{"GET shared:1", "+@read", "policy.yaml:2:14"},
		{"SHUTDOWN", "never: shutdown", "policy.yaml:3:14"},
		{"PING", "", ""},
	} {
		d := decide(t, p, "app", test.call)
		rule, at := "", ""
		if d.Rule != nil {
			rule, at = d.Rule.Text, d.Rule.At.String()
		}
		if rule != test.rule || at != test.at {
			t.Errorf("%s: %s at %s, want %s at %s", test.call, rule, at, test.rule, test.at)
		}
	}
	d := decide(t, p, "app", "MGET shared:1 other")
	if d.Reason != KeyNotAllowed || d.Arg != 2 || d.Rule != nil {
		t.Errorf("a refused key: %+v", d)
	}
}

func TestExplain_says_what_each_selector_said(t *testing.T) {
	p := mustCompile(t, parseSource(t, "policy.yaml", `
role informed: +info
user app: on ~app:* +@all (~x:* +get)
roles app: informed
`))
	explain := func(line string) Explanation { return p.Explain(p.User("app"), parseCall(t, p.Table(), line)) }

	e := explain("INFO")
	if !e.Lifted || e.Command != "info" || len(e.Selectors) != 3 || e.Guard.Category == nil || e.Guard.Category.Text != "guard: @dangerous" {
		t.Fatalf("got %+v", e)
	}
	want := []SelectorTrial{
		{Label: "root", ACL: None, Guard: Guarded},
		{Label: "selector 1", ACL: CommandNotAllowed},
		{Label: "role informed", Named: true, Decide: true},
	}
	for i, s := range e.Selectors {
		w := want[i]
		if s.Label != w.Label || s.ACL != w.ACL || s.Guard != w.Guard || s.Named != w.Named || s.Decide != w.Decide {
			t.Errorf("got %+v, want %+v", s, w)
		}
	}
	if e.Selectors[2].At.Line != 2 {
		t.Errorf("the role stands at %v", e.Selectors[2].At)
	}

	if e := explain("SHUTDOWN"); e.Reason != Never || e.Guard.Never == nil || !e.Guard.Floor {
		t.Errorf("never: %+v", e)
	}
	if e := explain("FLUSHALL"); e.Reason != Guarded || !e.Guard.KeyspaceWide {
		t.Errorf("keyspace-wide: %+v", e)
	}
	if e := explain("EVAL x 0"); !e.Guard.Script || e.Selectors[0].Guard != ScriptConfined {
		t.Errorf("script: %+v", e)
	}
	if e := explain("GET x:1"); !e.Allowed || len(e.Selectors) != 2 || e.Selectors[0].ACL != KeyNotAllowed || e.Selectors[0].Arg != 1 {
		t.Errorf("keys: %+v", e)
	}
	if e := p.Explain(nil, parseCall(t, p.Table(), "GET x")); e.Reason != NotAuthenticated || e.Selectors != nil {
		t.Errorf("nobody: %+v", e)
	}
}
