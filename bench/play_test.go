package main

import (
	"io"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// One short round against Redis itself: the way of a figure from redis-benchmark, CPU clocks and INFO into the series.
func TestPlay(t *testing.T) {
	pki, err := makeCredentials(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: t.TempDir(), pki: pki, plain: redistest.Start(t), tls: redistest.Start(t, redistest.TLS(pki.serverCert, pki.serverKey, pki.ca))}
	targets := []*target{
		{name: "redis", address: map[string]string{"plain": r.plain.Addr()}, redis: r.plain},
		{name: "redis-tls", address: map[string]string{"mtls": r.tls.Addr()}, redis: r.tls},
	}
	chosen := []point{
		{Listener: "plain", Command: "get", Size: 64, Clients: 5, Pipeline: 4, Requests: 60_000},
		{Listener: "mtls", Command: "get", Size: 64, Clients: 50, Pipeline: 16, Requests: 100_000},
	}
	s, err := play(t.Context(), r, chosen, targets, 1, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range chosen {
		got := s.values(p, targets[i].name, totalCPU)
		if len(got) != 1 || got[0] <= 0 || got[0] > 1000 {
			t.Errorf("%s: µs a request: %v", p, got)
		}
		if got := s.values(p, targets[i].name, rate); len(got) != 1 || got[0] < 100 {
			t.Errorf("%s: rate: %v", p, got)
		}
	}
	t.Run("a run that is refused is an error, not a figure", func(t *testing.T) {
		if _, err := r.plain.Do("ACL", "SETUSER", "default", "-get"); err != nil {
			t.Fatal(err)
		}
		_, err := play(t.Context(), r, chosen[:1], targets[:1], 1, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Fatalf("error: %v", err)
		}
	})
}
