package backend

import (
	"time"

	"go.uber.org/zap"
)

// Ejection says when a node of Kind Sharded that is dead gives its keys to the
// others, as twemproxy's auto_eject_hosts does: where they go, nothing of what it
// held is. That is right for a cache and wrong for a store, so the zero value,
// which ejects nobody, is what everybody gets who does not ask.
type Ejection struct {
	Failures int           // health checks in a row that a node does not answer; 0: nobody is ejected
	Retry    time.Duration // how long it stays out at least; then the next check that it answers brings it back
}

// Without gives the distribution over those members that are not out: each key
// goes where twemproxy's rebuilt ring puts it. nil: all of them are out.
func (d *Distribution) Without(out []bool) *Distribution {
	var rest []Member
	var index []int
	for i, m := range d.members {
		if !out[i] {
			rest, index = append(rest, m), append(index, i)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	few, err := NewDistribution(d.kind, d.name, d.around(), rest)
	if err != nil {
		return nil // not of members that NewDistribution took once
	}
	for i := range few.points {
		few.points[i].member = index[few.points[i].member]
	}
	for i := range few.turns {
		few.turns[i] = index[few.turns[i]]
	}
	few.only = index[0]
	return few
}

// around is the tag that d was made with.
func (d *Distribution) around() string {
	if d.tag == [2]byte{} {
		return ""
	}
	return string(d.tag[:])
}

// Out reports whether a shard's node is ejected: others have its keys.
func (t *Topology) Out(shard int) bool { return t.out != nil && t.out[shard] }

// ejected is Out for a node.
func (t *Topology) ejected(e Endpoint) bool {
	for i := range t.out {
		if t.out[i] && t.Shards[i].Primary == e {
			return true
		}
	}
	return false
}

// spare gives the topology without the keys of those nodes that are ejected now.
func (c *control) spare(t *Topology) *Topology {
	t.spread = c.routing.Distribution
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ejects) == 0 || t.spread == nil {
		return t
	}
	t.out = make([]bool, len(t.Shards))
	for i, s := range t.Shards {
		_, t.out[i] = c.ejects[s.Primary]
	}
	t.spread = t.spread.Without(t.out)
	return t
}

// failing takes note that a node has not answered its last so many health checks.
func (c *control) failing(e Endpoint, checks int) {
	if limit := c.routing.Eject.Failures; limit == 0 || checks < limit {
		return
	}
	c.mu.Lock()
	_, already := c.ejects[e]
	if !already {
		c.ejects[e] = time.Now().Add(c.routing.Eject.Retry)
	}
	c.mu.Unlock()
	if !already {
		c.log.Warn("a node is ejected: the others get its keys", zap.String("backend", c.name), zap.String("node", e.Address))
		c.Refresh()
	}
}

// restored takes note that a node answers: its keys return to it once its time is over.
func (c *control) restored(e Endpoint) {
	if c.routing.Eject.Failures == 0 {
		return
	}
	c.mu.Lock()
	until, out := c.ejects[e]
	back := out && !time.Now().Before(until)
	if back {
		delete(c.ejects, e)
	}
	c.mu.Unlock()
	if back {
		c.log.Info("an ejected node is back: it has its keys again", zap.String("backend", c.name), zap.String("node", e.Address))
		c.Refresh()
	}
}

// All gives the shards that a call without keys goes to which concerns all of
// them, in order. With ejected it counts those whose node is ejected, too: what
// changes all shards must not seem to have changed that one.
func (r *Router) All(ejected bool) []int {
	all := make([]int, 0, len(r.topo.Shards))
	for i := range r.topo.Shards {
		if ejected || !r.topo.Out(i) {
			all = append(all, i)
		}
	}
	return all
}
