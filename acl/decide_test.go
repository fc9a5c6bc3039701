package acl

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestDecide plays the policies in testdata. Each archive holds a policy and
// calls; a call is "user COMMAND ARG… -> verdict [rule] [flags]", the verdict
// being allowed or a reason, the rule what Decision.Rule says.
func TestDecide(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives in testdata: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var p *Policy
		for _, f := range archive.Files {
			switch f.Name {
			case "policy":
				p = policyOf(t, string(f.Data))
				continue
			case "calls":
			default:
				t.Fatalf("%s: no such part: %s", file, f.Name)
			}
			section := strings.TrimSuffix(filepath.Base(file), ".txtar")
			for _, line := range strings.Split(string(f.Data), "\n") {
				if line = strings.TrimSpace(line); line == "" {
					continue
				}
				if line[0] == '#' {
					section = strings.ReplaceAll(strings.TrimSpace(line[1:]), " ", "_")
					continue
				}
				playCall(t, p, section, line)
			}
		}
	}
}

func playCall(t *testing.T, p *Policy, section, line string) {
	head, want, ok := strings.Cut(line, "->")
	user, request, _ := strings.Cut(strings.TrimSpace(head), " ")
	want = strings.Join(strings.Fields(want), " ")
	if !ok || want == "" {
		t.Fatalf("not a call: %s", line)
	}
	t.Run(section+"/"+strings.TrimSpace(head), func(t *testing.T) {
		u := p.User(user)
		if u == nil && user != "nobody" {
			t.Fatalf("no user %s", user)
		}
		call := parseCall(t, p.Table(), request)
		got := p.Decide(u, call)
		if s := verdict(got); s != want && firstWord(s) != want {
			t.Errorf("got %s, want %s", s, want)
		}
		if e := p.Explain(u, call); e.Decision != got {
			t.Errorf("explain says %s, the decision is %s", verdict(e.Decision), verdict(got))
		}
	})
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(s, " ")
	return w
}

func verdict(d Decision) string {
	s := d.Reason.String()
	switch {
	case d.Reported:
		s = "reported:" + s
	case d.Lifted:
		s = "lifted"
	case d.Allowed:
		s = "allowed"
	}
	if d.Allowed && d.Reason != None && !d.Reported {
		s += " although " + d.Reason.String()
	}
	if d.Option != "" {
		s += " " + d.Option
	}
	if d.Rule != nil {
		s += " " + d.Rule.Text
	}
	return s
}
