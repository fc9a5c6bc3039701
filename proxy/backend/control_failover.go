package backend

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Between the moment in which a replica becomes a primary and the one in which
// most Sentinels name it, the old primary may still take writes, and all of them
// are lost: about a second, as Sentinels look at the replica once a second. So
// while something hints at a failover the nodes are asked, too. As soon as a
// replica says that it is a primary nobody is one until the Sentinels agree, and
// calls wait. Not for long: a replica that somebody else promoted, and that no
// Sentinel ever will name, is to keep nobody from the primary.

const (
	hintFor     = 5 * time.Second        // how long a hint makes the nodes be asked
	contestFor  = 800 * time.Millisecond // how long nobody is the primary
	hintRefresh = 10 * time.Millisecond  // between looks meanwhile, beside shortestGap
)

// Events of a Sentinel that are listened to. The first says that it has made up
// its mind, the second that it is about to promote a replica.
const (
	switched  = "+switch-master"
	promoting = "+failover-state-wait-promotion"
)

// hint says that a failover may be under way.
func (c *control) hint() { c.hinted.Store(time.Now().Add(hintFor).UnixNano()) }

// isHinted reports whether one may be under way.
func (c *control) isHinted() bool {
	return c.routing.Kind == Sentinel && time.Now().UnixNano() < c.hinted.Load()
}

// contested gives the topology without a primary if one of its replicas says that
// it is a primary, while a failover may be under way. nil: no replica says so.
// named is the primary that the Sentinels name.
func (c *control) contested(ctx context.Context, named Endpoint) *Topology {
	before := c.topology.Load()
	if before == nil || !c.isHinted() {
		return nil
	}
	s := before.Shards[0]
	rest := slices.DeleteFunc(slices.Clone(s.Replicas), func(e Endpoint) bool { return e == named })
	if len(rest) == len(s.Replicas) && s.Primary != named && s.Primary != (Endpoint{}) {
		return nil // the Sentinels name one that was no replica: there is nothing to compare with
	}
	if _, primaries, _ := c.roles(ctx, rest); len(primaries) == 0 {
		c.since = time.Time{}
		return nil
	}
	now := time.Now()
	if now.Sub(c.since) > hintFor {
		c.since = now // another one
	}
	if now.Sub(c.since) > contestFor {
		return nil
	}
	return &Topology{Shards: []Shard{{Replicas: s.Replicas}}}
}

// hurried bounds how long the primary is asked while a failover may be under way:
// a silent one must not keep others from being heard.
func (c *control) hurried(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.isHinted() {
		return context.WithTimeout(ctx, urgentRefresh)
	}
	return context.WithCancel(ctx)
}

// heard acts on a Sentinel's message. Its word alone changes nothing: it has all
// of them asked, and the nodes.
func (c *control) heard(m *redis.Message) {
	switch {
	case m.Channel == switched && strings.HasPrefix(m.Payload, c.routing.Sentinels.Name+" "):
	case m.Channel == promoting && strings.Contains(m.Payload, " @ "+c.routing.Sentinels.Name+" "):
		c.hint()
	default:
		return
	}
	c.Refresh()
}
