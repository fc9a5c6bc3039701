package config

import (
	"net"

	"github.com/sallyport/sallyport/proxy/backend"
)

// maxWeight is the largest weight of a shard.
const maxWeight = 1000

// sharedOut reads the nodes of topology sharded, each an address, or a mapping of
// address, name and weight, and gives the addresses.
func (b *backendConfig) sharedOut(items []value) []value {
	var out []value
	names := make(map[string]bool, len(items))
	for _, item := range items {
		m := backend.Member{Weight: 1}
		at := item
		if item.mapping() {
			s := item.section()
			at = s.required("address")
			m.Name = s.get("name").nonempty().Value
			m.Weight = s.get("weight").number(1, 1, maxWeight)
			s.close()
			if !at.present() {
				continue
			}
		}
		if m.Name == "" {
			m.Name = at.text().Value
		}
		if names[m.Name] && m.Name != "" {
			item.faultHint("give each its own name: it decides which keys are there", "there are two shards named %s", quoted(m.Name))
		}
		names[m.Name] = true
		b.members, out = append(b.members, m), append(out, at)
	}
	return out
}

// spreading reads what concerns keys over several shards.
func (b *backendConfig) spreading(s *section) {
	split, announce := s.get("split"), s.get("announce")
	distribution, hash, tag := s.get("distribution"), s.get("hash"), s.get("hash_tag")
	sharded := b.kind == backend.Sharded
	for _, v := range []value{distribution, hash, tag} {
		if v.present() && !sharded {
			v.faultHint("write topology: sharded, or remove it", "only topology sharded places keys by itself")
		}
	}
	if split.present() && !sharded && b.kind != backend.Cluster {
		split.faultHint("remove it", "there is one shard")
	}
	b.whole = !split.flagOr(true)
	if t := announce.nonempty(); t.Value != "" {
		_, _, err := net.SplitHostPort(t.Value)
		switch {
		case b.kind != backend.Cluster:
			announce.faultHint("remove it", "only clients of clusters ask where to connect to")
		case err != nil:
			announce.faultHint("host:port, as clients reach this proxy", "%s is not an address", quoted(t.Value))
		}
		b.announce = t.Value
	}
	if !sharded {
		return
	}
	kind := distribution.word("ketama", backend.Distributions()...)
	function := hash.word("fnv1a_64", backend.Hashes()...)
	around := tag.nonempty().Value
	if around != "" && len(around) != 2 {
		tag.faultHint(`like "{}"`, "a hash tag is two characters")
		return
	}
	if len(b.members) == 0 || b.failedBelow(s) {
		return
	}
	var err error
	if b.spread, err = backend.NewDistribution(kind, function, around, b.members); err != nil {
		s.fault("%s", err)
	}
}

// failedBelow tells whether the nodes already have a fault, which says more than
// that no distribution can be made of them.
func (b *backendConfig) failedBelow(s *section) bool {
	nodes := s.get("nodes")
	for _, item := range nodes.list() {
		if item.failedHere() {
			return true
		}
	}
	return nodes.failedHere()
}
