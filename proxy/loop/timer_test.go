package loop

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func newWheel() (*wheel, time.Time) {
	w := &wheel{}
	base := time.Now()
	w.init(base)
	return w, base
}

// run fires what is due at now.
func (w *wheel) run(now time.Time) {
	w.advance(now)
	for t := w.takeDue(); t != nil; t = w.takeDue() {
		t.f()
	}
}

// Against a plain list of deadlines, over random durations from nothing to days,
// with stops and re-arms, woken only when the wheel asks for it.
func TestTimersAreNeverEarlyAndNeverForgotten(t *testing.T) {
	w, now := newWheel()
	const n = 400
	timers := make([]Timer, n)
	due := make([]time.Time, n) // zero: unarmed
	var fired int
	durations := []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 641 * time.Millisecond, time.Second,
		42 * time.Second, time.Hour, 100 * time.Hour}
	arm := func(i int) {
		d := time.Duration(rand.Int64N(int64(2*durations[rand.IntN(len(durations))]) + 1))
		due[i] = now.Add(d)
		w.arm(&timers[i], now, d, func() {
			switch {
			case due[i].IsZero():
				t.Errorf("timer %d ran though stopped", i)
			case now.Before(due[i]):
				t.Errorf("timer %d ran %v early", i, due[i].Sub(now))
			case now.Sub(due[i]) > 2*tick:
				t.Errorf("timer %d ran %v late", i, now.Sub(due[i]))
			}
			due[i] = time.Time{}
			fired++
		})
	}
	for i := range timers {
		arm(i)
	}
	for range 20_000 {
		switch i := rand.IntN(n); rand.IntN(8) {
		case 0:
			timers[i].Stop()
			due[i] = time.Time{}
		case 1, 2, 3, 4:
			arm(i)
		}
		wait := w.timeout(now)
		if wait < 0 {
			if i := slices.IndexFunc(due, func(at time.Time) bool { return !at.IsZero() }); i >= 0 {
				t.Fatalf("asked to wait for ever with timer %d armed", i)
			}
			wait = 0
		}
		now = now.Add(wait + time.Duration(rand.Int64N(int64(tick/2))))
		w.run(now)
	}
	if fired < 5000 {
		t.Errorf("only %d timers ran", fired)
	}
	for i := range timers {
		timers[i].Stop()
	}
	if wait := w.timeout(now); wait >= 0 {
		t.Errorf("waits %v with nothing armed", wait)
	}
}

func TestTimersAreCheapToPostpone(t *testing.T) {
	w, now := newWheel()
	var timer Timer
	f := func() {}
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(3 * time.Millisecond)
		w.arm(&timer, now, 30*time.Second, f)
		w.advance(now)
	}); n != 0 {
		t.Errorf("%v allocations to re-arm", n)
	}
}

func TestTimersMayStopAndArmOneAnother(t *testing.T) {
	w, now := newWheel()
	var a, b, c Timer
	var ran []string
	w.arm(&a, now, tick, func() {
		ran = append(ran, "a")
		b.Stop() // due in the same turn
		w.arm(&a, now, 0, func() { ran = append(ran, "a again") })
	})
	w.arm(&b, now, tick, func() { ran = append(ran, "b") })
	w.arm(&c, now, tick, func() { ran = append(ran, "c"); c.Stop() })
	if a.level != b.level || w.list[a.level][a.idx] != &c {
		t.Fatal("they don't share a list")
	}
	now = now.Add(2 * tick)
	w.advance(now)
	if w.due == &b { // the order in a list is not promised
		b.Stop()
	}
	for t := w.takeDue(); t != nil; t = w.takeDue() {
		t.f()
	}
	if slices.Contains(ran, "a again") {
		t.Error("re-armed and run in the same turn")
	}
	now = now.Add(2 * tick)
	w.run(now)
	if !slices.Contains(ran, "a again") || !slices.Contains(ran, "c") {
		t.Errorf("ran %q", ran)
	}
}

func TestArmOnALoop(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	type shot struct{ armed, ran time.Time }
	shots := make(chan shot, 1)
	var timer Timer
	const d = 25 * time.Millisecond
	on(t, l, func() {
		at := l.Now()
		l.Arm(&timer, d, func() { shots <- shot{at, time.Now()} })
	})
	if s := receive(t, shots, "the timer"); s.ran.Sub(s.armed) < d {
		t.Errorf("ran after %v", s.ran.Sub(s.armed))
	}
}
