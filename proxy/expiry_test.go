package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
)

func TestASessionEndsBeforeItsTokenAndNeverAfter(t *testing.T) {
	for _, left := range []time.Duration{time.Second, 5 * time.Second, time.Minute, time.Hour, 24 * time.Hour} {
		first := left
		for range 2000 {
			d := spread(left)
			if d <= 2*10*time.Millisecond || d > max(left/10, 0)+50*time.Millisecond || d > expirySpread+50*time.Millisecond {
				t.Fatalf("with %v left it ends %v before", left, d)
			}
			first = min(first, d)
		}
		if left >= time.Minute {
			if another := spread(left); another == first {
				t.Errorf("with %v left everybody ends at once", left)
			}
		}
	}
}

// The clock jumps over the ends of some sessions: they end with the next sweep,
// and the loop knows when to look again.
func TestASweepEndsWhatTheClockHasJumpedOver(t *testing.T) {
	st := newStage(t, 4, 1)
	in := func(d time.Duration) time.Time { return st.now.Add(d) }
	var list []*session
	for _, a := range st.sessions {
		a.s.next, st.w.sessions = st.w.sessions, a.s
		list = append(list, a.s)
	}
	list[0].lease = &lease{ends: in(time.Hour)}
	list[1].facts.certEnds = in(2 * time.Hour)
	list[2].facts.certEnds = in(3 * time.Hour)
	for _, s := range list {
		st.w.look(s.facts.certEnds)
	}
	st.w.look(list[0].lease.ends)
	st.w.sweep()
	st.now = in(time.Hour + time.Second)
	st.w.sweep()
	if s := list[0]; !s.ended || s.reason != audit.CloseTokenExpired {
		t.Errorf("the token's session: %v, %v", s.ended, s.reason)
	}
	if left := st.w.soonest.Sub(st.now); left != time.Hour-time.Second {
		t.Errorf("the loop looks again in %v", left)
	}
	st.now = in(time.Hour)
	st.w.sweep()
	if s := list[1]; !s.ended || s.reason != audit.CloseCertExpired {
		t.Errorf("the certificate's session: %v, %v", s.ended, s.reason)
	}
	if list[2].ended || list[3].ended {
		t.Error("a session ended whose time had not come")
	}
	st.now = in(2 * time.Hour)
	st.w.sweep()
	if !list[2].ended || list[3].ended || !st.w.soonest.IsZero() {
		t.Errorf("%v %v %v", list[2].ended, list[3].ended, st.w.soonest)
	}
}

// However many proofs are asked for, so many run at a time, and none that has
// become useless while it waited.
func TestSlowProofsAreBoundedInNumber(t *testing.T) {
	var p proofs
	p.init(&Options{Limits: Limits{}.withDefaults()})
	defer p.stop()
	gate := make(chan struct{}, 3)
	var running, most atomic.Int32
	var ran atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			p.within(p.ctx, gate, &acl.Attempt{User: "u", Now: time.Unix(1000, 0)}, func() {
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				ran.Add(1)
				running.Add(-1)
			})
		})
	}
	wg.Wait()
	if most.Load() > 3 || ran.Load() != 100 {
		t.Errorf("%d ran, %d at a time", ran.Load(), most.Load())
	}
	// Its client has gone while it waited.
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	if p.within(ctx, gate, &acl.Attempt{User: "u", Now: time.Unix(1000, 0)}, func() { t.Error("a proof ran for nobody") }) {
		t.Error("it is said to have run")
	}
	// Others have failed on the same user meanwhile.
	for range 10 {
		p.judged(&acl.Attempt{User: "u", Now: time.Unix(1000, 0)}, acl.WrongPassword)
	}
	if p.within(p.ctx, gate, &acl.Attempt{User: "u", Now: time.Unix(1000, 0)}, func() { t.Error("a throttled proof ran") }) {
		t.Error("it is said to have run")
	}
}

func TestTheDelayOfFailuresHidesWhatASlowHashTakes(t *testing.T) {
	var p proofs
	p.init(&Options{Limits: Limits{}.withDefaults()})
	defer p.stop()
	if d := p.failureDelay(); d != 100*time.Millisecond {
		t.Errorf("without slow hashes: %v", d)
	}
	p.noteCost(80 * time.Millisecond)
	if d := p.failureDelay(); d != 160*time.Millisecond {
		t.Errorf("a hash of 80 ms: %v", d)
	}
	for range 200 {
		p.noteCost(10 * time.Millisecond)
	}
	if d := p.failureDelay(); d != 100*time.Millisecond {
		t.Errorf("after one slow moment long ago: %v", d)
	}
	p.noteCost(time.Hour)
	if d := p.failureDelay(); d > proofTimeout/2 {
		t.Errorf("after the machine stood still: %v", d)
	}
	p.delay = -1
	if d := p.failureDelay(); d != 0 {
		t.Errorf("switched off: %v", d)
	}
}
