package proxy_test

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// monitor has a Sentinel take another node for the primary, as one does that was
// cut off from the others.
func monitor(t *testing.T, s *redistest.Server, name string, primary *redistest.Server) {
	t.Helper()
	for _, call := range [][]string{{"SENTINEL", "REMOVE", name}, {"SENTINEL", "MONITOR", name, "127.0.0.1", strconv.Itoa(primary.Port()), "1"}} {
		if _, err := s.Do(call...); err != nil {
			t.Fatalf("%v: %v", call, err)
		}
	}
}

// writer appends numbers to a list of its own, in pipelines, until done is closed.
// Whatever became of a number, it is never sent again.
func writer(c *redistest.Client, key string, done <-chan struct{}) error {
	for n := 0; ; n += 20 {
		select {
		case <-done:
			return nil
		default:
		}
		for i := range 20 {
			if err := c.Send("RPUSH", key, strconv.Itoa(n+i)); err != nil {
				return err
			}
		}
		for range 20 {
			if _, err := c.Receive(); err != nil {
				return err
			}
		}
	}
}

// numbers are those that a node has of a writer.
func numbers(t *testing.T, n *redistest.Server, key string) (out []int) {
	t.Helper()
	for _, v := range told(t, n, "LRANGE", key, "0", "-1").([]any) {
		i, err := strconv.Atoi(v.(string))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, i)
	}
	return out
}

// Two primaries can be reached, and Sentinels differ on which it is. What most of
// them say holds; nobody's calls ever run on both by turns.
func TestConflictingPrimariesNeverShareAClientsPipeline(t *testing.T) {
	g := redistest.StartSentinels(t, redistest.SentinelOptions{})
	old, other := g.Servers[0], redistest.Start(t)
	monitor(t, g.Sentinels[2], g.Name, other) // one of three is wrong from the start
	core, logs := observer.New(zap.WarnLevel)
	r := withRig(t, "", func(s *setup) {
		s.log = zap.New(core)
		s.workers = 2
		s.backend.Nodes = nil
		s.backend.Routing = backend.Routing{
			Kind: backend.Sentinel, Wait: 5 * time.Second, Refresh: 50 * time.Millisecond,
			Sentinels: backend.Sentinels{Nodes: endpoints(g.Addrs()), Name: g.Name},
		}
	})
	logged := func(words string) func() bool {
		return func() bool { return logs.FilterMessageSnippet(words).Len() > 0 }
	}
	const writers = 6
	done := make(chan struct{})
	var all sync.WaitGroup
	var ended atomic.Int32
	for i := range writers {
		c := r.login("root")
		all.Go(func() {
			if err := writer(c, fmt.Sprintf("w%d", i), done); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
			ended.Add(1)
		})
	}
	has := func(n *redistest.Server) func() bool {
		return func() bool {
			for i := range writers {
				if told(t, n, "LLEN", fmt.Sprintf("w%d", i)) == int64(0) {
					return false
				}
			}
			return true
		}
	}
	eventually(t, 20*time.Second, "the conflict is in the log", logged("conflicting primaries"))
	eventually(t, 20*time.Second, "all write to the one that most name", has(old))
	if told(t, other, "DBSIZE") != int64(0) {
		t.Error("somebody wrote to the one that a single Sentinel names")
	}
	monitor(t, g.Sentinels[1], g.Name, other) // now most name the other one, and the old one goes on as it was
	eventually(t, 20*time.Second, "all write to the one that most name now", has(other))
	if err := g.Sentinels[2].Kill(); err != nil {
		t.Fatal(err)
	}
	// One says this and one that, and the third says nothing: the last one stays.
	eventually(t, 20*time.Second, "that there is no majority is in the log", logged("the last good one stays"))
	before := told(t, old, "LLEN", "w0")
	grown := len(numbers(t, other, "w0"))
	eventually(t, 20*time.Second, "they go on writing where they were", func() bool { return len(numbers(t, other, "w0")) > grown })
	if now := told(t, old, "LLEN", "w0"); now != before {
		t.Errorf("the old one took %v more", now)
	}
	if ended.Load() > 0 {
		t.Error("a session has ended")
	}
	close(done)
	all.Wait()
	for i := range writers {
		key := fmt.Sprintf("w%d", i)
		first, then := numbers(t, old, key), numbers(t, other, key)
		for _, list := range [][]int{first, then} {
			for n := 1; n < len(list); n++ {
				if list[n] <= list[n-1] {
					t.Fatalf("%s: %d came behind %d", key, list[n], list[n-1])
				}
			}
		}
		if len(first) > 0 && len(then) > 0 && first[len(first)-1] >= then[0] {
			t.Errorf("%s: the old primary had %d when the new one began with %d", key, first[len(first)-1], then[0])
		}
	}
}
