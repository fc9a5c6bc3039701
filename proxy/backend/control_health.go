package backend

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Health checks.
const (
	pingEvery   = time.Second
	pingTimeout = time.Second
	pingSlow    = 300 * time.Millisecond // an answer that takes longer makes the others be asked what they know
	openAfter   = 3                      // failed checks in a row
)

// health is what the checks of one node showed. Safe for concurrent use.
type health struct {
	failed   atomic.Int32 // in a row
	answered atomic.Bool  // the last one
	review   review
}

// Answers reports whether a node has answered its last health check.
func (c *control) Answers(e Endpoint) bool {
	h, ok := c.health.Load(e)
	return ok && h.(*health).answered.Load()
}

// Broken reports whether a node has failed so many health checks in a row that
// calls should not wait for it. One answered check closes the breaker again: the
// checks go on and are what is sent half-open.
func (c *control) Broken(e Endpoint) bool {
	h, ok := c.health.Load(e)
	return ok && h.(*health).failed.Load() >= openAfter
}

// watchHealth checks every node about once a second, each on its own.
func (c *control) watchHealth(ctx context.Context) {
	for c.nextCheck(ctx) == nil {
		t := c.topology.Load()
		if t == nil {
			continue
		}
		nodes := t.Nodes()
		done := make(chan struct{}, len(nodes))
		for _, e := range nodes {
			go func() {
				c.check(ctx, e)
				done <- struct{}{}
			}()
		}
		for range nodes {
			<-done
		}
		c.publish()
	}
}

// check asks one node whether it is there.
func (c *control) check(ctx context.Context, e Endpoint) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	began := time.Now()
	late := time.AfterFunc(pingSlow, func() { c.Suspect(e) })
	_, err := c.ask(ctx, peer{at: e}, "PING")
	late.Stop()
	took, said := time.Since(began), err
	var refused *RefusedError
	if errors.As(err, &refused) {
		err = nil // NOPERM, LOADING, MASTERDOWN: it answers, and what it says is for clients to hear
	}
	v, _ := c.health.LoadOrStore(e, new(health))
	h := v.(*health)
	h.answered.Store(err == nil)
	switch {
	case err == nil:
		h.failed.Store(0)
		c.cleared(e)
		c.restored(e)
	case ctx.Err() != nil && context.Cause(ctx) == context.Canceled:
		return // we are ending
	default:
		n := h.failed.Add(1)
		c.failing(e, int(n))
		if n == openAfter {
			c.Suspect(e)
			if c.routing.Broke != nil {
				c.routing.Broke(e)
			}
		}
	}
	c.judge(ctx, e, &h.review, took, said)
	if c.routing.Pinged != nil {
		c.routing.Pinged(e, took, err)
	}
}
