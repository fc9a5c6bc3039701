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
	took   [][2][]time.Duration // by client and side; of the round
	ask    func(client int) error
	pace   time.Duration // between an answer and the next call; 0: at once
	failed atomic.Pointer[error]
}

// round runs until during returns, and gives the 99th percentile of what calls took.
func (l *loaded) round(during func()) time.Duration {
	return p99(l.run(func(func(side int)) { during() })[0])
}

// beside is a round of pairs of slices, without and with what is measured, and gives
// the 99th percentile of both sides. Slices are short, and every second pair is the
// other way round, so that whatever else the machine does meets both sides alike.
func (l *loaded) beside(pairs int, without, with func()) (quiet, busy time.Duration) {
	sides := [2]func(){without, with}
	took := l.run(func(begin func(side int)) {
		for n := range pairs {
			for _, side := range [2]int{n % 2, 1 - n%2} {
				begin(side)
				sides[side]()
			}
		}
	})
	return p99(took[0]), p99(took[1])
}

// run runs until during returns, and gives what calls took that began while either
// side was; the first one is to begin with.
func (l *loaded) run(during func(begin func(side int))) (took [2][]time.Duration) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	var side atomic.Int32
	for i := range l.took {
		for n := range l.took[i] {
			l.took[i][n] = l.took[i][n][:0]
		}
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
				began, on := time.Now(), side.Load()
				if err := l.ask(i); err != nil {
					l.failed.CompareAndSwap(nil, &err)
					return
				}
				l.took[i][on] = append(l.took[i][on], time.Since(began))
			}
		})
	}
	during(func(n int) { side.Store(int32(n)) })
	close(stop)
	all.Wait()
	for i := range l.took {
		for n := range took {
			took[n] = append(took[n], l.took[i][n]...)
		}
	}
	return took
}

func p99(calls []time.Duration) time.Duration {
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
	return ratioOf(t, of, rounds, func() (without, with time.Duration) {
		without = quiet()
		return without, busy()
	})
}

// ratioOf is ratio for rounds that give both.
func ratioOf(t *testing.T, of string, rounds int, round func() (without, with time.Duration)) float64 {
	t.Helper()
	var ratios []float64
	for range rounds {
		without, with := round()
		ratios = append(ratios, float64(with)/float64(without))
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	t.Logf("p99 with %s by p99 without, in %d rounds: %.2f; median %.2f", of, rounds, ratios, median)
	return median
}
