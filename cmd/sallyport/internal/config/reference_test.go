package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// besides is what documented does not have, for its keys alone: much of it
// contradicts itself.
const besides = `
listeners:
  - name: a
    address: 127.0.0.1:1
    commands: { rename: { get: fetch }, disable: [keys] }
    tls: { certificate: a, key: b }
    allow: [{ network: 10.0.0.1 }]
    proxy_protocol: { from: [10.0.0.1] }
    routes: [{ prefix: x, backend: one }]
backends:
  one: { topology: sharded, nodes: [{ address: "a:1", name: x, weight: 2 }], eject: { failures: 1 }, tls: { ca: a }, connections: { pinned: 1 }, logins: { app: { user: x, password: y } } }
  two: { topology: sharded, nodes: [{ address: "a:1", slots: [0-16383] }] }
  three: { topology: sentinel, sentinel: { name: m, nodes: ["a:1"], tls: { ca: a } }, control: { user: x, password: y }, reads: replica }
  four: { topology: replicated, nodes: ["a:1", "b:1"], reads: nearest }
policy: { file: policy.yaml, modes: { allow: enforce }, passwords: { mode: off } }
events:
  - { sink: file, path: x, rotate: { size: 1MiB } }
  - { sink: syslog, address: "a:1", tls: { ca: x } }
admin: { address: "127.0.0.1:2", tls: { certificate: a, key: b }, users: { ann: { role: viewer } } }
client_snapshots: { every: 1s }
limits: { auth_failures: { per_user: 1 } }
shutdown: { delay: 1s }
`

// chosen are names that whoever writes a file chooses.
var chosen = []struct {
	name *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\[\d+\]`), "[]"},
	{regexp.MustCompile(`^(backends|roles|users|admin\.users)\.[^.\[]+`), "$1.X"},
	{regexp.MustCompile(`^(backends\.X\.logins)\.[^.\[]+`), "$1.X"},
	{regexp.MustCompile(`^users\.X\.certificate\[\]`), "users.X.certificate"}, // one, or a list
}

// likewise are sections that are written like others, which have the rows.
var likewise = map[string]string{
	"backends.X.sentinel.tls.": "backends.X.tls.", "events[].tls.": "backends.X.tls.", "admin.tls.": "listeners[].tls.",
}

// accepted are the keys that are accepted somewhere, by the path to them.
func accepted(t *testing.T) []string {
	t.Helper()
	dir := folder(t)
	writeFile(t, filepath.Join(dir, "besides.yaml"), []byte(besides))
	var all []string
	for _, name := range []string{"sallyport.yaml", "besides.yaml"} {
		r := newReader(here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
		r.asked = func(path string, keys []string) {
			for _, key := range keys {
				path := joined(path, key)
				for _, c := range chosen {
					path = c.name.ReplaceAllString(path, c.as)
				}
				for from, to := range likewise {
					if rest, ok := strings.CutPrefix(path, from); ok {
						path = to + rest
					}
				}
				all = append(all, path)
			}
		}
		r.load(filepath.Join(dir, name))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

const reference = "../../../../deploy/reference.md"

// documentedKeys is what the reference says of keys: the default of each, empty
// where it states none in so many words.
func documentedKeys(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (?:`([^`]*)` \\||)").FindAllStringSubmatch(string(text), -1) {
		if _, twice := all[row[1]]; twice {
			t.Errorf("%s stands in the reference twice", row[1])
		}
		all[row[1]] = row[2]
	}
	return all
}

// outer reports a mapping or list whose parts have rows of their own.
func outer(path string, said map[string]string) bool {
	for other := range said {
		if strings.HasPrefix(other, path+".") || strings.HasPrefix(other, path+"[") {
			return true
		}
	}
	return false
}

func TestTheReferenceHasEveryKeyAndNoOther(t *testing.T) {
	all, said := accepted(t), documentedKeys(t)
	if len(all) < 200 {
		t.Fatalf("%d keys were seen, there were 200", len(all))
	}
	for _, path := range all {
		if _, ok := said[path]; !ok && !outer(path, said) {
			t.Errorf("%s is accepted, and the reference does not have it", path)
		}
	}
	for path := range said {
		if !slices.Contains(all, path) {
			t.Errorf("the reference has %s, which nothing reads", path)
		}
	}
}

// A default that the reference states is what holds without the key: written out,
// it changes nothing, and another value would.
func TestTheReferencesDefaultsAreThoseThatHold(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "p.yaml"), []byte("users: {}\n"))
	writeFile(t, filepath.Join(dir, "machine/proc/meminfo"), []byte("MemTotal: 8388608 kB\n"))
	load := func(key, text string) []any {
		t.Helper()
		parts := strings.Split(key, ".")
		for i := len(parts) - 1; i > 0; i-- {
			text = "{ " + parts[i] + ": " + text + " }"
		}
		base := map[string]string{
			"listeners": "[{ name: a, address: '127.0.0.1:1' }]", "backends": "{ b: { nodes: ['127.0.0.1:2'] } }", "policy": "{ file: p.yaml }",
		}
		if rest, ok := strings.CutPrefix(text, "{"); ok && parts[0] == "policy" {
			text = "{ file: p.yaml," + rest
		}
		if key != "" {
			base[parts[0]] = text
		}
		var file strings.Builder
		for section, text := range base {
			fmt.Fprintf(&file, "%s: %s\n", section, text)
		}
		writeFile(t, filepath.Join(dir, "s.yaml"), []byte(file.String()))
		r := newReader(here(dir, nil))
		c, problems := r.load(filepath.Join(dir, "s.yaml"))
		if c == nil {
			t.Fatalf("%s: %s\n%v", key, text, problems)
		}
		o := c.Options(Running{})
		return []any{o.Limits, o.Auth, o.Workers, o.Shutdown, o.Snapshots, o.RefuseProbes, c.rules.source.Modes, c.rules.tokenSwitch}
	}
	others := map[string]string{
		"workers": "7", "limits.memory": "33%", "policy.probes": "refuse", "policy.token_switch": "true",
		"policy.modes.allow": "report", "policy.modes.guard": "report", "policy.modes.acl": "report",
	}
	checked := 0
	want := load("", "")
	for key, standard := range documentedKeys(t) {
		section, _, _ := strings.Cut(key, ".")
		if standard == "" || !slices.Contains([]string{"limits", "shutdown", "workers", "client_snapshots", "policy"}, section) ||
			strings.HasPrefix(key, "policy.passwords.") || key == "policy.commands" {
			continue
		}
		checked++
		if d := cmp.Diff(want, load(key, standard)); d != "" {
			t.Errorf("%s is not %s by default:\n%s", key, standard, d)
		}
		other := others[key]
		if unit := strings.TrimLeft(standard, "0123456789"); other == "" {
			other = "77777" + unit
		}
		if cmp.Equal(want, load(key, other)) {
			t.Errorf("%s: %s changes nothing that is looked at", key, other)
		}
	}
	if checked < 25 {
		t.Errorf("%d defaults were held against what holds", checked)
	}
}
