package acl

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPasswordRules_weak(t *testing.T) {
	r := PasswordRules{MinLength: 10, Common: true}
	for password, want := range map[string]PasswordFaults{
		"":                          PasswordShort | PasswordCommon,
		"short":                     PasswordShort,
		"ninechars":                 PasswordShort,
		"päßwörtchen":               0,
		"password":                  PasswordShort | PasswordCommon,
		"Password2026!":             PasswordCommon,
		"P@ssw0rd123":               PasswordCommon,
		"PASSWORD123456":            PasswordCommon,
		"changeme99":                PasswordCommon,
		"!!welcome!!":               PasswordCommon,
		"redis12345":                PasswordCommon,
		"r3disadmin!":               PasswordCommon,
		"aaaaaaaaaaaa":              PasswordCommon,
		"abababababab":              PasswordCommon,
		"abc1abc1abc1":              PasswordCommon,
		"1234567890":                PasswordCommon,
		"0987654321":                PasswordCommon,
		"19841231":                  PasswordShort | PasswordCommon,
		"abcdefghijk":               PasswordCommon,
		"qwertyuiop":                PasswordCommon,
		"poiuytrewq":                PasswordCommon,
		"1qaz2wsx3edc":              PasswordCommon,
		"orders-api1":               PasswordCommon,
		"Orders-API":                PasswordCommon,
		"correcthorsebatterystaple": PasswordCommon,
		"blue-lamp-carries-seven":   0,
		"orders-api is mine to use": 0,
		"6bMq9x!tRw2z":              0,
		"passwordless-is-better":    0,
		strings.Repeat("a", 65):     0, // nobody types it
		hashOf("generated"):         0,
	} {
		if got := r.Weak("orders-api", []byte(password)); got != want {
			t.Errorf("%q: %v, want %v", password, got, want)
		}
	}
	for _, quiet := range []PasswordRules{{}, {Mode: Off, MinLength: 10, Common: true}} {
		if f := quiet.Weak("app", []byte("password")); f != 0 {
			t.Errorf("%+v: %v", quiet, f)
		}
	}
	if s := (PasswordShort | PasswordOld).String(); s != "short+old" || PasswordFaults(0).String() != "none" {
		t.Errorf("got %s", s)
	}
}

func TestPasswordRules_reuse_and_age(t *testing.T) {
	slow, err := HashArgon2id([]byte("third"), strings.NewReader(strings.Repeat("s", 16)))
	if err != nil {
		t.Fatal(err)
	}
	former := []string{hashOf("first"), "#" + hashOf("second"), slow, "nonsense", hashOf("fifth")}
	for password, want := range map[string]int{"first": 1, "second": 2, "third": 3, "fifth": 5, "new": 99} {
		for reuse := range 7 {
			if got := (PasswordRules{Reuse: reuse}).Reused([]byte(password), former); got != (reuse >= want) {
				t.Errorf("%s among the last %d: %v", password, reuse, got)
			}
		}
	}
	if (PasswordRules{Mode: Off, Reuse: 5}).Reused([]byte("first"), former) {
		t.Error("off finds something")
	}
	r := PasswordRules{MaxAge: 24 * time.Hour}
	if r.Old(noon, noon.Add(24*time.Hour)) || !r.Old(noon, noon.Add(25*time.Hour)) || r.Old(time.Time{}, noon) || (PasswordRules{}).Old(noon, noon.AddDate(9, 0, 0)) {
		t.Error("the age is not what was asked")
	}
}

func TestPasswordRules_in_SETUSER(t *testing.T) {
	src := house()
	src.ACLFile = []UserSource{{Name: Text{Value: "app"}, Rules: Text{Value: "on #" + hashOf("the old passphrase")}}}
	src.Passwords = PasswordRules{MinLength: 8, Common: true, Reuse: 2}
	p := mustCompile(t, src)
	for _, rules := range [][]string{
		{">short"}, {">password1"}, {"#" + hashOf("password1")}, {"resetpass", ">the old passphrase"}, {"<the old passphrase", ">the old passphrase"},
		{"reset", "#" + hashOf("the old passphrase")}, {"nopass", ">the old passphrase"},
	} {
		var refused *RuleError
		if q, err := p.WithUser("app", rules); q != nil || !errors.As(err, &refused) || !strings.Contains(refused.Text, "password") {
			t.Errorf("%q: %v", rules, err)
		}
	}
	q, err := p.WithUser("app", []string{">the old passphrase", ">a new passphrase", "<the old passphrase"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.WithUser("app", []string{">the old passphrase"}); err == nil {
		t.Error("a password of before comes again")
	}
	if q, err = q.WithUser("app", []string{"resetpass", ">another passphrase", "resetpass", ">a third passphrase", "resetpass"}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.WithUser("app", []string{">the old passphrase"}); err != nil {
		t.Errorf("it is long forgotten: %v", err)
	}
	src.Passwords.Mode = Report
	if _, err := mustCompile(t, src).WithUser("app", []string{">short"}); err != nil {
		t.Errorf("report refuses: %v", err)
	}
}

func TestPasswordRules_in_files_and_at_login(t *testing.T) {
	src := house(member("app", "on >redis123 ~*", func(u *UserSource) { u.PasswordsSet = Text{Value: "2026-01-01"} }))
	for _, test := range []struct {
		rules   PasswordRules
		problem string
		login   Reason
		weak    PasswordFaults
	}{
		{PasswordRules{}, "", None, 0},
		{PasswordRules{MinLength: 12}, "users.app.rules: the password has fewer than 12 characters", 0, 0},
		{PasswordRules{MinLength: 12, Mode: Report}, "users.app.rules: the password has fewer than 12 characters", None, PasswordShort},
		{PasswordRules{Common: true, Mode: Report}, "users.app.rules: the password is commonly chosen", None, PasswordCommon},
		{PasswordRules{Common: true, MinLength: 12, Mode: Off}, "", None, 0},
		{PasswordRules{MaxAge: 24 * time.Hour}, "", PasswordExpired, 0},
		{PasswordRules{MaxAge: 24 * time.Hour, Mode: Report}, "", None, PasswordOld},
	} {
		src.Passwords = test.rules
		p, problems := Compile(src)
		if text := problemLines(problems); !strings.Contains(text, test.problem) || test.problem == "" && text != "" || strings.Contains(text, "redis123") {
			t.Errorf("%+v: %s", test.rules, text)
		}
		if (p == nil) != (test.problem != "" && test.rules.Mode == Enforce) {
			t.Fatalf("%+v: %s", test.rules, problemLines(problems))
		}
		if p == nil {
			continue
		}
		if pr, r := p.Authenticate(&Attempt{Listener: "gw", User: "app", Password: []byte("redis123"), Now: noon}); r != test.login || pr.Weak != test.weak {
			t.Errorf("%+v: %v, %v", test.rules, r, pr.Weak)
		}
	}
	// A hash hides how long its password is; at login it shows.
	src = house(member("app", "on #"+hashOf("xk7!q")+" ~*", nil))
	src.Passwords = PasswordRules{MinLength: 8}
	if pr, r := mustCompile(t, src).Authenticate(&Attempt{Listener: "gw", User: "app", Password: []byte("xk7!q"), Now: noon}); r != PasswordWeak || pr.User != nil {
		t.Errorf("got %v", r)
	}
	// Generated ones pass every rule.
	src.Passwords = PasswordRules{MinLength: 32, Common: true, Reuse: 5}
	if _, err := mustCompile(t, src).WithUser("new", []string{">" + hashOf("from GENPASS")}); err != nil {
		t.Error(err)
	}
}
