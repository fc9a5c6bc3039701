package acl

import (
	"crypto/sha256"
	"net/netip"
	"time"
)

// ThrottleOptions bounds failing attempts to log in. A zero field takes its default.
type ThrottleOptions struct {
	// PairFailures is how many failures in a row one source may have on one
	// user before it is made to wait, and PairRefill how long it takes to earn
	// another try. Default 10 and 6 s.
	PairFailures int
	PairRefill   time.Duration
	// SourceFailures and SourceRefill are the same for everything that comes
	// from one source. Default 100 and 1 s.
	SourceFailures int
	SourceRefill   time.Duration
	// Trust is how long a pair that succeeded is not held up by what else its
	// source does: others behind the same NAT or balancer. Default one hour.
	Trust time.Duration
	// Entries bounds each of the three tables; the entry longest not touched
	// makes room. An entry takes about 200 bytes. Default 65536.
	Entries int
}

// Throttle slows down guessing. Only failures count, in a bucket of the pair
// (source, user) and one of the source, an IPv4 address or an IPv6 /64; all
// unix sockets are one source. A success clears its own pair and nothing else.
// Memory is bounded whatever arrives. It has no clock: times are given and must
// not go back by much. Not safe for concurrent use.
type Throttle struct {
	opts    ThrottleOptions
	pairs   recent[pairKey]
	sources recent[netip.Prefix]
	trusted recent[pairKey]
}

// pairKey is a source and the digest of a user name: names are the client's to
// choose, as long as it likes, and nobody can make two of them collide.
type pairKey struct {
	source netip.Prefix
	user   [16]byte
}

// NewThrottle gives a throttle that has seen nothing.
func NewThrottle(o ThrottleOptions) *Throttle {
	set := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	wait := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&o.PairFailures, 10)
	set(&o.SourceFailures, 100)
	set(&o.Entries, 1<<16)
	wait(&o.PairRefill, 6*time.Second)
	wait(&o.SourceRefill, time.Second)
	wait(&o.Trust, time.Hour)
	t := &Throttle{opts: o}
	t.pairs.most, t.sources.most, t.trusted.most = o.Entries, o.Entries, o.Entries
	return t
}

// Allow says whether an attempt may be made now. It counts nothing. An attempt
// that is not allowed must be answered as any failure is, and not be counted.
func (t *Throttle) Allow(src netip.Addr, user string, now time.Time) bool {
	key := pairOf(src, user)
	if b := t.pairs.get(key); b != nil && b.level(now, t.opts.PairRefill) > t.opts.PairFailures-1 {
		return false
	}
	b := t.sources.get(key.source)
	if b == nil || b.level(now, t.opts.SourceRefill) <= t.opts.SourceFailures-1 {
		return true
	}
	seen := t.trusted.get(key)
	return seen != nil && now.Sub(seen.full) < t.opts.Trust
}

// Failed counts a failure.
func (t *Throttle) Failed(src netip.Addr, user string, now time.Time) {
	key := pairOf(src, user)
	t.pairs.put(key).fill(now, t.opts.PairRefill, t.opts.PairFailures)
	t.sources.put(key.source).fill(now, t.opts.SourceRefill, t.opts.SourceFailures)
}

// Succeeded clears the pair and lets it past its source's bucket for a while.
func (t *Throttle) Succeeded(src netip.Addr, user string, now time.Time) {
	key := pairOf(src, user)
	t.pairs.drop(key)
	t.trusted.put(key).full = now
}

// Len gives how many entries are held, for tests and the record.
func (t *Throttle) Len() int { return t.pairs.len() + t.sources.len() + t.trusted.len() }

func pairOf(src netip.Addr, user string) pairKey {
	sum := sha256.Sum256([]byte(user))
	return pairKey{sourceOf(src), [16]byte(sum[:16])}
}

// sourceOf gives what counts as one source: a single IPv4 address, the /64 of
// an IPv6 one, and the zero prefix for unix sockets.
func sourceOf(src netip.Addr) netip.Prefix {
	src = src.Unmap().WithZone("")
	bits := 64
	if src.Is4() {
		bits = 32
	}
	p, err := src.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// bucket holds failures, of which one leaks out each refill. full is the time
// at which it will be empty; for a trusted pair it is when it succeeded.
type bucket struct{ full time.Time }

// level gives how many failures the bucket holds, a begun one as a whole.
func (b *bucket) level(now time.Time, refill time.Duration) int {
	left := b.full.Sub(now)
	if left <= 0 {
		return 0
	}
	return int((left + refill - 1) / refill)
}

func (b *bucket) fill(now time.Time, refill time.Duration, most int) {
	if b.full.Before(now) {
		b.full = now
	}
	if end := now.Add(time.Duration(most) * refill); b.full.Add(refill).Before(end) {
		b.full = b.full.Add(refill)
	} else {
		b.full = end
	}
}

// recent is a bounded table; when it is full, the entry longest not put makes room.
type recent[K comparable] struct {
	most        int
	entries     map[K]*entry[K]
	first, last *entry[K] // the one put last is first
}

type entry[K comparable] struct {
	bucket
	key        K
	prev, next *entry[K]
}

func (r *recent[K]) len() int { return len(r.entries) }

func (r *recent[K]) get(key K) *bucket {
	if e := r.entries[key]; e != nil {
		return &e.bucket
	}
	return nil
}

// put finds or makes the entry of a key and moves it to the front.
func (r *recent[K]) put(key K) *bucket {
	e := r.entries[key]
	switch {
	case e != nil:
		r.unlink(e)
	case len(r.entries) >= r.most:
		e = r.last
		r.unlink(e)
		delete(r.entries, e.key)
		*e = entry[K]{key: key}
		r.entries[key] = e
	default:
		if r.entries == nil {
			r.entries = make(map[K]*entry[K])
		}
		e = &entry[K]{key: key}
		r.entries[key] = e
	}
	if e.next = r.first; e.next != nil {
		e.next.prev = e
	} else {
		r.last = e
	}
	r.first = e
	return &e.bucket
}

func (r *recent[K]) drop(key K) {
	if e := r.entries[key]; e != nil {
		r.unlink(e)
		delete(r.entries, key)
	}
}

func (r *recent[K]) unlink(e *entry[K]) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		r.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		r.last = e.prev
	}
	e.prev, e.next = nil, nil
}
