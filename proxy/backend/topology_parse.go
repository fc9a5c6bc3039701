package backend

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// What a slot map may hold: Redis Cluster is made for a thousand nodes.
const (
	maxShards   = 2000
	maxReplicas = 64      // of one shard
	maxNodes    = 1 << 12 // of all
)

// asked says which node gave an answer and how it is reached, since an answer
// may leave out what the asker knows.
type asked struct {
	host string // of the node that was asked
	tls  bool
}

// parseShards reads the answer to CLUSTER SHARDS, in its form for RESP2, strictly:
// fields it does not know are passed over, anything wrong in those it does know
// makes the whole answer worthless.
func parseShards(reply any, by asked) (*Topology, error) {
	items, ok := reply.([]any)
	if !ok || len(items) > maxShards {
		return nil, topologyFault("no list of shards")
	}
	var shards []Shard
	var ranges []slotRange
	for _, item := range items {
		fields, err := named(item)
		if err != nil {
			return nil, err
		}
		slots, err := slotPairs(fields["slots"], len(shards))
		if err != nil {
			return nil, err
		}
		shard, err := by.shard(fields["nodes"])
		if err != nil {
			return nil, err
		}
		if len(slots) == 0 {
			continue // it has joined and serves nothing yet
		}
		shards, ranges = append(shards, shard), append(ranges, slots...)
	}
	return sorted(shards, ranges)
}

// sorted orders shards by their lowest slot, so that the same cluster is the
// same topology whoever described it.
func sorted(shards []Shard, ranges []slotRange) (*Topology, error) {
	if len(shards) > maxShards {
		return nil, topologyFault("more than %d shards", maxShards)
	}
	nodes := 0
	for _, s := range shards {
		if nodes += 1 + len(s.Replicas); nodes > maxNodes {
			return nil, topologyFault("more than %d nodes", maxNodes)
		}
		slices.SortFunc(s.Replicas, byAddress)
	}
	slices.SortFunc(ranges, func(a, b slotRange) int { return cmp.Compare(a.low, b.low) })
	out := make([]Shard, 0, len(shards))
	place := make([]int, len(shards)) // counted from 1; 0: it has none yet
	for i, r := range ranges {
		if place[r.shard] == 0 {
			out = append(out, shards[r.shard])
			place[r.shard] = len(out)
		}
		ranges[i].shard = place[r.shard] - 1
	}
	return newSlotted(out, ranges)
}

// named reads a flat list of names and values.
func named(v any) (map[string]any, error) {
	items, ok := v.([]any)
	if !ok || len(items)%2 != 0 {
		return nil, topologyFault("no list of names and values")
	}
	out := make(map[string]any, len(items)/2)
	for i := 0; i < len(items); i += 2 {
		name, ok := items[i].(string)
		if _, twice := out[name]; !ok || twice {
			return nil, topologyFault("a name that is none, or stands twice")
		}
		out[name] = items[i+1]
	}
	return out, nil
}

// slotPairs reads low, high, low, high…
func slotPairs(v any, shard int) ([]slotRange, error) {
	items, ok := v.([]any)
	if !ok || len(items)%2 != 0 || len(items) > Slots {
		return nil, topologyFault("no pairs of slots")
	}
	var out []slotRange
	for i := 0; i < len(items); i += 2 {
		r, err := slotPair(items[i], items[i+1], shard)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func slotPair(low, high any, shard int) (slotRange, error) {
	a, okA := low.(int64)
	b, okB := high.(int64)
	if !okA || !okB || a < 0 || b < a || b >= Slots {
		return slotRange{}, topologyFault("a range of slots that is none")
	}
	return slotRange{int(a), int(b), shard}, nil
}

// shard reads the nodes of one shard.
func (by asked) shard(v any) (Shard, error) {
	items, ok := v.([]any)
	if !ok || len(items) > maxReplicas+1 {
		return Shard{}, topologyFault("no list of nodes")
	}
	var s Shard
	for _, item := range items {
		fields, err := named(item)
		if err != nil {
			return s, err
		}
		port := fields["port"]
		if by.tls {
			port = fields["tls-port"]
		}
		if port == nil {
			continue // it can't be reached the way the others are
		}
		at, err := by.endpoint(fields["endpoint"], port)
		if err != nil {
			return s, err
		}
		role, _ := fields["role"].(string)
		health, _ := fields["health"].(string)
		switch {
		case role == "master" && health == "fail", role == "master" && at == (Endpoint{}):
		case role == "master" && s.Primary == (Endpoint{}):
			s.Primary = at
		case role == "master":
			return s, topologyFault("two primaries in a shard")
		case health == "online" && at != (Endpoint{}):
			s.Replicas = append(s.Replicas, at)
		}
	}
	return s, nil
}

// parseSlots reads the answer to CLUSTER SLOTS, which nodes before Redis 7 know.
func parseSlots(reply any, by asked) (*Topology, error) {
	items, ok := reply.([]any)
	if !ok || len(items) > Slots {
		return nil, topologyFault("no list of slots")
	}
	var shards []Shard
	var ranges []slotRange
	known := make(map[string]int)
	for _, item := range items {
		fields, ok := item.([]any)
		if !ok || len(fields) < 3 || len(fields) > maxReplicas+3 {
			return nil, topologyFault("a range of slots without nodes")
		}
		var s Shard
		for i, n := range fields[2:] {
			at, err := by.listed(n)
			switch {
			case err != nil:
				return nil, err
			case i == 0:
				s.Primary = at
			case at != (Endpoint{}):
				s.Replicas = append(s.Replicas, at)
			}
		}
		id := s.members()
		which, again := known[id]
		if !again {
			if which = len(shards); which == maxShards {
				return nil, topologyFault("more than %d shards", maxShards)
			}
			known[id] = which
			shards = append(shards, s)
		}
		r, err := slotPair(fields[0], fields[1], which)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	return sorted(shards, ranges)
}

// members tells a shard by its nodes, whatever order its replicas are named in.
func (s *Shard) members() string {
	slices.SortFunc(s.Replicas, byAddress)
	var b strings.Builder
	b.WriteString(s.Primary.Address)
	for _, e := range s.Replicas {
		b.WriteByte(' ') // stands in no address
		b.WriteString(e.Address)
	}
	return b.String()
}

// listed reads one node of CLUSTER SLOTS: host, port, and what else there is.
func (by asked) listed(v any) (Endpoint, error) {
	fields, ok := v.([]any)
	if !ok || len(fields) < 2 {
		return Endpoint{}, topologyFault("a node without host and port")
	}
	return by.endpoint(fields[0], fields[1])
}

// endpoint reads host and port. No host means the one that was asked, "?" that
// the node does not know it: that node can't be reached.
func (by asked) endpoint(host, port any) (Endpoint, error) {
	name, ok := host.(string)
	if host == nil || ok && name == "" {
		name, ok = by.host, true
	}
	if ok && name == "?" {
		return Endpoint{}, nil
	}
	n, okPort := port.(int64)
	if !ok || !okPort || n < 1 || n > 65535 || !plausibleHost(name) {
		return Endpoint{}, topologyFault("a node without host and port")
	}
	return Endpoint{Network: "tcp", Address: net.JoinHostPort(name, strconv.FormatInt(n, 10))}, nil
}

// plausibleHost reports whether a name from outside may be looked up at all: an
// address without a zone, or a host name.
func plausibleHost(name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Zone() == ""
	}
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}
