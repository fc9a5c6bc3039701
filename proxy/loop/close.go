package loop

import (
	"syscall"
	"time"
)

const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// fail ends a connection with a cause. One that its handler had closed keeps nil.
func (l *Loop) fail(c *Conn, cause error) {
	if c.state == flushing {
		cause = nil
	}
	c.end(cause)
}

// end puts c on the closing list; the rest happens at the edge of the turn.
func (c *Conn) end(cause error) {
	if c.state > flushing {
		return
	}
	c.state = ended
	c.cause = cause
	c.timer.Stop()
	c.loop.closing.push(c)
}

// finish lets a connection go and tells its handler.
func (l *Loop) finish(c *Conn) {
	h := c.h
	c.h = nil
	if c.tc != nil && !c.blocked && c.unsent == nil && len(c.control) > 0 {
		_, _ = writeFD(c.fd, c.control) // a fatal alert: the peer may learn why
	}
	l.discardOutput(c)
	c.t.in = nil
	l.account(c)
	l.conns.Add(-1)
	if c.linger {
		c.state = lingering
		l.lingering.Add(1)
		c.discards = lingerBytes
		l.Arm(&c.timer, lingerTime, c.expiry())
		l.watch(c, mIn)
		l.discard(c)
	} else {
		l.drop(c)
	}
	l.current = c
	h.Closed(c, c.cause)
	l.current = nil
}

// drop closes the descriptor and frees the slot: from here on the poller's
// reports for it are of another generation.
func (l *Loop) drop(c *Conn) {
	switch c.state {
	case gone:
		return
	case lingering:
		l.lingering.Add(-1)
	}
	c.state = gone
	c.timer.Stop()
	if !c.detached {
		l.poller.remove(c.fd, c.armed)
	}
	closeFD(c.fd)
	l.freeSlot(c.slot)
}

// discard reads what a lingering peer still sends. Its end, an error, or too
// much of it closes the socket.
func (l *Loop) discard(c *Conn) {
	n, err := readFD(c.fd, l.raw)
	c.discards -= int32(n)
	if err == syscall.EAGAIN {
		return
	}
	if err != nil || n == 0 || c.discards <= 0 {
		l.drop(c)
	}
}

// expiry is c.expired as the function its timer runs, made once.
func (c *Conn) expiry() func() {
	if c.timer.f == nil {
		return c.expired
	}
	return c.timer.f
}

func (c *Conn) expired() {
	switch c.state {
	case open:
		c.loop.fail(c, ErrWriteTimeout)
	case flushing:
		c.end(nil)
	case lingering:
		c.loop.drop(c)
	}
}
