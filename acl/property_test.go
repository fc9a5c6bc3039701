package acl

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

// play gives many random users and calls of the newest table to check.
func play(t *testing.T, seed uint64, modes Modes, check func(g *generator, p *Policy, u *User, call *command.Call)) {
	t.Helper()
	p := mustCompile(t, Source{Table: command.Newest(), Modes: modes})
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), specs: p.specs}
	played := 0
	for range 400 {
		with, err := p.WithUser("u", g.rules(false))
		if err != nil {
			continue
		}
		for range 40 {
			if call := g.call(p.Table()); call != nil {
				played++
				check(g, with, with.User("u"), call)
			}
		}
	}
	if played < 4000 {
		t.Errorf("only %d calls were played", played)
	}
}

// The guard comes on top of the rules and never widens them.
func TestGuard_never_allows_what_the_rules_refuse(t *testing.T) {
	off := Source{Table: command.Newest(), Modes: Modes{Guard: Off}, Guard: GuardSource{Categories: []Text{}, Never: []Text{}}}
	bare := mustCompile(t, off)
	allowed, lifted := 0, 0
	play(t, 1, Modes{}, func(g *generator, p *Policy, u *User, call *command.Call) {
		if g.IntN(4) == 0 {
			u = u.clone()
			u.selectors[0].apply(p.lang, word{text: "+" + call.Spec.Name})
		}
		d := p.Decide(u, call)
		if d.Allowed && !bare.Decide(u, call).Allowed {
			t.Fatalf("%s\n%q is allowed under the guard alone", u.Line(), words(call.Args))
		}
		if d.Allowed {
			allowed++
		}
		if d.Lifted {
			lifted++
			if p.attrs[call.Spec.ID]&attrGuarded == 0 {
				t.Fatalf("%q is lifted and not guarded", words(call.Args))
			}
		}
	})
	if allowed < 100 || lifted < 10 {
		t.Errorf("%d allowed, %d lifted: too few to mean anything", allowed, lifted)
	}
}

// A user with a role may do what one of the two may do alone, and no more.
func TestRole_adds_what_it_grants_alone_and_no_more(t *testing.T) {
	allowed := 0
	play(t, 2, Modes{}, func(g *generator, p *Policy, u *User, call *command.Call) {
		role := newSelector("role r", Origin{}, len(p.specs))
		for _, r := range g.rules(true) {
			role.apply(p.lang, word{text: r})
		}
		alone, both := u.clone(), u.clone()
		alone.selectors = []*selector{role}
		both.selectors = append(both.selectors, role)
		got := p.Decide(both, call).Allowed
		if want := p.Decide(u, call).Allowed || p.Decide(alone, call).Allowed; got != want {
			t.Fatalf("%s\n%q: %v together, %v apart", both.Line(), words(call.Args), got, want)
		}
		if got {
			allowed++
		}
	})
	if allowed < 100 {
		t.Errorf("only %d calls were allowed", allowed)
	}
}

// Report and off never refuse more than enforce, report passes just what off
// passes, and what lies below the floor is refused in every mode.
func TestModes_only_widen_and_keep_the_floor(t *testing.T) {
	strict := mustCompile(t, Source{Table: command.Newest()})
	off := mustCompile(t, Source{Table: command.Newest(), Modes: Modes{Guard: Off, ACL: Off}})
	floored, reported := 0, 0
	play(t, 3, Modes{Guard: Report, ACL: Report}, func(_ *generator, p *Policy, u *User, call *command.Call) {
		s, r, o := strict.Decide(u, call), p.Decide(u, call), off.Decide(u, call)
		if s.Allowed && (!r.Allowed || r.Reported) || r.Allowed != o.Allowed || o.Reported {
			t.Fatalf("%s\n%q: enforce %+v report %+v off %+v", u.Line(), words(call.Args), s, r, o)
		}
		if r.Reported {
			reported++
			if r.Reason == None || s.Allowed {
				t.Fatalf("%q is reported without a reason: %+v", words(call.Args), r)
			}
		}
		a := p.attrs[call.Spec.ID]
		if a&(attrFloor|attrNever|attrRefused) != 0 || call.Class == command.Refused || s.Reason == ScriptConfined {
			floored++
			if r.Allowed != s.Allowed || r.Reported {
				t.Fatalf("%s\n%q is below the floor: enforce %+v report %+v", u.Line(), words(call.Args), s, r)
			}
		}
	})
	if floored < 100 || reported < 100 {
		t.Errorf("%d below the floor, %d reported: too few to mean anything", floored, reported)
	}
}

// Removing a command as the last rule refuses it and nothing else; granting it
// last grants it. There is no "deny beats allow", only order.
func TestRules_the_last_one_about_a_command_wins(t *testing.T) {
	p := mustCompile(t, Source{Table: command.Newest()})
	g := &generator{Rand: rand.New(rand.NewPCG(4, 1)), specs: p.specs}
	for range 1500 {
		s := newSelector("root", Origin{}, len(p.specs))
		for _, r := range g.rules(true) {
			s.apply(p.lang, word{text: r})
		}
		spec := g.spec()
		for _, sign := range []string{"-", "+"} {
			before := slices.Clone(s.allowed)
			if f := s.apply(p.lang, word{text: sign + spec.Name}); f != nil {
				t.Fatal(f.what)
			}
			for _, other := range p.specs {
				meant := other == spec || other.Container == spec
				if want := meant && sign == "+" || !meant && before.has(other.ID); s.allowed.has(other.ID) != want {
					t.Fatalf("%s%s: %s is %v", sign, spec.Name, other.Name, s.allowed.has(other.ID))
				}
			}
		}
	}
}

// A name is what only +cmd or +cmd|sub gives: no category, no container, no
// +@all, and it is gone once a rule took the command away.
func TestNamed_is_set_by_name_alone(t *testing.T) {
	p := mustCompile(t, Source{Table: command.Newest()})
	g := &generator{Rand: rand.New(rand.NewPCG(5, 1)), specs: p.specs}
	for range 1500 {
		s := newSelector("root", Origin{}, len(p.specs))
		named := map[command.ID]bool{}
		for _, r := range g.rules(true) {
			if s.apply(p.lang, word{text: r}) != nil {
				continue
			}
			lower := strings.ToLower(r)
			switch spec := p.Table().ByName(strings.TrimLeft(lower, "+-")); {
			case lower == "+@all", lower == "allcommands", lower == "-@all", lower == "nocommands":
				clear(named)
			case strings.HasPrefix(lower, "+") && spec != nil:
				named[spec.ID] = true
			}
			for id := range named {
				if !s.allowed.has(id) {
					delete(named, id)
				}
			}
		}
		for _, spec := range p.specs {
			if s.named.has(spec.ID) != named[spec.ID] {
				t.Fatalf("%s: %s is named %v", s.describe().Commands, spec.Name, s.named.has(spec.ID))
			}
		}
	}
}

// Every decision names a rule that is really among the user's, and explain
// says the same as the decision.
func TestExplain_agrees_with_the_decision(t *testing.T) {
	play(t, 6, Modes{Guard: Report}, func(_ *generator, p *Policy, u *User, call *command.Call) {
		d, e := p.Decide(u, call), p.Explain(u, call)
		if e.Decision != d {
			t.Fatalf("%q: %+v, %+v", words(call.Args), d, e.Decision)
		}
		if d.Allowed && !d.Reported && len(e.Selectors) > 0 && !e.Selectors[len(e.Selectors)-1].Decide {
			t.Fatalf("%q is allowed and no selector decided", words(call.Args))
		}
		if !d.Allowed && slices.ContainsFunc(e.Selectors, func(s SelectorTrial) bool { return s.Decide }) {
			t.Fatalf("%q is refused and a selector decided otherwise", words(call.Args))
		}
		if e.Command != call.Spec.Name {
			t.Fatalf("%q is explained as %s", words(call.Args), e.Command)
		}
	})
}

// FuzzRules: whatever the rules are, compiling them ends, and a user that
// comes of them lists itself in words that give the same user.
func FuzzRules(f *testing.F) {
	for _, seed := range []string{
		"on >pw ~app:* &x +@all -@dangerous +config|get", "%R~a %W~b %RW~* (+get ~x) clearselectors reset",
		`("+get" '~a' "\x41")`, "+select|0 +get|", "( ( )", "nopass #" + strings.Repeat("0", 64), "+@all ~* &* allkeys", "%~ %", "()", "+config +config|get",
	} {
		f.Add(seed)
	}
	table := command.Newest()
	f.Fuzz(func(t *testing.T, rules string) {
		compile := func(rules string) (*Policy, []Problem) {
			return Compile(Source{Table: table, Users: []UserSource{{
				Name: Text{Value: "u"}, Rules: Text{rules, Origin{"f", 1, 1}},
			}}})
		}
		p, problems := compile(rules)
		if p == nil {
			for _, problem := range problems {
				if problem.At.Line < 1 || problem.At.Column < 1 || problem.What == "" {
					t.Errorf("%q: a problem without a place: %+v", rules, problem)
				}
			}
			return
		}
		line := p.User("u").Line()
		back, problems := compile(strings.TrimPrefix(line, "user u "))
		if back == nil {
			t.Fatalf("%q lists as %q, which is refused: %v", rules, line, problems)
		}
		if again := back.User("u").Line(); again != line {
			t.Errorf("%q lists as %q and that as %q", rules, line, again)
		}
	})
}

// The short way to a yes is the long way's yes, rule and all, in every mode.
func TestPasses_says_yes_only_where_Decide_does(t *testing.T) {
	short := 0
	for i, modes := range []Modes{{}, {Guard: Report}, {ACL: Report}, {Guard: Off, ACL: Off}} {
		play(t, 40+uint64(i), modes, func(_ *generator, p *Policy, u *User, call *command.Call) {
			rule, ok := p.Passes(u, call)
			if !ok {
				return
			}
			short++
			if d := p.Decide(u, call); d != (Decision{Allowed: true, Rule: rule}) {
				t.Fatalf("%s\n%q passes, and is decided %+v", u.Line(), words(call.Args), d)
			}
		})
	}
	if short < 400 {
		t.Errorf("only %d calls passed: too few to mean anything", short)
	}
	p := mustCompile(t, Source{Table: command.Newest()})
	if _, ok := p.Passes(nil, &command.Call{Spec: p.Table().ByName("get"), Class: command.Shared}); ok {
		t.Error("nobody passes")
	}
}
