package backend

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// TestKeysOfAnEjectedNodeLieWhereTwemproxyPutsThem kills nodes behind a real
// nutcracker, one after another, and looks where it puts keys then.
func TestKeysOfAnEjectedNodeLieWhereTwemproxyPutsThem(t *testing.T) {
	keys := oddKeys(20_000)[1:] // it takes no empty key
	for _, kind := range []string{"ketama", "modula"} {
		for _, hash := range []string{"fnv1a_64", "murmur"} {
			t.Run(kind+"/"+hash, func(t *testing.T) { sameRest(t, keys, kind, hash) })
		}
	}
}

func sameRest(t *testing.T, keys []string, kind, hash string) {
	nodes := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	var servers []string
	var members []Member
	for i, n := range nodes {
		m := Member{Name: fmt.Sprintf("shard-%d", i*i*i), Weight: 1 + i%3}
		servers, members = append(servers, fmt.Sprintf("%s:%d %s", n.Addr(), m.Weight, m.Name)), append(members, m)
	}
	addr := redistest.StartNutcracker(t, []string{
		"redis: true", "distribution: " + kind, "hash: " + hash, `hash_tag: "{}"`,
		"auto_eject_hosts: true", "server_failure_limit: 1", "server_retry_timeout: 3600000", "timeout: 2000",
	}, servers)
	whole, err := NewDistribution(kind, hash, "{}", members)
	if err != nil {
		t.Fatal(err)
	}
	out, d := make([]bool, len(nodes)), whole
	for _, dead := range []int{1, 3, 0} {
		if err := nodes[dead].Kill(); err != nil {
			t.Fatal(err)
		}
		tripped(t, addr, keyOf(t, d, keys, dead))
		out[dead] = true
		d = whole.Without(out)
		seen := 0
		for i, n := range nodes {
			if !out[i] {
				if _, err := n.Do("FLUSHALL"); err != nil {
					t.Fatal(err)
				}
			}
		}
		setAll(t, addr, keys)
		for i, n := range nodes {
			if out[i] {
				continue
			}
			reply, err := n.Do("KEYS", "*")
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range reply.([]any) {
				seen++
				if got := d.Of([]byte(k.(string))); got != i {
					t.Fatalf("without %v: key %q is on node %d, here it belongs to %d", out, k, i, got)
				}
			}
		}
		distinct := map[string]bool{}
		for _, k := range keys {
			distinct[k] = true
		}
		if seen != len(distinct) {
			t.Fatalf("without %v: %d of %d keys found", out, seen, len(distinct))
		}
	}
	if out[2] = true; whole.Without(out) != nil {
		t.Error("a distribution over nobody")
	}
}

// keyOf finds a key that belongs to a member.
func keyOf(t *testing.T, d *Distribution, keys []string, member int) string {
	t.Helper()
	for _, k := range keys {
		if d.Of([]byte(k)) == member {
			return k
		}
	}
	t.Fatalf("no key belongs to %d", member)
	return ""
}

// tripped asks twemproxy for a key of a dead node until another one answers.
func tripped(t *testing.T, addr, key string) {
	t.Helper()
	c, err := redistest.Dial("tcp", addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 1000 {
		if got, err := c.Do("SET", key, "1"); err == nil && got == "OK" {
			return
		}
	}
	t.Fatal("twemproxy ejects nobody")
}

func TestRandomLeavesOutWhoIsEjected(t *testing.T) {
	whole, err := NewDistribution("random", "md5", "", []Member{{"a", 1}, {"b", 1}, {"c", 1}})
	if err != nil {
		t.Fatal(err)
	}
	d, seen := whole.Without([]bool{false, true, false}), map[int]bool{}
	for range 1000 {
		seen[d.Of([]byte("k"))] = true
	}
	if len(seen) != 2 || seen[1] {
		t.Fatalf("members %v", seen)
	}
	if got := whole.Without([]bool{true, false, true}).Of([]byte("k")); got != 1 {
		t.Fatalf("the last one is %d", got)
	}
}

// A node is out after so many unanswered checks, and back by the first answered
// one after its time, not before.
func TestAnEjectedNodeStaysOutForItsTime(t *testing.T) {
	d, err := NewDistribution("ketama", "md5", "", []Member{{"a", 1}, {"b", 1}})
	if err != nil {
		t.Fatal(err)
	}
	nodes := []Endpoint{{"tcp", "127.0.0.1:1"}, {"tcp", "127.0.0.1:2"}}
	b, err := New(Options{Name: "x", Nodes: nodes, Routing: Routing{Kind: Sharded, Distribution: d, Eject: Ejection{2, time.Hour}}})
	if err != nil {
		t.Fatal(err)
	}
	c := b.control
	look := func() *Topology {
		t.Helper()
		if err := c.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return c.Topology()
	}
	c.failing(nodes[1], 1)
	if top := look(); top.Out(1) || top.ejected(nodes[1]) {
		t.Error("out after one check of two")
	}
	c.failing(nodes[1], 2)
	if top := look(); !top.Out(1) || top.Out(0) || !top.ejected(nodes[1]) || top.leads(nodes[1]) || !top.Has(nodes[1]) {
		t.Error("not out after two")
	}
	c.failing(nodes[1], 3)
	c.restored(nodes[1])
	if !look().Out(1) {
		t.Error("back before its time")
	}
	c.mu.Lock()
	c.ejects[nodes[1]] = time.Now().Add(-time.Second)
	c.mu.Unlock()
	if !look().Out(1) {
		t.Error("back unasked")
	}
	c.restored(nodes[1])
	if top := look(); top.Out(1) || top.spread != d {
		t.Error("still out")
	}
	c.failing(nodes[0], 2)
	c.failing(nodes[1], 2)
	if top := look(); top.spread != nil || !top.Out(0) || !top.Out(1) {
		t.Error("somebody is left")
	}
}
