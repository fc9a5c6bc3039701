package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// overCluster is a proxy in front of a cluster of three primaries.
func overCluster(t *testing.T, replicas int) (*redistest.Cluster, *rig) {
	t.Helper()
	c := redistest.StartCluster(t, 3, replicas, redistest.RequirePass("node-pw"))
	r := withRig(t, "", func(s *setup) {
		s.users["root"] = everything + " +keys +eval +evalsha +script|load +script|exists +flushall +scan +dbsize +cluster"
		s.backend.Nodes = endpoints(c.Addrs()[:1])
		s.backend.Password = func() (string, error) { return "node-pw", nil }
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 10 * time.Second}
	})
	return c, r
}

func TestAPlainClientUsesAClusterAsOneNode(t *testing.T) {
	rig, r := overCluster(t, 0)
	c := r.login("root")
	var pairs, keys, values []string
	for i := range 100 {
		k, v := fmt.Sprintf("key:%d", i), fmt.Sprintf("value-%d", i)
		pairs, keys, values = append(pairs, k, v), append(keys, k), append(values, v)
	}
	r.want(c, "OK", append([]string{"MSET"}, pairs...)...)
	got, err := c.Do(append([]string{"MGET", "absent"}, keys...)...)
	if err != nil || fmt.Sprint(got) != "[<nil> "+strings.Join(values, " ")+"]" {
		t.Fatalf("MGET: %v, %v", got, err)
	}
	r.want(c, "100", "DBSIZE")
	for _, s := range rig.Servers {
		if n, err := s.Do("DBSIZE"); err != nil || n == int64(0) || n == int64(100) {
			t.Errorf("a node has %v of 100 keys, %v", n, err)
		}
	}
	r.want(c, "3", "EXISTS", "key:1", "key:2", "key:3", "absent")
	r.want(c, "2", "DEL", "key:1", "key:2", "absent")
	r.want(c, "1", "UNLINK", "key:3")
	r.want(c, "0", "TOUCH", "key:1", "key:2", "key:3")
	got, err = c.Do("KEYS", "key:1*")
	if all, ok := got.([]any); err != nil || !ok || len(all) != 10 {
		t.Errorf("KEYS: %v, %v", got, err)
	}
	for _, crossing := range [][]string{{"RENAME", "key:5", "key:6"}, {"MSETNX", "a", "1", "b", "2"}, {"SUNION", "a", "b"}} {
		if _, err := c.Do(crossing...); err == nil || err.Error() != "CROSSSLOT Keys in request don't hash to the same slot" {
			t.Errorf("%v: %v", crossing, err)
		}
	}
	r.want(c, "1", "SADD", "{tag}a", "x")
	r.want(c, "1", "SUNIONSTORE", "{tag}c", "{tag}a", "{tag}b")
	r.want(c, "7", "EVAL", "return redis.call('SET', KEYS[1], ARGV[1]) and 7", "1", "scripted", "v")
	sha, err := c.Do("SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"key:10", "key:11", "key:12", "key:13"} {
		r.want(c, "value-"+k[4:], "EVALSHA", fmt.Sprint(sha), "1", k)
	}
	r.want(c, "[1 0]", "SCRIPT", "EXISTS", fmt.Sprint(sha), "ffffffffffffffffffffffffffffffffffffffff")
	r.want(c, "0", "PUBLISH", "channel", "m")
	if _, err := c.Do("SELECT", "1"); err == nil || !strings.Contains(err.Error(), "cluster mode") {
		t.Errorf("SELECT: %v", err)
	}
	r.want(c, "OK", "FLUSHALL")
	r.want(c, "0", "DBSIZE")
}

func scanAll(t *testing.T, c *redistest.Client, between func(n int)) []string {
	t.Helper()
	seen := map[string]bool{}
	cursor := "0"
	for n := 0; ; n++ {
		got, err := c.Do("SCAN", cursor, "COUNT", "20")
		if err != nil {
			t.Fatal(err)
		}
		items := got.([]any)
		cursor = items[0].(string)
		for _, k := range items[1].([]any) {
			seen[k.(string)] = true
		}
		if value, err := strconv.ParseInt(cursor, 10, 64); err != nil || value < 0 {
			t.Fatalf("cursor %q", cursor)
		}
		if cursor == "0" {
			break
		}
		if between != nil {
			between(n)
		}
	}
	var all []string
	for k := range seen {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}

func TestScanSeesEveryShardAndAnotherProxyGoesOn(t *testing.T) {
	rig, r := overCluster(t, 0)
	c := r.login("root")
	for i := range 600 {
		if err := c.Send("SET", fmt.Sprintf("k%d", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	for range 600 {
		if got, err := c.Receive(); err != nil || got != "OK" {
			t.Fatal(got, err)
		}
	}
	if got := scanAll(t, c, nil); len(got) != 600 {
		t.Fatalf("%d of 600 keys", len(got))
	}
	// Slots move in the middle: the lowest ones of the second node to the first.
	moved := false
	got := scanAll(t, c, func(n int) {
		if n == 3 && !moved {
			moved = true
			for slot := 5461; slot < 5471; slot++ {
				if err := rig.MoveSlot(slot, rig.Servers[1], rig.Servers[0]); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	if len(got) < 600-20 { // what moved behind the cursor is not seen, as in any scan of a cluster
		t.Fatalf("%d of 600 keys over a move of slots", len(got))
	}
	if _, err := c.Do("SCAN", "9223372036854775808"); err == nil {
		t.Error("a cursor of 64 bits was taken")
	}
}

// While slots move, each key is where one node or the other says: a client of the
// proxy sees neither.
func TestASlotMovesUnderAClientThatNoticesNothing(t *testing.T) {
	rig, r := overCluster(t, 0)
	c, other := r.login("root"), r.login("root")
	from, to := rig.Servers[2], rig.Servers[0]
	const slot = 12182 // of {foo}
	r.want(c, "OK", "MSET", "{foo}1", "a", "{foo}2", "b")
	if err := rig.BeginMove(slot, from, to); err != nil {
		t.Fatal(err)
	}
	r.want(c, "OK", "SET", "{foo}new", "c") // ASK
	r.want(c, "c", "GET", "{foo}new")
	r.want(c, "a", "GET", "{foo}1")
	if n, err := rig.MoveKeys(slot, 1, from, to); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	r.want(other, "a", "GET", "{foo}1")
	r.want(other, "b", "GET", "{foo}2")
	// A pipeline keeps its order over the detour.
	for i := range 200 {
		if err := c.Send("APPEND", "{foo}list", strconv.Itoa(i%10)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		n, err := rig.MoveKeys(slot, 100, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if err := rig.EndMove(slot, from, to); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if got, err := c.Receive(); err != nil || got != int64(i+1) {
			t.Fatalf("APPEND %d: %v, %v", i, got, err)
		}
	}
	r.want(c, strings.Repeat("0123456789", 20), "GET", "{foo}list")
	r.want(other, "c", "GET", "{foo}new") // MOVED, or known by now
	r.want(other, "[a b c]", "MGET", "{foo}1", "{foo}2", "{foo}new")
}

func TestAClusterFailoverCostsCallsInFlightAndNoSession(t *testing.T) {
	rig, r := overCluster(t, 1)
	c := r.login("root")
	r.want(c, "OK", "SET", "foo", "0")
	owner, err := rig.Owner(12182)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Do("WAIT", "1", "2000"); err != nil {
		t.Fatal(err)
	}
	if err := owner.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	lost := 0
	if err := redistest.Await(ctx, "the slot is served again", func() error {
		_, err := c.Do("SET", "foo", "1")
		var refused redistest.Error
		if err != nil && !errors.As(err, &refused) {
			t.Fatalf("the session ended: %v", err)
		}
		if err != nil {
			lost++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if lost > 2 {
		t.Errorf("%d calls failed; they wait ten seconds", lost)
	}
	r.want(c, "1", "GET", "foo")
	// Another shard, whose node may hear of the new primary a moment later.
	if err := redistest.Await(ctx, "the others serve, too", func() error {
		_, err := c.Do("SET", "bar", "2")
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAClusterClientFindsOneNodeHere(t *testing.T) {
	_, r := overCluster(t, 0)
	c := r.login("root")
	host, port, _ := strings.Cut(r.addr("plain"), ":")
	got, err := c.Do("CLUSTER", "SLOTS")
	if text := fmt.Sprint(got); err != nil || !strings.HasPrefix(text, "[[0 16383 ["+host+" "+port+" ") {
		t.Fatalf("CLUSTER SLOTS: %v, %v", got, err)
	}
	r.want(c, "12182", "CLUSTER", "KEYSLOT", "foo")
	if got, err := c.Do("CLUSTER", "INFO"); err != nil || !strings.Contains(fmt.Sprint(got), "cluster_state:ok\r\n") {
		t.Errorf("CLUSTER INFO: %v, %v", got, err)
	}
	if got, err := c.Do("CLUSTER", "NODES"); err != nil || !strings.Contains(fmt.Sprint(got), "myself,master - 0 0 1 connected 0-16383") {
		t.Errorf("CLUSTER NODES: %v, %v", got, err)
	}
	if _, err := c.Do("CLUSTER", "REPLICAS", "x"); err == nil {
		t.Error("CLUSTER REPLICAS was answered")
	}
}

func TestShardsHaveTheKeysThatTwemproxyGaveThem(t *testing.T) {
	nodes := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	var servers, addrs []string
	var members []backend.Member
	for i, n := range nodes {
		servers = append(servers, fmt.Sprintf("%s:1 shard%d", n.Addr(), i))
		members = append(members, backend.Member{Name: fmt.Sprintf("shard%d", i), Weight: 1})
		addrs = append(addrs, n.Addr())
	}
	d, err := backend.NewDistribution("ketama", "fnv1a_64", "{}", members)
	if err != nil {
		t.Fatal(err)
	}
	tw, err := redistest.Dial("tcp", redistest.StartNutcracker(t, []string{"redis: true", "distribution: ketama", "hash: fnv1a_64", `hash_tag: "{}"`}, servers), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tw.Close()
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints(addrs)
		s.backend.Routing = backend.Routing{Kind: backend.Sharded, Distribution: d, Wait: time.Second}
	})
	c := r.login("root")
	keys := []string{"MGET"}
	for i := range 300 {
		k := fmt.Sprintf("user:{%d}:%d", i, i%7)
		if _, err := tw.Do("SET", k, k); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	got, err := c.Do(keys...)
	if err != nil || fmt.Sprint(got) != "["+strings.Join(keys[1:], " ")+"]" {
		t.Fatalf("MGET: %v, %v", got, err)
	}
	if got := scanAll(t, c, nil); len(got) != 300 {
		t.Errorf("SCAN: %d of 300 keys", len(got))
	}
	r.want(c, "OK", "SELECT", "1")
	r.want(c, "<nil>", "GET", keys[1])
	r.want(c, "OK", "SET", keys[1], "other")
	r.want(c, "1", "DBSIZE")
	r.want(c, "0", "PUBLISH", "channel", "m")
}
