package proxy

import "github.com/sallyport/sallyport/metrics"

// How far a session may run ahead of its replies. Beyond it the session is not
// fed and its socket not read, until replies have gone out.
const (
	maxInFlight      = 1024 // calls, unless limits.in_flight says otherwise
	maxInFlightBytes = 1 << 20
	outputHighWater  = 256 << 10
	mostWhileBlocked = 4 << 20  // of requests, while a call blocks: who has sent more can't be seen to leave
	strangersOutput  = 16 << 10 // before login
)

// turnCalls is how many calls of one session are served in a turn: the others on
// its loop have theirs in between, however many it has sent at once.
const turnCalls = 1024

// fed reports whether the next call may be taken now.
func (s *session) fed() bool {
	if s.finishing || s.ended || s.waiting {
		return false
	}
	if s.inTurn() || s.relistens() {
		return false
	}
	if s.pace.alone && s.pour == nil {
		if s.slots.len() > 0 {
			return false
		}
		s.pace.alone = false
	}
	if s.held != nil {
		return s.slots.len() == 0 && !s.pushing
	}
	return s.roomy()
}

// roomy reports whether the session is within its window.
func (s *session) roomy() bool {
	return s.inWindow() && !s.full && !s.stuck && !s.pace.broke && !s.pace.strained && s.commands < s.pace.turn
}

func (s *session) inWindow() bool {
	calls, bytes := s.window()
	return s.detours == 0 && calls > 0 && bytes > 0
}

// window is how many more calls, and bytes of them, may be under way: for the
// session, beside those that its user's clients have left behind.
func (s *session) window() (calls, bytes int) {
	calls, bytes = s.w.limits.InFlight-s.slots.len(), maxInFlightBytes-s.slots.owed
	if k := s.kin; k != nil {
		calls, bytes = calls-k.calls, bytes-k.bytes
	}
	return calls, bytes
}

// gauge looks at both ends. Calls that the node does not take would pile up in
// front of it, where closing a client frees nothing: they stay with their senders.
func (s *session) gauge() {
	s.meter()
	s.full = s.port.Unsent() >= s.highWater()
	if s.stuck = s.congested(); s.stuck {
		s.w.congested = true
	}
	if s.pour != nil && s.pour.pipe != nil {
		s.gaugePour()
	}
	if s.pace.strained = s.overShare(); s.pace.strained {
		s.w.strain()
	}
}

// highWater is how much output may wait before the session is held up.
func (s *session) highWater() int {
	if s.user == nil {
		return strangersOutput
	}
	return outputHighWater
}

// backpressure stops reading a client that has to wait, and sees to it that it
// is looked at again.
func (s *session) backpressure() {
	if s.finishing || s.ended {
		return
	}
	if s.fed() {
		if s.paused && s.slots.len() <= s.w.limits.InFlight/2 {
			// It was asked again, not resumed, and has caught up.
			s.paused = false
			s.port.Resume()
		}
		return
	}
	if s.blocked() && s.reader.Buffered() < mostWhileBlocked {
		if s.paused { // it is read on, to see when it leaves
			s.paused = false
			s.port.Resume()
		}
		return
	}
	if !s.paused {
		s.paused = true
		s.port.Pause()
		s.w.count.Pause(s.obstacle())
	}
	s.await()
	s.retry()
}

// obstacle is what holds back a session that is not fed, for the metric.
func (s *session) obstacle() metrics.Obstacle {
	switch {
	case s.relistens():
		return metrics.PausedBackend
	case s.waiting || s.held != nil || s.pace.alone && s.pour == nil:
		return metrics.PausedOrder
	case s.pace.broke:
		return metrics.PausedRate
	case s.pace.strained:
		return metrics.PausedMemory
	case s.stuck:
		return metrics.PausedBackend
	case s.full:
		return metrics.PausedOutput
	case !s.inWindow():
		return metrics.PausedInFlight
	}
	return metrics.PausedTurn
}

// retry has a session that only its own unsent output holds back looked at
// after this turn's flush, which may well take all of it. Where the kernel has
// already taken less than it was given, Drained will come instead.
func (s *session) retry() {
	if s.pouredFull() {
		if !s.pour.pipe.Blocked() {
			s.port.Again() // this turn's flush may take all of it
		}
		return
	}
	if s.pace.alone && s.pour == nil {
		return // its reply is waited for
	}
	if !s.waiting && s.held == nil && !s.inTurn() && !s.relistens() && s.inWindow() && !s.stuck && !s.pace.broke && !s.pace.strained && !s.port.Blocked() {
		s.port.Again()
	}
}

// resume looks whether a session that had to wait may go on.
func (s *session) resume() {
	s.letGo()
	s.breathe()
	if s.finishing || s.ended {
		return
	}
	s.gauge()
	if !s.fed() {
		s.await()
		if s.paused {
			s.retry()
		}
		return
	}
	if s.paused {
		if s.slots.len() > s.w.limits.InFlight/2 {
			return
		}
		s.paused = false
		s.port.Resume()
		s.port.Again()
	} else if s.held != nil || s.eof || s.reader.Buffered() > 0 {
		s.port.Again()
	}
}
