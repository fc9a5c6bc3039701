package proxy

import (
	"time"

	"github.com/sallyport/sallyport/proxy/audit"
)

// commandProgress is what a client that has begun a command must send of it
// within limits.command_timeout, or else its rest: what a slow line manages, and
// who only wants to hold memory and a place does not.
const commandProgress = 64 << 10

// begun is a command whose end has not come.
type begun struct {
	since time.Time // when it began, or its sender last made progress; zero: there is none
	bytes uint64    // received of the session by then
	calls uint64    // made by the session by then
}

// watchSender notes, at the end of a turn's reading, whether a command has begun
// and is not whole.
func (s *session) watchSender() {
	b := &s.pace.begun
	if !s.reader.Partial() {
		if !b.since.IsZero() {
			b.since = time.Time{}
		}
		return
	}
	if b.since.IsZero() || b.calls != s.commands || s.bytesIn-b.bytes >= commandProgress {
		s.progress()
	}
	if !s.w.watchingSenders {
		s.w.watchingSenders = true
		s.w.arm(&s.w.senders, s.w.limits.CommandTimeout, s.w.watchSenders)
	}
}

// progress has the time for the command at hand begin anew.
func (s *session) progress() {
	s.pace.begun = begun{since: s.w.now(), bytes: s.bytesIn, calls: s.commands}
}

// watchSenders ends those who have kept us waiting for the rest of a command.
// One timer serves all of a loop: it is set to the first end there may be.
func (w *worker) watchSenders() {
	w.watchingSenders = false
	now, limit := w.now(), w.limits.CommandTimeout
	var first time.Time
	for s := w.sessions; s != nil; {
		next := s.next
		if b := &s.pace.begun; !b.since.IsZero() && !s.finishing && !s.ended {
			if s.paused || s.waiting {
				s.progress() // it is we who do not read
			}
			if now.Sub(b.since) >= limit {
				s.expire(audit.CloseCommandTimeout)
			} else if first.IsZero() || b.since.Before(first) {
				first = b.since
			}
		}
		s = next
	}
	if !first.IsZero() {
		w.watchingSenders = true
		w.arm(&w.senders, first.Add(limit).Sub(now), w.watchSenders)
	}
}
