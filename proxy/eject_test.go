package proxy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// A dead node's keys go to the others, once it has failed its checks, and back
// when it answers again; a node is not ejected unless somebody asked for it.
func TestADeadShardGivesItsKeysToTheOthers(t *testing.T) {
	t.Parallel()
	nodes := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	var addrs []string
	var members []backend.Member
	for i, n := range nodes {
		addrs = append(addrs, n.Addr())
		members = append(members, backend.Member{Name: fmt.Sprintf("shard%d", i), Weight: 1 + i})
	}
	d, err := backend.NewDistribution("ketama", "fnv1a_64", "{}", members)
	if err != nil {
		t.Fatal(err)
	}
	r := withRig(t, "", func(s *setup) {
		s.users["root"] = everything + " +flushall +keys"
		s.backend.Nodes = endpoints(addrs)
		s.backend.Routing = backend.Routing{Kind: backend.Sharded, Distribution: d, Eject: backend.Ejection{Failures: 1, Retry: time.Millisecond}}
	})
	c, watching := r.login("root"), r.login("root")
	of := func(member int) string {
		for i := 0; ; i++ {
			if k := fmt.Sprintf("k%d", i); d.Of([]byte(k)) == member {
				return k
			}
		}
	}
	lost, kept := of(2), of(0)
	r.want(c, "OK", "SET", lost, "old")
	r.want(c, "OK", "SET", kept, "v")
	r.want(watching, "OK", "WATCH", lost)
	if err := nodes[2].Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the keys of the dead node are with another one", func() bool {
		got, err := c.Do("SET", lost, "new")
		return err == nil && got == "OK"
	})
	if got, err := watching.Do("GET", lost); err == nil {
		t.Errorf("whoever watched on the dead node reads %v", got)
	}
	rest := d.Without([]bool{false, false, true})
	mset, mget, want := []string{"MSET"}, []string{"MGET"}, 2
	for i := range 500 {
		k := fmt.Sprintf("many:{%d}", i)
		mset, mget, want = append(mset, k, k), append(mget, k), want+1
	}
	r.want(c, "OK", mset...)
	r.want(c, fmt.Sprint(mget[1:]), mget...)
	for i, n := range nodes[:2] {
		reply, err := n.Do("KEYS", "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range reply.([]any) {
			if got := rest.Of([]byte(k.(string))); got != i {
				t.Fatalf("key %q is on node %d and belongs to %d", k, i, got)
			}
		}
	}
	r.want(c, fmt.Sprint(want), "DBSIZE")
	if got := scanAll(t, c, nil); len(got) != want {
		t.Errorf("SCAN: %d of %d keys", len(got), want)
	}
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "GET", lost)
	r.want(c, "[new]", "EXEC")
	r.fails(c, "ERR backend", "FLUSHALL") // it can't be said to have happened everywhere
	r.want(c, "OK", "SET", lost, "new")
	if err := nodes[2].Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the node has its keys again", func() bool {
		got, err := c.Do("GET", lost)
		return err == nil && got == nil
	})
	r.want(c, "OK", "SET", lost, "again")
	if got, err := nodes[2].Do("GET", lost); err != nil || got != "again" {
		t.Errorf("on the node that is back: %v, %v", got, err)
	}
}
