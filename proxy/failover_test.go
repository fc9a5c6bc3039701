package proxy_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

func endpoints(addresses []string) []backend.Endpoint {
	var out []backend.Endpoint
	for _, a := range addresses {
		out = append(out, backend.Endpoint{Network: "tcp", Address: a})
	}
	return out
}

// acknowledge counts up a key until done is closed, and gives the last number
// that the proxy said was written, and how the calls failed.
func acknowledge(c *redistest.Client, key string, done <-chan struct{}) (last int, failures map[string]int, err error) {
	failures = map[string]int{}
	for n := 1; ; n++ {
		select {
		case <-done:
			return last, failures, nil
		default:
		}
		_, err := c.Do("SET", key, strconv.Itoa(n))
		var refused redistest.Error
		switch {
		case err == nil:
			last = n
		case errors.As(err, &refused):
			failures[string(refused)]++
		default:
			return last, failures, err
		}
	}
}

func TestASentinelFailoverCostsCallsInFlightAndNoSession(t *testing.T) {
	g := redistest.StartSentinels(t, redistest.SentinelOptions{Server: []redistest.Option{redistest.RequirePass("node-pw")}})
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = nil
		s.backend.Password = func() (string, error) { return "node-pw", nil }
		s.backend.Routing = backend.Routing{
			Kind: backend.Sentinel, Wait: 20 * time.Second,
			Sentinels: backend.Sentinels{Nodes: endpoints(g.Addrs()), Name: g.Name},
		}
	})
	c := r.login("root")
	done := make(chan struct{})
	type outcome struct {
		last     int
		failures map[string]int
		err      error
	}
	result := make(chan outcome, 1)
	go func() {
		last, failures, err := acknowledge(c, "k", done)
		result <- outcome{last, failures, err}
	}()
	eventually(t, 10*time.Second, "writes reach the primary", func() bool {
		v, err := g.Servers[0].Do("GET", "k")
		return err == nil && v != nil
	})
	if _, err := g.Servers[0].Do("WAIT", "1", "1000"); err != nil {
		t.Fatal(err)
	}
	if err := g.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	now, err := g.AwaitPrimary(ctx, g.Servers[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := now.Do("DEL", "k"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "writes reach the new primary", func() bool {
		v, err := now.Do("GET", "k")
		return err == nil && v != nil
	})
	close(done)
	got := <-result
	if got.err != nil {
		t.Fatalf("the session ended: %v", got.err)
	}
	lost := 0
	for text, n := range got.failures {
		if !strings.Contains(text, "may have run") {
			t.Errorf("%d calls failed with %q", n, text)
		}
		lost += n
	}
	if lost > 1 {
		t.Errorf("%d calls of one connection without a pipeline were lost", lost)
	}
	if v, err := now.Do("GET", "k"); err != nil || v != strconv.Itoa(got.last) {
		t.Errorf("the last write acknowledged is %d, the new primary has %v (%v)", got.last, v, err)
	}
}

func TestAPrimaryThatBecameAReplicaGetsNoMoreCalls(t *testing.T) {
	pair := redistest.StartReplicated(t, 1)
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints([]string{pair.Servers[0].Addr(), pair.Servers[1].Addr()})
		s.backend.Routing = backend.Routing{Kind: backend.Replicated, Refresh: 100 * time.Millisecond, Wait: 2 * time.Second}
	})
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "1")
	if err := pair.Promote(t.Context(), pair.Servers[1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "writes reach the new primary", func() bool {
		_, err := c.Do("SET", "k", "2")
		return err == nil
	})
	r.want(c, "2", "GET", "k")
	if v, err := pair.Servers[1].Do("GET", "k"); err != nil || v != "2" {
		t.Fatalf("the new primary has %v, %v", v, err)
	}
}

// Calls wait for a node that is away no longer than they may, and those sent to
// it before are not sent again.
func TestCallsWaitForANodeOnlySoLong(t *testing.T) {
	pair := redistest.StartReplicated(t, 1)
	const wait = 700 * time.Millisecond
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints([]string{pair.Servers[0].Addr(), pair.Servers[1].Addr()})
		s.backend.Routing = backend.Routing{Kind: backend.Replicated, Wait: wait}
	})
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "1")
	if err := pair.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do("SET", "k", "2"); err == nil {
		t.Fatal("a write without a primary was acknowledged")
	}
	began := time.Now()
	_, err := c.Do("GET", "k")
	if err == nil || !strings.HasPrefix(err.Error(), "ERR backend unavailable") || time.Since(began) > 500*time.Millisecond {
		t.Fatalf("after the wait: %v after %v", err, time.Since(began))
	}
	if err := pair.Servers[0].Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the primary is back", func() bool {
		_, err := c.Do("SET", "k", "3")
		return err == nil
	})
}
