package backend

import (
	"errors"
	"fmt"
	"slices"
)

// Shard is a primary with the replicas that copy it. A primary without an
// address is one that nobody knows at present.
type Shard struct {
	Primary  Endpoint
	Replicas []Endpoint
}

// Topology says which node has what, as of one moment. Immutable: it is shared
// by all loops and replaced as a whole.
type Topology struct {
	Shards []Shard
	owners *[Slots]uint16 // the shard of each slot, counted from 1; 0: nobody's. nil: no slots
	spread *Distribution  // where there are no slots: which shard has a key; nil: none of them has any
	out    []bool         // shards whose node is ejected; nil: none is
}

// slotRange is what one line of a slot map says.
type slotRange struct{ low, high, shard int }

// ErrTopology wraps what is wrong with a node's or Sentinel's answer about who
// has what. It holds no address the answer made up.
var ErrTopology = errors.New("answer about the topology can't be understood")

func topologyFault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTopology, fmt.Sprintf(format, args...))
}

// newSlotted builds a topology of slot ranges. A slot claimed twice is an error:
// one of the two claims would send a client's data to the wrong node.
func newSlotted(shards []Shard, ranges []slotRange) (*Topology, error) {
	t := &Topology{Shards: shards, owners: new([Slots]uint16)}
	for _, r := range ranges {
		if r.low < 0 || r.high >= Slots || r.low > r.high {
			return nil, topologyFault("slots %d to %d", r.low, r.high)
		}
		for s := r.low; s <= r.high; s++ {
			if t.owners[s] != 0 {
				return nil, topologyFault("slot %d is claimed twice", s)
			}
			t.owners[s] = uint16(r.shard + 1)
		}
	}
	return t, nil
}

// Slotted reports whether keys are routed by their slots.
func (t *Topology) Slotted() bool { return t.owners != nil }

// Shard gives the index of the shard that has a slot, or -1: nobody has it.
func (t *Topology) Shard(slot int) int { return int(t.owners[slot]) - 1 }

// First gives a shard's lowest slot, or -1 if it has none.
func (t *Topology) First(shard int) int {
	return slices.Index(t.owners[:], uint16(shard+1))
}

// Covered is the number of slots that a known primary has.
func (t *Topology) Covered() int {
	n := 0
	for _, o := range t.owners {
		if o != 0 && t.Shards[o-1].Primary != (Endpoint{}) {
			n++
		}
	}
	return n
}

// Has reports whether an address is a node of the deployment.
func (t *Topology) Has(e Endpoint) bool {
	return slices.ContainsFunc(t.Shards, func(s Shard) bool {
		return s.Primary == e || slices.Contains(s.Replicas, e)
	})
}

// leads reports whether a node is the primary of some shard.
func (t *Topology) leads(e Endpoint) bool {
	return t != nil && slices.ContainsFunc(t.Shards, func(s Shard) bool { return s.Primary == e }) && !t.ejected(e)
}

// Nodes gives every node once, primaries first.
func (t *Topology) Nodes() []Endpoint {
	var out []Endpoint
	seen := map[Endpoint]bool{{}: true} // the one without an address is nobody
	add := func(e Endpoint) {
		if !seen[e] {
			seen[e] = true
			out = append(out, e)
		}
	}
	for _, s := range t.Shards {
		add(s.Primary)
	}
	for _, s := range t.Shards {
		for _, e := range s.Replicas {
			add(e)
		}
	}
	return out
}

// equal reports whether two topologies say the same.
func (t *Topology) equal(u *Topology) bool {
	if t == nil || u == nil {
		return t == u
	}
	if (t.owners == nil) != (u.owners == nil) || t.owners != nil && *t.owners != *u.owners || !slices.Equal(t.out, u.out) {
		return false
	}
	return slices.EqualFunc(t.Shards, u.Shards, func(a, b Shard) bool {
		return a.Primary == b.Primary && slices.Equal(a.Replicas, b.Replicas)
	})
}

// within gives the topology without the nodes that ok refuses, and how many
// those were. Slots of a refused primary stay with their shard and have nobody
// to serve them, which is said to clients as it is.
func (t *Topology) within(ok func(Endpoint) bool) (*Topology, int) {
	out, refused := &Topology{Shards: make([]Shard, len(t.Shards)), owners: t.owners, spread: t.spread, out: t.out}, 0
	for i, s := range t.Shards {
		if s.Primary != (Endpoint{}) {
			if ok(s.Primary) {
				out.Shards[i].Primary = s.Primary
			} else {
				refused++
			}
		}
		for _, e := range s.Replicas {
			if ok(e) {
				out.Shards[i].Replicas = append(out.Shards[i].Replicas, e)
			} else {
				refused++
			}
		}
	}
	return out, refused
}
