package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/sallyport/sallyport/acl"
)

// gate counts who is in: all connections, and those of each source. It is
// passed before anything else is spent on a connection.
type gate struct {
	mu        sync.Mutex
	limit     int
	perSource int
	in        int
	sources   map[netip.Addr]int
	pending   map[net.Conn]struct{} // admissions under way, so that Close can end them
	closed    bool
	changed   chan struct{} // closed and replaced when the last one leaves
	lingering func() int    // sockets that are still open for the last reply to arrive; nil: none

	turns chan struct{} // bounds TLS handshakes at work, see shaking
}

func (g *gate) init(l Limits) {
	g.sources = make(map[netip.Addr]int)
	g.pending = make(map[net.Conn]struct{})
	g.changed = make(chan struct{})
	g.turns = make(chan struct{}, l.Handshakes)
}

// serves reports whether somebody is in who has been admitted.
func (g *gate) serves() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in > len(g.pending)
}

// setLimits says how many may be in. Whoever is in stays in.
func (g *gate) setLimits(l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit, g.perSource = l.Connections, l.ConnectionsPerSource
}

// place is one connection's place behind the gate.
type place struct {
	g       *gate
	source  netip.Addr
	taken   bool
	claimed bool // it counts among its source's
}

// enter takes a place, or says why there is none. It counts among all
// connections; claim counts it among its source's.
func (g *gate) enter(nc net.Conn) (place, acl.Reason) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.in >= g.limit || g.lingering != nil && g.in+g.lingering() >= g.limit {
		return place{}, acl.TooManyClients
	}
	g.in++
	g.pending[nc] = struct{}{}
	return place{g: g, taken: true}, acl.None
}

// claim says whose place it is, once that is known.
func (p *place) claim(source netip.Addr) acl.Reason {
	g := p.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.perSource <= 0 {
		return acl.None
	}
	if g.sources[source] >= g.perSource {
		return acl.TooManyClients
	}
	g.sources[source]++
	p.source, p.claimed = source, true
	return acl.None
}

// admitted says that a loop owns the connection now.
func (g *gate) admitted(nc net.Conn) {
	g.mu.Lock()
	delete(g.pending, nc)
	g.mu.Unlock()
}

// inside is the number of connections that are in.
func (g *gate) inside() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in
}

// release gives the place back.
func (p *place) release() {
	if !p.taken {
		return
	}
	p.taken = false
	g := p.g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in--
	if p.claimed {
		if g.sources[p.source]--; g.sources[p.source] == 0 {
			delete(g.sources, p.source)
		}
	}
	if g.in == 0 {
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

// shut ends the admissions under way and lets nobody in any more.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for nc := range g.pending {
		nc.Close()
	}
}

// empty waits until nobody is in.
func (g *gate) empty(ctx context.Context) error {
	for {
		g.mu.Lock()
		in, changed := g.in, g.changed
		g.mu.Unlock()
		if in == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
