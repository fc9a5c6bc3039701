package main

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAReloadRestsLongerThanItWorksButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := func(p *pace, d time.Duration) (rested time.Duration) {
			time.Sleep(d)
			began := time.Now()
			p.rest()
			return time.Since(began)
		}
		p := &pace{since: time.Now()}
		for _, c := range []struct{ worked, rests time.Duration }{
			{restAfter / 2, 0},
			{restAfter / 2, restLeast}, // together they are a part
			{restLeast, 4 * restLeast},
			{time.Second, restMost},
		} {
			if got := work(p, c.worked); got != c.rests {
				t.Errorf("after %v of work it rested for %v, want %v", c.worked, got, c.rests)
			}
		}
		var all time.Duration
		for range 10_000 {
			all += work(p, time.Millisecond)
		}
		if all > restAll || all < restAll/2 {
			t.Errorf("10,000 parts rested for %v", all)
		}
	})
}
