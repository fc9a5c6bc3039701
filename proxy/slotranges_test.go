package proxy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// Every key is on the node that has its slot, by hash tag, and calls over several
// nodes are split and put together.
func TestKeysAreOnTheNodeThatHasTheirSlot(t *testing.T) {
	t.Parallel()
	nodes := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr())
	}
	ranges := []backend.SlotRange{{Low: 0, High: 4999, Node: 1}, {Low: 5000, High: 9999}, {Low: 10000, High: 16382, Node: 2}, {Low: 16383, High: 16383, Node: 1}}
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints(addrs)
		s.backend.Routing = backend.Routing{Kind: backend.Sharded, Ranges: ranges, Wait: time.Second}
	})
	c := r.login("root")
	owner := func(key string) int {
		slot := backend.SlotOf([]byte(key))
		for _, g := range ranges {
			if g.Low <= slot && slot <= g.High {
				return g.Node
			}
		}
		t.Fatalf("slot %d is nobody's", slot)
		return -1
	}
	mset, mget, want := []string{"MSET"}, []string{"MGET"}, []string(nil)
	for i := range 2000 {
		k := fmt.Sprintf("key:%d", i)
		switch i % 4 {
		case 1:
			k = fmt.Sprintf("{tag%d}%d", i/40, i)
		case 2:
			k = fmt.Sprintf("a{}b\x00%d", i)
		}
		mset, mget, want = append(mset, k, fmt.Sprint(i)), append(mget, k), append(want, fmt.Sprint(i))
	}
	r.want(c, "OK", mset...)
	r.want(c, "["+strings.Join(want, " ")+"]", mget...)
	seen := 0
	for i, n := range nodes {
		reply, err := n.Do("KEYS", "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range reply.([]any) {
			seen++
			if got := owner(k.(string)); got != i {
				t.Fatalf("key %q is on node %d, its slot on %d", k, i, got)
			}
		}
	}
	if seen != 2000 {
		t.Fatalf("%d of 2000 keys found", seen)
	}
	r.want(c, "2000", "DBSIZE")
	if got := scanAll(t, c, nil); len(got) != 2000 {
		t.Errorf("SCAN: %d of 2000 keys", len(got))
	}
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", "{tag1}a", "1")
	r.want(c, "QUEUED", "GET", "{tag1}b")
	r.want(c, "[OK <nil>]", "EXEC")
	r.fails(c, "CROSSSLOT", "RENAME", "key:0", "key:3")
}
