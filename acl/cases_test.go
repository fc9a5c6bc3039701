package acl

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

// Cases for another program, and what it found out; CONTRIBUTING.md says how.
var (
	casesOut   = flag.String("cases.write", "", "write cases for another program to this `file`, a JSON object a line")
	casesUsers = flag.Int("cases.users", 40, "with -cases.write: of so many users")
	casesSeed  = flag.Uint64("cases.seed", 1, "with -cases.write: which ones")
	casesIn    = flag.String("cases.read", "", "the `file` of cases that -cases.verdicts is about")
	verdictsIn = flag.String("cases.verdicts", "", "hold the other program's `file` of verdicts against our decisions")
)

// aCase is one question: what a server of release 7.0.15 answers to ACL DRYRUN
// of a call by a user with these rules, or to the rules themselves.
type aCase struct {
	N       int      `json:"n"`
	User    int      `json:"user"`  // equal numbers have equal rules
	Rules   []string `json:"rules"` // of ACL SETUSER, behind reset
	Call    []string `json:"call,omitempty"`
	Want    string   `json:"want"`              // its answer, an error with its leading minus
	Allowed bool     `json:"allowed"`           // the same in one bit
	Excused string   `json:"excused,omitempty"` // the intended difference it falls under: the answer may be another
}

// aVerdict is another program's answer: its words, or where those differ between
// servers, whether the call is allowed.
type aVerdict struct {
	N       int     `json:"n"`
	Answer  *string `json:"answer,omitempty"`
	Allowed *bool   `json:"allowed,omitempty"`
}

// plainPolicy decides as Redis alone does, by the table of the release asked.
func plainPolicy(t testing.TB) *Policy {
	t.Helper()
	table, ok := command.For("redis-7.0.15")
	if !ok {
		t.Fatal("no command table for redis-7.0.15")
	}
	return mustCompile(t, Source{Table: table, Guard: GuardSource{Categories: []Text{}, Never: []Text{}}, Modes: Modes{Guard: Off}})
}

// answerTo is our answer to a case that has rules, and perhaps a call.
func answerTo(t testing.TB, p *Policy, c *aCase) {
	t.Helper()
	with, err := p.WithUser("u", c.Rules)
	if err != nil || c.Call == nil {
		c.Want, c.Allowed, c.Excused = setuserAnswer(err), err == nil, excuseRules(c.Rules)
		return
	}
	args := make([][]byte, len(c.Call))
	for i, w := range c.Call {
		args[i] = []byte(w)
	}
	var call command.Call
	if err := p.Table().Parse(args, &call); err != nil {
		t.Fatalf("case %d: %q is no call: %v", c.N, c.Call, err)
	}
	u := with.User("u")
	u.unsafeScripts = true // the confinement of scripts is ours alone
	d := with.Decide(u, &call)
	c.Want, c.Allowed, c.Excused = dryrunAnswer(d, &call), d.Allowed, excuseCall(d, &call)
}

// writeCases makes cases of random users and calls.
func writeCases(t testing.TB, w io.Writer, users int, seed uint64) (n int) {
	t.Helper()
	p := plainPolicy(t)
	g := &generator{Rand: rand.New(rand.NewPCG(20, seed)), specs: p.Table().Specs()}
	out := json.NewEncoder(w)
	put := func(c aCase) {
		n++
		c.N = n
		answerTo(t, p, &c)
		if err := out.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	for user := range users {
		rules := g.rules(false)
		if rules == nil {
			rules = []string{}
		}
		put(aCase{User: user, Rules: rules})
		if _, err := p.WithUser("u", rules); err != nil {
			continue
		}
		for calls := 0; calls < 25; {
			if call := g.call(p.Table()); call != nil {
				calls++
				put(aCase{User: user, Rules: rules, Call: words(call.Args)})
			}
		}
	}
	return n
}

func readLines[T any](t testing.TB, r io.Reader) []T {
	t.Helper()
	var list []T
	for in := json.NewDecoder(bufio.NewReader(r)); ; {
		var one T
		switch err := in.Decode(&one); err {
		case nil:
			list = append(list, one)
		case io.EOF:
			return list
		default:
			t.Fatalf("line %d: %v", len(list)+1, err)
		}
	}
}

// disagreements holds verdicts against cases: every case needs one.
func disagreements(cases []aCase, verdicts []aVerdict) (faults []string, compared int) {
	given := make(map[int]aVerdict, len(verdicts))
	for _, v := range verdicts {
		given[v.N] = v
	}
	for _, c := range cases {
		v, ok := given[c.N]
		switch {
		case !ok || v.Answer == nil && v.Allowed == nil:
			faults = append(faults, fmt.Sprintf("case %d has no verdict", c.N))
		case c.Excused != "":
		case v.Answer != nil && *v.Answer != c.Want, v.Answer == nil && *v.Allowed != c.Allowed:
			said := "allowed: "
			if v.Answer != nil {
				said += *v.Answer
			} else {
				said += fmt.Sprint(*v.Allowed)
			}
			faults = append(faults, fmt.Sprintf("case %d: rules %q, call %q: theirs %s, ours %s", c.N, c.Rules, c.Call, said, c.Want))
		default:
			compared++
		}
	}
	return faults, compared
}

func opened(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// The committed cases, which other programs may play, say what we decide now.
func TestTheCommittedCasesSayWhatWeDecide(t *testing.T) {
	p, calls, refused := plainPolicy(t), 0, 0
	for _, c := range readLines[aCase](t, opened(t, "testdata/cases.jsonl")) {
		now := c
		if answerTo(t, p, &now); now.Want != c.Want || now.Allowed != c.Allowed || now.Excused != c.Excused {
			t.Errorf("case %d: %+v, now %+v", c.N, c, now)
		}
		if c.Call != nil {
			calls++
			if !c.Allowed {
				refused++
			}
		}
	}
	if calls < 100 || refused < 10 || refused > calls-10 {
		t.Errorf("%d calls, %d of them refused: too few, or too lopsided", calls, refused)
	}
}

// The files another program reads and writes do what CONTRIBUTING.md says; here
// the other program is a real server that is asked directly. With -cases.write
// cases are only written, with -cases.verdicts a program's answers are judged.
func TestCasesForAnotherProgram(t *testing.T) {
	switch {
	case *casesOut != "":
		f, err := os.Create(*casesOut)
		if err != nil {
			t.Fatal(err)
		}
		n := writeCases(t, f, *casesUsers, *casesSeed)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d cases written", n)
		return
	case *verdictsIn != "":
		judgeVerdicts(t, readLines[aCase](t, opened(t, *casesIn)), readLines[aVerdict](t, opened(t, *verdictsIn)))
		return
	}
	path := filepath.Join(t.TempDir(), "cases")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	writeCases(t, f, 30, 77)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cases := readLines[aCase](t, opened(t, path))
	server := startServer(t)
	var verdicts strings.Builder
	for _, c := range cases {
		set := append([]string{"ACL", "SETUSER", "u", "reset"}, c.Rules...)
		answer := server.ask(t, [][]string{set})[0]
		if c.Call != nil {
			answer = server.ask(t, [][]string{append([]string{"ACL", "DRYRUN", "u"}, c.Call...)})[0]
		}
		if err := json.NewEncoder(&verdicts).Encode(aVerdict{N: c.N, Answer: &answer}); err != nil {
			t.Fatal(err)
		}
	}
	judgeVerdicts(t, cases, readLines[aVerdict](t, strings.NewReader(verdicts.String())))
	// A verdict that is wrong, or missing, is not overlooked.
	wrong := !cases[0].Allowed
	if faults, _ := disagreements(cases[:2], []aVerdict{{N: 1, Allowed: &wrong}}); len(faults) != 2 {
		t.Error("said of a wrong and a missing verdict:", faults)
	}
}

func judgeVerdicts(t *testing.T, cases []aCase, verdicts []aVerdict) {
	t.Helper()
	faults, compared := disagreements(cases, verdicts)
	for _, f := range faults[:min(len(faults), 20)] {
		t.Error(f)
	}
	t.Logf("%d cases, %d compared, %d disagreements", len(cases), compared, len(faults))
	if compared < len(cases)/2 {
		t.Errorf("only %d of %d cases could be compared", compared, len(cases))
	}
}
