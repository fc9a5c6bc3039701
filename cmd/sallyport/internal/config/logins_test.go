package config

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestUsersOfThePolicyHaveLoginsOfTheirOwnAtABackend(t *testing.T) {
	const text = `
listeners: [{ name: gateway, address: "127.0.0.1:6380" }]
backends:
  main:
    nodes: ["127.0.0.1:6379"]
    connections: { logins: 50 }
    logins:
      app: { user: app-at-redis, password_file: secrets/app }
      batch: { user: batch, password: "${PW}" }
policy: { file: policy.yaml }
`
	const hash = "#5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "sallyport.yaml"), []byte(text))
	writeFile(t, filepath.Join(dir, "policy.yaml"), []byte("users:\n  app: { rules: \"on "+hash+"\" }\n  batch: { rules: \"on "+hash+"\" }\n"))
	secret := filepath.Join(dir, "secrets", "app")
	writeFile(t, secret, []byte("first\n"))
	cfg, problems := load(filepath.Join(dir, "sallyport.yaml"), surroundings{
		env: func(string) (string, bool) { return "hunter2", true }, machine: machine{root: "/"}, now: time.Now,
	})
	if cfg == nil {
		t.Fatal(problems)
	}
	if !slices.Contains(cfg.Credentials(), secret) {
		t.Errorf("%s is not among the credentials: %v", secret, cfg.Credentials())
	}
	o := cfg.Options(Running{}).Backends["main"]
	if o.Connections.Logins != 50 || len(o.Logins) != 2 || o.Logins["app"].User != "app-at-redis" || o.Logins["batch"].User != "batch" {
		t.Fatalf("logins are %+v, at most %d", o.Logins, o.Connections.Logins)
	}
	if o.Logins["app"].Source == o.Logins["batch"].Source {
		t.Error("two passwords are taken for one")
	}
	password := func(user, want string) {
		t.Helper()
		if got, err := o.Logins[user].Password(); err != nil || got != want {
			t.Errorf("password of %s has %d bytes, %v", user, len(got), err)
		}
	}
	password("batch", "hunter2")
	password("app", "first")
	writeFile(t, secret, []byte("second\n"))
	password("app", "second")
	writeFile(t, secret, nil)
	if _, err := o.Logins["app"].Password(); err == nil {
		t.Error("an empty file gives a password")
	}
}
