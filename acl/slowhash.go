package acl

// SlowHash is what one attempt costs for the user whose argon2id hashes cost
// most. It is comparable: equal ones take equally long.
type SlowHash struct {
	memory, passes uint32
	threads        uint8
	hashes         int
}

// SlowHash finds it; the zero value says that no user has such hashes.
func (p *Policy) SlowHash() SlowHash {
	var most SlowHash
	for _, u := range p.users {
		for i := range u.argon {
			h := SlowHash{u.argon[i].memory, u.argon[i].passes, u.argon[i].threads, len(u.argon)}
			if h.cost() > most.cost() {
				most = h
			}
		}
	}
	return most
}

func (h SlowHash) cost() uint64 { return uint64(h.memory) * uint64(h.passes) * uint64(h.hashes) }

// Spend does the work of one attempt and tells nothing, for whoever measures
// how long that takes here. It does not belong on an event loop.
func (h SlowHash) Spend() {
	one := argonHash{memory: h.memory, passes: h.passes, threads: h.threads, salt: make([]byte, argonSaltMin), key: make([]byte, argonKeyMin)}
	for range h.hashes {
		one.fits(nil)
	}
}
