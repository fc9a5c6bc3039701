package proxy

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// bucket is a token bucket that all loops draw from without a lock. It fills by
// rate tokens a second and holds one second's worth. Times are since a beginning
// that all who draw agree on, and come from a clock that does not jump.
//
// It remembers one moment only: the one at which everything drawn so far is paid
// for. Before now, the bucket has content; after now, it is in debt.
type bucket struct {
	rate atomic.Int64 // 0: no limit
	paid atomic.Int64 // ns
}

// burst is how much of its rate a bucket holds.
const burst = time.Second

// fill makes the bucket a full one.
func (b *bucket) fill(now time.Duration) { b.paid.Store(int64(now - burst)) }

// take draws up to n tokens and returns how many there were.
func (b *bucket) take(now time.Duration, n int64) int64 {
	rate := b.rate.Load()
	if rate <= 0 {
		return n
	}
	for {
		paid := b.paid.Load()
		from := max(paid, int64(now-burst))
		got := min(n, tokens(int64(now)-from, rate))
		if got <= 0 {
			return 0
		}
		if b.paid.CompareAndSwap(paid, from+cost(got, rate)) {
			return got
		}
	}
}

// draw takes n tokens, whether there are any or not.
func (b *bucket) draw(now time.Duration, n int64) {
	rate := b.rate.Load()
	if rate <= 0 || n <= 0 {
		return
	}
	for {
		paid := b.paid.Load()
		from := max(paid, int64(now-burst))
		if to := from + cost(n, rate); to < from || b.paid.CompareAndSwap(paid, to) {
			return
		}
	}
}

// give puts back what was taken and not used.
func (b *bucket) give(n int64) {
	if rate := b.rate.Load(); rate > 0 && n > 0 {
		b.paid.Add(-cost(n, rate))
	}
}

// full says that nothing drawn is still to come in.
func (b *bucket) full(now time.Duration) bool {
	return b.rate.Load() <= 0 || b.paid.Load() <= int64(now-burst)
}

// debt is how long it takes until everything drawn is paid for; 0: it is.
func (b *bucket) debt(now time.Duration) time.Duration {
	if b.rate.Load() <= 0 {
		return 0
	}
	return max(0, time.Duration(b.paid.Load())-now)
}

// tokens is what comes in at a rate during some ns.
func tokens(ns, rate int64) int64 {
	if ns <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(ns), uint64(rate))
	if hi >= uint64(time.Second) {
		return math.MaxInt64
	}
	n, _ := bits.Div64(hi, lo, uint64(time.Second))
	return int64(min(n, math.MaxInt64))
}

// cost is how many ns it takes for n tokens to come in, rounded up.
func cost(n, rate int64) int64 {
	const most = int64(24 * 365 * time.Hour) // a debt is never for longer
	hi, lo := bits.Mul64(uint64(n), uint64(time.Second))
	if hi >= uint64(rate) {
		return most
	}
	ns, rest := bits.Div64(hi, lo, uint64(rate))
	if rest > 0 {
		ns++
	}
	return int64(min(ns, uint64(most)))
}
