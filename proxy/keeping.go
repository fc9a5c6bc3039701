package proxy

import (
	"net/netip"
	"sync"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
)

// A sink may be told to keep the record or have nobody let in (on_full: refuse).
// While it can't, new connections are turned away and logins are not judged, so
// that nobody learns whether a secret was right; and a login whose event found no
// room after all does not happen.

const errUnrecorded = "ERR nobody can log in now: the record of events can't be kept"

// refusals folds connections that are turned away, while the record must be kept:
// they would fill what is left of a queue that is nearly full.
type refusals struct {
	mu     sync.Mutex
	folder audit.SourceFolder
}

// fold says whether a refusal is to be written, and how many others with it.
func (s *Server) foldRefusal(e *audit.Event) bool {
	if !s.opts.Recorder.Refuses() {
		return true
	}
	s.refusals.mu.Lock()
	defer s.refusals.mu.Unlock()
	folded, ok := s.refusals.folder.Write(e.Time, e.Listener, e.ClientIP, e.Reason)
	e.Folded = folded
	return ok
}

// unfold writes what was folded and no event speaks for, once its time is over.
func (s *Server) unfold(now time.Time) {
	if !s.opts.Recorder.Refuses() {
		return
	}
	var rest []audit.Event
	s.refusals.mu.Lock()
	s.refusals.folder.Rest(now, func(listener string, source netip.Addr, reason acl.Reason, folded uint64) {
		rest = append(rest, audit.Event{Time: now, Kind: audit.Refused, Listener: listener, ClientIP: source, Reason: reason, Folded: folded})
	})
	s.refusals.mu.Unlock()
	for i := range rest {
		s.opts.Recorder.Record(&rest[i])
	}
}

// keeps says whether a login may be judged at all. If not, that is answered.
func (s *session) keeps() bool {
	if s.w.recorder.Keeps() {
		return true
	}
	s.refused++
	s.w.count.Listener(s.facts.listenerIndex).Refuse(uint8(acl.RecordUnavailable))
	s.fail(errUnrecorded)
	return false
}

// unrecorded ends a session whose beginning or login could not be put on record.
// Whether the login was right is not told.
func (s *session) unrecorded() {
	s.w.count.Listener(s.facts.listenerIndex).Refuse(uint8(acl.RecordUnavailable))
	s.speakFor(acl.Principal{})
	s.reader.SetLimits(s.w.loginLimits)
	s.fail(errUnrecorded)
	s.finish(audit.CloseUnrecorded)
}

// noticed puts on record that a principal is seen for the first time in this way.
func (w *worker) noticed(e audit.Event) {
	if w.srv.seen.First(e.User, e.ClientIP, e.Method) {
		e.Kind, e.Mode, e.Reason = audit.FirstSeen, "", acl.None
		w.recorder.Record(&e)
	}
}
