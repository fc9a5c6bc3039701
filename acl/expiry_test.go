package acl

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

// expiring is a policy of one user who may do everything, and entries of expiry:.
func expiring(t *testing.T, entries ...ExpirySource) *Policy {
	t.Helper()
	src := house(member("app", "on >pw-of-app ~* &* +@all +restore +sort +getex", nil))
	src.Guard = GuardSource{Categories: []Text{}, Never: []Text{}}
	src.Expiry = entries
	return mustCompile(t, src)
}

func TestExpiry(t *testing.T) {
	day := 24 * time.Hour
	require := expiring(t, ExpirySource{Keys: textsOf("pii:*"), Require: true})
	limit := expiring(t, ExpirySource{Keys: textsOf("pii:*"), Max: 30 * day})
	both := expiring(t, ExpirySource{Keys: textsOf("x:*", "pii:*"), Require: true, Max: 30 * day})
	// Whether the call is refused under require, under max, and under both.
	for line, want := range map[string]string{
		"SET pii:1 v":                                       "r b",
		"SET other v":                                       "",
		"SET pii:1 v EX 10":                                 "",
		"SET pii:1 v ex 2592000":                            "",
		"SET pii:1 v EX 2592001":                            "mb",
		"SET pii:1 v PX 2592000001":                         "mb",
		"SET pii:1 v PX 2592000000":                         "",
		"SET pii:1 v EXAT 99999999999":                      "mb",
		"SET pii:1 v PXAT 1":                                "mb",
		"SET pii:1 v KEEPTTL":                               "",
		"SET pii:1 v NX":                                    "r b",
		"SET pii:1 v XX GET":                                "r b",
		"SET pii:1 EX 10":                                   "rmb", // the value is EX, the option unknown
		"SET pii:1 v NX EX 10 GET":                          "",
		"SET pii:1 v EX 10 EX 9999999":                      "rmb",
		"SET pii:1 v EX 10 KEEPTTL":                         "rmb",
		"SET pii:1 v EX":                                    "rmb",
		"SET pii:1 v EX 010":                                "rmb",
		"SET pii:1 v EX +10":                                "rmb",
		"SET pii:1 v EX 99999999999999999999":               "rmb",
		"SET pii:1 v EX 9223372036854775807":                "mb",
		"SET pii:1 v IFEQ EX":                               "r b",
		"SET pii:1 v IFEQ x EX 10":                          "",
		"SET pii:1 v NOVEL":                                 "rmb",
		"SETNX pii:1 v":                                     "r b",
		"GETSET pii:1 v":                                    "r b",
		"MSET other v pii:1 v":                              "r b",
		"MSET other v more v":                               "",
		"MSETNX pii:1 v":                                    "r b",
		"SETEX pii:1 10 v":                                  "",
		"SETEX pii:1 2592001 v":                             "mb",
		"PSETEX pii:1 2592000001 v":                         "mb",
		"PSETEX pii:1 x v":                                  "rmb",
		"GETEX pii:1":                                       "",
		"GETEX pii:1 EX 10":                                 "",
		"GETEX pii:1 EX 2592001":                            "mb",
		"GETEX pii:1 PERSIST":                               "r b",
		"GETEX pii:1 persist":                               "r b",
		"GETEX pii:1 EXAT 1":                                "mb",
		"PERSIST pii:1":                                     "r b",
		"PERSIST other":                                     "",
		"EXPIRE pii:1 10":                                   "",
		"EXPIRE pii:1 2592001":                              "mb",
		"EXPIRE pii:1 -1":                                   "",
		"EXPIRE pii:1 10 NX":                                "",
		"EXPIRE pii:1 10 LT":                                "",
		"EXPIRE pii:1 10 XX":                                "r b",
		"EXPIRE pii:1 10 gt":                                "r b",
		"EXPIRE pii:1 2592001 XX":                           "rmb",
		"EXPIRE pii:1 10 NOVEL":                             "rmb",
		"PEXPIRE pii:1 2592000001":                          "mb",
		"PEXPIRE pii:1 2592000000":                          "",
		"EXPIREAT pii:1 1":                                  "mb",
		"EXPIREAT pii:1 1 XX":                               "rmb",
		"PEXPIREAT pii:1 99999999999999":                    "mb",
		"RESTORE pii:1 0 x":                                 "r b",
		"RESTORE pii:1 1000 x REPLACE":                      "",
		"RESTORE pii:1 2592000001 x":                        "mb",
		"RESTORE pii:1 99999999999 x ABSTTL":                "mb",
		"SUNIONSTORE pii:1 a b":                             "r b",
		"SUNIONSTORE dst pii:1 b":                           "",
		"ZRANGESTORE pii:1 a 0 1":                           "r b",
		"BITOP AND pii:1 a b":                               "r b",
		"GEOSEARCHSTORE pii:1 a FROMMEMBER m BYRADIUS 1 km": "r b",
		"GEORADIUS pii:1 0 0 1 km":                          "",
		"GEORADIUS a 0 0 1 km STORE pii:1":                  "r b",
		"SORT pii:1":                                        "",
		"SORT a STORE pii:1":                                "r b",
		"MSETEX 1 pii:1 v":                                  "r b",
		"MSETEX 1 pii:1 v EX 10":                            "",
		"MSETEX 2 o v pii:1 v PX 2592000001":                "mb",
		"INCREX pii:1":                                      "",
		"INCREX pii:1 EX 2592001":                           "mb",
		"INCREX pii:1 PERSIST":                              "r b",
		"HSET pii:1 f v":                                    "", // whether the hash is new can't be seen
		"INCR pii:1":                                        "",
		"DEL pii:1":                                         "",
		"GET pii:1":                                         "",
	} {
		call := parseCall(t, require.Table(), line)
		for _, c := range []struct {
			p    *Policy
			mark string
		}{{require, "r"}, {limit, "m"}, {both, "b"}} {
			d := c.p.Decide(c.p.User("app"), call)
			if refused := d.Reason == TTLRequired; refused != strings.Contains(want, c.mark) || d.Allowed == refused {
				t.Errorf("%s: %s: %s", c.mark, line, verdict(d))
			}
			e := c.p.Explain(c.p.User("app"), call)
			if e.Decision != d || d.Reason == TTLRequired && (e.Expiry.Rule != d.Rule || e.Expiry.Arg != d.Arg || e.Expiry.Says == "") {
				t.Errorf("%s: explained as %+v", line, e.Expiry)
			}
		}
	}
	d := decide(t, both, "app", "MSET other v pii:7 v")
	if d.Arg != 3 || d.Rule == nil || d.Rule.Text != "expiry: x:* pii:* require max 720h0m0s" {
		t.Errorf("%d %+v", d.Arg, d.Rule)
	}
}

// expiry: comes on top: it refuses what the rules allow, whichever user it is,
// and never the other way round.
func TestExpiry_comes_on_top(t *testing.T) {
	src := house(member("app", "on >pw-of-app ~app:* +@write", nil), member("all", "on >pw-of-all ~* +@all", nil))
	src.Expiry = []ExpirySource{
		{Keys: textsOf("app:*"), Require: true, Mode: Report},
		{Keys: textsOf("app:s:*"), Require: true},
		{Keys: textsOf("app:s:*"), Max: time.Hour, Note: Note{Until: Text{Value: "2026-12-01T13:00:00Z"}}},
	}
	p := mustCompile(t, src)
	for line, want := range map[string]string{
		"SET app:1 v": "reported:ttl_required expiry: app:* require", "SET app:s:1 v": "ttl_required expiry: app:s:* require",
		"SET app:s:1 v EX 3601": "ttl_required expiry: app:s:* max 1h0m0s", "SET app:s:1 v EX 3600": "allowed +@write",
	} {
		if got := verdict(decide(t, p, "app", line)); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	if d := decide(t, p, "app", "SET other v"); d.Reason != KeyNotAllowed {
		t.Errorf("it widens the rules: %s", verdict(d))
	}
	if d := decide(t, p, "all", "SET app:s:1 v"); d.Reason != TTLRequired {
		t.Errorf("who may do everything may do that, too: %s", verdict(d))
	}
	src.Modes = Modes{ACL: Report, Guard: Off}
	lax := mustCompile(t, src)
	if d := decide(t, lax, "app", "GETSET app:s:1 v"); d.Reason != TTLRequired || d.Allowed {
		t.Errorf("report mode of the rules lifts it: %s", verdict(d))
	}
	if d := decide(t, lax, "app", "SET other v"); d.Reason != KeyNotAllowed || !d.Reported {
		t.Errorf("report mode of the rules: %s", verdict(d))
	}
	if d := p.At(noon.Add(2*time.Hour)).Decide(p.User("app"), parseCall(t, p.Table(), "SET app:s:1 v EX 3601")); !d.Allowed {
		t.Errorf("the entry's time has passed: %s", verdict(d))
	}
	for _, line := range []string{"SET app:s:1 v", "SET app:s:1 v EX 10", "MSET app:s:1 v", "EXPIRE app:s:1 99999999"} {
		call := parseCall(t, p.Table(), line)
		if n := testing.AllocsPerRun(100, func() { p.Decide(p.User("app"), call) }); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}

func TestExpiry_problems(t *testing.T) {
	for want, e := range map[string]ExpirySource{
		"expiry: keys are missing":                      {Require: true},
		"expiry: asks for nothing":                      {Keys: textsOf("a")},
		"expiry.max: too short":                         {Keys: textsOf("a"), Max: -time.Second},
		"expiry.mode: no such mode":                     {Keys: textsOf("a"), Require: true, Mode: Off},
		"expiry.keys: empty, or with white space in it": {Keys: textsOf("a b"), Require: true},
	} {
		src := house()
		src.Expiry = []ExpirySource{e}
		if p, problems := Compile(src); p != nil || !strings.Contains(problemLines(problems), want) {
			t.Errorf("want %s, got %s", want, problemLines(problems))
		}
	}
}

// The commands that expiry: cannot judge are a reviewed list: a new command
// shows here and must be looked at.
func TestExpiry_commands_it_cannot_judge_are_listed(t *testing.T) {
	const golden = "testdata/expiry-unknown.golden"
	got := strings.Join(UnknownLifetime(command.Newest()), "\n") + "\n"
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		if os.Getenv("UPDATE_GOLDEN") != "" {
			os.WriteFile(golden, []byte(got), 0o644)
		}
		t.Errorf("%s is not what the table says: look at what is new, then run with UPDATE_GOLDEN=1\n%s", golden, got)
	}
	documented, err := os.ReadFile("../DIFFERENCES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range UnknownLifetime(command.Newest()) {
		if word := "`" + strings.ToUpper(strings.ReplaceAll(name, "|", " ")) + "`"; !strings.Contains(string(documented), word) {
			t.Errorf("DIFFERENCES.md does not name %s", word)
		}
	}
	for _, name := range lasting {
		if spec := command.Newest().ByName(name); spec == nil || lifetimes[name] != nil {
			t.Errorf("%s is no command, or on two lists", name)
		}
	}
	for name := range lifetimes {
		if command.Newest().ByName(name) == nil {
			t.Errorf("%s is no command", name)
		}
	}
}

// What a shape is said to do is what a real server does, on a key that has an
// expiry and on one that has none, and that does not exist.
func TestExpiry_is_what_a_server_does(t *testing.T) {
	server := startServer(t)
	table, ok := command.For("redis-7.0.15")
	if !ok {
		t.Fatal("no command table for redis-7.0.15")
	}
	dump := strings.Trim(server.ask(t, [][]string{{"SET", "d", "1"}, {"DUMP", "d"}})[1], "\n")
	for _, test := range []struct {
		kind string // what the key holds
		line string
	}{
		{"string", "SET k v"}, {"string", "SET k v EX 50"}, {"string", "SET k v PX 50000"}, {"string", "SET k v KEEPTTL"}, {"string", "SET k v XX"},
		{"string", "SET k v EXAT 4000000000"}, {"string", "GETSET k v"}, {"string", "MSET k v"}, {"string", "SETEX k 50 v"}, {"string", "PSETEX k 50000 v"},
		{"string", "GETEX k"}, {"string", "GETEX k EX 50"}, {"string", "GETEX k PERSIST"}, {"string", "PERSIST k"}, {"string", "EXPIRE k 50"},
		{"string", "EXPIRE k 50 NX"}, {"string", "EXPIRE k 50 XX"}, {"string", "EXPIRE k 50 GT"}, {"string", "EXPIRE k 50 LT"}, {"string", "PEXPIRE k 50000"},
		{"string", "EXPIREAT k 4000000000"}, {"string", "RESTORE k 0 DUMP REPLACE"}, {"string", "RESTORE k 50000 DUMP REPLACE"},
		{"string", "BITOP AND k src"}, {"set", "SUNIONSTORE k srcset"}, {"zset", "ZUNIONSTORE k 1 srczset"}, {"zset", "ZRANGESTORE k srczset 0 -1"},
		{"list", "SORT srclist STORE k"}, {"zset", "GEOSEARCHSTORE k srcgeo FROMMEMBER m BYRADIUS 1 km"},
		{"string", "APPEND k v"}, {"string", "INCR k"}, {"hash", "HDEL k nix"}, {"list", "LSET k 0 v"}, {"list", "LPUSHX k v"}, {"set", "SREM k nix"}, {"zset", "ZREM k nix"},
	} {
		create := map[string][]string{
			"string": {"SET", "k", "1"}, "hash": {"HSET", "k", "f", "v"}, "list": {"RPUSH", "k", "1"}, "set": {"SADD", "k", "a"}, "zset": {"ZADD", "k", "1", "a"},
		}[test.kind]
		args := strings.Fields(test.line)
		raw := [][]byte{}
		for i := range args {
			if args[i] == "DUMP" {
				args[i] = dump
			}
			raw = append(raw, []byte(args[i]))
		}
		call := new(command.Call)
		if err := table.Parse(raw, call); err != nil {
			t.Fatalf("%s: %v", test.line, err)
		}
		life := lifetime{kind: lifeKept}
		if shape := lifetimes[call.Spec.Name]; shape != nil {
			life = shape(call.Args)
		}
		setup := [][]string{{"FLUSHALL"}, {"SET", "src", "a"}, {"SADD", "srcset", "a"}, {"ZADD", "srczset", "1", "a"}, {"RPUSH", "srclist", "1"}, {"GEOADD", "srcgeo", "1", "1", "m"}, create}
		for _, had := range []int{-1, 20} {
			requests := setup[:len(setup):len(setup)]
			if had > 0 {
				requests = append(requests, []string{"EXPIRE", "k", strconv.Itoa(had)})
			}
			answers := server.ask(t, append(requests, args, []string{"TTL", "k"}))
			if a := answers[len(answers)-2]; strings.HasPrefix(a, "-") {
				t.Fatalf("%s: %s", test.line, a)
			}
			ttl, err := strconv.Atoi(answers[len(answers)-1])
			if err != nil || ttl == -2 {
				t.Fatalf("%s: TTL %v, %v", test.line, ttl, err)
			}
			near := func(want int) bool { return ttl >= want-2 && ttl <= want }
			fits := map[lifetimeKind]bool{
				lifeKept:     near(had),
				lifeNone:     ttl == -1,
				lifeMaybe:    had < 0 && ttl == -1 || had > 0 && ttl > 0,
				lifeSet:      near(int(life.millis/1000)) || strings.HasSuffix(test.line, " NX") && near(had) || strings.HasSuffix(test.line, " LT") && near(had),
				lifeAbsolute: ttl > 1000,
			}
			if !fits[life.kind] {
				t.Errorf("%s on a key of %d s leaves %d, and is said that it %v", test.line, had, ttl, life)
			}
		}
	}
}
