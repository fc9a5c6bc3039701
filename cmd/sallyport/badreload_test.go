package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
)

// harms are ways to break a line of a configuration. Each is a mistake wherever
// it is made.
var harms = map[string]func(line string) string{
	"a tab before it":      func(l string) string { return "\t" + l },
	"a bracket after it":   func(l string) string { return l + "\n[" },
	"the line twice":       func(l string) string { return l + "\n" + l },
	"bytes of no text":     func(l string) string { return l + " \xff\xfe" },
	"a bell in it":         func(l string) string { return l + "\x07" },
	"a stray colon":        func(l string) string { return l + "\n:" },
	"a second document":    func(l string) string { return "---\n" + l },
	"an alias of nobody":   func(l string) string { return indent(l) + "nonsense: *nobody\n" + l },
	"a key nobody knows":   func(l string) string { return indent(l) + "nonsense: { deeper: 1 }\n" + l },
	"a variable not there": func(l string) string { return indent(l) + "nonsense: ${NOT_SET_ANYWHERE}\n" + l },
}

func indent(l string) string { return l[:len(l)-len(strings.TrimLeft(l, " "))] }

// More than 200 broken files, one after the other, put before a running proxy:
// each is refused with its file and line, and nothing else becomes of it.
func TestNoMalformedConfigurationIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	good := map[string]string{
		"sallyport.yaml": `listeners:
  - name: gateway
    address: 127.0.0.1:0
    backend: main
    auth: [password]
    allow: [127.0.0.0/8]
    commands:
      disable: [keys]
backends:
  main:
    nodes: ["127.0.0.1:1"]
    user: proxy
    password: ${HOME}
policy:
  file: policy.yaml
  modes: { guard: enforce }
events:
  - sink: file
    path: events.jsonl
limits:
  connections: 100
  idle_timeout: 10s
shutdown:
  delay: 0s
`,
		"policy.yaml": `roles:
  reader: "+@read ~shared:*"
users:
  app:
    rules: "on #` + acl.HashPassword([]byte("pw")) + ` ~app:* +@read"
    roles: [reader]
    from: [127.0.0.0/8]
guard:
  never: [shutdown]
expiry:
  - keys: ["pii:*"]
    max: 1h
`,
	}
	for name, text := range good {
		put(t, filepath.Join(dir, name), text)
	}
	d := unwatched(t, dir)
	policy := d.server.Policy()
	place := regexp.MustCompile(`(sallyport|policy)\.yaml:[0-9]+:[0-9]+: `)
	broken := 0
	try := func(name, text, what string) {
		broken++
		put(t, filepath.Join(dir, name), text)
		err := d.reload(audit.MethodSignal)
		if err == nil {
			t.Fatalf("%s: taken over\n%s", what, text)
		}
		if said := d.told.Load(); !place.MatchString(err.Error()) || said.Status != "failed" || !place.MatchString(said.Error+" ") {
			t.Errorf("%s: %v; readyz says %+v", what, err, said)
		}
		if d.server.Policy() != policy {
			t.Fatalf("%s: the policy has changed", what)
		}
		put(t, filepath.Join(dir, name), good[name])
	}
	for name, text := range good {
		lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
		for i, line := range lines {
			for how, harm := range harms {
				if how == "a second document" && i == 0 || strings.HasPrefix(strings.TrimSpace(line), "- ") && strings.Contains(harm(line), "nonsense") {
					continue // no fault: it begins the first one; or told as another one
				}
				lines[i] = harm(strings.TrimSuffix(line, "\n")) + "\n"
				try(name, strings.Join(lines, ""), fmt.Sprintf("%s:%d: %s", name, i+1, how))
			}
			lines[i] = line
		}
	}
	if broken < 200 {
		t.Errorf("only %d broken files were tried", broken)
	}
	if said := speak(t, d.server.Addr("gateway").String(), nil, "AUTH app pw", "PING"); said[0] != "+OK" {
		t.Errorf("after %d of them: %q", broken, said)
	}
	must(t, d.reload(audit.MethodSignal)) // the good files are still good
	waitForCount(t, filepath.Join(dir, "events.jsonl"), `"status":"failed"`, broken)
	t.Logf("%d broken files", broken)
}
