package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

// again loads the folder's configuration after another one.
func again(t *testing.T, dir string, was *Config) (*Config, Problems) {
	t.Helper()
	c, problems, _ := LoadNaming(filepath.Join(dir, "sallyport.yaml"), Keep{Was: was, Table: command.Newest()})
	return c, problems
}

func simple(t *testing.T) (dir string, first *Config) {
	t.Helper()
	dir = folder(t)
	writeFile(t, filepath.Join(dir, "sallyport.yaml"), []byte(`
listeners:
  - { name: one, address: 127.0.0.1:6380, tls: { certificate: tls/server.crt, key: tls/server.key, client_ca: tls/ca.crt } }
  - { name: two, address: 127.0.0.1:6381, tls: { certificate: tls/server.crt, key: tls/server.key, client_ca: tls/ca.crt } }
backends: { main: { nodes: ["127.0.0.1:6379"], password_file: secrets/backend } }
policy: { file: policy.yaml }
`))
	writeFile(t, filepath.Join(dir, "policy.yaml"), []byte("users: { app: { rules: 'on nopass ~* +@all' } }\naclfile: users.acl\n"))
	first, problems := again(t, dir, nil)
	if first == nil {
		t.Fatal(problems)
	}
	return dir, first
}

func TestAReloadOfTheSameFilesMakesTheSameAgain(t *testing.T) {
	dir, first := simple(t)
	_, findings := again(t, dir, nil)
	c, problems := again(t, dir, first)
	if c == nil {
		t.Fatal(problems)
	}
	if c.Policy != first.Policy {
		t.Error("the policy was compiled again")
	}
	for i := range c.listeners {
		if c.listeners[i].server != first.listeners[i].server {
			t.Errorf("listener %s has another TLS side", c.listeners[i].name.Value)
		}
	}
	if c.listeners[0].server == c.listeners[1].server {
		t.Error("two listeners share their tickets")
	}
	if len(findings) == 0 || !slices.Equal(problems, findings) {
		t.Errorf("the findings of the first load are\n%v\nthose of the second\n%v", findings, problems)
	}
	if c.listeners[0].r.was.Policy != nil {
		t.Error("the configuration holds on to the one before")
	}
	for name, d := range first.made.docs {
		if c.made.docs[name] != d {
			t.Errorf("%s was parsed again", name)
		}
	}
}

func TestAReloadOfOneOtherFileMakesOnlyThatAnew(t *testing.T) {
	for file, c := range map[string]struct {
		text           string
		policy, server bool // stay
	}{
		"policy.yaml": {"users: { app: { rules: 'on nopass ~* +@read' } }\naclfile: users.acl\n", false, true},
		"users.acl":   {"user legacy on nopass ~other:* +@read\n", false, true},
	} {
		dir, first := simple(t)
		writeFile(t, filepath.Join(dir, file), []byte(c.text))
		next, problems := again(t, dir, first)
		if next == nil {
			t.Fatal(problems)
		}
		if stays := next.Policy == first.Policy; stays != c.policy {
			t.Errorf("%s: the policy is the one before: %v", file, stays)
		}
		if stays := next.listeners[0].server == first.listeners[0].server; stays != c.server {
			t.Errorf("%s: the TLS side is the one before: %v", file, stays)
		}
		back, _ := again(t, dir, next)
		if back == nil || back.Policy != next.Policy {
			t.Errorf("%s: what was new is made anew the next time", file)
		}
	}
}

// What was good once is no excuse for a file that is gone, or bad, now.
func TestAReloadTakesNoFileOnTheWordOfTheLastOne(t *testing.T) {
	for _, file := range []string{"sallyport.yaml", "policy.yaml", "users.acl", "tls/server.crt", "tls/server.key", "tls/ca.crt", "secrets/backend"} {
		dir, first := simple(t)
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, spoil := range map[string]func() error{
			"gone":  func() error { return os.Remove(path) },
			"empty": func() error { return os.WriteFile(path, nil, 0o600) },
			"bad":   func() error { return os.WriteFile(path, []byte("user: [ { nonsense\n\x00"), 0o600) },
		} {
			if file == "users.acl" && what == "empty" {
				continue // no users are no fault
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if c, problems := again(t, dir, first); c != nil || !strings.Contains(problems.Error(), filepath.Base(file)) {
				t.Errorf("%s is %s: %v, %s", file, what, c != nil, problems)
			}
			writeFile(t, path, text)
		}
		if c, problems := again(t, dir, first); c == nil || c.Policy != first.Policy {
			t.Errorf("%s is as it was: %s", file, problems)
		}
	}
}
