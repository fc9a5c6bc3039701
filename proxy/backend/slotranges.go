package backend

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// SlotRange gives the hash slots from Low to High, both included, to a node:
// its index in Options.Nodes. Slots are those of Redis Cluster (SlotOf).
type SlotRange struct{ Low, High, Node int }

// errNoPlaces: Sharded without a word about which node has which keys.
var errNoPlaces = errors.New("neither a distribution nor slots say which node has which keys")

// placed gives the topology of nodes that know nothing of each other, each with
// its slots if there are any.
func placed(nodes []Endpoint, ranges []SlotRange) (*Topology, error) {
	shards := make([]Shard, len(nodes))
	for i, e := range nodes {
		shards[i].Primary = e
	}
	if len(ranges) == 0 {
		return &Topology{Shards: shards}, nil
	}
	var lines []slotRange
	for _, r := range ranges {
		if r.Node < 0 || r.Node >= len(nodes) {
			return nil, fmt.Errorf("slots %d to %d belong to node %d of %d", r.Low, r.High, r.Node, len(nodes))
		}
		lines = append(lines, slotRange{r.Low, r.High, r.Node})
	}
	t, err := newSlotted(shards, lines)
	if err != nil {
		return nil, err
	}
	if gap := Unowned(ranges); len(gap) > 0 {
		return nil, fmt.Errorf("slots %d to %d belong to nobody", gap[0].Low, gap[0].High)
	}
	for i := range shards {
		if t.First(i) < 0 {
			return nil, fmt.Errorf("node %d of %d has no slots", i, len(nodes))
		}
	}
	return t, nil
}

// Unowned gives the runs of slots that no range holds, in order. Their Node means
// nothing.
func Unowned(ranges []SlotRange) []SlotRange {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b SlotRange) int { return cmp.Compare(a.Low, b.Low) })
	var gaps []SlotRange
	next := 0
	for _, r := range sorted {
		if r.Low > next {
			gaps = append(gaps, SlotRange{Low: next, High: r.Low - 1})
		}
		next = max(next, r.High+1)
	}
	if next < Slots {
		gaps = append(gaps, SlotRange{Low: next, High: Slots - 1})
	}
	return gaps
}
