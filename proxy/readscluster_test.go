package proxy_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// readingCluster is a proxy in front of three primaries with a replica each, which
// are read from.
func readingCluster(t *testing.T, reads backend.Reading) (*redistest.Cluster, *rig) {
	t.Helper()
	c := redistest.StartCluster(t, 3, 1, redistest.RequirePass("node-pw"))
	r := withRig(t, "", func(s *setup) {
		s.users["root"] = everything + " +keys +dbsize +scan +flushall +eval_ro +cluster"
		s.backend.Nodes = endpoints(c.Addrs()[:1])
		s.backend.Password = func() (string, error) { return "node-pw", nil }
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Reads: reads, Wait: 20 * time.Second}
	})
	return c, r
}

// byRole is how often the primaries and the replicas of a cluster ran a command.
func byRole(t testing.TB, c *redistest.Cluster, name string) (primaries, replicas int64) {
	t.Helper()
	for _, s := range c.Servers {
		if s.Pid() == 0 {
			continue
		}
		role, err := s.Role()
		if err != nil {
			t.Fatal(err)
		}
		if n := calls(t, s, name); role == "master" {
			primaries += n
		} else {
			replicas += n
		}
	}
	return primaries, replicas
}

// allShards reads until no primary is asked any more.
func (r *rig) allShards(c *redistest.Client, of *redistest.Cluster, keys []string) {
	r.t.Helper()
	eventually(r.t, 30*time.Second, "all shards are read at their replicas", func() bool {
		before, _ := byRole(r.t, of, "get")
		for _, k := range keys {
			if _, err := c.Do("GET", k); err != nil {
				return false
			}
		}
		after, _ := byRole(r.t, of, "get")
		return after == before
	})
}

// replicated waits until every replica has what its primary has.
func replicated(t testing.TB, c *redistest.Cluster) {
	t.Helper()
	for _, s := range c.Servers {
		if role, err := s.Role(); err != nil || role != "master" {
			continue
		}
		if _, err := s.Do("PING"); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Do("WAIT", "1", "10000"); err != nil || n != int64(1) {
			t.Fatal(n, err)
		}
	}
}

func TestAClustersReplicasAreReadFromAndNeverWrittenTo(t *testing.T) {
	of, r := readingCluster(t, backend.ReadPreferReplica)
	c := r.login("root")
	var keys, pairs []string
	values := map[string]string{}
	for i := range 60 {
		k := fmt.Sprintf("key:%d", i)
		keys, pairs, values[k] = append(keys, k), append(pairs, k, fmt.Sprintf("v%d", i)), fmt.Sprintf("v%d", i)
	}
	r.want(c, "OK", append([]string{"MSET"}, pairs...)...)
	replicated(t, of)
	r.allShards(c, of, keys)
	primariesBefore, _ := byRole(t, of, "mget")
	for range 10 {
		for _, k := range keys {
			r.want(c, values[k], "GET", k)
		}
	}
	got, err := c.Do(append([]string{"MGET"}, keys...)...)
	if err != nil || len(got.([]any)) != len(keys) {
		t.Fatal(got, err)
	}
	for i, v := range got.([]any) {
		if v != values[keys[i]] {
			t.Fatalf("%s is %v", keys[i], v)
		}
	}
	primaries, replicas := byRole(t, of, "mget")
	if primaries != primariesBefore || replicas == 0 {
		t.Errorf("MGET ran %d times on primaries, %d on replicas", primaries-primariesBefore, replicas)
	}
	r.want(c, "60", append([]string{"EXISTS"}, keys...)...)
	r.want(c, "60", "DBSIZE")
	r.want(c, "v1", "EVAL_RO", "return redis.call('GET', KEYS[1])", "1", "key:1")
	for _, s := range of.Servers {
		stats, err := s.CommandStats()
		if err != nil {
			t.Fatal(err)
		}
		for name, n := range stats { // what is replicated counts as run there; what a client sends is refused
			if n.Rejected > 0 && name != "ping" { // of the health checks and the rig, before a node was up
				t.Errorf("%s was sent to a node that refused it, %d times", name, n.Rejected)
			}
		}
	}
	primaries, replicas = byRole(t, of, "readonly")
	if primaries != 0 || replicas == 0 {
		t.Errorf("READONLY was said %d times to primaries, %d to replicas", primaries, replicas)
	}
	r.want(c, "OK", "READONLY")
	r.want(c, "v1", "GET", "key:1")
}

// A failover in the middle: what was a replica is a primary, and the other way
// round once it is back.
func TestAFailoverOfAClusterUnderReads(t *testing.T) {
	of, r := readingCluster(t, backend.ReadPreferReplica)
	c := r.login("root")
	var keys []string
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("key:%d", i))
		r.want(c, "OK", "SET", keys[i], "v")
	}
	replicated(t, of)
	r.allShards(c, of, keys)
	done := make(chan struct{})
	var running sync.WaitGroup
	var mu sync.Mutex
	reads, lost, wrong := 0, 0, map[string]int{}
	for i := range 4 {
		c := r.login("root")
		running.Go(func() {
			for n := i; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				v, err := c.Do("GET", keys[n%len(keys)])
				var refused redistest.Error
				mu.Lock()
				reads++
				switch {
				case err == nil && v == "v":
				case errors.As(err, &refused) && strings.Contains(err.Error(), "may have run"):
					lost++
				default:
					wrong[fmt.Sprint(v, err)]++
				}
				mu.Unlock()
				if err != nil && !errors.As(err, &refused) {
					return
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return reads
	}
	primary, err := of.Owner(0)
	if err != nil {
		t.Fatal(err)
	}
	replica, err := of.Replica(primary)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "reads are under way", func() bool { return count() > 200 })
	if err := of.Failover(t.Context(), replica); err != nil {
		t.Fatal(err)
	}
	then := count()
	eventually(t, 30*time.Second, "reads go on", func() bool { return count() > then+500 })
	close(done)
	running.Wait()
	// A connection to a node whose role has changed ends, with what is under way on it.
	if len(wrong) > 0 || lost > 8 {
		t.Errorf("of %d reads %d were lost, and %v", reads, lost, wrong)
	}
	r.allShards(c, of, keys)
	if before := calls(t, replica, "get"); true {
		for _, k := range keys {
			r.want(c, "v", "GET", k)
		}
		if after := calls(t, replica, "get"); after != before {
			t.Errorf("%d reads went to what is the primary now", after-before)
		}
	}
}

// Slots move: what a replica of the former owner says of them is not shown.
func TestASlotMovesUnderReadsFromReplicas(t *testing.T) {
	of, r := readingCluster(t, backend.ReadPreferReplica)
	c := r.login("root")
	const slot = 12182 // of {foo}
	for i := range 20 {
		r.want(c, "OK", "SET", fmt.Sprintf("{foo}%d", i), "v")
	}
	replicated(t, of)
	from, err := of.Owner(slot)
	if err != nil {
		t.Fatal(err)
	}
	old, err := of.Replica(from)
	if err != nil {
		t.Fatal(err)
	}
	r.reaches(c, old, "{foo}1")
	to := of.Servers[0]
	if to == from {
		to = of.Servers[1]
	}
	if err := of.MoveSlot(slot, from, to); err != nil {
		t.Fatal(err)
	}
	replicated(t, of)
	eventually(t, 30*time.Second, "the new owner's replica is read from", func() bool {
		next, err := of.Replica(to)
		if err != nil {
			t.Fatal(err)
		}
		before := calls(t, next, "get")
		v, err := c.Do("GET", "{foo}1")
		if err != nil {
			t.Fatalf("a client read %v", err)
		}
		return v == "v" && calls(t, next, "get") > before
	})
	for i := range 20 {
		r.want(c, "v", "GET", fmt.Sprintf("{foo}%d", i))
	}
}

func TestASentinelGroupsReplicaIsReadFromAndNotOnceItIsThePrimary(t *testing.T) {
	g := redistest.StartSentinels(t, redistest.SentinelOptions{Replicas: 2, Server: []redistest.Option{redistest.RequirePass("node-pw")}})
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = nil
		s.backend.Password = func() (string, error) { return "node-pw", nil }
		s.backend.Routing = backend.Routing{
			Kind: backend.Sentinel, Reads: backend.ReadPreferReplica, Wait: 20 * time.Second, Refresh: 500 * time.Millisecond,
			Sentinels: backend.Sentinels{Nodes: endpoints(g.Addrs()), Name: g.Name},
		}
	})
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	inStep(t, g.Replicated)
	eventually(t, 30*time.Second, "a replica is read from", func() bool {
		r.want(c, "v", "GET", "k")
		return calls(t, g.Servers[1], "get")+calls(t, g.Servers[2], "get") > 0
	})
	primary, err := g.Primary()
	if err != nil {
		t.Fatal(err)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	now, err := g.AwaitPrimary(t.Context(), primary)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "writes reach the new primary", func() bool {
		_, err := c.Do("SET", "k", "w")
		return err == nil
	})
	other := g.Servers[1]
	if other == now {
		other = g.Servers[2]
	}
	r.reaches(c, other, "k")
	before := calls(t, now, "get")
	for range 20 {
		if _, err := c.Do("GET", "k"); err != nil {
			t.Fatal(err)
		}
	}
	if after := calls(t, now, "get"); after != before {
		t.Errorf("%d reads went to what is the primary now", after-before)
	}
}
