package acl

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

// TestProblems: an operator is told file, line and column of the very word, and
// what was probably meant.
func TestProblems(t *testing.T) {
	for name, test := range map[string]struct{ policy, want string }{
		"unknown category": {
			"user app: on ~app:* +@raed",
			`policy.yaml:1:21: users.app.rules: unknown category "@raed"; did you mean "@read"?`,
		},
		"unknown command": {
			"user app: +gett",
			`policy.yaml:1:11: users.app.rules: unknown command "gett"; did you mean "get"?`,
		},
		"unknown subcommand": {
			"user app: +config|gte",
			`policy.yaml:1:11: users.app.rules: unknown command "config|gte"; did you mean "config|get"?`,
		},
		"a category without its at sign": {
			"user app: +dangerous",
			`policy.yaml:1:11: users.app.rules: unknown command "dangerous"; did you mean "@dangerous"?`,
		},
		"removing an argument": {
			"user app: -get|x",
			`policy.yaml:1:11: users.app.rules: unknown command "get|x"; get has no subcommands; a single argument can be allowed, not taken away`,
		},
		"argument of a subcommand": {
			"user app: +config|get|x",
			`policy.yaml:1:11: users.app.rules: rule "+config|get|x" names an argument of a subcommand; allow +config|get as a whole`,
		},
		"nothing behind the bar": {
			"user app: +get|",
			`policy.yaml:1:11: users.app.rules: rule "+get|" ends after the |; name what follows, or drop the |`,
		},
		"command without a sign": {
			"user app: get",
			`policy.yaml:1:11: users.app.rules: not a rule: "get"; did you mean "+get"?`,
		},
		"misspelt word": {
			"user app: on alkeys",
			`policy.yaml:1:14: users.app.rules: not a rule: "alkeys"; did you mean "allkeys"?`,
		},
		"what may be a password is not repeated": {
			"user app: on hunter2hunter2",
			`policy.yaml:1:14: users.app.rules: not a rule; rules begin with + - ~ % & > < # ! or ( or are words such as on, off, nopass, reset`,
		},
		"a short hash": {
			"user app: #abcdef",
			`policy.yaml:1:11: users.app.rules: a password hash is 64 lower-case hexadecimal digits; sallyport acl hash makes one`,
		},
		"an upper-case hash": {
			"user app: #" + strings.Repeat("A", 64),
			`policy.yaml:1:11: users.app.rules: a password hash is 64 lower-case hexadecimal digits; sallyport acl hash makes one`,
		},
		"a password that is not there": {
			"user app: >a <b",
			`policy.yaml:1:14: users.app.rules: the password to be removed is not one of the user's`,
		},
		"pattern after all keys": {
			"user app: ~* ~b",
			`policy.yaml:1:14: users.app.rules: key pattern "~b" after ~* has no effect; drop one of them, or start anew with resetkeys`,
		},
		"channel after all channels": {
			"user app: allchannels &b",
			`policy.yaml:1:23: users.app.rules: channel pattern "&b" after &* has no effect; drop one of them, or start anew with resetchannels`,
		},
		"no permission": {
			"user app: %~b",
			`policy.yaml:1:11: users.app.rules: key pattern "%~b" does not say what it permits; write %R~pattern, %W~pattern or %RW~pattern`,
		},
		"a lone percent sign": {
			"user app: %",
			`policy.yaml:1:11: users.app.rules: key pattern "%" does not say what it permits; write %R~pattern, %W~pattern or %RW~pattern`,
		},
		"a permission without a pattern": {
			"user app: %RW",
			`policy.yaml:1:11: users.app.rules: key pattern "%RW" does not say what it permits; write %R~pattern, %W~pattern or %RW~pattern`,
		},
		"a permission twice": {
			"user app: %RR~a",
			`policy.yaml:1:11: users.app.rules: key pattern "%RR~a" does not say what it permits; write %R~pattern, %W~pattern or %RW~pattern`,
		},
		"white space in a pattern": {
			`user app: ("~a b" +get)`,
			`policy.yaml:1:12: users.app.rules: a key pattern holds white space or a NUL byte; match such bytes with ?`,
		},
		"NUL in a pattern": {
			`user app: ("&a\x00b" +get)`,
			`policy.yaml:1:12: users.app.rules: a channel pattern holds white space or a NUL byte; match such bytes with ?`,
		},
		"an open selector": {
			"user app: on (+get ~a",
			`policy.yaml:1:14: users.app.rules: a selector is not closed; end it with a )`,
		},
		"a selector in a selector": {
			"user app: on (+get (+set))",
			`policy.yaml:1:20: users.app.rules: a parenthesis does not belong here; selectors are written ( … ) among a user's rules, one inside another is not possible`,
		},
		"the user in a selector": {
			"user app: (on +get)",
			`policy.yaml:1:12: users.app.rules: rule "on" is about the user and does not belong here; a role or selector holds command, key and channel rules only`,
		},
		"a rule in a selector": {
			"user app: on ( ~a  +@raed )",
			`policy.yaml:1:20: users.app.rules: unknown category "@raed"; did you mean "@read"?`,
		},
		"an open quote": {
			`user app: on ("+get)`,
			`policy.yaml:1:14: users.app.rules: a quote in a selector is not closed`,
		},
		"on in a role": {
			"role reader: +@read on",
			`policy.yaml:1:21: roles.reader.rules: rule "on" is about the user and does not belong here; a role or selector holds command, key and channel rules only`,
		},
		"nopass in a role": {
			"role reader: NOPASS",
			`policy.yaml:1:14: roles.reader.rules: rule "nopass" is about the user and does not belong here; a role or selector holds command, key and channel rules only`,
		},
		"reset in a role": {
			"role reader: reset",
			`policy.yaml:1:14: roles.reader.rules: rule "reset" is about the user and does not belong here; a role or selector holds command, key and channel rules only`,
		},
		"a password in a role": {
			"role reader: >secret",
			`policy.yaml:1:14: roles.reader.rules: a password does not belong here; a role or selector holds command, key and channel rules only`,
		},
		"a selector in a role": {
			"role reader: (+get ~a)",
			`policy.yaml:1:14: roles.reader.rules: a parenthesis does not belong here; selectors are written ( … ) among a user's rules, one inside another is not possible`,
		},
		"an open selector in a role": {
			"role reader: +get (+set",
			`policy.yaml:1:19: roles.reader.rules: a parenthesis does not belong in a role; make a role of its own for each selector`,
		},
		"unknown role": {
			"role reader: +@read\nuser app: on\nroles app: raeder",
			`policy.yaml:3:12: users.app.roles: unknown role "raeder"; did you mean "reader"?`,
		},
		"a user twice": {
			"user app: on\nuser app: off",
			`policy.yaml:2:6: users.app: defined twice; the other one is at policy.yaml:1:6`,
		},
		"a role twice": {
			"role a: +get\nrole a: +set",
			`policy.yaml:2:6: roles.a: defined twice`,
		},
		"an unknown guarded category": {
			"categories: admin dangerus",
			`policy.yaml:1:19: guard.categories: unknown category "@dangerus"; did you mean "@dangerous"?`,
		},
		"an unknown command that never": {
			"never: shutdwon",
			`policy.yaml:1:8: guard.never: unknown command "shutdwon"; did you mean "shutdown"?`,
		},
		"an unknown category that never": {
			"never: @admn",
			`policy.yaml:1:8: guard.never: unknown category "@admn"; did you mean "@admin"?`,
		},
		"everybody comes in as default": {
			"user default: on nopass ~*\nlistener gw: any",
			`policy.yaml:1:18: users.default.rules: on and nopass lets everybody in through listener "gw"; give default a password, switch it off, or set anonymous: true on that listener`,
		},
		"one listener is not anonymous": {
			"user default: on nopass ~*\nlistener a: any\nanonymous a\nlistener b: any",
			`policy.yaml:1:18: users.default.rules: on and nopass lets everybody in through listener "b"; give default a password, switch it off, or set anonymous: true on that listener`,
		},
		"a bad network": {
			"listener gw: 10.0.0.0/8 10.0.0.300",
			`policy.yaml:1:25: listeners.gw.allow: not an address or network: "10.0.0.300"; write 10.0.0.0/8, 192.0.2.7, 2001:db8::/32 or "any"`,
		},
		"host bits": {
			"listener gw: 10.1.2.3/8",
			`policy.yaml:1:14: listeners.gw.allow: bits are set beyond the network's length: "10.1.2.3/8"; did you mean "10.0.0.0/8"?`,
		},
		"a zone": {
			"listener gw: fe80::1%eth0",
			`policy.yaml:1:14: listeners.gw.allow: a zone cannot be told apart here: "fe80::1%eth0"; did you mean "fe80::1"?`,
		},
		"a listener twice": {
			"listener gw: any\nlistener gw: any",
			`policy.yaml:2:10: listeners.gw: defined twice`,
		},
		"every problem at once": {
			"user a: on +nix\nuser b: +@nix ~*",
			"policy.yaml:1:12: users.a.rules: unknown command \"nix\"\n" +
				"policy.yaml:2:9: users.b.rules: unknown category \"@nix\"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, problems := Compile(parseSource(t, "policy.yaml", test.policy))
			if got := problemLines(problems); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
			if p != nil {
				t.Error("a policy came of it")
			}
		})
	}
}

func problemLines(problems []Problem) string {
	var lines []string
	for _, p := range problems {
		line := p.String()
		if p.Hint != "" {
			line += "; " + p.Hint
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestProblems_without_a_command_table(t *testing.T) {
	if p, problems := Compile(Source{}); p != nil || len(problems) != 1 {
		t.Errorf("got %v, %v", p, problems)
	}
}

func TestProblems_unknown_modes_are_refused(t *testing.T) {
	for _, m := range []Modes{{Allow: 3}, {Guard: 9}, {ACL: 255}} {
		if p, problems := Compile(Source{Table: command.Newest(), Modes: m}); p != nil || len(problems) != 1 {
			t.Errorf("%v: got %v, %v", m, p, problems)
		}
	}
}

func TestProblems_repeat_no_password(t *testing.T) {
	for _, rules := range []string{"+@nix >s3cret", "s3cret", "(>s3cret)", "<s3cret", "#s3cret", "!s3cret", "> s3cret"} {
		_, problems := Compile(parseSource(t, "policy.yaml", "user app: "+rules))
		if text := problemLines(problems); strings.Contains(text, "s3cret") || text == "" {
			t.Errorf("%s: %s", rules, text)
		}
	}
}

// With discovery a later server may know a command we do not: the rule is
// left out with a warning, and gives nothing.
func TestProblems_unknown_commands_are_warnings_with_discovery(t *testing.T) {
	p, problems := Compile(parseSource(t, "policy.yaml", "discovery\nuser app: on ~* +novel.get (+novel.set ~a) +get"))
	if p == nil || len(problems) != 2 || !problems[0].Warning || !problems[1].Warning {
		t.Fatalf("got %v, %s", p, problemLines(problems))
	}
	if problems[1].At.Column != 29 {
		t.Errorf("the selector's warning stands at %v", problems[1].At)
	}
	if d := decide(t, p, "app", "GET x"); !d.Allowed {
		t.Errorf("the rules around it are lost: %v", d)
	}
	if _, problems := Compile(parseSource(t, "policy.yaml", "discovery\nuser app: +@novel")); len(problems) != 1 || problems[0].Warning {
		t.Errorf("an unknown category is no warning: %v", problems)
	}
}

func TestProblems_over_several_lines(t *testing.T) {
	at := Origin{File: "p.yaml", Line: 10, Column: 7}
	_, problems := Compile(Source{Table: command.Newest(), Users: []UserSource{{
		Name: Text{Value: "app"}, Rules: Text{Value: "on ~a\n  +@raed (+get\n+nix)", At: at},
	}}})
	var got []string
	for _, p := range problems {
		got = append(got, p.At.String())
	}
	if want := []string{"p.yaml:11:9", "p.yaml:12:7"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestProblems_an_empty_password_is_a_warning(t *testing.T) {
	p, problems := Compile(parseSource(t, "policy.yaml", "user app: on > ~*"))
	if p == nil || len(problems) != 1 || !problems[0].Warning || problems[0].At.Column != 14 {
		t.Errorf("got %v, %s", p, problemLines(problems))
	}
}
