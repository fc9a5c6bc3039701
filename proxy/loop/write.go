package loop

import "syscall"

const (
	sealLimit    = 256 << 10 // application bytes encrypted for one write
	sendLimit    = 1 << 20   // what one connection may send in a turn
	controlLimit = 64 << 10  // unsent records of crypto/tls itself
	lastReads    = 64        // reads after a failed write
)

// flush writes what a connection appended in this turn, unless earlier output
// still waits for the kernel.
func (l *Loop) flush(c *Conn) {
	c.dirty = false
	if c.state > flushing {
		return
	}
	l.current = c
	if c.blocked {
		c.enqueue(l)
		if len(c.control) > controlLimit {
			// A peer that has its keys updated over and over and reads none of it.
			l.fail(c, ErrWriteTimeout)
		}
	} else if c.werr == nil {
		l.send(c)
	}
	l.sync(c)
	l.current = nil
}

// writable goes on where a short write stopped.
func (l *Loop) writable(c *Conn) {
	l.send(c)
	if c.blocked || c.state > flushing || c.werr != nil {
		return
	}
	l.sync(c)
	if c.state == open {
		c.h.Drained(c)
	}
}

// sync brings the poller up to date.
func (l *Loop) sync(c *Conn) {
	if c.state > flushing {
		return
	}
	if c.blocked || c.held != 0 {
		l.account(c)
	}
	want := c.armed &^ mOut
	if c.blocked {
		want |= mOut
	}
	if c.state == open && !c.paused && !c.eof {
		want |= mIn
	}
	l.watch(c, want)
}

func (l *Loop) watch(c *Conn, want mask) {
	if want == c.armed {
		return
	}
	gen := l.slots[c.slot].gen
	var err error
	if c.detached {
		err = l.poller.add(c.fd, c.slot, gen, want)
		c.detached = false
	} else {
		err = l.poller.modify(c.fd, c.slot, gen, c.armed, want)
	}
	c.armed = want
	if err != nil {
		l.fail(c, err)
	}
}

// send writes as much as the kernel takes, within the turn's bound, and leaves
// c blocked if anything remains.
func (l *Loop) send(c *Conn) {
	was := c.blocked
	c.blocked = false
	var sent int
	for sent < sendLimit {
		fresh := c.unsent == nil
		if fresh && !l.prepare(c) {
			l.sentAll(c, was)
			return
		}
		n, err := l.write(c, fresh && c.tc != nil)
		if err != nil {
			l.writeFailed(c, err)
			return
		}
		sent += n
		if c.unsent != nil {
			break
		}
	}
	c.blocked = true
	c.enqueue(l)
	if d := l.group.opts.WriteTimeout; d > 0 && (c.state == open || c.patient) && (sent > 0 || !was) {
		l.Arm(&c.timer, d, c.expiry())
	}
}

// prepare makes the next bytes for the kernel c.unsent: a buffer of the
// connection for plaintext, the loop's shared one for TLS. It reports false if nothing is left.
func (l *Loop) prepare(c *Conn) bool {
	if c.tc != nil {
		return l.seal(c)
	}
	switch {
	case len(c.queue) > 0:
		c.unsent, c.unsentAt = c.shift()
	case len(c.out) > 0:
		c.expect(len(c.out))
		c.unsent, c.unsentAt, c.out = c.out, 0, nil
	default:
		return false
	}
	return true
}

// write gives c.unsent to the kernel once. If it doesn't take all, the rest
// stays in memory of the connection. shared says that c.unsent is the loop's
// buffer of sealed records.
func (l *Loop) write(c *Conn, shared bool) (int, error) {
	n, err := writeFD(c.fd, c.unsent[c.unsentAt:])
	if err == syscall.EAGAIN {
		n, err = 0, nil
	}
	if err != nil {
		if shared {
			c.unsent, c.unsentAt = nil, 0
		}
		return 0, err
	}
	if c.tc == nil {
		c.attempted += uint64(n)
	} else if shared {
		c.attempted += uint64(l.sealedApp)
	}
	c.unsentAt += n
	if c.unsentAt < len(c.unsent) {
		if shared {
			rest := c.unsent[c.unsentAt:]
			c.unsent, c.unsentAt = append(l.buffers.Get(len(rest)), rest...), 0
		}
		return n, nil
	}
	if !shared {
		l.reuse(c, c.unsent)
	}
	c.unsent, c.unsentAt = nil, 0
	return n, nil
}

// reuse takes back a buffer that has been sent. A node connection keeps its own:
// there are few of them, and each turn would otherwise grow a fresh one from small.
func (l *Loop) reuse(c *Conn, b []byte) {
	if c.fragile && c.out == nil && cap(b) <= maxBuffer && c.state == open {
		c.out = b[:0]
		return
	}
	l.buffers.Put(b)
}

// expect remembers how large the next buffer should be: what was sent now, or a
// little less than the last time, so that one small turn does not make the next
// one grow its buffer step by step. Only node connections, which are few, expect
// large ones: many clients that once had a big reply must not each take one.
func (c *Conn) expect(n int) {
	most := largeHint
	if c.fragile {
		most = maxBuffer
	}
	c.hint = int32(min(max(n, int(c.hint)-int(c.hint)/8), most))
}

// seal encrypts waiting output into the loop's shared buffer, so that all its
// records leave in one write.
func (l *Loop) seal(c *Conn) bool {
	l.sealed = append(l.sealed[:0], c.control...)
	c.control = nil
	l.sealing, l.sealedApp = c, 0
	if len(c.queue) == 0 && len(c.out) > 0 && len(c.out) <= sealLimit {
		c.expect(len(c.out))
		sealed := c.out
		c.out = nil
		l.encrypt(c, sealed)
		l.reuse(c, sealed)
	} else {
		c.enqueue(l)
		for len(c.queue) > 0 && l.sealedApp < sealLimit {
			p := c.queue[0][c.queueAt:]
			p = p[:min(len(p), sealLimit-l.sealedApp)]
			l.encrypt(c, p)
			c.take(l, len(p))
		}
	}
	if c.state == flushing && len(c.queue) == 0 && !c.sealedBye {
		c.sealedBye = true
		c.tc.CloseWrite()
	}
	l.sealing = nil
	c.unsent, c.unsentAt = l.sealed, 0
	if len(l.sealed) == 0 {
		c.unsent = nil
		return false
	}
	return true
}

// encrypt can only fail after a fatal alert, when the connection fails anyway.
func (l *Loop) encrypt(c *Conn, p []byte) {
	if _, err := c.tc.Write(p); err != nil && c.werr == nil && c.cause == nil {
		l.fail(c, err)
	}
	l.sealedApp += len(p)
}

// sentAll is reached when nothing waits any more.
func (l *Loop) sentAll(c *Conn, was bool) {
	if was && c.state == open {
		c.timer.Stop()
	}
	c.queue = nil
	if c.state == flushing {
		shutdownWrite(c.fd)
		c.linger = true
		c.end(nil)
	}
}

// writeFailed drops the output. What the peer sent before it went away is still
// read, if anybody wants to read it.
func (l *Loop) writeFailed(c *Conn, err error) {
	if c.state != open || c.paused || c.eof {
		l.fail(c, err)
		return
	}
	c.werr = err
	c.retries = lastReads
	c.timer.Stop()
	l.discardOutput(c)
	l.push(c)
}

// enqueue moves this turn's output behind the one that waits, into the last
// buffer if it has room: many small replies don't each hold a buffer.
func (c *Conn) enqueue(l *Loop) {
	if len(c.out) == 0 {
		return
	}
	c.queueSize += len(c.out)
	if n := len(c.queue); n > 0 {
		if last := c.queue[n-1]; cap(last)-len(last) >= len(c.out) {
			c.queue[n-1] = append(last, c.out...)
			l.buffers.Put(c.out)
			c.out = nil
			return
		}
	}
	c.queue = append(c.queue, c.out)
	c.queueCap += cap(c.out)
	c.out = nil
}

// take consumes n bytes at the head of the queue.
func (c *Conn) take(l *Loop, n int) {
	c.queueAt += n
	c.queueSize -= n
	if c.queueAt == len(c.queue[0]) {
		b, _ := c.shift()
		l.buffers.Put(b)
	}
}

// shift removes the first buffer of the queue.
func (c *Conn) shift() (b []byte, at int) {
	b, at = c.queue[0], c.queueAt
	c.queue[0] = nil
	c.queue = c.queue[1:]
	c.queueSize -= len(b) - at
	c.queueCap -= cap(b)
	c.queueAt = 0
	return b, at
}

func (l *Loop) discardOutput(c *Conn) {
	if c.out != nil {
		l.buffers.Put(c.out)
	}
	if c.unsent != nil {
		l.buffers.Put(c.unsent)
	}
	for len(c.queue) > 0 {
		b, _ := c.shift()
		l.buffers.Put(b)
	}
	c.out, c.unsent, c.unsentAt, c.queue, c.control = nil, nil, 0, nil, nil
	c.blocked = false
	l.account(c)
}

// account keeps the loop's sum of the memory that connections hold between turns.
func (l *Loop) account(c *Conn) {
	held := int64(cap(c.unsent) + c.queueCap + cap(c.control) + cap(c.t.in))
	l.held += held - c.held
	c.held = held
}
