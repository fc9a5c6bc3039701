package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// Of the three nodes {foo} (slot 12182) is on the last, bar (5061) on the first
// and hello (866) there, too; {b} (3300) as well.
const fooSlot = 12182

func overPinnedCluster(t *testing.T, replicas int) (*redistest.Cluster, *rig) {
	t.Helper()
	t.Parallel()
	c := redistest.StartCluster(t, 3, replicas)
	r := withRig(t, "", func(s *setup) {
		s.users["root"] = everything + " +script|kill +pfdebug +cluster +keys +client|tracking +client|no-evict"
		s.backend.Nodes = endpoints(c.Addrs()[:1])
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 10 * time.Second}
	})
	return c, r
}

// fails wants an error that begins so.
func (r *rig) fails(c *redistest.Client, want string, args ...string) {
	r.t.Helper()
	if got, err := c.Do(args...); err == nil || !strings.HasPrefix(err.Error(), want) {
		r.t.Errorf("%v: %v, %v; want an error %q", args, got, err, want)
	}
}

func TestTransactionsRunOnTheNodeOfTheirKeys(t *testing.T) {
	_, r := overPinnedCluster(t, 0)
	c, other := r.login("root"), r.login("root")
	for _, k := range []string{"{foo}1", "bar", "hello", "x", "y"} {
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "SET", k, "v")
		r.want(c, "QUEUED", "PING")
		r.want(c, "QUEUED", "GET", k)
		r.want(c, "[OK PONG v]", "EXEC")
		r.want(other, "v", "GET", k)
	}
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", "bar", "lost")
	r.want(c, "QUEUED", "SET", "{foo}1", "lost")
	r.fails(c, "CROSSSLOT", "EXEC")
	r.want(c, "OK", "MULTI")
	r.fails(c, "CROSSSLOT", "MSET", "bar", "lost", "{foo}1", "lost")
	r.fails(c, "EXECABORT", "EXEC")
	for _, call := range [][]string{{"DBSIZE"}, {"KEYS", "*"}, {"CLUSTER", "NODES"}} {
		r.want(c, "OK", "MULTI")
		r.fails(c, "ERR", call...)
		r.fails(c, "EXECABORT", "EXEC")
	}
	r.want(c, "v", "GET", "bar")
	r.want(c, "OK", "MULTI")
	r.want(c, "[]", "EXEC")
	r.fails(c, "ERR EXEC without MULTI", "EXEC")

	// WATCH, and calls to that node and to others in between.
	r.want(c, "OK", "WATCH", "{foo}1", "{foo}2")
	r.want(c, "OK", "SET", "bar", "w")
	r.want(c, "w", "GET", "bar")
	r.want(c, "v", "GET", "{foo}1")
	r.want(c, "[w v]", "MGET", "bar", "{foo}1")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", "{foo}1", "mine")
	r.want(c, "[OK]", "EXEC")
	r.want(c, "OK", "WATCH", "{foo}1")
	r.want(other, "OK", "SET", "{foo}1", "other")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", "{foo}1", "mine")
	r.want(c, "<nil>", "EXEC")
	r.fails(c, "CROSSSLOT", "WATCH", "{foo}1", "bar")
	r.want(c, "OK", "WATCH", "{foo}1")
	r.fails(c, "CROSSSLOT", "WATCH", "bar")
	r.fails(c, "CROSSSLOT", "BLPOP", "bar", "1")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", "bar", "x")
	r.fails(c, "CROSSSLOT", "EXEC")
	r.want(c, "w", "GET", "bar")
	r.want(c, "OK", "WATCH", "bar")
	r.want(c, "OK", "UNWATCH")
}

// What was sent before and after a WATCH runs in the order in which it was sent.
func TestTheOrderHoldsAroundAnOwnConnectionInACluster(t *testing.T) {
	_, r := overPinnedCluster(t, 0)
	c := r.login("root")
	calls := [][]string{
		{"RPUSH", "{foo}l", "1"}, {"WATCH", "{foo}w"}, {"RPUSH", "{foo}l", "2"}, {"RPUSH", "bar", "a"}, {"RPUSH", "{foo}l", "3"},
		{"MGET", "{foo}none", "hello"}, {"MULTI"}, {"RPUSH", "{foo}l", "4"}, {"EXEC"}, {"RPUSH", "{foo}l", "5"}, {"RPUSH", "bar", "b"},
		{"BLPOP", "{foo}l", "0"}, {"LRANGE", "{foo}l", "0", "-1"}, {"BLPOP", "bar", "0"}, {"LRANGE", "bar", "0", "-1"},
	}
	want := []string{"1", "OK", "2", "1", "3", "[<nil> <nil>]", "OK", "QUEUED", "[4]", "5", "2", "[{foo}l 1]", "[2 3 4 5]", "[bar a]", "[b]"}
	for range 20 {
		var all []byte
		for _, call := range calls {
			all = append(all, redistest.Encode(call...)...)
		}
		if err := c.Write(all); err != nil {
			t.Fatal(err)
		}
		for i, call := range calls {
			if got, err := c.Receive(); err != nil || fmt.Sprint(got) != want[i] {
				t.Fatalf("%v: %v, %v; want %s", call, got, err, want[i])
			}
		}
		r.want(c, "2", "DEL", "{foo}l", "bar")
	}
}

func TestBlockingCallsAndSubscriptionsGoToTheirNode(t *testing.T) {
	_, r := overPinnedCluster(t, 0)
	c, other := r.login("root"), r.login("root")
	for _, k := range []string{"{foo}l", "bar", "x"} {
		if err := c.Send("BLPOP", k, "0"); err != nil {
			t.Fatal(err)
		}
		r.want(other, "1", "RPUSH", k, "v")
		if got, err := c.Receive(); err != nil || fmt.Sprint(got) != "["+k+" v]" {
			t.Fatalf("BLPOP %s: %v, %v", k, got, err)
		}
	}
	r.fails(c, "CROSSSLOT", "BLPOP", "bar", "{foo}l", "1")
	r.want(c, "<nil>", "XREAD", "BLOCK", "10", "STREAMS", "x2", "$")
	r.want(c, "[ssubscribe {foo}ch 1]", "SSUBSCRIBE", "{foo}ch")
	r.want(other, "1", "SPUBLISH", "{foo}ch", "m")
	if got, err := c.Receive(); err != nil || fmt.Sprint(got) != "[smessage {foo}ch m]" {
		t.Fatal(got, err)
	}
	r.fails(c, "CROSSSLOT", "SSUBSCRIBE", "bar")
	r.want(c, "[sunsubscribe {foo}ch 0]", "SUNSUBSCRIBE", "{foo}ch")
	r.want(c, "[ssubscribe bar 1]", "SSUBSCRIBE", "bar")
	c = r.login("root")
	r.want(c, "[subscribe ch 1]", "SUBSCRIBE", "ch")
	r.want(c, "[psubscribe c* 2]", "PSUBSCRIBE", "c*")
	r.want(other, "2", "PUBLISH", "ch", "m")
	for _, want := range []string{"[message ch m]", "[pmessage c* ch m]"} {
		if got, err := c.Receive(); err != nil || fmt.Sprint(got) != want {
			t.Fatal(got, err)
		}
	}
	c = r.login("root")
	for _, call := range [][]string{{"CLIENT", "TRACKING", "ON"}, {"CLIENT", "NO-EVICT", "ON"}, {"SCRIPT", "KILL"}} {
		r.fails(c, "ERR this ", call...)
	}
	r.want(c, "OK", "READONLY")
	r.want(c, "OK", "READWRITE")
	r.want(c, "PONG", "PING")
}

// A transaction, a blocking call and a subscription find a slot that is just
// moving, and one that has moved without anybody having said so.
func TestOwnConnectionsFollowAMovingSlot(t *testing.T) {
	rig, r := overPinnedCluster(t, 0)
	from, to := rig.Servers[2], rig.Servers[0]
	c, other, blocked := r.login("root"), r.login("root"), r.login("root")
	r.want(c, "OK", "SET", "{foo}stays", "0")
	if err := rig.BeginMove(fooSlot, from, to); err != nil {
		t.Fatal(err)
	}
	r.want(c, "OK", "MULTI") // ASK: the key is not where the slot is
	r.want(c, "QUEUED", "SET", "{foo}new", "a")
	r.want(c, "QUEUED", "GET", "{foo}new")
	r.want(c, "[OK a]", "EXEC")
	r.want(other, "a", "GET", "{foo}new")
	r.want(other, "1", "RPUSH", "{foo}list", "e")
	r.want(c, "[{foo}list e]", "BLPOP", "{foo}list", "0")
	r.want(c, "OK", "WATCH", "{foo}new")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "APPEND", "{foo}new", "b")
	r.want(c, "[2]", "EXEC")
	r.want(c, "OK", "WATCH", "{foo}stays")
	if err := blocked.Send("BLPOP", "{foo}stays2", "0"); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := rig.MoveKeys(fooSlot, 100, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if err := rig.EndMove(fooSlot, from, to); err != nil {
		t.Fatal(err)
	}
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", "{foo}stays", "1")
	r.want(c, "<nil>", "EXEC") // what it watched has gone elsewhere
	r.want(other, "0", "GET", "{foo}stays")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "INCR", "{foo}stays")
	r.want(c, "[1]", "EXEC")
	r.want(other, "[subscribe ch 1]", "SUBSCRIBE", "ch")
	r.want(r.login("root"), "[ssubscribe {foo}ch 1]", "SSUBSCRIBE", "{foo}ch")
	r.want(c, "1", "RPUSH", "{foo}stays2", "woken")
	if got, err := blocked.Receive(); err != nil || fmt.Sprint(got) != "[{foo}stays2 woken]" {
		t.Fatal(got, err)
	}
}

// WAIT asks the node that the session wrote to last, and none where that were several.
func TestWaitSpeaksOfTheNodeThatWasWrittenTo(t *testing.T) {
	rig, r := overPinnedCluster(t, 1)
	c := r.login("root")
	owner, err := rig.Owner(fooSlot)
	if err != nil {
		t.Fatal(err)
	}
	replica, err := rig.Replica(owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Pause(); err != nil {
		t.Fatal(err)
	}
	r.want(c, "OK", "SET", "bar", "v")
	r.want(c, "1", "WAIT", "1", "10000")
	r.want(c, "OK", "SET", "{foo}", "v")
	r.want(c, "v", "GET", "bar")
	r.want(c, "0", "WAIT", "1", "50")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", "bar", "w")
	r.want(c, "[OK]", "EXEC")
	r.want(c, "1", "WAIT", "1", "10000")
	if err := replica.Continue(); err != nil {
		t.Fatal(err)
	}
	r.want(c, "OK", "MSET", "bar", "1", "{foo}", "2")
	r.fails(c, "ERR WAIT speaks of one node", "WAIT", "1", "50")
}

func TestShardsTakeTransactionsAndSubscriptionsByHash(t *testing.T) {
	t.Parallel()
	nodes := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	var addrs []string
	var members []backend.Member
	for i, n := range nodes {
		addrs = append(addrs, n.Addr())
		members = append(members, backend.Member{Name: fmt.Sprintf("shard%d", i), Weight: 1})
	}
	d, err := backend.NewDistribution("ketama", "fnv1a_64", "{}", members)
	if err != nil {
		t.Fatal(err)
	}
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints(addrs)
		s.backend.Routing = backend.Routing{Kind: backend.Sharded, Distribution: d, Wait: time.Second}
	})
	c, other := r.login("root"), r.login("root")
	first, second := "", "" // two keys on different shards
	for i := 0; second == ""; i++ {
		k := fmt.Sprintf("{%d}", i)
		switch {
		case first == "":
			first = k
		case d.Of([]byte(k)) != d.Of([]byte(first)):
			second = k
		}
	}
	for _, k := range []string{first, second} {
		r.want(c, "OK", "SELECT", "2")
		r.want(c, "OK", "WATCH", k)
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "RPUSH", k+"l", "v")
		r.want(c, "[1]", "EXEC")
		r.want(c, "["+k+"l v]", "BLPOP", k+"l", "0")
		r.want(c, "OK", "SELECT", "0")
		listener := r.login("root")
		r.want(listener, "[subscribe "+k+" 1]", "SUBSCRIBE", k)
		r.want(other, "1", "PUBLISH", k, "m")
		if got, err := listener.Receive(); err != nil || fmt.Sprint(got) != "[message "+k+" m]" {
			t.Fatal(got, err)
		}
	}
	r.fails(c, "CROSSSLOT", "SUBSCRIBE", first, second)
	r.fails(c, "ERR PSUBSCRIBE", "PSUBSCRIBE", "*")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", first, "1")
	r.want(c, "QUEUED", "SET", second, "1")
	r.fails(c, "CROSSSLOT", "EXEC")
	r.fails(c, "ERR", "ASKING")
}

// A session that waits or watches where its node dies gets what it would have got
// before one node: an error, or the end.
func TestANodeThatDiesTakesWhatWaitsOnItAlong(t *testing.T) {
	rig, r := overPinnedCluster(t, 1)
	c, watching := r.login("root"), r.login("root")
	r.want(c, "OK", "SET", "{foo}", "v")
	r.want(watching, "OK", "WATCH", "{foo}")
	if err := c.Send("BLPOP", "{foo}l", "0"); err != nil {
		t.Fatal(err)
	}
	owner, err := rig.Owner(fooSlot)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the call blocks", func() bool {
		info, err := owner.Info("clients")
		return err == nil && info["blocked_clients"] == "1"
	})
	if err := owner.Kill(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Receive(); err != nil || !strings.Contains(fmt.Sprint(got), "may have run") {
		t.Errorf("BLPOP: %v, %v", got, err)
	}
	for range 2 { // a farewell, and the end
		if _, err := watching.Receive(); errors.Is(err, io.EOF) {
			watching = nil
			break
		}
	}
	if watching != nil {
		t.Error("what was watched is gone, and the session goes on")
	}
	eventually(t, 30*time.Second, "the slot is served again", func() bool {
		c.Do("MULTI")
		c.Do("SET", "{foo}", "w")
		got, err := c.Do("EXEC")
		return err == nil && fmt.Sprint(got) == "[OK]"
	})
}

// A connection that has carried what nobody has reviewed is closed after EXEC, also
// if the transaction came to its node by a redirection: nobody else gets it.
func TestATransactionThatWasRedirectedLeavesNoTaintedConnectionBehind(t *testing.T) {
	rig, r := overPinnedCluster(t, 0)
	from, to := rig.Servers[2], rig.Servers[0]
	c := r.login("root")
	r.want(c, "1", "PFADD", "{foo}h", "a") // the proxy knows whose it was
	if err := rig.MoveSlot(fooSlot, from, to); err != nil {
		t.Fatal(err)
	}
	for range 2 { // by a redirection, and once more
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "PFDEBUG", "ENCODING", "{foo}h")
		r.want(c, "[sparse]", "EXEC")
		eventually(t, 10*time.Second, "the connection of that EXEC has ended", func() bool {
			list, err := to.Do("CLIENT", "LIST")
			return err == nil && !strings.Contains(fmt.Sprint(list), "cmd=exec")
		})
	}
}

// What was queued while nobody knew where anything is has not been looked at: it
// must not run on whichever node is found meanwhile.
func TestWhatWasQueuedForANodeNobodyKnewDoesNotRun(t *testing.T) {
	t.Parallel()
	rig := redistest.StartCluster(t, 3, 0)
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seed := door.Addr().String()
	door.Close()
	r := withRig(t, "", func(s *setup) {
		s.down = true
		s.users["root"] = everything + " +flushall"
		s.backend.Nodes = endpoints([]string{seed})
		s.backend.Routing = backend.Routing{Kind: backend.Cluster}
	})
	for _, n := range rig.Servers { // each has a key of its own
		for i := 0; ; i++ {
			if v, err := n.Do("SET", fmt.Sprintf("k%d", i), "v"); err == nil && v == "OK" {
				break
			}
		}
	}
	c := r.login("root")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "FLUSHALL")
	if door, err = net.Listen("tcp", seed); err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	go func() {
		for {
			in, err := door.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", rig.Addrs()[0])
			if err != nil {
				in.Close()
				continue
			}
			go func() { io.Copy(out, in); out.Close() }()
			go func() { io.Copy(in, out); in.Close() }()
		}
	}()
	other := r.login("root")
	eventually(t, 10*time.Second, "the nodes are known", func() bool {
		_, err := other.Do("GET", "x")
		return err == nil
	})
	r.fails(c, "ERR backend unavailable", "EXEC")
	for i, n := range rig.Servers {
		if v, err := n.Do("DBSIZE"); err != nil || v != int64(1) {
			t.Errorf("node %d holds %v, %v", i, v, err)
		}
	}
	r.want(c, "OK", "MULTI")
	r.want(c, "[]", "EXEC")
}
