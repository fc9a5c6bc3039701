package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// routed is a proxy in front of three backends: "main" and "one", of one node
// each, and "two", of two nodes that have slots.
type routed struct {
	*rig
	table *backend.Prefixes
	nodes map[string][]*redistest.Server
}

func startNodes(t *testing.T) map[string][]*redistest.Server {
	t.Helper()
	return map[string][]*redistest.Server{
		"main": {redistest.Start(t)}, "one": {redistest.Start(t)}, "two": {redistest.Start(t), redistest.Start(t)},
	}
}

func overRoutes(t *testing.T, nodes map[string][]*redistest.Server, routes []backend.Prefix, more ...func(*setup)) *routed {
	t.Helper()
	table, err := backend.NewPrefixes("main", routes)
	if err != nil {
		t.Fatal(err)
	}
	v := &routed{table: table, nodes: nodes}
	addrs := func(name string) (out []string) {
		for _, n := range nodes[name] {
			out = append(out, n.Addr())
		}
		return out
	}
	v.rig = withRig(t, nodes["main"][0].Addr(), func(s *setup) {
		s.source = func(src *acl.Source) { src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{} }
		half := []backend.SlotRange{{Low: 0, High: 8191}, {Low: 8192, High: backend.Slots - 1, Node: 1}}
		s.others = map[string]backend.Options{
			"one": {Nodes: endpoints(addrs("one"))},
			"two": {Nodes: endpoints(addrs("two")), Routing: backend.Routing{Kind: backend.Sharded, Ranges: half, Wait: time.Second}},
		}
		s.listen = func(_ *rig, l []proxy.ListenerOptions) {
			for i := range l {
				l[i].Routes = table
			}
		}
		for _, change := range more {
			change(s)
		}
	})
	return v
}

// onlyTheirOwn reads which keys are where, and how many there are.
func (v *routed) onlyTheirOwn() int {
	v.t.Helper()
	seen := 0
	for name, nodes := range v.nodes {
		for _, n := range nodes {
			for db := range 2 {
				c, err := redistest.Dial("tcp", n.Addr(), nil)
				if err != nil {
					v.t.Fatal(err)
				}
				if _, err := c.Do("SELECT", fmt.Sprint(db)); err != nil {
					v.t.Fatal(err)
				}
				reply, err := c.Do("KEYS", "*")
				if err != nil {
					v.t.Fatal(err)
				}
				for _, k := range reply.([]any) {
					seen++
					if want := v.table.Backend([]byte(k.(string))); want != name {
						v.t.Errorf("key %q is at backend %s and belongs to %s: %s", k, name, want, v.table)
					}
				}
				c.Close()
			}
		}
	}
	return seen
}

// player makes calls at random, on few keys of few letters, NULs among them.
type player struct{ *rand.Rand }

func (p player) key() string {
	const letters = "ab:\x00\xff"
	b := make([]byte, 1+p.IntN(5))
	for i := range b {
		b[i] = letters[p.IntN(len(letters))]
	}
	return string(b)
}

func (p player) calls() [][]string {
	k, n := p.key(), fmt.Sprint(p.IntN(100))
	switch p.IntN(14) {
	case 0:
		return [][]string{{"SET", k, n}}
	case 1:
		return [][]string{{"APPEND", k, n}, {"GET", k}}
	case 2:
		return [][]string{{"MSET", k, n, p.key(), n, p.key(), n}}
	case 3:
		return [][]string{{"MGET", k, p.key(), k, p.key(), p.key()}}
	case 4:
		return [][]string{{"DEL", k, p.key()}}
	case 5:
		return [][]string{{"EXISTS", k, p.key(), p.key(), k}, {"TOUCH", k, p.key()}, {"UNLINK", p.key(), p.key()}}
	case 6:
		return [][]string{{"MULTI"}, {"SET", k, n}, {"APPEND", k, "x"}, {"GET", k}, {"EXEC"}, {"GET", k}}
	case 7:
		return [][]string{{"WATCH", k}, {"GET", k}, {"GET", p.key()}, {"MULTI"}, {"SET", k, n}, {"EXEC"}}
	case 8:
		return [][]string{{"WATCH", k}, {"SET", p.key(), n}, {"UNWATCH"}, {"GET", k}}
	case 9:
		l := "l" + k
		return [][]string{{"RPUSH", l, n}, {"BLPOP", l, "0"}, {"RPUSH", l, n, n}, {"LPOP", l}, {"DEL", l}}
	case 10:
		return [][]string{{"MULTI"}, {"SET", k, n}, {"DISCARD"}, {"GET", k}}
	case 11:
		return [][]string{{"EVAL", "return redis.call('APPEND', KEYS[1], ARGV[1])", "1", k, n}, {"GET", k}}
	case 12:
		return [][]string{{"SELECT", fmt.Sprint(p.IntN(2))}, {"SET", k, n}, {"GET", k}}
	default:
		return [][]string{{"STRLEN", k}, {"ECHO", n}, {"GET", k}, {"DBSIZE"}}
	}
}

// TestEachKeyIsAtTheBackendOfItsLongestPrefix plays calls at random through the
// proxy and against one Redis: every answer is the same, and no key is where it
// doesn't belong.
func TestEachKeyIsAtTheBackendOfItsLongestPrefix(t *testing.T) {
	t.Parallel()
	nodes, truth := startNodes(t), redistest.Start(t)
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := player{rand.New(rand.NewPCG(seed, 11))}
			var routes []backend.Prefix
			for range 1 + p.IntN(10) {
				prefix := p.key()
				if p.IntN(3) == 0 {
					prefix = "l" + prefix
				}
				if !slices.ContainsFunc(routes, func(r backend.Prefix) bool { return r.Prefix == prefix }) {
					routes = append(routes, backend.Prefix{Prefix: prefix, Backend: []string{"main", "one", "two"}[p.IntN(3)]})
				}
			}
			v := overRoutes(t, nodes, routes)
			v.play(p, truth)
			v.onlyTheirOwn()
			v.close()
			for _, n := range []*redistest.Server{nodes["main"][0], nodes["one"][0], nodes["two"][0], nodes["two"][1], truth} {
				if _, err := n.Do("FLUSHALL"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// play sends rounds of pipelined calls both ways.
func (v *routed) play(p player, truth *redistest.Server) {
	v.t.Helper()
	c := v.login("root")
	direct, err := redistest.Dial("tcp", truth.Addr(), nil)
	if err != nil {
		v.t.Fatal(err)
	}
	defer direct.Close()
	if p.IntN(2) == 0 {
		v.want(c, "OK", "SELECT", "0")
	}
	for range 60 {
		var calls [][]string
		for len(calls) < 1+p.IntN(60) {
			calls = append(calls, p.calls()...)
		}
		var block []byte
		for _, call := range calls {
			block = append(block, redistest.Encode(call...)...)
		}
		if err := c.Write(block); err != nil {
			v.t.Fatal(err)
		}
		if err := direct.Write(block); err != nil {
			v.t.Fatal(err)
		}
		for i := range calls {
			got, err := c.Receive()
			want, err2 := direct.Receive()
			if fmt.Sprint(got, err) != fmt.Sprint(want, err2) {
				v.t.Fatalf("call %d of %q: %v, %v; Redis says %v, %v (%s)", i, calls[max(0, i-8):i+1], got, err, want, err2, v.table)
			}
		}
	}
}

var shop = []backend.Prefix{{Prefix: "cart:", Backend: "one"}, {Prefix: "cart:old:", Backend: "two"}, {Prefix: "user:", Backend: "two"}}

func TestCallsOverSeveralBackends(t *testing.T) {
	t.Parallel()
	v := overRoutes(t, startNodes(t), shop)
	c := v.login("root")
	keys := []string{"cart:1", "cart:old:1", "user:{a}", "user:{b}", "plain"}
	mset, mget := []string{"MSET"}, append([]string{"MGET"}, keys...)
	for _, k := range keys {
		mset = append(mset, k, "v-"+k)
	}
	v.want(c, "OK", mset...)
	v.want(c, "[v-cart:1 v-cart:old:1 v-user:{a} v-user:{b} v-plain]", mget...)
	v.want(c, "5", append([]string{"EXISTS"}, keys...)...)
	v.want(c, "5", append([]string{"TOUCH"}, keys...)...)
	v.want(c, "5", "DBSIZE")
	if got, err := c.Do("KEYS", "*"); err != nil || len(got.([]any)) != 5 {
		t.Errorf("KEYS: %v, %v", got, err)
	}
	for i := range 300 {
		v.want(c, "OK", "SET", fmt.Sprint([]string{"cart:", "user:", "cart:old:", "x"}[i%4], i), "1")
	}
	if got := scanAll(t, c, nil); len(got) != 305 {
		t.Errorf("SCAN: %d of 305 keys", len(got))
	}
	if n := v.onlyTheirOwn(); n != 305 {
		t.Errorf("%d of 305 keys are there", n)
	}
	for range 20 {
		if k, err := c.Do("RANDOMKEY"); err != nil || k == nil {
			t.Fatalf("RANDOMKEY: %v, %v", k, err)
		}
	}
	v.fails(c, "CROSSSLOT Keys in request belong to different backends", "RENAME", "cart:1", "plain")
	v.fails(c, "CROSSSLOT Keys in request belong to different backends", "SINTERSTORE", "plain", "plain", "user:1")
	v.fails(c, "CROSSSLOT Keys in request belong to different backends", "BLPOP", "cart:1", "cart:old:1", "1")
	v.fails(c, "CROSSSLOT Keys in request belong to different backends", "WATCH", "cart:1", "plain")
	v.fails(c, "CROSSSLOT Keys in request belong to different backends", "EVAL", "return 1", "2", "cart:1", "plain")
	v.fails(c, "CROSSSLOT", "RENAME", "user:{a}", "user:{b}") // of one backend, and of two of its shards
	v.fails(c, "ERR SORT with BY or GET", "SORT", "cart:list", "BY", "w_*")
	v.fails(c, "ERR this mode", "CLIENT", "TRACKING", "ON")
	v.fails(c, "ERR this mode", "MONITOR")
	v.fails(c, "ERR this command is not supported over several", "SWAPDB", "0", "1")
	sha, err := c.Do("SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		v.want(c, "v-"+k, "EVALSHA", sha.(string), "1", k)
	}
	v.want(c, "5", append([]string{"UNLINK"}, keys...)...)
	v.want(c, "300", "DBSIZE")
	v.want(c, "OK", "FLUSHALL")
	if n := v.onlyTheirOwn(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	v.fails(c, "ERR invalid cursor", "SCAN", "x")
}

func TestTransactionsAndOwnConnectionsHaveOneBackend(t *testing.T) {
	t.Parallel()
	v := overRoutes(t, startNodes(t), shop)
	c, other := v.login("root"), v.login("root")
	for _, k := range []string{"cart:1", "cart:old:1", "user:{a}", "plain"} {
		v.want(c, "OK", "MULTI")
		v.want(c, "QUEUED", "SET", k, "v")
		v.want(c, "QUEUED", "PING")
		v.want(c, "QUEUED", "GET", k)
		v.want(c, "[OK PONG v]", "EXEC")
		v.want(c, "OK", "WATCH", k)
		v.want(c, "v", "GET", k)
		v.want(c, "<nil>", "GET", "cart:none")
		v.want(c, "<nil>", "GET", "user:none")
		v.want(c, "[<nil> <nil>]", "MGET", "cart:none", "user:none")
		v.want(c, "OK", "MULTI")
		v.want(c, "QUEUED", "APPEND", k, "w")
		v.want(c, "[2]", "EXEC")
		v.want(c, "OK", "WATCH", k)
		v.want(other, "OK", "SET", k, "other")
		v.want(c, "OK", "MULTI")
		v.want(c, "QUEUED", "SET", k, "mine")
		v.want(c, "<nil>", "EXEC")
		if err := c.Send("BLPOP", "l"+k, k+":l", "0"); err != nil && !strings.HasPrefix(k, "plain") {
			t.Fatal(err)
		}
		if strings.HasPrefix(k, "plain") {
			v.want(other, "1", "RPUSH", k+":l", "e")
			if got, err := c.Receive(); err != nil || fmt.Sprint(got) != "[plain:l e]" {
				t.Errorf("BLPOP: %v, %v", got, err)
			}
			continue
		}
		if got, err := c.Receive(); err != nil || !strings.HasPrefix(fmt.Sprint(got), "CROSSSLOT") {
			t.Errorf("BLPOP over two backends: %v, %v", got, err)
		}
		if err := c.Send("BLPOP", k+":l", "0"); err != nil {
			t.Fatal(err)
		}
		v.want(other, "1", "RPUSH", k+":l", "e")
		if got, err := c.Receive(); err != nil || fmt.Sprint(got) != "["+k+":l e]" {
			t.Errorf("BLPOP: %v, %v", got, err)
		}
		v.want(c, "0", "WAIT", "0", "0")
	}
	v.want(c, "OK", "MULTI")
	v.want(c, "QUEUED", "SET", "cart:1", "lost")
	v.want(c, "QUEUED", "SET", "user:{a}", "lost")
	v.fails(c, "EXECABORT Transaction discarded because of: its keys belong to different backends", "EXEC")
	v.fails(c, "ERR EXEC without MULTI", "EXEC")
	v.want(c, "OK", "MULTI")
	v.want(c, "QUEUED", "SET", "cart:1", "lost")
	v.want(c, "QUEUED", "PUBLISH", "ch", "m") // at the backend for all else
	v.fails(c, "EXECABORT", "EXEC")
	for _, call := range [][]string{{"MSET", "cart:1", "lost", "user:{a}", "lost"}, {"DBSIZE"}, {"SORT", "cart:1", "GET", "x*"}} {
		v.want(c, "OK", "MULTI")
		if _, err := c.Do(call...); err == nil {
			t.Errorf("%v was queued", call)
		}
		v.fails(c, "EXECABORT", "EXEC")
	}
	v.want(c, "OK", "WATCH", "cart:1")
	v.want(c, "OK", "MULTI")
	v.want(c, "QUEUED", "SET", "plain", "lost")
	v.fails(c, "EXECABORT Transaction discarded because of: this session is bound to another backend", "EXEC")
	v.want(c, "OK", "WATCH", "cart:1")
	v.fails(c, "CROSSSLOT this session is bound", "WATCH", "plain")
	v.fails(c, "CROSSSLOT this session is bound", "BLPOP", "plain", "1")
	v.fails(c, "CROSSSLOT this session is bound", "SUBSCRIBE", "ch")
	v.want(c, "OK", "UNWATCH")
	v.want(c, "OK", "WATCH", "plain")
	v.want(c, "OK", "UNWATCH")
	v.want(c, "other", "GET", "plain")
	v.want(c, "other", "GET", "cart:1")
	v.want(c, "[other other]", "MGET", "cart:1", "user:{a}")
	v.want(c, "OK", "MSET", "cart:1", "w", "user:{a}", "w")
	v.fails(c, "ERR WAIT speaks of one node", "WAIT", "0", "0")
}

// A subscription is at the backend for all else. Replies of the others and what it
// hears never stand within each other, whatever their size.
func TestASubscriberReadsFromAllBackends(t *testing.T) {
	t.Parallel()
	v := overRoutes(t, startNodes(t), shop)
	c, other := v.login("root"), v.login("root")
	if _, err := c.Do("HELLO", "3"); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 3<<20)
	for _, k := range []string{"cart:big", "user:big", "plain:big"} {
		v.want(other, "OK", "SET", k, big)
	}
	if err := c.Send("SUBSCRIBE", "ch"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Receive(); err != nil || fmt.Sprint(got) != "[subscribe ch 1]" {
		t.Fatal(got, err)
	}
	const rounds = 10
	heard, read := 0, 0
	for range rounds {
		if err := c.Write(slices.Concat(redistest.Encode("GET", "cart:big"), redistest.Encode("GET", "user:big"),
			redistest.Encode("GET", "plain:big"), redistest.Encode("MGET", "cart:none", "user:none"))); err != nil {
			t.Fatal(err)
		}
		v.want(other, "1", "PUBLISH", "ch", big)
		for replies, pushes := 0, 0; replies < 4 || pushes < 1; {
			got, err := c.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch said := got.(type) {
			case string:
				if said != big {
					t.Fatalf("a reply of %d bytes", len(said))
				}
				replies++
				read++
			case redistest.Push:
				if len(said) != 3 || said[0] != "message" || said[2] != big {
					t.Fatalf("a push of %d elements", len(said))
				}
				pushes++
				heard++
			case []any:
				if fmt.Sprint(said) != "[<nil> <nil>]" {
					t.Fatalf("%d elements", len(said))
				}
				replies++
			default:
				t.Fatalf("%T", got)
			}
		}
	}
	if heard != rounds || read != 3*rounds {
		t.Errorf("%d messages and %d values", heard, read)
	}
}

func TestSelectIsOfAllBackends(t *testing.T) {
	t.Parallel()
	v := overRoutes(t, startNodes(t), shop)
	c := v.login("root")
	for _, k := range []string{"cart:1", "user:1", "plain"} {
		v.want(c, "OK", "SET", k, "zero")
	}
	v.want(c, "OK", "SELECT", "1")
	for _, k := range []string{"cart:1", "user:1", "plain"} {
		v.want(c, "<nil>", "GET", k)
		v.want(c, "OK", "SET", k, "one")
	}
	v.want(c, "3", "DBSIZE")
	v.fails(c, "ERR DB index is out of range", "SELECT", "99")
	v.want(c, "[one one one]", "MGET", "cart:1", "user:1", "plain")
	v.want(c, "OK", "SELECT", "0")
	v.want(c, "[zero zero zero]", "MGET", "cart:1", "user:1", "plain")
	v.want(c, "OK", "MULTI")
	v.want(c, "QUEUED", "SELECT", "1")
	v.want(c, "QUEUED", "GET", "cart:1")
	v.want(c, "[OK one]", "EXEC")
	v.want(c, "[one one one]", "MGET", "cart:1", "user:1", "plain")
	if _, err := c.Do("HELLO", "3"); err != nil {
		t.Fatal(err)
	}
	v.want(c, "[one one one]", "MGET", "cart:1", "user:1", "plain")
	v.want(c, "RESET", "RESET")
	v.want(c, "OK", "AUTH", "root", "root-pw")
	v.want(c, "[zero zero zero]", "MGET", "cart:1", "user:1", "plain")
}

// A backend that is away takes its own keys with it and nobody else's.
func TestABackendThatIsAwayTakesItsOwnKeysAlone(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t)
	v := overRoutes(t, nodes, shop)
	c := v.login("root")
	v.want(c, "OK", "MSET", "cart:1", "a", "user:1", "b", "plain", "c")
	if err := nodes["one"][0].Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "its loss is noticed", func() bool {
		_, err := c.Do("GET", "cart:1")
		return err != nil && strings.HasPrefix(err.Error(), "ERR backend unavailable")
	})
	v.want(c, "[b c]", "MGET", "user:1", "plain")
	v.fails(c, "ERR backend", "MGET", "cart:1", "plain")
	v.fails(c, "ERR backend", "DBSIZE")
	v.fails(c, "ERR backend", "FLUSHALL")
	if err := nodes["one"][0].Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "it is back", func() bool {
		_, err := c.Do("SET", "cart:1", "a")
		return err == nil
	})
	v.want(c, "a", "GET", "cart:1")
}

// A reload that changes routes ends the sessions that had the old ones, and no
// others.
func TestChangedRoutesEndTheSessionsThatHadOthers(t *testing.T) {
	t.Parallel()
	v := overRoutes(t, startNodes(t), shop)
	c := v.login("root")
	v.want(c, "OK", "SET", "cart:1", "at one")
	o := v.options
	if err := v.server.Reload(o); err != nil {
		t.Fatal(err)
	}
	v.want(c, "at one", "GET", "cart:1")
	changed, err := backend.NewPrefixes("main", []backend.Prefix{{Prefix: "cart:", Backend: "two"}})
	if err != nil {
		t.Fatal(err)
	}
	o.Listeners = slices.Clone(o.Listeners)
	for i := range o.Listeners {
		o.Listeners[i].Routes = changed
	}
	if err := v.server.Reload(o); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do("GET", "cart:1"); err == nil {
		t.Error("a session went on with routes that are no more")
	}
	c = v.login("root")
	v.want(c, "<nil>", "GET", "cart:1")
	v.want(c, "OK", "SET", "cart:1", "at two")
	if got, err := v.nodes["one"][0].Do("GET", "cart:1"); err != nil || got != "at one" {
		t.Errorf("at one: %v, %v", got, err)
	}
	missing, err := backend.NewPrefixes("main", []backend.Prefix{{Prefix: "cart:", Backend: "nobody"}})
	if err != nil {
		t.Fatal(err)
	}
	o.Listeners = slices.Clone(o.Listeners)
	o.Listeners[0].Routes = missing
	if err := v.server.Reload(o); err == nil || !strings.Contains(err.Error(), `no backend "nobody"`) {
		t.Errorf("reload to a backend that isn't there: %v", err)
	}
	o.Listeners[0].Routes = nil
	if err := v.server.Reload(o); err != nil {
		t.Fatal(err)
	}
}

// Users with logins of their own have them at each backend, whichever they were
// at before and whoever the session spoke for.
func TestManyUsersOverSeveralBackendsNeverMix(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t)
	all := []*redistest.Server{nodes["main"][0], nodes["one"][0], nodes["two"][0], nodes["two"][1]}
	logins := cast(t, t.TempDir(), all...)
	v := overRoutes(t, nodes, []backend.Prefix{{Prefix: "alice:", Backend: "one"}, {Prefix: "bob:", Backend: "two"}}, personal(logins), func(s *setup) {
		s.workers = 2
		for name, o := range s.others {
			o.Logins = logins
			s.others[name] = o
		}
	})
	var playing sync.WaitGroup
	for n := range 16 {
		c := v.dial("plain", nil)
		playing.Go(func() {
			if err := mingle(c, rand.New(rand.NewPCG(uint64(n), 13))); err != nil {
				t.Errorf("session %d: %v", n, err)
			}
		})
	}
	playing.Wait()
	v.onlyTheirOwn()
	for _, n := range all {
		for user := range usersAt(t, n) {
			if user != "default" && !strings.HasPrefix(user, "node-") {
				t.Errorf("somebody is there as %s", user)
			}
		}
	}
}

// A user's own backend has what no prefix names, in place of the listener's; what a
// prefix names is where it says, for everybody.
func TestAUsersOwnBackendHasWhatNoPrefixNames(t *testing.T) {
	t.Parallel()
	routes := []backend.Prefix{{Prefix: "cart:", Backend: "one"}, {Prefix: "common:", Backend: "main"}, {Prefix: "user:", Backend: "two"}}
	v := overRoutes(t, startNodes(t), routes, func(s *setup) {
		s.users["alice"], s.users["carol"] = everything, everything
		s.source = func(src *acl.Source) {
			src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{}
			for i := range src.Users {
				if src.Users[i].Name.Value == "alice" {
					src.Users[i].Backend.Value = "one"
				}
			}
		}
	})
	at := func(name, key string, want any) {
		t.Helper()
		got := any(nil)
		for _, n := range v.nodes[name] {
			if reply := told(t, n, "GET", key); reply != nil {
				got = reply
			}
		}
		if got != want {
			t.Errorf("%s at %s: %v, not %v", key, name, got, want)
		}
	}
	c := v.login("carol")
	for range 3 { // the session changes its user, and with it what all else is
		v.want(c, "OK", "MSET", "plain", "carol's", "cart:1", "c", "common:1", "c", "user:1", "c")
		at("main", "plain", "carol's")
		v.want(c, "OK", "RENAME", "plain", "common:2") // both at main
		v.want(c, "OK", "RENAME", "common:2", "plain")
		v.fails(c, "CROSSSLOT", "RENAME", "plain", "cart:2")
		v.want(c, "OK", "SELECT", "1")
		v.want(c, "OK", "AUTH", "alice", "alice-pw")
		v.want(c, "OK", "MSET", "plain", "alice's", "cart:1", "a", "common:1", "a", "user:1", "a")
		at("one", "plain", "alice's")
		at("main", "plain", "carol's")
		at("main", "common:1", "a")
		at("one", "common:1", nil)
		v.want(c, "OK", "RENAME", "plain", "cart:2") // both at one
		v.fails(c, "CROSSSLOT", "RENAME", "cart:2", "common:2")
		v.want(c, "5", "DBSIZE") // cart:1, cart:2, common:1, user:1 and carol's plain, each backend counted once
		if got := scanAll(t, c, nil); len(got) != 5 {
			t.Errorf("SCAN: %q", got)
		}
		v.want(c, "OK", "MULTI")
		v.want(c, "QUEUED", "SET", "plain", "x")
		v.want(c, "QUEUED", "GET", "cart:2")
		v.want(c, "[OK alice's]", "EXEC")
		v.want(c, "OK", "WATCH", "common:1")
		v.fails(c, "ERR this connection is bound", "AUTH", "carol", "carol-pw")
		v.want(c, "OK", "UNWATCH")
		v.want(c, "2", "DEL", "plain", "cart:2")
		v.want(c, "OK", "AUTH", "carol", "carol-pw")
		v.want(c, "carol's", "GET", "plain")
	}
}

// A subscription whose node is lost is had again at the backend where it was,
// wherever the session's last call went.
func TestASubscriptionIsHadAgainAtItsOwnBackend(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t)
	v := overRoutes(t, nodes, shop, func(s *setup) {
		s.backend.Routing = backend.Routing{Kind: backend.Sharded, Ranges: []backend.SlotRange{{Low: 0, High: backend.Slots - 1}}, Wait: 20 * time.Second}
	})
	c, other := v.login("root"), v.login("root")
	if _, err := c.Do("HELLO", "3"); err != nil {
		t.Fatal(err)
	}
	if err := c.Send("SUBSCRIBE", "ch"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Receive(); err != nil || fmt.Sprint(got) != "[subscribe ch 1]" {
		t.Fatal(got, err)
	}
	v.want(other, "OK", "SET", "cart:1", "apples")
	v.want(c, "apples", "GET", "cart:1") // the session is at another backend
	if err := nodes["main"][0].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := nodes["main"][0].Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "somebody hears again", func() bool {
		got, err := other.Do("PUBLISH", "ch", "m")
		return err == nil && got == int64(1)
	})
	if got, err := c.Receive(); err != nil || fmt.Sprint(got) != "[message ch m]" {
		t.Fatalf("heard %v, %v", got, err)
	}
	v.want(c, "apples", "GET", "cart:1")
	for name, ns := range nodes {
		for _, n := range ns {
			got := told(t, n, "PUBSUB", "CHANNELS")
			if there := fmt.Sprint(got) == "[ch]"; there != (name == "main") {
				t.Errorf("channels at %s: %v", name, got)
			}
		}
	}
}

// A cluster beside a single node: each answers for its own keys, and no transaction
// leads a session to a database that one of them doesn't have.
func TestAClusterAndASingleNodeStandBesideEachOther(t *testing.T) {
	t.Parallel()
	cluster, single := redistest.StartCluster(t, 3, 0), redistest.Start(t)
	table, err := backend.NewPrefixes("main", []backend.Prefix{{Prefix: "cart:", Backend: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	r := withRig(t, "", func(s *setup) {
		s.source = func(src *acl.Source) { src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{} }
		s.backend.Nodes = endpoints(cluster.Addrs()[:1])
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 10 * time.Second}
		s.others = map[string]backend.Options{"one": {Nodes: endpoints([]string{single.Addr()})}}
		s.listen = func(_ *rig, l []proxy.ListenerOptions) {
			for i := range l {
				l[i].Routes = table
			}
		}
	})
	c := r.login("root")
	mset, mget, want := []string{"MSET"}, []string{"MGET"}, []string(nil)
	for i := range 200 {
		k := fmt.Sprint([]string{"cart:", "user:", "x"}[i%3], i)
		mset, mget, want = append(mset, k, k), append(mget, k), append(want, k)
	}
	for range 3 { // before and after EXECs, with the shards' and the node's replies in between
		r.want(c, "OK", mset...)
		r.want(c, "["+strings.Join(want, " ")+"]", mget...)
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "GET", "cart:0")
		r.want(c, "QUEUED", "SELECT", "0")
		r.want(c, "[cart:0 OK]", "EXEC")
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "GET", "user:1")
		r.want(c, "[user:1]", "EXEC")
	}
	r.want(c, "200", "DBSIZE")
	if got := scanAll(t, c, nil); len(got) != 200 {
		t.Errorf("SCAN: %d of 200 keys", len(got))
	}
	r.want(c, "OK", "MULTI")
	r.fails(c, "ERR SELECT is not allowed in cluster mode", "SELECT", "1")
	r.want(c, "QUEUED", "SET", "cart:0", "astray")
	r.fails(c, "EXECABORT", "EXEC")
	r.fails(c, "ERR SELECT is not allowed in cluster mode", "SELECT", "1")
	r.want(c, "cart:0", "GET", "cart:0")
	r.fails(c, "CROSSSLOT Keys in request don't hash", "SUNION", "user:1", "user:4")
	r.fails(c, "CROSSSLOT Keys in request belong to different backends", "SUNION", "user:1", "cart:0")
	if got, err := c.Do("CLUSTER", "SLOTS"); err != nil || len(got.([]any)) != 1 {
		t.Errorf("CLUSTER SLOTS: %v, %v", got, err)
	}
	for _, n := range cluster.Servers {
		for _, k := range told(t, n, "KEYS", "cart:*").([]any) {
			t.Errorf("%v is in the cluster", k)
		}
	}
	if got := told(t, single, "DBSIZE"); got != int64(67) {
		t.Errorf("%v of 67 keys are at the single node", got)
	}
}
