package admin

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// places is a listener with so many open connections at most. It keeps clients
// that open and hold from taking the descriptors that the proxy's own clients
// need; and as whoever sends half a request, or nothing, must not hold all places
// either, the next one gets the place of one that is not being served: the oldest
// of the address that holds most of them.
type places struct {
	net.Listener
	most   int
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	open []*place // by age
	free chan struct{}
}

// place is one connection. It is busy while a whole request of it is served.
type place struct {
	net.Conn
	in   *places
	from string
	busy atomic.Bool
}

func newPlaces(ln net.Listener, most int) *places {
	return &places{Listener: ln, most: most, closed: make(chan struct{}), free: make(chan struct{}, 1)}
}

// Accept waits for a connection first, then for a place.
func (p *places) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from := c.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host
	}
	for {
		took, yields := p.take(c, from)
		if took != nil {
			return took, nil
		}
		if yields != nil {
			yields.Close()
			continue
		}
		select {
		case <-p.free:
		case <-p.closed:
			c.Close()
			return nil, net.ErrClosed
		}
	}
}

// take gives c a place, or says who has to make room; nobody, if all are busy.
func (p *places) take(c net.Conn, from string) (took, yields *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) < p.most {
		took = &place{Conn: c, in: p, from: from}
		p.open = append(p.open, took)
		return took, nil
	}
	held := make(map[string]int, len(p.open))
	for _, one := range p.open {
		held[one.from]++
	}
	for _, one := range p.open {
		if !one.busy.Load() && (yields == nil || held[one.from] > held[yields.from]) {
			yields = one
		}
	}
	return nil, yields
}

// Close also ends an Accept that waits for a place.
func (p *places) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}

// Close gives the place back, once.
func (c *place) Close() error {
	p := c.in
	p.mu.Lock()
	for i, one := range p.open {
		if one == c {
			p.open = append(p.open[:i], p.open[i+1:]...)
			select {
			case p.free <- struct{}{}:
			default:
			}
			break
		}
	}
	p.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets the HTTP server end an answer to a request it has not read to
// its end; without it the client sees a reset instead of the answer.
func (c *place) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type placeKey struct{}

// placed has requests find their place.
func placed(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, placeKey{}, c)
}

// hold keeps a request's place while it is served.
func hold(ctx context.Context) (release func()) {
	c, ok := ctx.Value(placeKey{}).(*place)
	if !ok {
		return func() {}
	}
	c.busy.Store(true)
	return func() {
		c.busy.Store(false)
		select {
		case c.in.free <- struct{}{}: // whoever waits for a place looks again
		default:
		}
	}
}
