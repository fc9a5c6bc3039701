package acl

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	salt16 = "c29tZXNhbHRzb21lc2FsdA"
	key32  = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

func TestArgon_the_string_form_is_read_strictly(t *testing.T) {
	good := "$argon2id$v=19$m=19456,t=2,p=1$" + salt16 + "$" + key32
	if h, what := parseArgon(good); what != "" || h.memory != 19456 || h.passes != 2 || h.threads != 1 || len(h.salt) != 16 || len(h.key) != 32 || h.weak() {
		t.Errorf("%s: %+v", what, h)
	}
	for name, text := range map[string]string{
		"empty":              "",
		"argon2i":            strings.Replace(good, "argon2id", "argon2i", 1),
		"argon2d":            strings.Replace(good, "argon2id", "argon2d", 1),
		"bcrypt":             "$2b$10$abcdefghijklmnopqrstuv",
		"no version":         strings.Replace(good, "v=19$", "", 1),
		"version 16":         strings.Replace(good, "v=19", "v=16", 1),
		"capitals":           strings.Replace(good, "argon2id", "Argon2id", 1),
		"something before":   "x" + good,
		"something after":    good + "$",
		"a blank":            good + " ",
		"another order":      strings.Replace(good, "m=19456,t=2", "t=2,m=19456", 1),
		"a parameter less":   strings.Replace(good, ",p=1", "", 1),
		"a parameter more":   strings.Replace(good, ",p=1", ",p=1,keyid=x", 1),
		"no memory":          strings.Replace(good, "m=19456", "m=0", 1),
		"too much memory":    strings.Replace(good, "m=19456", "m=262145", 1),
		"memory over 32 bit": strings.Replace(good, "m=19456", "m=4294967297", 1),
		"negative":           strings.Replace(good, "t=2", "t=-2", 1),
		"a plus":             strings.Replace(good, "t=2", "t=+2", 1),
		"a leading zero":     strings.Replace(good, "t=2", "t=02", 1),
		"too many passes":    strings.Replace(good, "t=2", "t=17", 1),
		"too many threads":   strings.Replace(good, "p=1", "p=17", 1),
		"memory for threads": strings.Replace(good, "m=19456,t=2,p=1", "m=31,t=2,p=4", 1),
		"padding":            strings.Replace(good, salt16, salt16+"==", 1),
		"base64 of URLs":     strings.Replace(good, key32, "__"+key32[2:], 1),
		"stray bits":         strings.Replace(good, key32, key32[:42]+"B", 1),
		"a short salt":       strings.Replace(good, salt16, "c29tZXM", 1),
		"a short key":        strings.Replace(good, key32, "AAAAAAAAAAAA", 1),
		"a long key":         strings.Replace(good, key32, strings.Repeat("A", 88), 1),
		"a line end":         strings.Replace(good, salt16, salt16[:4]+"\n"+salt16[4:], 1),
	} {
		if _, what := parseArgon(text); what == "" {
			t.Errorf("%s: %s is read", name, text)
		} else if strings.Contains(what, salt16) || strings.Contains(what, key32) {
			t.Errorf("%s: the message repeats the hash", name)
		}
	}
}

func TestAuthenticate_by_argon2id(t *testing.T) {
	slow, err := HashArgon2id([]byte("correct horse"), bytes.NewReader(bytes.Repeat([]byte{7}, 16)))
	if err != nil {
		t.Fatal(err)
	}
	p := mustCompile(t, house(
		member("human", "on #"+hashOf("also a password")+" ~*", func(u *UserSource) { u.PasswordHashes = textsOf(slow) }),
		member("off", "off ~*", func(u *UserSource) { u.PasswordHashes = textsOf(slow) }),
		member("fast", "on >pw-of-fast ~*", nil),
	))
	for _, test := range []struct {
		user, password string
		slow           bool
		want           Reason
	}{
		{"human", "correct horse", true, None}, {"human", "also a password", true, None}, {"human", "wrong", true, WrongPassword},
		{"human", slow, true, WrongPassword}, {"off", "correct horse", true, UserDisabled}, {"fast", "pw-of-fast", false, None}, {"nobody", "x", false, NoSuchUser},
	} {
		a := Attempt{Listener: "gw", User: test.user, Password: []byte(test.password), Now: noon}
		if got := p.Slow(&a); got != test.slow {
			t.Errorf("%s: slow is %v", test.user, got)
		}
		if pr, r := p.Authenticate(&a); r != test.want || r == None && (pr.Method != MethodPassword || pr.Factors != FactorPassword) {
			t.Errorf("%s %q: %v", test.user, test.password, r)
		}
	}
	if p.Slow(&Attempt{User: "human", Password: []byte("ey"), Token: &TokenClaims{}}) || p.Slow(&Attempt{User: "human"}) {
		t.Error("what needs no argon2id is slow")
	}
	if _, err := HashArgon2id(nil, iotest.ErrReader(errors.New("no entropy"))); err == nil {
		t.Error("a hash came of no randomness")
	}
	p, problems := Compile(house(member("human", "on ~*", func(u *UserSource) {
		u.PasswordHashes = textsOf("$argon2id$v=19$m=64,t=1,p=1$" + salt16 + "$" + key32)
	})))
	if p == nil || len(problems) != 1 || !problems[0].Warning {
		t.Errorf("a cheap hash: %s", problemLines(problems))
	}
	if p, _ := Compile(house(member("human", "on ~*", func(u *UserSource) { u.PasswordHashes = textsOf(slow, slow, slow, slow, slow) }))); p != nil {
		t.Error("any number of slow hashes is taken")
	}
}

// Who proved a slow hash a moment ago is spared it only as long as that hash is
// the user's; everything else is judged anew.
func TestAProofOfAMomentAgoSparesTheSlowHashAndNothingElse(t *testing.T) {
	slow, err := HashArgon2id([]byte("correct horse"), bytes.NewReader(bytes.Repeat([]byte{7}, 16)))
	if err != nil {
		t.Fatal(err)
	}
	other, err := HashArgon2id([]byte("another horse"), bytes.NewReader(bytes.Repeat([]byte{8}, 16)))
	if err != nil {
		t.Fatal(err)
	}
	human := func(rules, hash string) UserSource {
		return member("human", rules, func(u *UserSource) { u.PasswordHashes = textsOf(hash) })
	}
	p := mustCompile(t, house(human("on ~*", slow)))
	attempt := Attempt{Listener: "gw", User: "human", Password: []byte("correct horse"), Now: noon}
	pr, reason := p.Authenticate(&attempt)
	if reason != None || pr.Argon2id() == "" {
		t.Fatal(reason)
	}
	attempt.Proved = pr.Argon2id()
	if again, r := p.Authenticate(&attempt); p.Slow(&attempt) || r != None || again.Argon2id() != pr.Argon2id() {
		t.Error("the hash is computed again:", r)
	}
	for what, q := range map[string]*Policy{
		"the hash is another": mustCompile(t, house(human("on ~*", other))),
		"the user is off":     mustCompile(t, house(human("off ~*", slow))),
		"the user is gone":    mustCompile(t, house(member("app", "on >pw-of-app ~*", nil))),
	} {
		if next, r := q.Authenticate(&attempt); r == None || next.User != nil {
			t.Errorf("%s, and the proof still counts", what)
		}
	}
	if !mustCompile(t, house(human("on ~*", other))).Slow(&attempt) {
		t.Error("with another hash it is not slow")
	}
	attempt.Proved = "no hash of anybody's"
	if _, r := p.Authenticate(&attempt); !p.Slow(&attempt) || r != None {
		t.Error("an unknown proof decides something:", r)
	}
}

func FuzzArgon(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$" + salt16 + "$" + key32)
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Fuzz(func(t *testing.T, text string) {
		h, what := parseArgon(text)
		if what == "" && (h.memory > argonMostMemory || h.passes > argonMostPasses || h.threads > argonMostThreads || h.threads == 0 || h.memory < 8 || len(h.key) < 16) {
			t.Errorf("%q: %+v", text, h)
		}
	})
}
