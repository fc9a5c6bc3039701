package config

import (
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
)

// reading is which nodes of a backend calls go to that only read.
type reading struct {
	from   backend.Reading
	zone   string
	maxLag time.Duration // 0: a replica has to be connected
}

// readings are the ways to read, by their names here.
var readings = map[string]backend.Reading{
	"primary": backend.ReadPrimary, "prefer_replica": backend.ReadPreferReplica,
	"replica": backend.ReadReplica, "nearest": backend.ReadNearest,
}

// quietReplica is how long a primary is silent by default before it pings its replicas.
const quietReplica = 10 * time.Second

// reading reads reads, zone and max_lag.
func (b *backendConfig) reading(s *section) {
	reads, zone, lag := s.get("reads"), s.get("zone"), s.get("max_lag")
	why, hint := "a standalone backend is one node", "name the topology, or remove it"
	if b.kind == backend.Sharded {
		why, hint = "the nodes of shards have no replicas here", "remove it"
	}
	if b.kind == backend.Standalone || b.kind == backend.Sharded {
		for _, v := range []value{reads, zone, lag} {
			if v.present() {
				v.faultHint(hint, "%s", why)
			}
		}
		return
	}
	if reads.present() {
		b.reads.from = readings[reads.word("primary", "primary", "prefer_replica", "replica", "nearest")]
	}
	b.reads.zone = zone.nonempty().Value
	b.reads.maxLag = lag.duration(0, false)
	if b.reads.from == backend.ReadPrimary && !reads.failedHere() {
		for _, v := range []value{zone, lag} {
			if v.present() {
				v.faultHint("add reads: prefer_replica, replica or nearest", "says how to read from replicas, and reads go to the primary")
			}
		}
	}
	if lag.present() && !lag.failedHere() && b.reads.maxLag <= quietReplica {
		lag.warn("more than repl-ping-replica-period, which is 10 s unless set otherwise", "a primary without writes may be silent for longer")
	}
}
