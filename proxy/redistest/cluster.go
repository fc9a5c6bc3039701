package redistest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clusterSlots is how many hash slots a cluster has.
const clusterSlots = 16384

// Cluster is a Redis Cluster of the rig's own.
type Cluster struct {
	Servers []*Server // primaries first, as they began
	ids     map[*Server]string
}

// StartCluster runs a cluster for a test: primaries with an even share of the slots, each with so many replicas. It is
// whole when StartCluster returns and gone when the test has ended. opts apply to each node.
func StartCluster(t testing.TB, primaries, replicas int, opts ...Option) *Cluster {
	t.Helper()
	c, err := OpenCluster(t.Context(), primaries, replicas, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("cluster did not end cleanly: %v", err)
		}
	})
	return c
}

// OpenCluster is StartCluster for programs: ctx bounds the start only, and the caller must Close.
func OpenCluster(ctx context.Context, primaries, replicas int, opts ...Option) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	servers, err := openAll(ctx, primaries*(1+replicas), func(int) []Option {
		return append(linked(opts, "--cluster-enabled", "yes", "--cluster-node-timeout", "1500",
			"--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "yes"), clustered)
	})
	if err != nil {
		return nil, err
	}
	c := &Cluster{Servers: servers, ids: map[*Server]string{}}
	if err := c.form(ctx, primaries); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// form introduces the nodes to each other and shares out the slots.
func (c *Cluster) form(ctx context.Context, primaries int) error {
	for i, s := range c.Servers {
		if err := c.introduce(s, i); err != nil {
			return err
		}
	}
	for i := range primaries {
		low, high := i*clusterSlots/primaries, (i+1)*clusterSlots/primaries-1
		if _, err := c.Servers[i].Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(low), strconv.Itoa(high)); err != nil {
			return err
		}
	}
	if err := c.meet(ctx); err != nil {
		return err
	}
	for i, s := range c.Servers[primaries:] {
		id := c.ids[c.Servers[i%primaries]]
		// A node that is known may be so by its address alone, and not yet by its id.
		if err := Await(ctx, "CLUSTER REPLICATE is taken", func() error {
			_, err := s.Do("CLUSTER", "REPLICATE", id)
			return err
		}); err != nil {
			return err
		}
	}
	return c.AwaitWhole(ctx)
}

// introduce learns a node's id and gives it an epoch of its own.
func (c *Cluster) introduce(s *Server, i int) error {
	id, err := s.Do("CLUSTER", "MYID")
	if err != nil {
		return err
	}
	c.ids[s] = fmt.Sprint(id)
	_, err = s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	return err
}

// meetAgain is after how long an introduction is repeated: a node forgets one that took longer than its node timeout.
const meetAgain = 2 * time.Second

// meet has every node meet the first one, and returns when all know all.
func (c *Cluster) meet(ctx context.Context) error {
	first := c.Servers[0]
	var due time.Time
	return Await(ctx, "all nodes know each other", func() error {
		var ignorant []*Server
		for _, s := range c.Servers {
			if err := s.clusterField("cluster_known_nodes", strconv.Itoa(len(c.Servers))); err != nil {
				ignorant = append(ignorant, s)
			}
		}
		if len(ignorant) == 0 {
			return nil
		}
		if now := time.Now(); now.After(due) {
			due = now.Add(meetAgain)
			for _, s := range c.Servers[1:] {
				if _, err := s.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(first.Port()), strconv.Itoa(first.bus)); err != nil {
					return err
				}
			}
		}
		return fmt.Errorf("%d nodes do not know all others", len(ignorant))
	})
}

// clusterField is nil if a field of CLUSTER INFO has a value.
func (s *Server) clusterField(field, want string) error {
	reply, err := s.Do("CLUSTER", "INFO")
	if err != nil {
		return err
	}
	if text, _ := reply.(string); !strings.Contains(text, field+":"+want+"\r\n") {
		return errors.New("not yet")
	}
	return nil
}

// awaitClusterField is awaitField for CLUSTER INFO.
func (s *Server) awaitClusterField(ctx context.Context, field, want string) error {
	return Await(ctx, s.Addr()+" has "+field+":"+want, func() error { return s.clusterField(field, want) })
}

// AwaitWhole returns when every running node finds the cluster whole and every running replica is in step.
func (c *Cluster) AwaitWhole(ctx context.Context) error {
	for _, s := range c.Servers {
		if s.Pid() == 0 {
			continue
		}
		if err := s.awaitClusterField(ctx, "cluster_state", "ok"); err != nil {
			return err
		}
		role, err := s.Role()
		if err != nil {
			return err
		}
		if role == "slave" {
			if err := s.awaitField(ctx, "replication", "master_link_status", "up"); err != nil {
				return err
			}
		}
	}
	return nil
}

// ID is a node's id in the cluster.
func (c *Cluster) ID(s *Server) string { return c.ids[s] }

// Addrs are the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, s := range c.Servers {
		out = append(out, s.Addr())
	}
	return out
}

// Owner is the primary that serves a slot in the eyes of any running node.
func (c *Cluster) Owner(slot int) (*Server, error) {
	for _, s := range c.Servers {
		if s.Pid() == 0 {
			continue
		}
		reply, err := s.Do("CLUSTER", "SLOTS")
		if err != nil {
			return nil, err
		}
		ranges, _ := reply.([]any)
		for _, r := range ranges {
			fields, _ := r.([]any)
			if len(fields) < 3 || int64(slot) < fields[0].(int64) || int64(slot) > fields[1].(int64) {
				continue
			}
			for node, id := range c.ids {
				if primary, _ := fields[2].([]any); len(primary) > 2 && primary[2] == id {
					return node, nil
				}
			}
		}
		return nil, fmt.Errorf("slot %d has no owner", slot)
	}
	return nil, errors.New("no node runs")
}

// failoverAgain is after how long CLUSTER FAILOVER is asked for again: Redis gives an attempt up after five seconds, so
// that a question asked earlier would end one that is under way.
const failoverAgain = 5500 * time.Millisecond

// Failover has a replica take its primary's place while both live, and returns when it has. Redis gives up without a
// word where the votes do not come in time, or where other primaries know of a newer claim to the slots than the replica
// does; so it is asked again until ctx ends.
func (c *Cluster) Failover(ctx context.Context, replica *Server) error {
	var due time.Time
	return Await(ctx, replica.Addr()+" is a primary", func() error {
		role, err := replica.Role()
		if err != nil {
			return err
		}
		if role == "master" {
			return nil
		}
		now := time.Now()
		if now.Before(due) {
			return fmt.Errorf("it is a %s", role)
		}
		if _, err := replica.Do("CLUSTER", "FAILOVER"); err != nil {
			return err // it may have become a primary since, or have no link to its primary yet
		}
		due = now.Add(failoverAgain)
		return errors.New("it was asked")
	})
}

// Replica is a running replica of a primary.
func (c *Cluster) Replica(primary *Server) (*Server, error) {
	for _, s := range c.Servers {
		if s == primary || s.Pid() == 0 {
			continue
		}
		if info, err := s.Info("replication"); err == nil && info["role"] == "slave" && info["master_port"] == strconv.Itoa(primary.Port()) {
			return s, nil
		}
	}
	return nil, errors.New("the primary has no running replica")
}

// BeginMove opens a slot for moving: keys that are not at from any more are asked for at to.
func (c *Cluster) BeginMove(slot int, from, to *Server) error {
	if _, err := to.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "IMPORTING", c.ids[from]); err != nil {
		return err
	}
	_, err := from.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "MIGRATING", c.ids[to])
	return err
}

// MoveKeys moves up to n keys of a slot; it returns how many there were.
func (c *Cluster) MoveKeys(slot, n int, from, to *Server) (int, error) {
	reply, err := from.Do("CLUSTER", "GETKEYSINSLOT", strconv.Itoa(slot), strconv.Itoa(n))
	if err != nil {
		return 0, err
	}
	keys, _ := reply.([]any)
	if len(keys) == 0 {
		return 0, nil
	}
	args := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), "", "0", "5000", "REPLACE"}
	if to.settings.password != "" {
		args = append(args, "AUTH", to.settings.password)
	}
	args = append(args, "KEYS")
	for _, k := range keys {
		args = append(args, fmt.Sprint(k))
	}
	_, err = from.Do(args...)
	return len(keys), err
}

// EndMove gives the slot to its new owner: the new one hears first, then the old one, then all others.
func (c *Cluster) EndMove(slot int, from, to *Server) error {
	told := []*Server{to, from}
	for _, s := range c.Servers {
		if role, err := s.Role(); err == nil && role == "master" && s != to && s != from {
			told = append(told, s)
		}
	}
	for _, s := range told {
		if _, err := s.Do("CLUSTER", "SETSLOT", strconv.Itoa(slot), "NODE", c.ids[to]); err != nil {
			return err
		}
	}
	return nil
}

// MoveSlot moves one slot with all its keys, as redis-cli --cluster reshard does.
func (c *Cluster) MoveSlot(slot int, from, to *Server) error {
	if err := c.BeginMove(slot, from, to); err != nil {
		return err
	}
	for {
		n, err := c.MoveKeys(slot, 100, from, to)
		if err != nil {
			return err
		}
		if n == 0 {
			return c.EndMove(slot, from, to)
		}
	}
}

// Close stops all nodes.
func (c *Cluster) Close() error { return closeAll(c.Servers) }
