package config

import (
	"net"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
)

// maxWeight is the largest weight of a shard.
const maxWeight = 1000

// sharedOut reads the nodes of topology sharded, each an address, or a mapping of
// address and either slots, or name and weight, and gives the addresses.
func (b *backendConfig) sharedOut(items []value) []value {
	var out []value
	sections := make([]*section, len(items))
	for i, item := range items {
		if item.mapping() {
			sections[i] = item.section()
			b.slotted = b.slotted || sections[i].get("slots").present()
		}
	}
	names, owners := make(map[string]bool, len(items)), make(slotOwners)
	for i, item := range items {
		at := item
		if s := sections[i]; s != nil {
			at = s.required("address")
		}
		if b.slotted {
			b.slotsOf(item, sections[i], owners, len(out))
		} else {
			b.memberOf(item, sections[i], at, names)
		}
		if s := sections[i]; s != nil {
			s.close()
		}
		if at.present() {
			out = append(out, at)
		}
	}
	return out
}

// memberOf reads what places a node's keys by its name. s is nil where the node
// is but an address.
func (b *backendConfig) memberOf(item value, s *section, at value, names map[string]bool) {
	m := backend.Member{Weight: 1}
	if s != nil {
		m.Name = s.get("name").nonempty().Value
		m.Weight = s.get("weight").number(1, 1, maxWeight)
	}
	if !at.present() {
		return
	}
	if m.Name == "" {
		m.Name = at.text().Value
	}
	if names[m.Name] && m.Name != "" {
		item.faultHint("give each its own name: it decides which keys are there", "there are two shards named %s", quoted(m.Name))
	}
	names[m.Name] = true
	b.members = append(b.members, m)
}

// spreading reads what concerns keys over several shards.
func (b *backendConfig) spreading(s *section) {
	split, announce := s.get("split"), s.get("announce")
	distribution, hash, tag := s.get("distribution"), s.get("hash"), s.get("hash_tag")
	b.ejecting(s.get("eject"))
	sharded := b.kind == backend.Sharded
	for _, v := range []value{distribution, hash, tag} {
		if v.present() && !sharded {
			v.faultHint("write topology: sharded, or remove it", "only topology sharded places keys by itself")
		}
		if v.present() && sharded && b.slotted {
			v.faultHint("remove it", "slots say which node has which keys")
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
	if b.slotted {
		b.covered(s)
		return
	}
	kind := distribution.word("ketama", backend.Distributions()...)
	function := hash.word("fnv1a_64", backend.Hashes()...)
	around := tag.nonempty().Value
	if around != "" && len(around) != 2 {
		tag.faultHint(`like "{}"`, "a hash tag is two characters")
		return
	}
	if len(b.members) == 0 || s.failedBelow("nodes") {
		return
	}
	var err error
	if b.spread, err = backend.NewDistribution(kind, function, around, b.members); err != nil {
		s.fault("%s", err)
	}
}

// ejecting reads eject: of shards.
func (b *backendConfig) ejecting(v value) {
	s := v.section()
	if !s.present() {
		return
	}
	switch {
	case b.kind != backend.Sharded:
		v.faultHint("remove it", "only nodes of topology sharded give their keys to others")
	case b.slotted:
		v.faultHint("remove it", "slots stay with their node")
	}
	b.eject.Failures = s.get("failures").number(ejectFailures, 1, 1000)
	b.eject.Retry = s.get("retry").duration(ejectRetry, false)
	s.close()
}

// When a node is ejected unless something else is said; twemproxy's defaults.
const (
	ejectFailures = 2
	ejectRetry    = 30 * time.Second
)
