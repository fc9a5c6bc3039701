package conformance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// What a client that follows a deployment on its own is set to: its defaults, as
// the proxy is, but for two things. It asks for the slots as often as the proxy does
// when a node is gone; by default a ClusterClient does so once a minute, and finds a
// new primary after so long where the old one refuses connections. And MaxRetries is
// off; a ClusterClient repeats calls after lost connections all the same, as part of
// its redirections, which may write twice.
const controlRefresh = 200 * time.Millisecond

// openTo is a plain client of the proxy: it repeats nothing, and waits longer
// than any call through the proxy may take.
func openTo(t *testing.T, address string) redis.Cmdable {
	c := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1, ReadTimeout: 20 * time.Second, PoolSize: drillWriters})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// silent is no logger at all: what go-redis thinks of lost connections is no news here.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// nodeTimeout is as short as a busy machine bears without failovers of its own accord.
const nodeTimeout = "800"

type clusterArena struct {
	*redistest.Cluster
	both [2]*side
	tags []string // one for each third of the slots
}

func openClusterArena(t *testing.T) arena {
	redis.SetLogger(silent{})
	c := redistest.StartCluster(t, 3, 1, redistest.Args("--cluster-node-timeout", nodeTimeout, "--repl-diskless-load", "swapdb"))
	a := &clusterArena{Cluster: c}
	for third := range 3 {
		for i := 0; len(a.tags) == third; i++ {
			if word := "t" + strconv.Itoa(i); backend.SlotOf([]byte(word))*3/backend.Slots == third {
				a.tags = append(a.tags, word)
			}
		}
	}
	control := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: c.Addrs(), MaxRetries: -1, PoolSize: drillWriters,
		ClusterStateReloadInterval: controlRefresh,
	})
	t.Cleanup(func() { _ = control.Close() })
	proxied := frontOf(t, backend.Options{
		Nodes:   []backend.Endpoint{{Network: "tcp", Address: c.Addrs()[0]}, {Network: "tcp", Address: c.Addrs()[1]}, {Network: "tcp", Address: c.Addrs()[2]}},
		Routing: backend.Routing{Kind: backend.Cluster, Wait: 2 * time.Second},
	})
	a.both = [2]*side{{"proxy", openTo(t, proxied)}, {"client", control}}
	return a
}

func (a *clusterArena) name() string     { return "cluster" }
func (a *clusterArena) sides() [2]*side  { return a.both }
func (a *clusterArena) tag(n int) string { return "{" + a.tags[n%len(a.tags)] + "}" }

func (a *clusterArena) primary(ctx context.Context, n int) (*redistest.Server, error) {
	if err := a.AwaitWhole(ctx); err != nil {
		return nil, err
	}
	return a.Owner(backend.SlotOf([]byte(a.tags[n%len(a.tags)])))
}

func (a *clusterArena) command(ctx context.Context, before *redistest.Server) (*redistest.Server, error) {
	replica, err := a.Replica(before)
	if err != nil {
		return nil, err
	}
	return replica, a.Failover(ctx, replica)
}

// partner is the other node of a pair: every primary has one replica.
func (a *clusterArena) partner(s *redistest.Server) *redistest.Server {
	half := len(a.Servers) / 2
	for i, one := range a.Servers {
		if one == s {
			return a.Servers[(i+half)%len(a.Servers)]
		}
	}
	return nil
}

func (a *clusterArena) replaced(ctx context.Context, before *redistest.Server) (*redistest.Server, error) {
	now := a.partner(before)
	return now, redistest.Await(ctx, "the replica has taken over", func() error { return isPrimary(now) })
}

func isPrimary(s *redistest.Server) error {
	role, err := s.Role()
	if err == nil && role != "master" {
		err = fmt.Errorf("%s is a %s", s.Addr(), role)
	}
	return err
}

func (a *clusterArena) repair(ctx context.Context, before, now *redistest.Server) error {
	if before.Pid() == 0 {
		if err := before.Restart(); err != nil {
			return err
		}
	}
	return inStep(ctx, before)
}

// inStep returns when a server is a replica that has all that its primary has.
func inStep(ctx context.Context, s *redistest.Server) error {
	return redistest.Await(ctx, s.Addr()+" is a replica in step", func() error {
		info, err := s.Info("replication")
		if err == nil && (info["role"] != "slave" || info["master_link_status"] != "up") {
			err = fmt.Errorf("it is a %s, its link is %s", info["role"], info["master_link_status"])
		}
		return err
	})
}

type sentinelArena struct {
	*redistest.Sentinels
	both [2]*side
}

func openSentinelArena(t *testing.T) arena {
	redis.SetLogger(silent{})
	g := redistest.StartSentinels(t, redistest.SentinelOptions{})
	// Replicas are looked at every second instead of every ten, so that one that
	// came back is soon fit for the next failover.
	for _, s := range g.Sentinels {
		for _, args := range [][]string{{"SENTINEL", "SET", g.Name, "down-after-milliseconds", "500"}, {"SENTINEL", "DEBUG", "INFO-PERIOD", "1000", "PING-PERIOD", "250"}} {
			if _, err := s.Do(args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	control := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: g.Name, SentinelAddrs: g.Addrs(), MaxRetries: -1, PoolSize: drillWriters,
	})
	t.Cleanup(func() { _ = control.Close() })
	var sentinels []backend.Endpoint
	for _, at := range g.Addrs() {
		sentinels = append(sentinels, backend.Endpoint{Network: "tcp", Address: at})
	}
	proxied := frontOf(t, backend.Options{Routing: backend.Routing{
		Kind: backend.Sentinel, Wait: 2 * time.Second, Sentinels: backend.Sentinels{Nodes: sentinels, Name: g.Name},
	}})
	return &sentinelArena{g, [2]*side{{"proxy", openTo(t, proxied)}, {"client", control}}}
}

func (a *sentinelArena) name() string    { return "sentinel" }
func (a *sentinelArena) sides() [2]*side { return a.both }
func (a *sentinelArena) tag(int) string  { return "" }

// primary waits until every Sentinel names the same primary and finds its replica
// fit to follow it.
func (a *sentinelArena) primary(ctx context.Context, _ int) (*redistest.Server, error) {
	named, err := a.Primary()
	if err != nil {
		return nil, err
	}
	for _, s := range a.Sentinels.Sentinels {
		if err := redistest.Await(ctx, "a Sentinel finds the replica fit", func() error { return a.content(s, named) }); err != nil {
			return nil, err
		}
	}
	return named, nil
}

func (a *sentinelArena) content(s, primary *redistest.Server) error {
	reply, err := s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", a.Name)
	if err != nil {
		return err
	}
	if at, _ := reply.([]any); len(at) != 2 || at[1] != strconv.Itoa(primary.Port()) {
		return fmt.Errorf("it names %v", reply)
	}
	if reply, err = s.Do("SENTINEL", "REPLICAS", a.Name); err != nil {
		return err
	}
	replicas, _ := reply.([]any)
	for _, r := range replicas {
		text := fmt.Sprint(r)
		if strings.Contains(text, " flags slave ") && strings.Contains(text, " master-link-status ok ") && strings.Contains(text, " role-reported slave ") {
			return nil
		}
	}
	return fmt.Errorf("replicas: %v", replicas)
}

func (a *sentinelArena) command(ctx context.Context, _ *redistest.Server) (*redistest.Server, error) {
	return a.Failover(ctx)
}

func (a *sentinelArena) partner(s *redistest.Server) *redistest.Server {
	if s == a.Servers[0] {
		return a.Servers[1]
	}
	return a.Servers[0]
}

// replaced returns as soon as the replica is a primary: the Sentinels say so later.
func (a *sentinelArena) replaced(ctx context.Context, before *redistest.Server) (*redistest.Server, error) {
	now := a.partner(before)
	return now, redistest.Await(ctx, "the replica has taken over", func() error { return isPrimary(now) })
}

func (a *sentinelArena) repair(ctx context.Context, before, now *redistest.Server) error {
	if before.Pid() == 0 {
		if err := before.Restart(); err != nil {
			return err
		}
	}
	if err := redistest.Await(ctx, "the Sentinels have another primary", func() error {
		if named, err := a.Primary(); err != nil || named != now {
			return errors.Join(errors.New("not yet"), err)
		}
		return nil
	}); err != nil {
		return err
	}
	if _, err := before.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(now.Port())); err != nil {
		return err
	}
	return inStep(ctx, before)
}
