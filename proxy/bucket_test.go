package proxy

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Whatever is asked for, and however often: in any span of time no more is had
// than the rate gives in it and the one second's worth the bucket holds.
func TestABucketNeverGivesMoreThanItsRate(t *testing.T) {
	for _, rate := range []int64{1, 3, 1000, 999_983, 1 << 30, 1 << 40} {
		r := rand.New(rand.NewPCG(uint64(rate), 1))
		var b bucket
		b.rate.Store(rate)
		now := time.Duration(0)
		b.fill(now)
		var had int64
		for range 20000 {
			now += time.Duration(r.Int64N(int64(3 * time.Millisecond)))
			had += b.take(now, 1+r.Int64N(max(1, rate/50)))
			if most := float64(rate) * (now.Seconds() + 1); float64(had) > most {
				t.Fatalf("rate %d: %d had after %v, %.0f are the most", rate, had, now, most)
			}
		}
		if least := float64(rate)*now.Seconds()*0.98 - 1; float64(had) < least {
			t.Errorf("rate %d: only %d had after %v, not %.0f", rate, had, now, least)
		}
	}
}

func TestABucketThatWasLeftAloneHoldsOneSecondsWorth(t *testing.T) {
	var b bucket
	b.rate.Store(100)
	b.fill(0)
	if got := b.take(time.Hour, 1000); got != 100 {
		t.Fatalf("%d tokens after an hour", got)
	}
	if got := b.take(time.Hour, 1); got != 0 {
		t.Fatal("an empty bucket gave one")
	}
	b.give(30)
	if got := b.take(time.Hour, 1000); got != 30 {
		t.Fatalf("%d of 30 given back", got)
	}
}

func TestADebtIsPaidByTheRateAlone(t *testing.T) {
	var b bucket
	b.rate.Store(1 << 20)
	b.fill(0)
	b.draw(0, 5<<20) // one of these the bucket held
	if got := b.debt(0); got != 4*time.Second {
		t.Fatalf("%v of debt", got)
	}
	if b.take(3900*time.Millisecond, 1) != 0 || b.debt(4*time.Second) != 0 {
		t.Fatal("the debt is not four seconds long")
	}
	b.draw(4*time.Second, math.MaxInt64)
	if got := b.debt(4 * time.Second); got <= 0 || got > 366*24*time.Hour {
		t.Fatalf("%v of debt", got)
	}
}

func TestLoopsDrawFromOneBucket(t *testing.T) {
	var b bucket
	b.rate.Store(1000)
	b.fill(0)
	var mu sync.Mutex
	var had int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var mine int64
			for i := range 10000 {
				mine += b.take(time.Duration(i)*100*time.Microsecond, 7)
			}
			mu.Lock()
			had += mine
			mu.Unlock()
		})
	}
	wg.Wait()
	// One second of a thousand, and what was there before.
	if had > 2000 {
		t.Fatalf("%d tokens of 2000", had)
	}
}
