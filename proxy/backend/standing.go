package backend

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Which nodes may be read from is found out with the health checks: a replica
// that has lost its primary, follows another one or is still loading answers
// PING like any other.

// standing is what a node is worth to those who read. The zero value: nothing.
type standing struct {
	fit  bool  // it may be read from
	tier uint8 // the lower, the rather
}

// standings are those of all nodes at one moment. Immutable.
type standings map[Endpoint]standing

// review is what the checks of one node have shown. Safe for concurrent use.
type review struct {
	mu    sync.Mutex
	took  [16]time.Duration // of the last answers to PING
	n     int               // answers so far
	fit   bool              // as a replica
	lives bool              // it answered the last check
	zone  string            // where it says that it is; empty: it does not say
	data  string            // the name of the data set that it has or copies; empty: it does not say
}

// median of what the last checks took; 0: there was none.
func (v *review) median() time.Duration {
	n := min(v.n, len(v.took))
	if n == 0 {
		return 0
	}
	sorted := slices.Clone(v.took[:n])
	slices.Sort(sorted)
	return sorted[n/2]
}

// judge looks after a health check whether a node may be read from. failed is
// why it did not answer as it should.
func (c *control) judge(ctx context.Context, e Endpoint, v *review, took time.Duration, failed error) {
	if c.routing.Reads == ReadPrimary {
		return
	}
	var refused *RefusedError
	lives := failed == nil || errors.As(failed, &refused) && !unready(refused.Reply)
	var said map[string]string
	fit := false
	if lives {
		said, fit = c.inStep(ctx, e)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lives, v.fit = lives, fit
	if failed == nil {
		v.took[v.n%len(v.took)] = took
		v.n++
	}
	if said != nil {
		v.zone, v.data = said["availability_zone"], said["master_replid"]
	}
}

// unready reports an error by which a node says that it can't serve data now.
func unready(text string) bool {
	return strings.HasPrefix(text, "LOADING") || strings.HasPrefix(text, "MASTERDOWN") || strings.HasPrefix(text, "BUSY")
}

// inStep asks a node what it says of itself, and whether it is a replica in step
// with some primary. Where the control plane may not ask INFO, ROLE has to do.
func (c *control) inStep(ctx context.Context, e Endpoint) (said map[string]string, fit bool) {
	question := []any{"INFO", "replication"}
	if c.routing.Zone != "" {
		question = question[:1] // the zone is in another section, and nodes before Redis 7 give one or all
	}
	reply, err := c.ask(ctx, peer{at: e}, question...)
	var refused *RefusedError
	if errors.As(err, &refused) {
		role, err := c.roleOf(ctx, e)
		return nil, err == nil && role == "replica" && c.routing.MaxLag == 0
	}
	text, ok := reply.(string)
	if err != nil || !ok {
		return nil, false
	}
	said = parseInfo(text)
	return said, c.follows(said)
}

// parseInfo gives what a reply to INFO says that matters here.
func parseInfo(text string) map[string]string {
	said := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || len(value) > maxInfoValue {
			continue
		}
		switch name {
		case "role", "master_link_status", "master_last_io_seconds_ago", "master_link_down_since_seconds", "master_sync_in_progress",
			"master_replid", "availability_zone":
			said[name] = value
		}
	}
	return said
}

// maxInfoValue bounds a value of INFO that is kept.
const maxInfoValue = 256

// follows reports whether a node that said so of itself is a replica which heard
// its primary lately enough.
func (c *control) follows(said map[string]string) bool {
	if said["role"] != "slave" || said["master_sync_in_progress"] != "0" {
		return false
	}
	up := said["master_link_status"] == "up"
	if c.routing.MaxLag == 0 {
		return up
	}
	silent := said["master_last_io_seconds_ago"]
	if !up {
		silent = said["master_link_down_since_seconds"]
	}
	seconds, err := strconv.ParseUint(silent, 10, 31) // -1: never
	return err == nil && time.Duration(seconds)*time.Second <= c.routing.MaxLag
}

// publish states how the nodes stand now, if that has changed.
func (c *control) publish() {
	t := c.topology.Load()
	if c.routing.Reads == ReadPrimary || t == nil {
		return
	}
	before := c.standing()
	now := make(standings)
	for _, s := range t.Shards {
		c.rank(s, before, now)
	}
	if maps.Equal(before, now) {
		return
	}
	c.stands.Store(&now)
	if c.stood != nil {
		c.stood()
	}
}

// standing is what was published last.
func (c *control) standing() standings {
	if s := c.stands.Load(); s != nil {
		return *s
	}
	return nil
}

// The tiers: nodes of the zone before others, and where the nearest is wanted,
// the near ones before the rest.
const (
	tierFar   = 1
	tierAbove = 2 // in another zone than the one wanted
)

// rank states how the nodes of one shard stand.
func (c *control) rank(s Shard, before, now standings) {
	type seen struct {
		at   Endpoint
		home bool
		took time.Duration
	}
	lead := c.reviewOf(s.Primary)
	var fit []seen
	for _, e := range append([]Endpoint{s.Primary}, s.Replicas...) {
		v := c.reviewOf(e)
		ok := v.fit && (lead.data == "" || v.data == "" || v.data == lead.data)
		if e == s.Primary {
			ok = v.lives
		}
		if e == (Endpoint{}) || !ok {
			continue
		}
		fit = append(fit, seen{e, c.routing.Zone != "" && v.zone == c.routing.Zone, v.median})
	}
	for _, n := range fit {
		st := standing{fit: true}
		if c.routing.Zone != "" && !n.home {
			st.tier = tierAbove
		}
		if c.routing.Reads == ReadNearest {
			best := n.took
			for _, o := range fit {
				if o.home == n.home {
					best = min(best, o.took)
				}
			}
			if was := before[n.at]; n.took > nearBound(best, was.fit && was.tier&tierFar == 0) {
				st.tier |= tierFar
			}
		}
		now[n.at] = st
	}
}

// nearBound is up to where a node is as near as the nearest, which took best.
// Who was near stays so a little longer, or sessions would go to and fro.
func nearBound(best time.Duration, was bool) time.Duration {
	if was {
		return best*3/2 + 300*time.Microsecond
	}
	return best*5/4 + 150*time.Microsecond
}

// reviewed is a review at one moment.
type reviewed struct {
	fit, lives bool
	zone, data string
	median     time.Duration
}

func (c *control) reviewOf(e Endpoint) (r reviewed) {
	h, ok := c.health.Load(e)
	if !ok {
		return r
	}
	v := &h.(*health).review
	v.mu.Lock()
	defer v.mu.Unlock()
	return reviewed{v.fit, v.lives, v.zone, v.data, v.median()}
}

// Doubt says that a node does not answer as one that may be read from: it is
// looked at soon.
func (c *control) Doubt() {
	if c.routing.Reads == ReadPrimary {
		return
	}
	select {
	case c.recheck <- struct{}{}:
	default:
	}
}

// nextCheck waits until it is time for the health checks.
func (c *control) nextCheck(ctx context.Context) error {
	if err := pause(ctx, shortestGap); err != nil {
		return err
	}
	t := time.NewTimer(jittered(pingEvery) - shortestGap)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return net.ErrClosed
	case <-c.recheck:
	case <-t.C:
	}
	return nil
}

// replicaRefresh is the time between looks at the topology while a replica is missed.
const replicaRefresh = time.Second

// lacks reports that a node which was named is neither the primary nor a replica in
// step, where replicas are read from: it may be one soon.
func (c *control) lacks(t *Topology) bool {
	if c.routing.Reads == ReadPrimary || c.routing.Kind != Replicated {
		return false
	}
	return slices.ContainsFunc(c.seeds, func(e Endpoint) bool { return !t.Has(e) })
}
