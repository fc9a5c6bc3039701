package acl

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

// TestRoundTrip: for 10,000 random users, the rules as they were written, given
// to a real server as user A, and the line we print of them, as user B, make
// the server list both in the same words; what it answers to GETUSER is the
// same; and the line the server prints gives us back the same rights.
func TestRoundTrip(t *testing.T) {
	users, batch := 10000, 200
	if testing.Short() {
		users = 1000
	}
	server := startServer(t)
	table, ok := command.For("redis-7.0.15")
	if !ok {
		t.Fatal("no command table for redis-7.0.15")
	}
	p := mustCompile(t, Source{Table: table, Guard: GuardSource{Categories: []Text{}, Never: []Text{}}, Modes: Modes{Guard: Off}})
	g := &generator{Rand: rand.New(rand.NewPCG(7, 215)), specs: table.Specs()}
	const each = 5
	excused := make(map[string]int)
	var requests [][]string
	var made []*User
	done, wrong := 0, 0
	for done < users && wrong < 10 {
		rules := g.rules(false)
		with, err := p.WithUser("u", rules)
		if err != nil || excuseRules(rules) != "" {
			continue
		}
		u := with.User("u")
		made = append(made, u)
		requests = append(requests,
			append([]string{"ACL", "SETUSER", "A", "reset"}, rules...),
			append([]string{"ACL", "SETUSER", "B", "reset"}, strings.Fields(u.Line())[2:]...),
			[]string{"ACL", "LIST"}, []string{"ACL", "GETUSER", "A"}, []string{"ACL", "GETUSER", "B"})
		if done++; len(made) < batch && done < users {
			continue
		}
		answers := server.ask(t, requests)
		for i, u := range made {
			if !sameInServer(t, u, requests[i*each], answers[i*each:(i+1)*each], excused) || !sameRights(t, p, u, answers[i*each+2], excused) {
				wrong++
			}
		}
		requests, made = nil, nil
	}
	t.Logf("%d users went round; excused: %v", done, excused)
	for name := range excused {
		if !slices.Contains(ofRoundTrip, name) || differences(t)[name] == "" {
			t.Errorf("%s is not on the list of intended differences", name)
		}
	}
	if len(excused) < len(ofRoundTrip) {
		t.Errorf("an intended difference is needed no more: %v", excused)
	}
}

// sameInServer compares what the server made of the rules and of our line.
func sameInServer(t *testing.T, u *User, rules, answers []string, excused map[string]int) bool {
	if answers[0] != "OK" || answers[1] != "OK" {
		t.Errorf("%q: %s\n%s: %s", rules, answers[0], u.Line(), answers[1])
		return false
	}
	a, b := listed(answers[2], "A"), listed(answers[2], "B")
	if a != b && strings.EqualFold(a, b) && strings.ContainsFunc(strings.Join(rules, " "), isCapital) {
		excused["first-argument-case"]++
		a, answers[3] = b, answers[4]
	}
	if a == "" || a != b || answers[3] != answers[4] {
		t.Errorf("rules %q\nline  %s\nA: %s\nB: %s\nGETUSER A: %s\nGETUSER B: %s", rules, u.Line(), a, b, answers[3], answers[4])
		return false
	}
	// What we say to GETUSER, but for the commands, whose form is that of 7.2.
	root := u.Selectors()[0]
	fields := strings.Split(answers[3], "\n")
	for name, want := range map[string]string{"keys": strings.ReplaceAll(root.Keys, "%RW~", "~"), "channels": root.Channels} {
		if i := slices.Index(fields, name); i < 0 || fields[i+1] != want {
			t.Errorf("%s\n%s is %q: %s", u.Line(), name, want, answers[3])
			return false
		}
	}
	return true
}

func isCapital(r rune) bool { return r >= 'A' && r <= 'Z' }

// narrow lists the first-argument grants that matter, sorted: those of commands
// that are not allowed as a whole. The server drops the others.
func (s *selector) narrow() []string {
	var list []string
	for _, f := range s.firstArgs {
		if !s.allowed.has(f.id) {
			list = append(list, lowerASCII(f.rule.Text))
		}
	}
	slices.Sort(list)
	return list
}

// listed gives the user's line of ACL LIST without its name.
func listed(list, user string) string {
	for line := range strings.SplitSeq(list, "\n") {
		if rest, ok := strings.CutPrefix(line, "user "+user+" "); ok {
			return rest
		}
	}
	return ""
}

// sameRights reads the server's line of user A as a file of ours.
func sameRights(t *testing.T, p *Policy, u *User, list string, excused map[string]int) bool {
	if slices.ContainsFunc(u.selectors, func(s *selector) bool {
		return slices.ContainsFunc(s.keys, func(k keyPattern) bool { return k.text == "*" && accessPrefix(k) == "%RW~" })
	}) {
		excused["star-entry"]++
		return true
	}
	line := listed(list, "A")
	sources, problems := ParseFile("users.acl", "user u "+line)
	if len(problems) > 0 {
		t.Errorf("%s: %s", line, problemLines(problems))
		return false
	}
	with, problems := p.WithFile(sources)
	if with == nil {
		t.Errorf("%s: %s", line, problemLines(problems))
		return false
	}
	back := with.User("u")
	same := len(back.selectors) == len(u.selectors) && slices.Equal(back.hashes, u.hashes) && back.enabled == u.enabled && back.nopass == u.nopass
	for i := 0; same && i < len(u.selectors); i++ {
		a, b := u.selectors[i], back.selectors[i]
		same = slices.Equal(a.allowed, b.allowed) && slices.Equal(a.narrow(), b.narrow()) && a.allChannels == b.allChannels &&
			strings.ReplaceAll(a.describe().Keys, "%RW~", "~") == strings.ReplaceAll(b.describe().Keys, "%RW~", "~") &&
			a.describe().Channels == b.describe().Channels
	}
	if !same {
		t.Errorf("%s\nas the server lists it: %s\nread back: %s", u.Line(), line, back.Line())
	}
	return same
}
