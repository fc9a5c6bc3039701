package acl

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

// parseSource reads the policies of the tests, one entry a line:
//
//	role reader: +@read ~shared:*
//	user app: on ~app:* +@write
//	filed old: on ~old:* +@read     (a user of the aclfile)
//	roles app: reader writer
//	scripts app
//	categories: admin dangerous
//	never: shutdown debug
//	modes: guard=report acl=off
//	listener gateway: 10.0.0.0/8
//	anonymous gateway
//
// Every text keeps the line and column it stands at.
func parseSource(t testing.TB, file, text string) Source {
	t.Helper()
	src := Source{Table: command.Newest()}
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " ")
		if line == "" || line[0] == '#' {
			continue
		}
		head, rest, colon := strings.Cut(line, ": ")
		if !colon {
			head = strings.TrimSuffix(head, ":")
		}
		kind, name, _ := strings.Cut(head, " ")
		at := func(column int) Origin { return Origin{File: file, Line: n + 1, Column: column} }
		nameText := Text{name, at(len(kind) + 2)}
		body := Text{rest, at(len(head) + 3)}
		list := []Text{}
		words, _ := splitRules(rest, body.At)
		for _, w := range words {
			list = append(list, Text{w.text, w.at})
		}
		switch kind {
		case "role":
			src.Roles = append(src.Roles, RoleSource{Name: nameText, Rules: body})
		case "user":
			src.Users = append(src.Users, UserSource{Name: nameText, Rules: body})
		case "filed":
			src.ACLFile = append(src.ACLFile, UserSource{Name: nameText, Rules: body})
		case "roles":
			src.Users[len(src.Users)-1].Roles = list
		case "scripts":
			src.Users[len(src.Users)-1].UnsafeScripts = true
		case "categories":
			src.Guard.Categories = list
		case "never":
			src.Guard.Never = list
		case "modes":
			for _, w := range list {
				parseMode(t, &src.Modes, w.Value)
			}
		case "listener":
			src.Listeners = append(src.Listeners, ListenerSource{Name: nameText, Allow: list})
		case "anonymous":
			src.Listeners[len(src.Listeners)-1].Anonymous = true
		case "discovery":
			src.Discovery = true
		default:
			t.Fatalf("%s:%d: no such entry: %s", file, n+1, line)
		}
	}
	return src
}

func parseMode(t testing.TB, m *Modes, word string) {
	t.Helper()
	layer, value, _ := strings.Cut(word, "=")
	mode, ok := map[string]Mode{"enforce": Enforce, "report": Report, "off": Off}[value]
	if !ok {
		t.Fatalf("no such mode: %s", word)
	}
	switch layer {
	case "allow":
		m.Allow = mode
	case "guard":
		m.Guard = mode
	case "acl":
		m.ACL = mode
	default:
		t.Fatalf("no such layer: %s", word)
	}
}

// mustCompile compiles a policy that has no fault.
func mustCompile(t testing.TB, src Source) *Policy {
	t.Helper()
	p, problems := Compile(src)
	for _, problem := range problems {
		if !problem.Warning {
			t.Fatalf("%v (hint: %s)", problem, problem.Hint)
		}
	}
	return p
}

func policyOf(t testing.TB, text string) *Policy {
	t.Helper()
	return mustCompile(t, parseSource(t, "policy", text))
}

// parseCall parses a request written with blanks between its words; two quotes are the empty word.
func parseCall(t testing.TB, table *command.Table, line string) *command.Call {
	t.Helper()
	var args [][]byte
	for _, w := range strings.Fields(line) {
		if w == "''" {
			w = ""
		}
		args = append(args, []byte(w))
	}
	call := new(command.Call)
	if err := table.Parse(args, call); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return call
}

func decide(t testing.TB, p *Policy, user, line string) Decision {
	t.Helper()
	return p.Decide(p.User(user), parseCall(t, p.Table(), line))
}
