package backend

import (
	"hash/fnv"
	"strconv"
)

// A cursor of SCAN over shards holds which shard comes next, named by its lowest
// slot (by its number where there are no slots), a mark of the node that gave its
// own cursor, and that cursor. It fits in 63 bits, as clients in languages
// without unsigned numbers need, and any proxy can go on with it.
//
//	62            22        14            0
//	| node's cursor | mark | lowest slot |
//
// A node's own cursor means nothing on another one. Where the mark or the lowest
// slot are no longer those of the shard, its part begins anew: keys may be seen
// twice, which SCAN allows, and none is left out for that.
const (
	slotBits   = 14
	markBits   = 8
	cursorBits = 63 - slotBits - markBits
)

// ParseCursor reads what a client sends for a cursor.
func ParseCursor(b []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	return n, err == nil && n < 1<<63
}

// Resume gives the shard where a cursor goes on, and the node's own cursor.
func (r *Router) Resume(cursor uint64) (shard int, node []byte) {
	slot := int(cursor & (1<<slotBits - 1))
	mark := byte(cursor >> slotBits)
	at := cursor >> (slotBits + markBits)
	if shard = r.at(slot); at != 0 && (r.lowest(shard) != slot || r.mark(shard) != mark) {
		at = 0
	}
	return shard, strconv.AppendUint(nil, at, 10)
}

// Advance gives the cursor for all shards that follows a node's own one, "0" when
// the last shard is through. It reports false for what is no cursor, and for one
// too large to be carried.
func (r *Router) Advance(shard int, node []byte) (string, bool) {
	at, err := strconv.ParseUint(string(node), 10, 64)
	if err != nil || at >= 1<<cursorBits || r.topo == nil || shard >= len(r.topo.Shards) {
		return "", false
	}
	if at != 0 {
		return strconv.FormatUint(at<<(slotBits+markBits)|uint64(r.mark(shard))<<slotBits|uint64(r.lowest(shard)), 10), true
	}
	next := -1
	for s := range r.topo.Shards {
		if low := r.lowest(s); !r.topo.Out(s) && low > r.lowest(shard) && (next < 0 || low < r.lowest(next)) {
			next = s
		}
	}
	if next < 0 {
		return "0", true
	}
	return strconv.Itoa(r.lowest(next)), true
}

// at is the shard that a cursor's slot means now.
func (r *Router) at(slot int) int {
	if !r.topo.Slotted() {
		last := len(r.topo.Shards) - 1
		slot = min(slot, last)
		for ; slot < last && r.topo.Out(slot); slot++ { // nobody's keys are there: whoever comes next
		}
		for ; slot > 0 && r.topo.Out(slot); slot-- {
		}
		return slot
	}
	for ; slot < Slots-1 && r.topo.Shard(slot) < 0; slot++ { // nobody has it: whoever comes next
	}
	return max(r.topo.Shard(slot), 0)
}

func (r *Router) lowest(shard int) int {
	if r.topo.Slotted() {
		return r.topo.First(shard)
	}
	return shard
}

// mark tells the nodes that may have a shard apart.
func (r *Router) mark(shard int) byte {
	h := fnv.New32a()
	h.Write([]byte(r.topo.Shards[shard].Primary.Address))
	return byte(h.Sum32())
}
