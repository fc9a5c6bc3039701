package proxy

import (
	"slices"

	"github.com/sallyport/sallyport/proxy/audit"
)

// What concerns every session of a loop is spread over turns: with thousands of
// them, a reload or a look at who is connected would otherwise hold up everybody's
// calls for as long as it takes to visit them all.

// walkAtOnce is how many sessions are visited in a turn. One takes about a
// microsecond, and as much for so many channels that it listens to, each of which
// a new policy is asked about.
const (
	walkAtOnce     = 128
	channelsAtOnce = 4
)

// cost is how many sessions it takes as long as to visit this one.
func (s *session) cost() int {
	n := 1
	if s.apart != nil {
		for _, names := range s.apart.subs.names {
			n += len(names) / channelsAtOnce
		}
	}
	return n
}

// walk is a round through the sessions that a loop had when it began. Who comes
// later is not visited, who leaves before its turn comes is passed over.
type walk struct {
	w     *worker
	next  *session // nil: all have been visited
	at    *session // being visited; still set in fault if that panicked
	visit func(*session)
	done  func()
}

// walk has every session visited, the first ones at once, and then done called.
// Neither is called any more once the loop has ended, but for done.
func (w *worker) walk(visit func(*session), done func()) {
	k := &walk{w: w, next: w.sessions, visit: visit, done: done}
	w.walks = append(w.walks, k)
	k.step()
}

// step is a turn's part.
func (k *walk) step() {
	defer k.on() // after a panic, too: it costs the session at fault, and not those behind it
	defer k.fault()
	for n := 0; n < walkAtOnce && k.next != nil; {
		k.at = k.next
		k.next = k.at.next
		n += k.at.cost()
		k.visit(k.at)
	}
	k.at = nil
}

// fault ends the session whose visit panicked: the loop knows of no connection at
// fault, and what was to be done about it, such as to hold it against a new policy,
// has not been done.
func (k *walk) fault() {
	if s := k.at; s != nil {
		k.at = nil
		s.cutOff(audit.ClosePanic)
	}
}

// on has the walk go on in a later turn, or ends it.
func (k *walk) on() {
	if k.next != nil && k.w.post(k.step) {
		return
	}
	k.w.walks = slices.DeleteFunc(k.w.walks, func(o *walk) bool { return o == k })
	k.done()
}

// passed keeps walks off a session that leaves.
func (w *worker) passed(s *session) {
	for _, k := range w.walks {
		if k.next == s {
			k.next = s.next
		}
	}
}

// oblige has something done by every session before it does anything else, such as
// being held against a new policy: by those that are active when they are, by the
// others when a walk comes to them. What was asked for earlier is done earlier.
func (w *worker) oblige(duty func(*session)) {
	w.duties = append(w.duties, duty)
	w.duty++
	number := w.duty
	w.walk((*session).fulfil, func() {
		// Everybody has done it: nobody asks for it again. A walk that a panic has
		// held up may be overtaken by a later one.
		if later := int(w.duty - number); later < len(w.duties) {
			w.duties = slices.Clone(w.duties[len(w.duties)-later:])
		}
	})
}

// fulfil does what the session was obliged to since it did so last. Of one that has
// left nothing is wanted any more: what it did would be counted, and never undone.
func (s *session) fulfil() {
	for w := s.w; !s.gone && s.duty != w.duty; {
		duty := w.duties[len(w.duties)-int(w.duty-s.duty)]
		s.duty++
		duty(s)
	}
}

// tally visits the sessions of all loops, a bounded number a turn, and gives what
// was made of each loop's. Not to be called on a loop. A loop that does not come to
// an end in time is left out.
func tally[T any](s *Server, begin func(*worker) T, visit func(T, *session)) []T {
	return askLater(s, func(w *worker, say func(T)) {
		made := begin(w)
		w.walk(func(s *session) { visit(made, s) }, func() { say(made) })
	})
}
