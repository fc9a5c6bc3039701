package loop

import (
	"math/bits"
	"time"
)

const (
	tick      = 10 * time.Millisecond
	levels    = 6 // 6 bits each: some 21 years, half of it uptime, half of it duration
	levelBits = 6
	perLevel  = 1 << levelBits
	maxTicks  = 1<<(levels*levelBits-1) - 1
	levelDue  = 0xff // in the list of due timers
)

// Timer runs a function on a loop. The zero value is unarmed. A Timer belongs to
// one loop, is used on its goroutine only, and must not be copied once armed.
type Timer struct {
	next, prev *Timer // prev is nil at the head of a list
	w          *wheel // nil: unarmed
	at         int64  // in ticks
	level, idx uint8
	f          func()
}

// Stop disarms t; a stopped or unarmed timer does not run. It may be called from
// any function on the loop, t's own included.
func (t *Timer) Stop() {
	if t.w != nil {
		t.w.remove(t)
	}
}

// wheel keeps armed timers in lists by the highest group of six bits in which
// their tick differs from the current one. A list is never behind the current
// tick, so the next moment with something to do is the lowest set bit of the lowest
// non-empty level, and arming and stopping touch one list.
type wheel struct {
	base time.Time
	cur  int64 // the tick the lists are relative to
	set  [levels]uint64
	list [levels][perLevel]*Timer
	due  *Timer
	tail *Timer
}

func (w *wheel) init(base time.Time) { w.base = base }

func (w *wheel) arm(t *Timer, now time.Time, d time.Duration, f func()) {
	t.Stop()
	t.f = f
	t.w = w
	ticks := int64(min(max(d, 0), tick*maxTicks))
	t.at = (int64(now.Sub(w.base)) + ticks + int64(tick) - 1) / int64(tick) // up: never early
	if t.at <= w.cur {
		t.at = w.cur + 1 // not again within this turn
	}
	w.insert(t)
}

// insert links t, whose tick is at or after the current one.
func (w *wheel) insert(t *Timer) {
	if t.at <= w.cur {
		t.level = levelDue
		t.next, t.prev = nil, w.tail
		if w.tail != nil {
			w.tail.next = t
		} else {
			w.due = t
		}
		w.tail = t
		return
	}
	level := (bits.Len64(uint64(t.at^w.cur)) - 1) / levelBits
	idx := t.at >> (level * levelBits) & (perLevel - 1)
	t.level, t.idx = uint8(level), uint8(idx)
	head := w.list[level][idx]
	t.prev, t.next = nil, head
	if head != nil {
		head.prev = t
	}
	w.list[level][idx] = t
	w.set[level] |= 1 << idx
}

func (w *wheel) remove(t *Timer) {
	if t.next != nil {
		t.next.prev = t.prev
	}
	switch {
	case t.prev != nil:
		t.prev.next = t.next
	case t.level == levelDue:
		w.due = t.next
	default:
		w.list[t.level][t.idx] = t.next
		if t.next == nil {
			w.set[t.level] &^= 1 << t.idx
		}
	}
	if t == w.tail {
		w.tail = t.prev
	}
	t.next, t.prev, t.w = nil, nil, nil
}

// next is the tick at which a list has to be looked at; ok is false if nothing is armed.
func (w *wheel) next() (at int64, level int, ok bool) {
	for level, set := range w.set {
		if set != 0 {
			shift := level * levelBits
			above := w.cur >> (shift + levelBits) << (shift + levelBits)
			return above | int64(bits.TrailingZeros64(set))<<shift, level, true
		}
	}
	return 0, 0, false
}

// advance moves the timers due at now to the due list.
func (w *wheel) advance(now time.Time) {
	target := int64(now.Sub(w.base) / tick)
	for w.cur < target {
		at, level, ok := w.next()
		if !ok || at > target {
			w.cur = target
			return
		}
		w.cur = at
		idx := at >> (level * levelBits) & (perLevel - 1)
		t := w.list[level][idx]
		w.list[level][idx] = nil
		w.set[level] &^= 1 << idx
		for t != nil {
			next := t.next
			w.insert(t)
			t = next
		}
	}
}

// takeDue unlinks and returns the next due timer, nil when there is none.
func (w *wheel) takeDue() *Timer {
	t := w.due
	if t != nil {
		w.remove(t)
	}
	return t
}

// timeout is how long from now until the wheel wants attention; negative: for ever.
func (w *wheel) timeout(now time.Time) time.Duration {
	if w.due != nil {
		return 0
	}
	at, _, ok := w.next()
	if !ok {
		return -1
	}
	return max(0, time.Duration(at)*tick-now.Sub(w.base))
}
