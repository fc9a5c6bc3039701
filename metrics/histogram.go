package metrics

import "time"

// bounds are the upper bounds of the buckets of every histogram here.
var bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// boundsSeconds is bounds as Prometheus wants them.
func boundsSeconds() []float64 {
	s := make([]float64, len(bounds))
	for i, b := range bounds {
		s[i] = b.Seconds()
	}
	return s
}

// Histogram counts durations in buckets from 50 µs to 10 s. The zero Histogram
// is empty and ready; copying it copies the counts. It is owned by one goroutine.
type Histogram struct {
	counts [len(bounds) + 1]uint64 // not cumulative; the last is what is over 10 s
	// sum is in seconds and a float: thousands of blocked clients would
	// overflow nanoseconds in an int64 within days.
	sum float64
}

// Observe counts one duration in seconds. What is not a positive number counts
// as zero, what is over a year as a year.
func (h *Histogram) Observe(seconds float64) {
	const year = 365 * 24 * time.Hour
	var d time.Duration
	if seconds > 0 {
		d = time.Duration(min(seconds, year.Seconds()) * float64(time.Second))
	}
	h.ObserveN(d, 1)
}

// ObserveN counts n equal durations: a loop that reads the clock once a turn
// knows whole batches by one duration. A negative one, from a clock that went
// back, counts as zero.
func (h *Histogram) ObserveN(d time.Duration, n uint64) {
	d = max(d, 0)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i] += n
	h.sum += d.Seconds() * float64(n)
}

// Count is how many durations were observed.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// add adds o's counts to h's.
func (h *Histogram) add(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.sum += o.sum
}

// cumulative gives the counts as Prometheus wants them.
func (h *Histogram) cumulative() map[float64]uint64 {
	m := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, b := range bounds {
		n += h.counts[i]
		m[b.Seconds()] = n
	}
	return m
}
