package config

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
)

func TestSlotsEjectionAndRoutesReachTheProxy(t *testing.T) {
	const text = `
listeners:
  - { name: one, address: "127.0.0.1:6380", backend: slots }
  - { name: two, address: "127.0.0.1:6381", backend: cache }
  - { name: three, address: "127.0.0.1:6382", backend: usual, routes: [{ prefix: "s:", backend: slots }, { prefix: "s:c:", backend: cache }] }
backends:
  slots:
    topology: sharded
    nodes: [{ address: "127.0.0.1:7001", slots: [0-99, "16383"] }, { address: "127.0.0.1:7002", slots: 100-16382 }]
  cache: { topology: sharded, nodes: ["127.0.0.1:7001", "127.0.0.1:7002"], eject: { failures: 5, retry: 90s } }
  usual: { topology: sharded, nodes: ["127.0.0.1:7001", "127.0.0.1:7002"], eject: {} }
policy: { file: policy.yaml }
`
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "sallyport.yaml"), []byte(text))
	writeFile(t, filepath.Join(dir, "policy.yaml"), []byte("users: {}\n"))
	cfg, problems := load(filepath.Join(dir, "sallyport.yaml"), surroundings{
		env: func(string) (string, bool) { return "", false }, machine: machine{root: "/"}, now: time.Now,
	})
	if cfg == nil {
		t.Fatal(problems)
	}
	got := cfg.Options(Running{}).Backends
	listeners := cfg.Options(Running{}).Listeners
	if listeners[0].Routes != nil || cfg.Routes("one") != nil || cfg.Routes("three") != listeners[2].Routes {
		t.Error("routes of other listeners")
	}
	for key, want := range map[string]string{"s:1": "slots", "s:c:1": "cache", "s:c": "slots", "c": "usual", "": "usual"} {
		if got := listeners[2].Routes.Backend([]byte(key)); got != want {
			t.Errorf("key %q is at %s, not %s", key, got, want)
		}
	}
	slots := got["slots"].Routing
	want := []backend.SlotRange{{Low: 0, High: 99}, {Low: 16383, High: 16383}, {Low: 100, High: 16382, Node: 1}}
	if !slices.Equal(slots.Ranges, want) || slots.Distribution != nil || slots.Eject != (backend.Ejection{}) {
		t.Errorf("slots: %+v", slots)
	}
	if e := got["cache"].Routing.Eject; e != (backend.Ejection{Failures: 5, Retry: 90 * time.Second}) {
		t.Errorf("cache: %+v", e)
	}
	if e := got["usual"].Routing.Eject; e != (backend.Ejection{Failures: 2, Retry: 30 * time.Second}) {
		t.Errorf("usual: %+v", e)
	}
	for name, o := range got {
		if _, err := backend.New(o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
