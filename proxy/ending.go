package proxy

import (
	"time"

	"github.com/sallyport/sallyport/proxy/audit"
)

// farewell is how long owed replies may take to leave once the proxy ended a session.
const farewell = time.Second

// outputLimit ends a client that does not read what it asked for.
func (s *session) outputLimit() {
	unsent := s.port.Unsent()
	if unsent < outputHighWater && s.slots.held == 0 {
		return
	}
	if int64(unsent+s.slots.held) > s.w.limits.OutputBytes {
		s.cutOff(audit.CloseOutputLimit)
		return
	}
	s.account()
	if s.w.srv.overfull() {
		s.w.relieve()
	}
	if unsent > slowReader {
		s.catchBreath()
	}
}

// finish stops reading and ends the session when every owed reply has left.
func (s *session) finish(reason audit.CloseReason) {
	if s.finishing || s.ended {
		return
	}
	s.finishing, s.reason = true, reason
	s.stopPouring()
	// What a client is owed that has said its last word still comes.
	alone := s.blocked() || reason != audit.CloseClient && s.unattended()
	if s.slots.len() == 0 && !s.waiting && !s.pushing || alone {
		s.end(reason)
		return
	}
	if !s.paused {
		s.paused = true
		s.port.Pause()
	}
}

// end closes the connection after what has been appended has left.
func (s *session) end(reason audit.CloseReason) {
	if s.ended {
		return
	}
	within := farewell
	if reason == audit.CloseClient || reason == audit.CloseDrain {
		within = 0 // what it asked for is its own: it may read at its pace
	}
	s.depart(reason, within)
}

// depart closes the connection, giving what has been appended some time to leave;
// 0: as long as the client goes on reading.
func (s *session) depart(reason audit.CloseReason, within time.Duration) {
	s.ended, s.reason = true, reason
	s.stopTimers()
	s.closeOwn()
	s.port.CloseAfterFlush(within)
}

func (s *session) stopTimers() {
	s.letGo()
	s.authTimer.Stop()
	s.idleTimer.Stop()
	s.abandon()
	if s.lease != nil {
		s.lease.timer.Stop()
	}
}

// expire ends the session for a reason of ours: nothing new is decided, owed
// replies may still leave for a moment.
func (s *session) expire(reason audit.CloseReason) {
	if s.ended {
		s.w.arm(&s.idleTimer, farewell, s.port.Close) // it may still be reading at its pace
		return
	}
	if s.trial != nil {
		s.abandon()
		s.waiting = false
	}
	if s.finishing { // for a milder reason
		s.reason = reason
		if s.slots.len() == 0 && !s.waiting {
			s.end(reason)
		}
	}
	s.finish(reason)
	if !s.ended {
		s.idleTimer.Stop()
		s.w.arm(&s.idleTimer, farewell, func() {
			if !s.ended {
				s.depart(reason, time.Millisecond) // what has come until now has had its time
			}
		})
	}
}
