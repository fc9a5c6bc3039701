package acl

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sallyport/sallyport/acl/command"
)

func TestAuthenticate(t *testing.T) {
	p := policyOf(t, strings.Join([]string{
		"user app: on >old >new ~*",
		"user hashed: on #" + HashPassword([]byte("p w")) + " ~*",
		"user off: off >pw ~*",
		"user offopen: off nopass ~*",
		"user open: on nopass",
		"user none: on ~*",
		"user dropped: on >a >b <a",
		"user reset: on >a resetpass",
		"user again: on nopass >a",
		"user empty: on >",
		"user default: on >pw",
		"listener gw: any",
		"listener certs: any",
	}, "\n"))
	src := parseSource(t, "policy", "user app: on >old\nlistener certs: any")
	src.Listeners[0].Auth = []Text{{Value: "certificate"}}
	certs := mustCompile(t, src)
	for _, test := range []struct {
		listener, user, password string
		want                     Reason
	}{
		{"gw", "app", "old", None},
		{"gw", "app", "new", None},
		{"gw", "app", "New", WrongPassword},
		{"gw", "app", "", WrongPassword},
		{"gw", "App", "old", NoSuchUser},
		{"gw", "nobody", "old", NoSuchUser},
		{"gw", "hashed", "p w", None},
		{"gw", "hashed", HashPassword([]byte("p w")), WrongPassword},
		{"gw", "off", "pw", UserDisabled},
		{"gw", "off", "wrong", UserDisabled},
		{"gw", "offopen", "any", UserDisabled},
		{"gw", "open", "any", None},
		{"gw", "none", "", WrongPassword},
		{"gw", "dropped", "a", WrongPassword},
		{"gw", "dropped", "b", None},
		{"gw", "reset", "a", WrongPassword},
		{"gw", "again", "b", WrongPassword},
		{"gw", "again", "a", None},
		{"gw", "empty", "", None},
		{"gw", "default", "pw", None},
		{"elsewhere", "app", "old", MethodRefused},
		{"", "app", "old", MethodRefused},
	} {
		pr, got := p.Authenticate(&Attempt{Listener: test.listener, User: test.user, Password: []byte(test.password)})
		u := pr.User
		if got != test.want || (u != nil) != (test.want == None) || u != nil && u.Name() != test.user {
			t.Errorf("%s %q %q: got %v, %v, want %v", test.listener, test.user, test.password, u, got, test.want)
		}
	}
	if pr, got := certs.Authenticate(&Attempt{Listener: "certs", User: "app", Password: []byte("old")}); pr.User != nil || got != MethodRefused {
		t.Errorf("a listener that takes certificates alone took a password: %v", got)
	}
	if certs.Takes("certs", "password") || !certs.Takes("certs", "certificate") || certs.Takes("gw", "certificate") {
		t.Error("what the listener takes is not what it says")
	}
	for _, method := range []string{"password", "token", "certificate"} {
		if !p.Takes("gw", method) {
			t.Errorf("a listener that says nothing does not take %s", method)
		}
	}
}

// Whoever is asked about, the same hashes are compared: an unknown, disabled
// or passwordless user must not answer sooner than one with many passwords.
func TestAuthenticate_compares_as_many_hashes_for_everybody(t *testing.T) {
	p := policyOf(t, "user a: on >1 >2 >3\nuser b: on\nlistener gw: any")
	if p.mostHashes != 3 {
		t.Errorf("%d comparisons, want 3", p.mostHashes)
	}
	if p := policyOf(t, "listener gw: any"); p.mostHashes != 1 {
		t.Errorf("without users: %d comparisons, want 1", p.mostHashes)
	}
	password := []byte("1")
	for _, user := range []string{"a", "b", "c"} {
		if n := testing.AllocsPerRun(100, func() { p.Authenticate(&Attempt{Listener: "gw", User: user, Password: password}) }); n != 0 {
			t.Errorf("%s: %v allocations", user, n)
		}
	}
}

func TestAnonymous_needs_the_listener_and_the_user(t *testing.T) {
	const open = "user default: on nopass ~*\n"
	for name, test := range map[string]struct {
		policy string
		want   bool
	}{
		"both":                   {open + "listener gw: any\nanonymous gw", true},
		"no default at all":      {"listener gw: any\nanonymous gw", false},
		"default is off":         {"user default: off nopass\nlistener gw: any\nanonymous gw", false},
		"default has a password": {"user default: on >pw\nlistener gw: any\nanonymous gw", false},
		"not this listener":      {open + "listener other: any\nanonymous other", false},
		"not anonymous":          {"user default: on >pw\nlistener gw: any", false},
	} {
		if u := policyOf(t, test.policy).Anonymous("gw"); (u != nil) != test.want {
			t.Errorf("%s: %v", name, u)
		}
	}
}

func TestLine_is_Redis_own_form(t *testing.T) {
	h := HashPassword([]byte("pw"))
	for rules, want := range map[string]string{
		"":                                "off sanitize-payload resetchannels -@all",
		"on >pw ~a %R~b %W~c &x &y +get":  "on sanitize-payload #" + h + " ~a %R~b %W~c resetchannels &x &y -@all +get",
		"on nopass ~* &* +@all":           "on nopass sanitize-payload ~* &* +@all",
		"%R~a %W~a":                       "off sanitize-payload ~a resetchannels -@all",
		"%RW~*":                           "off sanitize-payload %RW~* resetchannels -@all",
		"+@all -config +CONFIG|GET":       "off sanitize-payload resetchannels +@all -config +config|get",
		"+config|get -@dangerous":         "off sanitize-payload resetchannels -@all +config|get -@dangerous",
		"+get +@read -get +get":           "off sanitize-payload resetchannels -@all +@read +get",
		"+client|id +client":              "off sanitize-payload resetchannels -@all +client",
		"+config|get +config":             "off sanitize-payload resetchannels -@all +config +config|get",
		"+@all +info":                     "off sanitize-payload resetchannels +@all +info",
		"+select|0 +SELECT|1":             "off sanitize-payload resetchannels -@all +select|0 +select|1",
		"skip-sanitize-payload (~a +get)": "off skip-sanitize-payload resetchannels -@all (~a resetchannels -@all +get)",
		"on (&* ~* +@all) clearselectors": "on sanitize-payload resetchannels -@all",
		"on nopass ~* (+get) reset":       "off sanitize-payload resetchannels -@all",
		"~a resetkeys ~b":                 "off sanitize-payload ~b resetchannels -@all",
	} {
		u := policyOf(t, "user app: "+rules).User("app")
		if got := u.Line(); got != "user app "+want {
			t.Errorf("%s\ngot:  %s\nwant: user app %s", rules, got, want)
		}
	}
}

func TestLine_prints_roles_as_selectors(t *testing.T) {
	p := policyOf(t, "role reader: +@read ~s:*\nuser app: on ~app:* +@write\nroles app: reader")
	want := "user app on sanitize-payload ~app:* resetchannels -@all +@write (~s:* resetchannels -@all +@read)"
	if got := p.User("app").Line(); got != want {
		t.Errorf("got %s", got)
	}
	if s := p.User("app").Selectors(); len(s) != 2 || s[1].Label != "role reader" || s[1].Keys != "~s:*" {
		t.Errorf("got %+v", s)
	}
}

// Reading back what was listed gives the same user: what is allowed, what is
// named, and the listing itself.
func TestLine_reads_back_as_the_same_user(t *testing.T) {
	p := mustCompile(t, Source{Table: command.Newest()})
	g := &generator{Rand: rand.New(rand.NewPCG(5, 6)), specs: p.specs}
	done := 0
	for range 3000 {
		with, err := p.WithUser("u", g.rules(false))
		if err != nil {
			continue
		}
		done++
		u := with.User("u")
		back := policyOf(t, "user u: "+strings.TrimPrefix(u.Line(), "user u ")).User("u")
		if back.Line() != u.Line() {
			t.Fatalf("%s\nreads back as\n%s", u.Line(), back.Line())
		}
		for i, s := range u.selectors {
			b := back.selectors[i]
			if !slices.Equal(s.allowed, b.allowed) || s.allKeys != b.allKeys || s.allChannels != b.allChannels ||
				len(s.firstArgs) != len(b.firstArgs) {
				t.Fatalf("%s reads back with other rights", u.Line())
			}
			for _, spec := range p.specs {
				if p.attrs[spec.ID]&attrGuarded != 0 && s.named.has(spec.ID) != b.named.has(spec.ID) && s.allowed.has(spec.ID) {
					t.Fatalf("%s reads back with %s named otherwise", u.Line(), spec.Name)
				}
			}
		}
	}
	if done < 1000 {
		t.Errorf("only %d users were read back", done)
	}
}

func TestWithUser_is_ACL_SETUSER(t *testing.T) {
	p := policyOf(t, "filed app: on >pw ~a +get\nlistener gw: any")
	q, err := p.WithUser("app", []string{"~b", "+set", "(+del", "~c)"})
	if err != nil {
		t.Fatal(err)
	}
	if !decide(t, q, "app", "SET b v").Allowed || !decide(t, q, "app", "DEL c").Allowed || !decide(t, q, "app", "GET a").Allowed {
		t.Error("the rules are not in force")
	}
	if decide(t, p, "app", "SET a v").Allowed || decide(t, p, "app", "DEL c").Allowed || len(p.User("app").selectors) != 1 {
		t.Error("the old policy changed")
	}
	for _, bad := range [][]string{{"~c", "+nix"}, {"(+get", "~a"}, {"%"}, {"on", "nix"}} {
		r, err := p.WithUser("app", bad)
		var rule *RuleError
		if r != nil || !errors.As(err, &rule) {
			t.Errorf("%q: got %v, %v", bad, r, err)
		}
	}
	if _, err := p.WithUser("a b", nil); !errors.Is(err, ErrUserName) {
		t.Errorf("got %v", err)
	}
	if _, err := p.WithUser("default", []string{"on", "nopass"}); !errors.Is(err, ErrOpenDefault) {
		t.Errorf("everybody may be let in at run time: %v", err)
	}
	q, err = q.WithUser("new", nil)
	if err != nil || q.User("new").Enabled() || decide(t, q, "new", "GET a").Allowed {
		t.Errorf("a new user is not off and empty: %v", err)
	}
	if names := userNames(q); !slices.Equal(names, []string{"app", "new"}) {
		t.Errorf("got %v", names)
	}
	if r, err := q.WithoutUser("app"); err != nil || r.User("app") != nil || q.User("app") == nil || !slices.Equal(userNames(r), []string{"new"}) {
		t.Error("deleting a user")
	}
	if r, err := q.WithoutUser("nobody"); err != nil || r != q {
		t.Error("deleting nobody makes a new policy")
	}
}

func userNames(p *Policy) []string {
	var names []string
	for _, u := range p.Users() {
		names = append(names, u.Name())
	}
	return names
}

func TestDenies_tells_a_denial_by_name_from_a_missing_grant(t *testing.T) {
	p := policyOf(t, "role no: -info -config\nuser app: on +@all -info -@scripting -client|id\nuser roled: on\nroles roled: no\nuser given: on -info (+info)\nuser none: on -@all")
	for _, test := range []struct {
		user, command string
		want          bool
	}{
		{"app", "info", true}, {"app", "client|id", true}, {"app", "get", false}, {"app", "eval", false},
		{"roled", "info", true}, {"roled", "config|get", true}, {"roled", "get", false},
		{"given", "info", false}, {"none", "info", false},
	} {
		if got := p.User(test.user).Denies(p.Table().ByName(test.command)); got != test.want {
			t.Errorf("%s %s: %v", test.user, test.command, got)
		}
	}
}

func TestGenPass(t *testing.T) {
	pass, err := GenPass(bytes.NewReader(bytes.Repeat([]byte{0xab}, 32)))
	if err != nil || pass != strings.Repeat("ab", 32) {
		t.Errorf("got %q, %v", pass, err)
	}
	if _, err := GenPass(iotest.ErrReader(errors.New("no entropy"))); err == nil {
		t.Error("a password came of no randomness")
	}
	if got := HashPassword(nil); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("the empty password's hash is %s", got)
	}
}

// ACL SETUSER may be repeated for ever: the rules that no longer matter are
// forgotten, those that decide are not.
func TestWithUser_may_be_repeated_for_ever(t *testing.T) {
	p := policyOf(t, "user app: on ~* +@read -get +set")
	u := p.User("app").clone()
	for range 5 * manyRules {
		for _, rule := range []string{"+del", "-del", "~x:*"} {
			u.selectors[0].apply(p.lang, word{text: rule})
		}
	}
	if n := len(u.selectors[0].rules); n > manyRules {
		t.Errorf("%d rules are kept", n)
	}
	for line, want := range map[string]string{
		"GET x": "command_not_allowed -get", "MGET x": "allowed +@read", "SET x v": "allowed +set", "DEL x": "command_not_allowed -del",
	} {
		if got := verdict(p.Decide(u, parseCall(t, p.Table(), line))); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
