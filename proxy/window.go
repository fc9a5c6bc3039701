package proxy

// How far a session may run ahead of its replies. Beyond it the session is not
// fed and its socket not read, until replies have gone out.
const (
	maxInFlight      = 1024
	maxInFlightBytes = 1 << 20
	outputHighWater  = 256 << 10
	mostWhileBlocked = 64 << 10 // of requests, while a call blocks
)

// fed reports whether the next call may be taken now.
func (s *session) fed() bool {
	if s.finishing || s.ended || s.waiting {
		return false
	}
	if s.apart != nil && s.apart.turn.kind != noTurn {
		return false
	}
	if s.held != nil {
		return s.slots.len() == 0
	}
	return s.roomy()
}

// roomy reports whether the session is within its window.
func (s *session) roomy() bool { return s.inWindow() && !s.full && !s.stuck }

func (s *session) inWindow() bool {
	return s.slots.len() < maxInFlight && s.slots.owed < maxInFlightBytes
}

// gauge looks at both ends. Calls that the node does not take would pile up in
// front of it, where closing a client frees nothing: they stay with their senders.
func (s *session) gauge() {
	s.full = s.port.Unsent() >= outputHighWater
	if s.apart != nil {
		s.breathe()
	}
	if s.stuck = s.pipe != nil && s.pipe.Congested(); s.stuck {
		s.w.congested = true
	}
}

// backpressure stops reading a client that has to wait, and sees to it that it
// is looked at again.
func (s *session) backpressure() {
	if s.finishing || s.ended || s.fed() {
		return
	}
	if s.blocked() && s.reader.Buffered() < mostWhileBlocked {
		return // it is read on, to see when it leaves
	}
	if !s.paused {
		s.paused = true
		s.port.Pause()
	}
	s.retry()
}

// retry has a session that only its own unsent output holds back looked at
// after this turn's flush, which may well take all of it. Where the kernel has
// already taken less than it was given, Drained will come instead.
func (s *session) retry() {
	if !s.waiting && s.held == nil && (s.apart == nil || s.apart.turn.kind == noTurn) && s.inWindow() && !s.stuck && !s.port.Blocked() {
		s.port.Again()
	}
}

// resume looks whether a session that had to wait may go on.
func (s *session) resume() {
	if s.finishing || s.ended {
		return
	}
	s.gauge()
	if !s.fed() {
		if s.paused {
			s.retry()
		}
		return
	}
	if s.paused {
		if s.slots.len() > maxInFlight/2 {
			return
		}
		s.paused = false
		s.port.Resume()
		s.port.Again()
	} else if s.held != nil || s.eof || s.reader.Buffered() > 0 {
		s.port.Again()
	}
}
