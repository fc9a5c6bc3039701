package proxy

import (
	"context"
	"time"
)

// lastBytes waits until every socket of a session that is over is closed, too.
// A process that ends before closes them with input unread, and then the kernel
// sends a reset, which takes replies with it that were not acknowledged yet. A
// socket lingers for a second at most, so looking is good enough.
func (s *Server) lastBytes(ctx context.Context) error {
	if s.lingering() == 0 {
		return nil
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for s.lingering() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
