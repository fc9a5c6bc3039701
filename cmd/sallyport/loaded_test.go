package main

import (
	"flag"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var nightly = flag.Bool("nightly", false, "loads run in rounds that are measured, instead of one that is not")

// loaded is a number of clients that ask one thing after the other.
type loaded struct {
	took   [][]time.Duration // by client; of the round
	ask    func(client int) error
	pace   time.Duration // between an answer and the next call; 0: at once
	failed atomic.Pointer[error]
}

// round runs until during returns, and gives the 99th percentile of what calls took.
func (l *loaded) round(during func()) time.Duration {
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range l.took {
		l.took[i] = l.took[i][:0]
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if l.pace > 0 {
					<-time.NewTimer(l.pace).C
				}
				began := time.Now()
				if err := l.ask(i); err != nil {
					l.failed.CompareAndSwap(nil, &err)
					return
				}
				l.took[i] = append(l.took[i], time.Since(began))
			}
		})
	}
	during()
	close(stop)
	all.Wait()
	calls := slices.Concat(l.took...)
	slices.Sort(calls)
	if len(calls) == 0 {
		return 0
	}
	return calls[len(calls)*99/100]
}

// ratio is the median of what busy rounds take by what quiet ones take, quiet and
// busy by turns; it logs each.
func ratio(t *testing.T, of string, rounds int, quiet, busy func() time.Duration) float64 {
	t.Helper()
	var ratios []float64
	for range rounds {
		before := quiet()
		ratios = append(ratios, float64(busy())/float64(before))
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	t.Logf("p99 with %s by p99 without, in %d rounds: %.2f; median %.2f", of, rounds, ratios, median)
	return median
}
