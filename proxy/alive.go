package proxy

import (
	"context"
	"errors"
)

// Alive returns nil when every event loop has taken a turn since the call, and
// an error if one has not when ctx ends.
func (s *Server) Alive(ctx context.Context) error {
	s.mu.Lock()
	workers := append([]*worker(nil), s.workers...)
	s.mu.Unlock()
	turned := make(chan struct{}, len(workers))
	waiting := 0
	for _, w := range workers {
		if w != nil && w.loop.Post(func() { turned <- struct{}{} }) {
			waiting++
		}
	}
	for ; waiting > 0; waiting-- {
		select {
		case <-turned:
		case <-ctx.Done():
			return errors.New("an event loop took no turn in time")
		}
	}
	return nil
}
