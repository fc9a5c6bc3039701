package acl

import (
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

// ordinary is a user of 20 rules and 5 patterns.
const ordinary = "user app: on >pw ~cache:* ~session:* %R~config:* %W~log:* ~app:* &app:* +@read +@write +@string +@hash " +
	"-@dangerous +@connection -client|kill +info +ping -keys -sort +select|0 +publish +subscribe +eval"

func benchmarkDecide(b *testing.B, policy, line string, want bool) {
	p := policyOf(b, policy)
	u, call := p.User("app"), parseCall(b, p.Table(), line)
	if d := p.Decide(u, call); d.Allowed != want {
		b.Fatalf("%s: %s", line, verdict(d))
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(u, call)
	}
}

func BenchmarkDecide_get_last_of_5_patterns(b *testing.B) {
	benchmarkDecide(b, ordinary, "GET app:user:1000", true)
}

func BenchmarkDecide_get_refused_key(b *testing.B) {
	benchmarkDecide(b, ordinary, "GET other:user:1000", false)
}

func BenchmarkDecide_refused_command(b *testing.B) {
	benchmarkDecide(b, ordinary, "SORT app:1", false)
}

func BenchmarkDecide_lifted_info(b *testing.B) {
	benchmarkDecide(b, ordinary, "INFO", true)
}

func BenchmarkDecide_third_selector(b *testing.B) {
	benchmarkDecide(b, "role a: +@read ~shared:*\nrole b: +@write ~b:*\nuser app: on ~app:* +@hash\nroles app: a b", "SET b:1 v", true)
}

func BenchmarkDecide_mget_100_keys(b *testing.B) {
	line := "MGET"
	for range 100 {
		line += " app:user:1000"
	}
	benchmarkDecide(b, ordinary, line, true)
}

func BenchmarkDecide_general_glob(b *testing.B) {
	benchmarkDecide(b, "user app: on ~*:user:[0-9]*:profile +@read", "GET tenant:user:1000:profile", true)
}

func BenchmarkAuthenticate(b *testing.B) {
	p := policyOf(b, ordinary+"\nlistener gw: any")
	password := []byte("pw")
	b.ReportAllocs()
	for b.Loop() {
		if pr, _ := p.Authenticate(&Attempt{Listener: "gw", User: "app", Password: password}); pr.User == nil {
			b.Fatal("refused")
		}
	}
}

// A decision allocates nothing, whatever comes of it.
func TestDecide_allocates_nothing(t *testing.T) {
	p := policyOf(t, ordinary+"\nuser scan: on ~app:* +scan +client|tracking +sort (+@read ~[a-c]?x*)")
	for _, test := range []struct{ user, line string }{
		{"app", "GET app:1"}, {"app", "GET other"}, {"app", "SORT x"}, {"app", "INFO"}, {"app", "CONFIG GET x"}, {"app", "FLUSHALL"},
		{"app", "EVAL x 0"}, {"app", "SHUTDOWN"}, {"app", "SELECT 0"}, {"app", "SELECT 1"}, {"app", "AUTH x"}, {"app", "PUBLISH app:1 m"},
		{"app", "MGET cache:1 app:2 session:3"}, {"scan", "SCAN 0 MATCH app:* COUNT 5"}, {"scan", "CLIENT TRACKING on BCAST PREFIX app:"},
		{"scan", "SORT app:1 BY x*"}, {"scan", "GET abxc"}, {"nobody", "GET x"},
	} {
		u, call := p.User(test.user), parseCall(t, p.Table(), test.line)
		if n := testing.AllocsPerRun(200, func() { p.Decide(u, call) }); n != 0 {
			t.Errorf("%s %s: %v allocations", test.user, test.line, n)
		}
	}
}

// A user or a call of another command table means other commands by the same
// numbers: it is refused, not misread.
func TestDecide_refuses_what_belongs_to_another_table(t *testing.T) {
	p := policyOf(t, "user app: on ~* &* +@all")
	other, ok := command.For("redis-7.0.15")
	if !ok {
		t.Fatal("no table for redis-7.0.15")
	}
	q := mustCompile(t, Source{Table: other, Users: []UserSource{{Name: Text{Value: "app"}, Rules: Text{Value: "on ~* &* +@all"}}}})
	if d := p.Decide(p.User("app"), parseCall(t, other, "GET x")); d.Allowed || d.Reason != UnknownCommand {
		t.Errorf("a foreign call: %s", verdict(d))
	}
	if d := p.Decide(q.User("app"), parseCall(t, p.Table(), "GET x")); d.Allowed || d.Reason != NotAuthenticated {
		t.Errorf("a foreign user: %s", verdict(d))
	}
	if d := p.Decide(p.User("app"), &command.Call{}); d.Allowed || d.Reason != UnknownCommand {
		t.Errorf("no command at all: %s", verdict(d))
	}
}
