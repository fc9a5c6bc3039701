package acl

import (
	"bufio"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

// nightly makes the comparisons with a real server ten times as long.
var nightly = flag.Bool("nightly", false, "compare 200,000 cases with a real redis-server instead of 20,000")

// ofRoundTrip are the intended differences that TestRoundTrip meets.
var ofRoundTrip = []string{"first-argument-case", "star-entry"}

// differences reads the committed list of intended differences.
func differences(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list := make(map[string]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, reason, _ := strings.Cut(lines.Text(), " ")
		if name == "" || name[0] == '#' {
			continue
		}
		if reason = strings.TrimSpace(reason); reason == "" || list[name] != "" {
			t.Fatalf("differences.txt: %s has no reason, or stands twice", name)
		}
		list[name] = reason
	}
	return list
}

// TestDifferential: for random users and random calls, our decision with the
// guard off is what a real server's ACL DRYRUN says, word for word, and bad
// rules are refused in the server's own words. Half of the users reach the
// server as our own listing of them.
func TestDifferential(t *testing.T) {
	users, callsEach := 800, 50
	if *nightly {
		users *= 10
	}
	listed := differences(t)
	server := startServer(t)
	table, ok := command.For("redis-7.0.15")
	if !ok {
		t.Fatal("no command table for redis-7.0.15")
	}
	p := mustCompile(t, Source{
		Table: table,
		Guard: GuardSource{Categories: []Text{}, Never: []Text{}},
		Modes: Modes{Guard: Off},
	})
	g := &generator{Rand: rand.New(rand.NewPCG(20, 26)), specs: table.Specs()}
	badRules := 0
	compared, allowed, disagreements := 0, 0, 0
	excused := make(map[string]int)
	for n := range users {
		rules := g.rules(false)
		with, ours := p.WithUser("u", rules)
		sent := rules
		if n%2 == 1 && ours == nil {
			sent = strings.Fields(with.User("u").Line())[2:]
		}
		requests := [][]string{append([]string{"ACL", "SETUSER", "u", "reset"}, sent...)}
		var calls []*command.Call
		for ours == nil && len(calls) < callsEach {
			if call := g.call(table); call != nil {
				calls = append(calls, call)
				requests = append(requests, append([]string{"ACL", "DRYRUN", "u"}, words(call.Args)...))
			}
		}
		answers := server.ask(t, requests)
		if want := setuserAnswer(ours); answers[0] != want {
			if why := excuseRules(rules); why != "" {
				excused[why]++
				continue
			}
			t.Fatalf("ACL SETUSER %q\nserver: %s\nours:   %s", sent, answers[0], want)
		}
		if ours != nil {
			badRules++
			continue
		}
		u := with.User("u")
		u.unsafeScripts = true // the confinement of scripts is ours alone
		for i, call := range calls {
			d := with.Decide(u, call)
			if why := excuseCall(d, call); why != "" {
				excused[why]++
				continue
			}
			compared++
			if d.Allowed {
				allowed++
			}
			if got, want := dryrunAnswer(d, call), answers[i+1]; got != want {
				t.Errorf("rules %q\ncall %q\nserver: %s\nours:   %s", sent, words(call.Args), want, got)
				if disagreements++; disagreements > 10 {
					t.FailNow()
				}
			}
		}
	}
	t.Logf("%d compared, %d of them allowed, %d users with bad rules; excused: %v", compared, allowed, badRules, excused)
	for name := range listed {
		if excused[name] == 0 && !slices.Contains(ofRoundTrip, name) {
			t.Errorf("no case needs the intended difference %s", name)
		}
	}
	for name := range excused {
		if listed[name] == "" {
			t.Errorf("%s is not on the list of intended differences", name)
		}
	}
	if compared < 25*users || allowed < compared/10 || allowed > compared*9/10 {
		t.Errorf("the cases are too few or too lopsided: %d of %d allowed", allowed, compared)
	}
}

// excuseCall says why a call is not compared: the differences we want.
func excuseCall(d Decision, call *command.Call) string {
	switch {
	case d.Reason == CommandRefused:
		return "class-refused"
	case d.Option != "":
		return "sort-by-get"
	case strings.HasPrefix(call.Spec.Name, "georadius") && len(call.Keys) > 2:
		return "two-stores"
	case call.Spec.Name == "pfmerge" && len(call.Args) == 2:
		return "pfmerge-alone"
	case call.Spec.Name == "xreadgroup" && (count(call.Args, "streams") > 1 || !equalFoldASCII(call.Args[1], "group")):
		return "xreadgroup-streams"
	}
	return ""
}

// excuseRules says why bad rules may be answered otherwise than 7.0.15 does.
func excuseRules(rules []string) string {
	if i := slices.IndexFunc(rules, func(r string) bool { return r != "" && r[0] == '(' && r[len(r)-1] != ')' }); i >= 0 {
		if slices.ContainsFunc(rules[i+1:], func(r string) bool { return strings.HasPrefix(r, "(") }) {
			return "second-parenthesis"
		}
	}
	for _, r := range strings.Fields(strings.Trim(strings.Join(rules, " "), "()")) {
		r = strings.Trim(r, "()")
		upper := strings.ToUpper(r)
		if strings.HasPrefix(r, "%") && !strings.Contains(r, "~") && strings.Trim(upper, "%RW") == "" {
			return "percent-without-tilde"
		}
	}
	return ""
}

func setuserAnswer(err error) string {
	if err != nil {
		return "-ERR " + err.Error()
	}
	return "OK"
}

func dryrunAnswer(d Decision, call *command.Call) string {
	switch d.Reason {
	case None:
		return "OK"
	case CommandNotAllowed:
		return "This user has no permissions to run the '" + call.Spec.Name + "' command"
	case KeyNotAllowed:
		return "This user has no permissions to access the '" + string(call.Args[d.Arg]) + "' key"
	case ChannelNotAllowed:
		return "This user has no permissions to access the '" + string(call.Args[d.Arg]) + "' channel"
	}
	return d.Reason.String()
}

func count(args [][]byte, word string) (n int) {
	for _, a := range args {
		if equalFoldASCII(a, word) {
			n++
		}
	}
	return n
}

func words(args [][]byte) []string {
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = string(a)
	}
	return list
}

// generator makes users and calls that have something to do with each other.
type generator struct {
	*rand.Rand
	specs []*command.Spec
}

func (g *generator) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g *generator) spec() *command.Spec { return g.specs[g.IntN(len(g.specs))] }

func (g *generator) glob() string {
	if g.IntN(4) == 0 { // any nonsense: the server reads it somehow
		return g.text(`ab*?[]^-\`, 6)
	}
	return g.pick("a", "b", "*", "a*", "b*", "a?", "*b", "[ab]*", "[^a]", "[a-c]?", "a[b", "\\a*", "a*b*", "**", "ab", "", "[", "[b-a]*", "1", "?", "a\\", "key:*", "*:1", "k*:*")
}

func (g *generator) text(alphabet string, most int) string {
	b := make([]byte, g.IntN(most+1))
	for i := range b {
		b[i] = alphabet[g.IntN(len(alphabet))]
	}
	return string(b)
}

func (g *generator) mixCase(s string) string {
	if g.IntN(4) == 0 {
		return strings.ToUpper(s)
	}
	return s
}

func (g *generator) category() string {
	return g.pick("keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
		"stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting")
}

func (g *generator) rules(inner bool) []string {
	var rules []string
	if g.IntN(2) == 0 {
		rules = append(rules, g.pick("+@all", "+@read", "+@write", "+@fast", "+@slow", "allcommands"))
	}
	for range g.IntN(10) {
		rules = append(rules, g.rule(inner)...)
	}
	return rules
}

func (g *generator) rule(inner bool) []string {
	spec := g.spec()
	switch n := g.IntN(40); {
	case n < 5:
		return []string{g.mixCase("+@" + g.category())}
	case n < 8:
		return []string{g.mixCase("-@" + g.category())}
	case n < 12:
		return []string{g.mixCase("+" + spec.Name)}
	case n < 15:
		return []string{g.mixCase("-" + spec.Name)}
	case n < 17:
		if spec.Container == nil && spec.Subs == nil {
			return []string{g.mixCase("+" + spec.Name + "|" + g.pick("a", "b", "0", "1", "on"))}
		}
		return []string{"+" + g.pick("config", "client|no-evict", "object", "acl", "memory", "xinfo")}
	case n < 22:
		return []string{"~" + g.glob()}
	case n < 27:
		return []string{g.pick("%R~", "%W~", "%RW~", "%wr~", "%r~") + g.glob()}
	case n < 30:
		return []string{"&" + g.glob()}
	case n < 31:
		return []string{g.pick("allkeys", "allchannels", "&*")}
	case n < 33:
		return []string{g.mixCase(g.pick("resetkeys", "resetchannels", "nocommands", "-@all", ""))}
	case n == 33:
		return []string{g.pick("%~a", "+nix", "-@nix", "+get|", "-get|x", "+config|get|x", "+config|nix", "~a b", "nix", "+", "+@", "%x~a", "%RR~a", ")", "(", "%R", "&a\x00")}
	case inner:
		return nil
	case n == 34:
		return []string{g.pick("on", "off", "nopass", "resetpass", ">p", "#"+strings.Repeat("0a", 32), "<p", "!"+strings.Repeat("0a", 32), "#0", "sanitize-payload", "skip-sanitize-payload")}
	case n == 35:
		return []string{g.pick("clearselectors", "reset")}
	case n == 36 && g.IntN(10) == 0:
		return []string{"(+get", "(~" + g.pick("a", "b"), "+set)"}
	}
	selector := g.rules(true)
	if slices.ContainsFunc(selector, func(r string) bool { return strings.ContainsAny(r, "() \x00") || r == "" }) {
		return nil
	}
	if g.IntN(3) == 0 && len(selector) > 1 { // spread over several arguments
		selector[0], selector[len(selector)-1] = "("+selector[0], selector[len(selector)-1]+")"
		return selector
	}
	return []string{"(" + strings.Join(selector, " ") + ")"}
}

// call makes a call of a random command that has a chance to be well-formed,
// nil if it is none.
func (g *generator) call(table *command.Table) *command.Call {
	spec := g.spec()
	var args [][]byte
	call := new(command.Call)
	if g.IntN(3) == 0 { // some commands have more to decide than others
		for _, w := range strings.Fields(shapes[g.IntN(len(shapes))]) {
			if w == "?" {
				w = g.arg()
			}
			args = append(args, []byte(g.mixCase(w)))
		}
		if table.Parse(args, call) != nil {
			return nil
		}
		return call
	}
	for _, w := range strings.Split(spec.Name, "|") {
		args = append(args, []byte(g.mixCase(w)))
	}
	need := max(spec.Arity, -spec.Arity)
	if spec.Arity < 0 {
		need += g.IntN(5)
	}
	for len(args) < need {
		args = append(args, []byte(g.arg()))
	}
	if table.Parse(args, call) != nil || len(args) > 10 && spec.Arity > 0 {
		return nil
	}
	return call
}

// shapes are well-formed calls that chance would seldom make; ? is anything.
var shapes = []string{
	"GET ?", "SET ? v", "SET ? v EX 1 GET", "MSET ? v ? v", "COPY ? ?", "DEL ? ? ?", "EXISTS ?", "GETEX ?",
	"XREADGROUP GROUP g c STREAMS ? 1", "XREAD COUNT 1 STREAMS ? ? 0 0", "EVAL s 2 ? ? x", "FCALL f 1 ? ?",
	"SORT ? STORE ?", "SORT ? LIMIT 0 1", "SORT ? BY w* GET #", "SORT_RO ? GET x*", "GEORADIUS ? 0 0 1 km STORE ? STOREDIST ?", "GEORADIUS ? 0 0 1 km STORE ?", "GEORADIUSBYMEMBER ? m 1 km STOREDIST ?",
	"ZUNIONSTORE ? 2 ? ?", "ZINTER 2 ? ? WEIGHTS 1 2", "LMPOP 2 ? ? LEFT", "BZMPOP 0 1 ? MIN", "SINTERCARD 2 ? ?",
	"BITFIELD ? GET u8 0", "BITFIELD ? SET u8 0 1", "BITFIELD_RO ? GET u8 0", "BITOP AND ? ? ?",
	"MIGRATE h 1 k 0 1", "PUBLISH ? m", "SPUBLISH ? m", "SUBSCRIBE ? ?", "SSUBSCRIBE ?", "PSUBSCRIBE ?", "UNSUBSCRIBE ?",
	"SELECT ?", "OBJECT HELP", "OBJECT ENCODING ?", "MEMORY USAGE ?", "RENAME ? ?", "LMOVE ? ? LEFT LEFT", "XINFO STREAM ?",
	"PFCOUNT ? ?", "PFMERGE ? ?", "SMOVE ? ? m", "BLPOP ? ? 0", "WATCH ? ?", "TOUCH ?", "CONFIG GET dir", "INFO", "KEYS *",
	"SCAN 0", "DBSIZE", "FLUSHALL", "PING", "DEBUG ? x", "AUTH x", "HELLO 3",
}

func (g *generator) arg() string {
	switch g.IntN(6) {
	case 0:
		return g.text(`aabb[]-\*`, 4)
	case 1, 2, 3:
		return g.pick("a", "b", "ab", "abc", "c", "key:1", "k:b", "", "a:1", "bb", "*", "[", "a\\")
	}
	return g.pick("0", "1", "2", "3", "on", "GET", "store", "STREAMS", "LIMIT", "BY", "KEYS", "LEFT", "MIN", "a*", "STOREDIST", "-1")
}
