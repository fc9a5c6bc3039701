package proxy

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/sallyport/sallyport/acl"
)

// recentProofs remembers for a minute which name and password a slow hash was
// found to fit, so that a client that comes back with hundreds of connections
// computes it once. Only successes are remembered, by a MAC under a key that this
// process alone has and that never leaves it: nothing here can be tried elsewhere, and
// who guesses meets the slow hash, the gate and the throttle as before. What it
// remembers is which hash fitted; one that is the user's no more counts for
// nothing, and all else about the login is judged anew each time.
type recentProofs struct {
	key [sha256.Size]byte

	mu    sync.Mutex
	known map[[sha256.Size]byte]recentProof
}

type recentProof struct {
	argon string
	until time.Time
}

const (
	proofRemembered = time.Minute
	proofsMost      = 4096 // at once; whoever finds no place computes his hash
)

func (r *recentProofs) init() {
	rand.Read(r.key[:]) // never fails
	r.known = make(map[[sha256.Size]byte]recentProof)
}

// of is the MAC of a name and a password. The name's length keeps them apart.
func (r *recentProofs) of(a *acl.Attempt) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, r.key[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(a.User))))
	mac.Write([]byte(a.User))
	mac.Write(a.Password)
	mac.Sum(sum[:0])
	return sum
}

// find gives the hash that the attempt's name and password fitted lately, empty
// if it is not known.
func (r *recentProofs) find(a *acl.Attempt) string {
	mac := r.of(a)
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.known[mac]; ok && a.Now.Before(p.until) {
		return p.argon
	}
	return ""
}

// prove says in the attempt what is known of its name and password, and reports
// whether that spares it the slow hash.
func (r *recentProofs) prove(p *acl.Policy, a *acl.Attempt) bool {
	a.Proved = r.find(a)
	return !p.Slow(a)
}

// keep remembers that they fitted a hash.
func (r *recentProofs) keep(a *acl.Attempt, argon string) {
	if argon == "" {
		return
	}
	mac := r.of(a)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[mac]; ok || len(r.known) < proofsMost {
		r.known[mac] = recentProof{argon, a.Now.Add(proofRemembered)}
	}
}

// forget drops what is over.
func (r *recentProofs) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for mac, p := range r.known {
		if !now.Before(p.until) || p.until.Sub(now) > proofRemembered { // a clock that went back prolongs nothing
			delete(r.known, mac)
		}
	}
}
