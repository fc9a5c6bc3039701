package proxy

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// shaking is a connection during its TLS handshake, of which limits.handshakes
// may be at work at a time. It has its turn while it computes and gives it back
// while it waits for the client: clients that keep theirs waiting, by design or
// by distance, keep nobody else out. While somebody is being served, a turn rests
// for half as long as it was used before the next one gets it: strangers who flood
// leave the clients a share of every processor. Its methods are called by the
// handshake's goroutine only.
type shaking struct {
	net.Conn
	ctx    context.Context
	turns  chan struct{}
	serves func() bool // whether somebody is being served; nil: nobody is
	has    bool        // its turn
	since  time.Time   // when it got it
	busy   bool        // no turn came in time
}

// longestRest bounds a rest, as a turn may have been kept from the processor itself.
const longestRest = time.Millisecond

// Read waits for the client without a turn and returns with one, unless it fails.
func (c *shaking) Read(p []byte) (int, error) {
	c.rest()
	n, err := c.Conn.Read(p)
	if err != nil {
		return n, err
	}
	select {
	case c.turns <- struct{}{}:
		c.has, c.since = true, time.Now()
		return n, nil
	case <-c.ctx.Done():
		c.busy = true
		return 0, c.ctx.Err()
	}
}

// rest gives the turn back, if it has one.
func (c *shaking) rest() {
	if !c.has {
		return
	}
	c.has = false
	if c.serves == nil || !c.serves() {
		<-c.turns
		return
	}
	turns := c.turns
	time.AfterFunc(min(time.Since(c.since)/2, longestRest), func() { <-turns })
}

// CloseWrite ends sending, so that a client that is refused reads the alert and
// the end, and is not reset.
func (c *shaking) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// SyscallConn gives the loop its descriptor.
func (c *shaking) SyscallConn() (syscall.RawConn, error) {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.New("proxy: connection has no descriptor")
	}
	return sc.SyscallConn()
}
