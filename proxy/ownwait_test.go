package proxy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// overPair is a rig in front of a primary and its replica.
func overPair(t *testing.T, wait time.Duration, change func(*setup)) (*redistest.Replicated, *rig) {
	t.Helper()
	t.Parallel()
	pair := redistest.StartReplicated(t, 1)
	return pair, withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints([]string{pair.Servers[0].Addr(), pair.Servers[1].Addr()})
		s.backend.Routing = backend.Routing{Kind: backend.Replicated, Refresh: 100 * time.Millisecond, Wait: wait}
		if change != nil {
			change(s)
		}
	})
}

// outcome is what a call gave, after how long.
type outcome struct {
	got  any
	err  error
	took time.Duration
}

// begin makes calls on a connection of its own and gives the answer to the last one.
func (r *rig) begin(calls ...[]string) chan outcome {
	c := r.login("root")
	out := make(chan outcome, 1)
	go func() {
		var a outcome
		began := time.Now()
		for _, call := range calls {
			a.got, a.err = c.Do(call...)
		}
		a.took = time.Since(began)
		out <- a
	}()
	return out
}

// A transaction, a blocking call, WATCH, WAIT and a subscription that come while
// the primary is away wait for the next one, as ordinary calls do.
func TestCallsThatNeedAnOwnConnectionWaitThroughAFailover(t *testing.T) {
	pair, r := overPair(t, 30*time.Second, nil)
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "1")
	if err := pair.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	waiting := map[string]chan outcome{
		"[OK v]":      r.begin([]string{"MULTI"}, []string{"SET", "t", "v"}, []string{"GET", "t"}, []string{"EXEC"}),
		"[list e]":    r.begin([]string{"BLPOP", "list", "0"}),
		"OK":          r.begin([]string{"WATCH", "w"}),
		"0":           r.begin([]string{"WAIT", "0", "1"}),
		"subscribe c": r.begin([]string{"SUBSCRIBE", "c"}),
	}
	eventually(t, 20*time.Second, "all of them wait", func() bool { return r.scrape(t).value(`sallyport_backend_waits_total{result="waited"}`) >= 6 })
	for what, a := range waiting {
		select {
		case got := <-a:
			t.Fatalf("%s did not wait: %v, %v", what, got.got, got.err)
		default:
		}
	}
	if err := pair.Promote(t.Context(), pair.Servers[1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the list is fed", func() bool {
		_, err := c.Do("RPUSH", "list", "e")
		return err == nil
	})
	for want, a := range waiting {
		got := <-a
		if got.err != nil || !strings.Contains(fmt.Sprint(got.got), want) {
			t.Errorf("want %s, got %v, %v", want, got.got, got.err)
		}
	}
	if v, err := pair.Servers[1].Do("LLEN", "list"); err != nil || fmt.Sprint(v) != "0" {
		t.Errorf("the list has %v elements left: %v", v, err)
	}
}

// They wait no longer than they may, take no place afterwards, and once the
// primary has been missing for so long nobody waits any more.
func TestAnOwnConnectionIsWaitedForOnlySoLong(t *testing.T) {
	const wait = time.Second
	pair, r := overPair(t, wait, func(s *setup) { s.backend.Connections.Pinned = 3 })
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "1")
	if err := pair.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	calls := []chan outcome{r.begin([]string{"BLPOP", "l", "0"}), r.begin([]string{"WATCH", "k"}), r.begin([]string{"SUBSCRIBE", "c"})}
	for _, call := range calls {
		a := <-call
		if a.err == nil || !strings.HasPrefix(a.err.Error(), "ERR backend ") || a.took > 10*wait {
			t.Errorf("%v, %v after %v", a.got, a.err, a.took)
		}
	}
	if took := time.Since(began); took < wait/2 {
		t.Errorf("nobody waited: all was over after %v", took)
	}
	eventually(t, 20*time.Second, "nobody waits any more", func() bool {
		a := <-r.begin([]string{"WATCH", "k"})
		return a.err != nil && strings.HasPrefix(a.err.Error(), "ERR backend unavailable") && a.took < wait/2
	})
	if err := pair.Servers[0].Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the primary is back", func() bool {
		return fmt.Sprint((<-r.begin([]string{"WATCH", "k"})).got) == "OK"
	})
}

// In a cluster the next primary of the keys is another node: what waits goes there.
func TestCallsThatNeedAnOwnConnectionFollowTheirSlotThroughAFailover(t *testing.T) {
	t.Parallel()
	rig := redistest.StartCluster(t, 3, 1)
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints(rig.Addrs())
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 60 * time.Second, Refresh: time.Second}
	})
	c := r.login("root")
	r.want(c, "OK", "SET", "{foo}", "v")
	owner, err := rig.Owner(fooSlot)
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Kill(); err != nil {
		t.Fatal(err)
	}
	waiting := map[string]chan outcome{
		"[OK v]":           r.begin([]string{"MULTI"}, []string{"SET", "{foo}t", "v"}, []string{"GET", "{foo}t"}, []string{"EXEC"}),
		"[{foo}list e]":    r.begin([]string{"BLPOP", "{foo}list", "0"}),
		"OK":               r.begin([]string{"WATCH", "{foo}w"}),
		"ssubscribe {foo}": r.begin([]string{"SSUBSCRIBE", "{foo}"}),
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := redistest.Await(ctx, "the list is fed", func() error {
		_, err := c.Do("RPUSH", "{foo}list", "e")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for want, a := range waiting {
		got := <-a
		if got.err != nil || !strings.Contains(fmt.Sprint(got.got), want) {
			t.Errorf("want %s, got %v, %v after %v", want, got.got, got.err, got.took)
		}
	}
}

// A primary that stands still takes connections and says nothing on them. Nobody
// waits for that any longer than until there is another primary.
func TestAnAttemptToReachAFormerPrimaryIsGivenUp(t *testing.T) {
	t.Parallel()
	g := redistest.StartSentinels(t, redistest.SentinelOptions{})
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = nil
		s.backend.DialTimeout = 5 * time.Minute
		s.backend.Routing = backend.Routing{
			Kind: backend.Sentinel, Wait: 5 * time.Minute,
			Sentinels: backend.Sentinels{Nodes: endpoints(g.Addrs()), Name: g.Name},
		}
	})
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	if _, err := g.Servers[0].Do("WAIT", "1", "5000"); err != nil {
		t.Fatal(err)
	}
	if err := g.Servers[0].Pause(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Servers[0].Continue() })
	waiting := r.begin([]string{"MULTI"}, []string{"GET", "k"}, []string{"EXEC"})
	shared := r.begin([]string{"HELLO", "3"}, []string{"GET", "k"}) // over a connection that is not there yet
	for what, a := range map[string]chan outcome{"[v]": waiting, "v": shared} {
		select {
		case got := <-a:
			if got.err != nil || fmt.Sprint(got.got) != what {
				t.Errorf("%v, %v; want %s", got.got, got.err, what)
			}
		case <-time.After(60 * time.Second):
			t.Errorf("%s never came", what)
		}
	}
}

// Whatever a failover meets, no transaction runs twice, and none is refused because
// nobody has its slot just then.
func TestTransactionsThroughAClusterFailoverRunOnceAtMost(t *testing.T) {
	t.Parallel()
	rig := redistest.StartCluster(t, 3, 1)
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints(rig.Addrs())
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 60 * time.Second, Refresh: time.Second}
	})
	owner, err := rig.Owner(fooSlot)
	if err != nil {
		t.Fatal(err)
	}
	type tally struct {
		ran, unknown int
		faults       []string
	}
	done := make(chan struct{})
	results := make(chan tally)
	const clients = 6
	for i := range clients {
		c, key := r.login("root"), fmt.Sprintf("{foo}%d", i)
		go func() {
			var n tally
			defer func() { results <- n }()
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, call := range [][]string{{"MULTI"}, {"INCR", key}} {
					if _, err := c.Do(call...); err != nil {
						n.faults = append(n.faults, err.Error())
						return
					}
				}
				switch _, err := c.Do("EXEC"); {
				case err == nil:
					n.ran++
				case strings.Contains(err.Error(), "may have run"):
					n.unknown++
				case !strings.HasPrefix(err.Error(), "CLUSTERDOWN The cluster is down"): // a node's own word
					n.faults = append(n.faults, err.Error())
					return
				}
			}
		}()
	}
	eventually(t, 20*time.Second, "they run", func() bool {
		v, err := owner.Do("GET", "{foo}0")
		return err == nil && v != nil
	})
	if err := owner.Kill(); err != nil {
		t.Fatal(err)
	}
	var now *redistest.Server
	eventually(t, 60*time.Second, "another node has the slot", func() bool {
		s, err := rig.Owner(fooSlot)
		if err == nil && s != owner {
			now = s
		}
		return now != nil
	})
	before := fmt.Sprint(now.Do("GET", "{foo}0"))
	eventually(t, 60*time.Second, "they run there", func() bool { return fmt.Sprint(now.Do("GET", "{foo}0")) != before })
	close(done)
	ran := 0
	for range clients {
		n := <-results
		if len(n.faults) > 0 || n.ran == 0 {
			t.Errorf("%d ran, and %v", n.ran, n.faults)
		}
		ran += n.ran + n.unknown
	}
	total := 0
	for i := range clients {
		v, err := now.Do("GET", fmt.Sprintf("{foo}%d", i))
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if v != nil {
			fmt.Sscan(fmt.Sprint(v), &n)
		}
		total += n
	}
	if total > ran {
		t.Errorf("%d transactions ran, and only %d can have", total, ran)
	}
}
