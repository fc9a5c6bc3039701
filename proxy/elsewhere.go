package proxy

import (
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

// elsewhere has a call answered outside its loop: work runs in a goroutine,
// because it waits for a lock, a file or other loops, and gives what answers
// the call, back on the loop. Until then the session is not fed. work must use
// nothing of the session and nothing of the request's bytes.
func (s *session) elsewhere(work func() (answer func())) {
	s.waiting = true
	w := s.w
	w.srv.proofs.out.Add(1)
	go func() {
		defer w.srv.proofs.out.Done()
		answer := func() { s.fail("ERR internal error") }
		func() {
			defer func() {
				if v := recover(); v != nil {
					// Its value could hold what a client sent.
					w.srv.log.Error("panic while a call was answered", zap.ByteString("stack", debug.Stack()))
				}
			}()
			answer = work()
		}()
		w.loop.Post(func() {
			s.waiting = false
			if s.ended {
				return
			}
			answer()
			s.answered()
		})
	}()
}

// askTimeout is how long a loop is waited for whose sessions are asked about.
const askTimeout = 2 * time.Second

// ask runs f for every worker on its loop and gathers what they say. A loop
// that does not answer in time, or before the server closes, is left out. Not to be
// called on a loop.
func ask[T any](s *Server, f func(*worker) T) []T {
	return askLater(s, func(w *worker, say func(T)) { say(f(w)) })
}

// askLater is ask for what takes several turns: f calls say, on its loop, when it knows.
func askLater[T any](s *Server, f func(w *worker, say func(T))) []T {
	s.mu.Lock()
	workers := append([]*worker(nil), s.workers...)
	s.mu.Unlock()
	said := make(chan T, len(workers))
	asked := 0
	for _, w := range workers {
		if w != nil && w.loop.Post(func() { f(w, func(one T) { said <- one }) }) {
			asked++
		}
	}
	timeout := time.NewTimer(askTimeout)
	defer timeout.Stop()
	all := make([]T, 0, asked)
	for range asked {
		select {
		case one := <-said:
			all = append(all, one)
		case <-timeout.C:
			return all
		case <-s.proofs.ctx.Done():
			return all
		}
	}
	return all
}
