package backend

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sallyport/sallyport/proxy/redistest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func at(address string) Endpoint { return Endpoint{"tcp", address} }

func ats(addresses []string) []Endpoint {
	var out []Endpoint
	for _, a := range addresses {
		out = append(out, at(a))
	}
	return out
}

// controls runs a control plane for a test.
func controls(t *testing.T, nodes []Endpoint, r Routing, l *Login) *control {
	t.Helper()
	return controlsLogged(t, nodes, r, l, zap.NewNop())
}

func controlsLogged(t *testing.T, nodes []Endpoint, r Routing, l *Login, log *zap.Logger) *control {
	t.Helper()
	if l == nil {
		l = &Login{}
	}
	c := newControl(&Options{Name: "main", Nodes: nodes, Routing: r, Logger: log}, func() *Login { return l })
	c.start()
	t.Cleanup(c.stop)
	return c
}

// still is a control plane that looks only when it is told to.
func still(t *testing.T, nodes []Endpoint, r Routing, l *Login) *control {
	t.Helper()
	if l == nil {
		l = &Login{}
	}
	c := newControl(&Options{Name: "main", Nodes: nodes, Routing: r, Logger: zap.NewNop()}, func() *Login { return l })
	c.cancel = func() {}
	t.Cleanup(c.stop)
	return c
}

func password(p string) func() (string, error) { return func() (string, error) { return p, nil } }

// until waits for a topology of which ok says yes.
func until(t *testing.T, c *control, what string, ok func(*Topology) bool) *Topology {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	err := redistest.Await(ctx, what, func() error {
		if now := c.Topology(); now == nil || !ok(now) {
			return fmt.Errorf("topology %+v", now)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c.Topology()
}

func primaryIs(s *redistest.Server) func(*Topology) bool {
	return func(t *Topology) bool { return t.Shards[0].Primary == at(s.Addr()) }
}

func TestAClusterIsFoundFromOneNodeAndFollowedThroughAFailover(t *testing.T) {
	rig := redistest.StartCluster(t, 3, 1, redistest.RequirePass("secret"))
	c := controls(t, ats(rig.Addrs()[4:5]), Routing{Kind: Cluster}, &Login{Password: password("secret")})
	now := until(t, c, "the cluster is known", func(t *Topology) bool { return t.Covered() == Slots && len(t.Nodes()) == 6 })
	if len(now.Shards) != 3 {
		t.Fatalf("%d shards", len(now.Shards))
	}
	for slot := range 3 {
		owner, err := rig.Owner(slot * 5461)
		if err != nil {
			t.Fatal(err)
		}
		if got := now.Shards[now.Shard(slot*5461)].Primary; got != at(owner.Addr()) {
			t.Errorf("slot %d: %v, the cluster says %s", slot*5461, got, owner.Addr())
		}
	}
	if err := rig.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	c.Suspect(at(rig.Servers[0].Addr())) // as a lost connection does
	until(t, c, "a replica has taken over", func(t *Topology) bool {
		p := t.Shards[t.Shard(0)].Primary
		return p != at(rig.Servers[0].Addr()) && p != (Endpoint{})
	})
}

func TestSentinelsAreFollowedThroughAFailoverAndWhenAMinorityIsGone(t *testing.T) {
	rig := redistest.StartSentinels(t, redistest.SentinelOptions{
		Server: []redistest.Option{redistest.RequirePass("secret")}, Sentinel: []redistest.Option{redistest.RequirePass("watch")},
	})
	c := controls(t, nil, Routing{Kind: Sentinel, Refresh: time.Hour, Sentinels: Sentinels{
		Nodes: ats(rig.Addrs()), Name: rig.Name, Login: Login{Password: password("watch")},
	}}, &Login{Password: password("secret")})
	until(t, c, "the primary is known", primaryIs(rig.Servers[0]))
	if err := rig.Sentinels[2].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := rig.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	// Nothing but +switch-master tells: the next look is an hour away.
	until(t, c, "the replica is the primary", primaryIs(rig.Servers[1]))
}

func TestALoneSentinelsWordChangesNothing(t *testing.T) {
	honest, other := redistest.Start(t), redistest.Start(t)
	says := func(s *redistest.Server) *redistest.Fake {
		host, port, _ := strings.Cut(s.Addr(), ":")
		return redistest.NewFake(t, redistest.AfterHandshake(func(r redistest.Request) redistest.Answer {
			switch {
			case r.Is("SENTINEL") && strings.EqualFold(r.Args[1], "REPLICAS"):
				return redistest.Reply("*0\r\n")
			case r.Is("SENTINEL"):
				return redistest.Reply(fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port))
			case r.Is("SUBSCRIBE"):
				return redistest.Reply("*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n")
			}
			return redistest.Drop()
		}))
	}
	sentinels := []Endpoint{at(says(other).Addr()), at(says(honest).Addr()), at(says(honest).Addr())}
	core, logs := observer.New(zap.WarnLevel)
	c := controlsLogged(t, nil, Routing{Kind: Sentinel, Sentinels: Sentinels{Nodes: sentinels, Name: "primary"}}, nil, zap.New(core))
	until(t, c, "the majority is believed", primaryIs(honest))
	if logs.FilterMessageSnippet("conflicting primaries").Len() == 0 {
		t.Error("that a Sentinel names another primary is not in the log")
	}
	split := still(t, nil, Routing{Kind: Sentinel, Sentinels: Sentinels{Nodes: sentinels[:2], Name: "primary"}}, nil)
	if err := split.look(t.Context()); err == nil || split.Topology() != nil {
		t.Errorf("one of two Sentinels was believed: %v", split.Topology())
	}
}

func TestAHostileAnswerLeadsNowhereElse(t *testing.T) {
	var mu sync.Mutex
	var evil string
	elsewhere := redistest.NewFake(t, func(redistest.Request) redistest.Answer { return redistest.Hangup() })
	shards := func(host string, port int) string {
		return fmt.Sprintf("*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n*8\r\n"+
			"$8\r\nendpoint\r\n$%d\r\n%s\r\n$4\r\nport\r\n:%d\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$6\r\nhealth\r\n$6\r\nonline\r\n", len(host), host, port)
	}
	node := redistest.NewFake(t, redistest.AfterHandshake(func(r redistest.Request) redistest.Answer {
		if r.Is("CLUSTER") && strings.EqualFold(r.Args[1], "INFO") {
			return redistest.Reply("$20\r\ncluster_state:ok\r\n\r\n\r\n")
		}
		mu.Lock()
		defer mu.Unlock()
		return redistest.Reply(evil)
	}))
	port := netip.MustParseAddrPort(elsewhere.Addr()).Port()
	for name, host := range map[string]string{"an address": "127.0.0.2", "a name that resolves": "localhost"} {
		t.Run(name, func(t *testing.T) {
			mu.Lock()
			evil = shards(host, int(port))
			mu.Unlock()
			c := still(t, []Endpoint{at(node.Addr())}, Routing{Kind: Cluster, Allow: Allowed{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}}}, nil)
			if err := c.look(t.Context()); host != "localhost" && !errors.Is(err, ErrNotAllowed) {
				t.Errorf("look: %v", err)
			}
			if _, err := c.roleOf(t.Context(), at(fmt.Sprintf("%s:%d", host, port))); !errors.Is(err, ErrNotAllowed) {
				t.Errorf("asked: %v", err)
			}
		})
	}
	if elsewhere.Accepted() != 0 {
		t.Fatalf("%d connections elsewhere", elsewhere.Accepted())
	}
	for name, answer := range map[string]string{"count": "*1000000000\r\n", "bulk": "$900000000\r\n", "type": "?\r\n", "map": "%500000000\r\n"} {
		mu.Lock()
		evil = answer
		mu.Unlock()
		c := still(t, []Endpoint{at(node.Addr())}, Routing{Kind: Cluster}, nil)
		if err := c.look(t.Context()); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
}

func TestTheLastTopologyStaysWhileNobodyAnswers(t *testing.T) {
	rig := redistest.StartReplicated(t, 1)
	c := still(t, []Endpoint{at(rig.Servers[0].Addr()), at(rig.Servers[1].Addr())}, Routing{Kind: Replicated}, nil)
	if err := c.look(t.Context()); err != nil || len(c.Topology().Shards[0].Replicas) != 1 {
		t.Fatalf("%v, topology %+v", err, c.Topology())
	}
	for _, s := range rig.Servers {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.look(t.Context()); err == nil {
		t.Fatal("a topology out of nothing")
	}
	if !primaryIs(rig.Servers[0])(c.Topology()) {
		t.Fatalf("topology %+v", c.Topology())
	}
}

func TestTwoPrimariesAreNotChosenFrom(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	c := still(t, []Endpoint{at(a.Addr()), at(b.Addr())}, Routing{Kind: Replicated}, nil)
	if err := c.look(t.Context()); !errors.Is(err, errTwoPrimaries) || c.Topology() != nil {
		t.Fatalf("%v, topology %+v", err, c.Topology())
	}
}

func TestANodeThatHangsIsBrokenUntilItAnswers(t *testing.T) {
	s := redistest.Start(t)
	pings := make(chan error, 100)
	c := controls(t, []Endpoint{at(s.Addr())}, Routing{Kind: Sharded, Pinged: func(_ Endpoint, _ time.Duration, err error) {
		select {
		case pings <- err:
		default:
		}
	}}, nil)
	if err := <-pings; err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	for failed := 0; failed < openAfter; {
		if err := <-pings; err != nil {
			failed++
		}
	}
	if !c.Broken(at(s.Addr())) {
		t.Error("the breaker is closed")
	}
	if err := s.Continue(); err != nil {
		t.Fatal(err)
	}
	for err := error(errNoAnswer); err != nil; {
		err = <-pings
	}
	if c.Broken(at(s.Addr())) {
		t.Error("the breaker stays open")
	}
}

func TestErrorsOfTheControlPlaneHoldNoSecret(t *testing.T) {
	node := redistest.NewFake(t, func(r redistest.Request) redistest.Answer {
		return redistest.Reply("-ERR unknown command '" + r.Args[0] + "', with args beginning with: '" + strings.Join(r.Args[1:], "' '") + "'\r\n")
	})
	c := still(t, []Endpoint{at(node.Addr())}, Routing{Kind: Replicated}, &Login{User: "proxy", Password: password("hunter2-canary")})
	if err := c.look(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Fatalf("error %v", err)
	}
}

// A replica that says it is a primary is a failover only if something hints at one,
// and only for a while: then nobody is the primary, so that no write goes to the one
// that is being replaced.
func TestWhileAReplicaIsBeingPromotedNobodyIsThePrimary(t *testing.T) {
	rig := redistest.StartSentinels(t, redistest.SentinelOptions{})
	c := still(t, nil, Routing{Kind: Sentinel, Sentinels: Sentinels{Nodes: ats(rig.Addrs()), Name: rig.Name}}, nil)
	was, promoted := at(rig.Servers[0].Addr()), at(rig.Servers[1].Addr())
	looks := func(what string, want Endpoint) {
		t.Helper()
		if err := c.look(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := c.Topology().Shards[0].Primary; got != want {
			t.Fatalf("%s: the primary is %v, want %v", what, got, want)
		}
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := redistest.Await(ctx, what, func() error {
			if err := c.look(ctx); err != nil || ok() {
				return err
			}
			return fmt.Errorf("topology %+v", c.Topology())
		}); err != nil {
			t.Fatal(err)
		}
	}
	until("the replica is known", func() bool { return len(c.Topology().Shards[0].Replicas) == 1 })
	if _, err := rig.Servers[1].Do("REPLICAOF", "NO", "ONE"); err != nil {
		t.Fatal(err)
	}
	looks("without a hint", was)
	c.heard(&redis.Message{Channel: promoting, Payload: "slave x 127.0.0.1 1 @ another 127.0.0.1 2"})
	looks("another group's failover", was)
	c.heard(&redis.Message{Channel: promoting, Payload: "slave x 127.0.0.1 1 @ " + rig.Name + " 127.0.0.1 2"})
	looks("a failover of this group", Endpoint{})
	if !c.Topology().Has(promoted) {
		t.Error("the replica is no longer known")
	}
	until("the Sentinels' word counts again", func() bool { return c.Topology().Shards[0].Primary == was })
	c.hint()
	looks("the same contest once more", was)
	if _, err := rig.Servers[1].Do("REPLICAOF", "127.0.0.1", fmt.Sprint(rig.Servers[0].Port())); err != nil {
		t.Fatal(err)
	}
	c.hint()
	looks("no contest any more", was)
	if !c.since.IsZero() {
		t.Error("the next contest would be cut short")
	}
}
