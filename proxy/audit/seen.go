package audit

import (
	"net/netip"
	"sync"
)

// seenMost is how many sightings a Seen holds.
const seenMost = 1 << 14

// Seen remembers who logged in from which network and how, to tell what is new.
// It holds a bounded number; where there are more, those not seen for longest are
// forgotten, and are new again. It begins empty with each process. Safe for
// concurrent use; the zero value is ready.
type Seen struct {
	mu   sync.Mutex
	now  map[sighting]struct{}
	past map[sighting]struct{}
}

type sighting struct {
	user    string
	network netip.Prefix
	method  Method
}

// Network is the part of an address that tells networks apart: 24 bits of an
// IPv4 address, 64 of another. The zero Prefix stands for a unix socket.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// First reports whether a principal is seen with this network and method for the
// first time, and remembers it.
func (s *Seen) First(user string, from netip.Addr, method Method) bool {
	k := sighting{user, Network(from), method}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.now[k]; ok {
		return false
	}
	_, known := s.past[k]
	// Two halves: the older one is dropped whole when the newer one is full.
	if s.now == nil || len(s.now) >= seenMost/2 {
		s.past, s.now = s.now, make(map[sighting]struct{})
	}
	s.now[k] = struct{}{}
	return !known
}
