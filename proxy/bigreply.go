package proxy

// slowReader is how much output may wait before a connection is no longer read
// that carries a big reply for this client and nothing for anybody else.
const slowReader = 1 << 20

// catchBreath has the node wait for the client, where nobody else is behind it.
func (s *session) catchBreath() {
	if s.pace.holding != nil || s.ended || s.slots.n == 0 {
		return
	}
	via := s.slots.at(0).via
	if via == nil || !via.Hold(s) {
		return
	}
	s.pace.holding = via
	if !s.port.Blocked() {
		s.port.Again() // this turn's flush may take all of it, and nobody would say so
	}
}

// letGo has the node go on once the client has caught up, or has left: what it is
// still owed is then swallowed.
func (s *session) letGo() {
	if s.ended {
		s.stopPouring()
	}
	via := s.pace.holding
	if via == nil {
		return
	}
	if !s.ended && s.port.Unsent() > slowReader/2 {
		if !s.port.Blocked() {
			s.port.Again()
		}
		return
	}
	s.pace.holding = nil
	via.Release()
}
