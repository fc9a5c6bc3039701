package backend

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// setAll writes keys through a proxy, a thousand at a time.
func setAll(t *testing.T, addr string, keys []string) {
	t.Helper()
	c, err := redistest.Dial("tcp", addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for len(keys) > 0 {
		now := keys[:min(1000, len(keys))]
		keys = keys[len(now):]
		var block []byte
		for _, k := range now {
			block = append(block, redistest.Encode("SET", k, "1")...)
		}
		if err := c.Write(block); err != nil {
			t.Fatal(err)
		}
		for range now {
			if got, err := c.Receive(); err != nil || got != "OK" {
				t.Fatalf("SET: %v, %v", got, err)
			}
		}
	}
}

// TestKeysLieWhereTwemproxyPutsThem writes keys through a real nutcracker and
// looks at which node each of them is.
func TestKeysLieWhereTwemproxyPutsThem(t *testing.T) {
	nodes := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	all := oddKeys(100_000)[1:] // it takes no empty key
	for _, kind := range []string{"ketama", "modula"} {
		for _, hash := range Hashes() {
			for _, tag := range []string{"", "{}", "$$"} {
				keys := all[:2000]
				switch {
				case kind == "ketama" && hash == "fnv1a_64" && tag == "{}":
					keys = all
				case tag == "$$" && hash != "md5", kind == "modula" && tag == "{}":
					continue
				}
				t.Run(strings.TrimSuffix(kind+"/"+hash+"/"+tag, "/"), func(t *testing.T) { samePlaces(t, nodes, keys, kind, hash, tag) })
			}
		}
	}
}

func samePlaces(t *testing.T, nodes []*redistest.Server, keys []string, kind, hash, tag string) {
	var servers []string
	var members []Member
	for i, n := range nodes {
		m := Member{Name: n.Addr(), Weight: 1 + i}
		line := fmt.Sprintf("%s:%d", n.Addr(), m.Weight)
		if i == 2 {
			m.Name = "shard-three"
			line += " " + m.Name
		}
		servers, members = append(servers, line), append(members, m)
	}
	pool := []string{"redis: true", "distribution: " + kind, "hash: " + hash}
	if tag != "" {
		pool = append(pool, `hash_tag: "`+tag+`"`)
	}
	addr := redistest.StartNutcracker(t, pool, servers)
	for _, n := range nodes {
		if _, err := n.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
	}
	setAll(t, addr, keys)
	d, err := NewDistribution(kind, hash, tag, members)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for i, n := range nodes {
		reply, err := n.Do("KEYS", "*")
		if err != nil {
			t.Fatal(err)
		}
		there, _ := reply.([]any)
		seen += len(there)
		for _, k := range there {
			if got := d.Of([]byte(k.(string))); got != i {
				t.Fatalf("key %q is on node %d, here it belongs to %d", k, i, got)
			}
		}
	}
	distinct := map[string]bool{}
	for _, k := range keys {
		distinct[k] = true
	}
	if seen != len(distinct) {
		t.Fatalf("%d of %d keys found", seen, len(distinct))
	}
}

func TestRandomReachesEveryMember(t *testing.T) {
	d, err := NewDistribution("random", "md5", "", []Member{{"a", 1}, {"b", 1}, {"c", 1}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for range 1000 {
		seen[d.Of([]byte("k"))] = true
	}
	if len(seen) != 3 {
		t.Fatalf("%d of 3 members", len(seen))
	}
}

func TestAFaultyDistributionIsNotBuilt(t *testing.T) {
	one := []Member{{"a", 1}}
	for name, build := range map[string]func() (*Distribution, error){
		"kind":      func() (*Distribution, error) { return NewDistribution("ring", "md5", "", one) },
		"hash":      func() (*Distribution, error) { return NewDistribution("ketama", "sha1", "", one) },
		"tag":       func() (*Distribution, error) { return NewDistribution("ketama", "md5", "{", one) },
		"nobody":    func() (*Distribution, error) { return NewDistribution("ketama", "md5", "", nil) },
		"two alike": func() (*Distribution, error) { return NewDistribution("ketama", "md5", "", append(one, one...)) },
		"no weight": func() (*Distribution, error) { return NewDistribution("ketama", "md5", "", []Member{{"a", 0}}) },
	} {
		if d, err := build(); err == nil || d != nil {
			t.Errorf("%s: built", name)
		}
	}
}
