package proxy

import "github.com/sallyport/sallyport/proxy/audit"

// What clients can make the proxy hold is bounded by limits.memory: unfinished
// requests in the readers, replies waiting in slots, output the kernel has not
// taken. Over it nobody new is let in, and the largest holders are closed until
// nine tenths are reached. Nobody ever waits for memory while holding some.

// held is the memory kept for clients now, over all loops.
func (s *Server) held() int64 {
	n := s.kept.Load()
	for _, l := range s.group.Loops() {
		n += l.BufferBytes()
	}
	return n
}

// overfull reports whether limits.memory is exceeded.
func (s *Server) overfull() bool { return s.held() > s.opts.Limits.Memory }

// account brings what the session's reader and slots keep into the sum.
func (s *session) account() {
	n := int64(s.reader.Buffered() + s.slots.held)
	if a := s.apart; a != nil {
		n += int64(a.subs.bytes)
		if a.txn != nil {
			n += int64(a.txn.bytes)
		}
	}
	if n == s.kept {
		return
	}
	grew := n > s.kept
	s.w.srv.kept.Add(n - s.kept)
	s.kept = n
	if grew && s.w.srv.overfull() {
		s.w.relieve()
	}
}

// holding is what closing the session would free.
func (s *session) holding() int64 { return s.kept + int64(s.port.Unsent()) }

// relieve closes this loop's largest holders until nine tenths of the limit are
// reached. It does so once a turn: what was closed is counted out at its edge.
func (w *worker) relieve() {
	now := w.now()
	if now.Equal(w.relieved) {
		return
	}
	w.relieved = now
	excess := w.srv.held() - w.limits.Memory/10*9
	for excess > 0 {
		var largest *session
		for s := w.sessions; s != nil; s = s.next {
			if !s.cut && (largest == nil || s.holding() > largest.holding()) {
				largest = s
			}
		}
		if largest == nil || largest.holding() == 0 {
			return
		}
		excess -= largest.holding()
		largest.cutOff(audit.CloseMemoryLimit)
	}
}

// cutOff drops the connection with whatever it is owed, also one that has ended
// and whose last replies are still leaving.
func (s *session) cutOff(reason audit.CloseReason) {
	if s.cut {
		return
	}
	s.cut, s.ended, s.reason = true, true, reason
	s.authTimer.Stop()
	s.idleTimer.Stop()
	s.closeOwn()
	s.port.Close()
}
