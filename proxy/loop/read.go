package loop

import (
	"errors"
	"io"
	"syscall"
)

// push puts c on the ready list: it is looked at in the next turn without
// waiting for the poller, which knows nothing of bytes in user space.
func (l *Loop) push(c *Conn) {
	if !c.onReady && c.state == open {
		c.onReady = true
		l.ready.push(c)
	}
}

// feed serves a connection of the ready list.
func (l *Loop) feed(c *Conn) {
	c.onReady = false
	if c.state != open {
		return
	}
	l.current = c
	if c.again {
		c.again = false
		c.h.Data(c, nil)
	}
	switch {
	case c.state != open:
	case c.werr != nil:
		l.lastInput(c)
	case c.paused:
	case c.more:
		l.buffered(c)
	case c.eofHeld:
		l.inputEnded(c)
	}
	l.current = nil
}

// readable reads once: a short read has emptied the socket, and a full one leaves
// it readable for the next turn, so that no connection keeps the loop from the others.
func (l *Loop) readable(c *Conn, ready mask) {
	switch {
	case c.state == lingering:
		l.discard(c)
	case c.state == ended || c.state == gone:
	case c.state == flushing || c.paused || c.eof:
		l.unwanted(c, ready)
	case !c.more: // else its turn came, or comes, from the ready list
		l.receive(c)
	}
}

// unwanted handles readiness of a connection that isn't being read.
func (l *Loop) unwanted(c *Conn, ready mask) {
	if ready&mHup == 0 {
		l.watch(c, c.armed&^mIn)
		return
	}
	// The poller would report a hang-up for ever. With an error the peer is
	// gone in both directions; without one (a unix socket) there may be
	// input left for when reading resumes.
	if err := socketError(c.fd); err != nil {
		l.fail(c, err)
		return
	}
	if c.blocked {
		l.fail(c, syscall.EPIPE)
		return
	}
	l.poller.remove(c.fd, c.armed)
	c.armed, c.detached = 0, true
}

// receive takes what one read brings and reports whether there was anything.
func (l *Loop) receive(c *Conn) bool {
	n, err := readFD(c.fd, l.raw)
	if err != nil {
		if err != syscall.EAGAIN {
			l.fail(c, err)
		}
		return false
	}
	c.touched = l.turnNo
	switch {
	case c.tc != nil:
		c.t.in, c.t.eof = l.raw[:n], n == 0
		l.decrypt(c)
		l.keep(c)
	case n > 0:
		c.h.Data(c, l.raw[:n])
	default:
		l.inputEnded(c)
	}
	return n > 0
}

// buffered feeds what user space holds.
func (l *Loop) buffered(c *Conn) {
	c.more = false
	c.touched = l.turnNo
	if c.tc != nil {
		l.decrypt(c)
		l.settle(c)
		return
	}
	p := c.t.in
	c.t.in = nil
	if len(p) > 0 {
		c.h.Data(c, p)
	}
}

// keep saves what crypto/tls left in the loop's buffer, which the next
// connection is about to overwrite.
func (l *Loop) keep(c *Conn) {
	if len(c.t.in) > 0 {
		c.t.in = append([]byte(nil), c.t.in...)
	}
	l.settle(c)
}

// settle accounts for input kept in user space.
func (l *Loop) settle(c *Conn) {
	if len(c.t.in) == 0 {
		c.t.in = nil
	}
	if c.more && !c.paused {
		l.push(c)
	}
	if c.t.in != nil || c.held != 0 {
		l.account(c)
	}
}

// decrypt takes all whole records that have come, as far as the plaintext
// buffer reaches, and hands them over in one call.
func (l *Loop) decrypt(c *Conn) {
	n, err := l.decryptAll(c)
	// A full buffer says that crypto/tls may hold more; any other end that it
	// has asked for more and found nothing.
	c.more = err == nil
	if n > 0 {
		c.h.Data(c, l.plain[:n])
	}
	if c.state != open || err == nil || isEmpty(err) {
		return
	}
	if err == io.EOF {
		l.inputEnded(c)
		return
	}
	l.fail(c, err)
}

func (l *Loop) decryptAll(c *Conn) (n int, err error) {
	for n < len(l.plain) {
		m, err := c.tc.Read(l.plain[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// isEmpty reports whether crypto/tls only passes on that the transport has
// nothing more.
func isEmpty(err error) bool { return err == errEmpty || errors.Is(err, errEmpty) }

// inputEnded tells the handler that the peer sends no more.
func (l *Loop) inputEnded(c *Conn) {
	if c.paused {
		c.eofHeld = true
		return
	}
	if c.eof {
		return
	}
	c.eof, c.eofHeld = true, false
	l.watch(c, c.armed&^mIn) // it stays readable for ever
	c.h.EOF(c)
}

// lastInput reads what a peer sent before our write to it failed, such as a
// server's last error reply, and then closes.
func (l *Loop) lastInput(c *Conn) {
	c.retries--
	switch {
	case c.retries < 0 || c.paused || c.eof || c.eofHeld:
		l.fail(c, c.werr)
		return
	case c.more:
		l.buffered(c)
	case !l.receive(c):
		l.fail(c, c.werr)
		return
	}
	l.push(c)
}
