package loop

import (
	"crypto/tls"
	"errors"
	"time"
)

// A connection's life. Only open connections get Data, EOF and Drained.
type state uint8

const (
	open      state = iota
	flushing        // CloseAfterFlush: output leaves, nothing is read
	ended           // on the closing list
	lingering       // Closed was called; input is discarded so that the last reply survives
	gone
)

// Conn is a connection owned by a loop: a client's or a node's. All methods
// belong to the loop's goroutine; after Closed they do nothing.
type Conn struct {
	loop *Loop
	h    Handler
	t    *Transport
	tc   *tls.Conn // nil: plaintext

	fd    int
	slot  uint32
	armed mask // what the poller watches
	state state

	fragile, paused, eof, eofHeld, more, again bool // more: crypto/tls holds undelivered bytes; eofHeld: EOF came while paused
	onReady, dirty                             bool // on the loop's lists
	blocked                                    bool // the kernel takes no more: wait for writability
	sealedBye                                  bool // close_notify is encrypted
	linger                                     bool // end with lingering
	patient                                    bool // flushing: as long as the peer goes on reading
	detached                                   bool // hung up and taken out of the poller, which would report it for ever

	touched  uint32 // the last turn that read it or appended to it
	hint     int32  // what the last flush took: the next buffer's size
	discards int32  // bytes a lingering connection may still throw away
	retries  int32  // reads left after a failed write

	out       []byte   // appended in this turn
	unsent    []byte   // given to a write and not taken by the kernel, from unsentAt on
	unsentAt  int      //
	queue     [][]byte // appended while unsent waits; the first one from queueAt on
	queueAt   int      //
	queueSize int      // bytes in queue
	queueCap  int      // memory in queue
	control   []byte   // TLS records made while reading: KeyUpdate, alerts
	held      int64    // what this connection counts for in Loop.BufferBytes

	attempted, appended uint64

	werr  error // a write failed: what can still be read is, then it closes
	cause error
	timer Timer // open: write progress; flushing: that or the limit given; lingering: its end
}

// Adopt makes the loop the owner of t's connection and of tc, a tls.Conn over t
// whose handshake is complete (nil: plaintext). leftover are bytes already read
// from the connection, below TLS, which the Conn keeps. Whatever bytes t and tc already hold are
// fed in the next turn without waiting for the poller. On success t's net.Conn is
// closed and its descriptor lives on in the Conn; on error the caller still owns t.
func (l *Loop) Adopt(t *Transport, tc *tls.Conn, h Handler, leftover []byte) (*Conn, error) {
	if l.stopping {
		return nil, ErrShutdown
	}
	if tc != nil && !tc.ConnectionState().HandshakeComplete {
		return nil, errors.New("loop: adopt before the TLS handshake is complete")
	}
	fd, err := t.duplicate()
	if err != nil {
		return nil, err
	}
	c := &Conn{loop: l, h: h, t: t, tc: tc, fd: fd, armed: mIn}
	c.slot = l.takeSlot(c)
	if err := l.poller.add(fd, c.slot, l.slots[c.slot].gen, mIn); err != nil {
		l.freeSlot(c.slot)
		closeFD(fd)
		return nil, err
	}
	t.adopted(c, leftover)
	l.conns.Add(1)
	l.fresh++
	if tc != nil || len(t.in) > 0 {
		c.more = true
		l.push(c)
	}
	return c, nil
}

func (l *Loop) takeSlot(c *Conn) uint32 {
	if n := len(l.freeSlots); n > 0 {
		i := l.freeSlots[n-1]
		l.freeSlots = l.freeSlots[:n-1]
		l.slots[i].conn = c
		return i
	}
	l.slots = append(l.slots, slot{conn: c})
	return uint32(len(l.slots) - 1)
}

func (l *Loop) freeSlot(i uint32) {
	l.slots[i].conn = nil
	l.slots[i].gen++
	l.freeSlots = append(l.freeSlots, i)
}

// Loop is the loop that owns c.
func (c *Conn) Loop() *Loop { return c.loop }

// SetHandler has another Handler take over: what comes from now on is its.
func (c *Conn) SetHandler(h Handler) { c.h = h }

// TLS is the connection's tls.Conn for its ConnectionState; nil for plaintext.
func (c *Conn) TLS() *tls.Conn { return c.tc }

// Closing reports whether the connection is ending or has ended: by Close,
// CloseAfterFlush or an error whose Closed is still to come.
func (c *Conn) Closing() bool { return c.state != open }

// Out gives the buffer of output not flushed yet, to append to and give back with SetOut.
func (c *Conn) Out() []byte {
	if c.out == nil && c.takesOutput() {
		c.out = c.loop.buffers.Get(int(c.hint))
	}
	return c.out
}

// SetOut puts the appended-to buffer of Out back and has it written at the end
// of the turn:
//
//	c.SetOut(append(c.Out(), reply...))
//
// Output for a connection that can't send any more is dropped.
func (c *Conn) SetOut(b []byte) {
	if !c.takesOutput() {
		return
	}
	if len(b) == len(c.out) {
		if len(b) == 0 && c.out != nil && !c.fragile { // nothing was appended: an idle client keeps no buffer
			c.loop.buffers.Put(b)
			c.out = nil
		}
		return
	}
	c.appended += uint64(len(b) - len(c.out))
	c.out = b
	c.touch()
}

// Write appends a copy of p.
func (c *Conn) Write(p []byte) { c.SetOut(append(c.Out(), p...)) }

func (c *Conn) takesOutput() bool {
	return c.state <= flushing && !c.sealedBye && c.werr == nil
}

func (c *Conn) touch() {
	c.touched = c.loop.turnNo
	c.markDirty()
}

func (c *Conn) markDirty() {
	if c.dirty {
		return
	}
	c.dirty = true
	if c.fragile {
		c.loop.nodes.push(c)
	} else {
		c.loop.clients.push(c)
	}
}

// Unsent is how many bytes were appended and not yet taken by the kernel (for
// TLS, those already encrypted count with their overhead).
func (c *Conn) Unsent() int {
	return len(c.out) + c.queueSize + len(c.unsent) - c.unsentAt + len(c.control)
}

// Appended counts the bytes ever appended.
func (c *Conn) Appended() uint64 { return c.appended }

// Attempted counts the appended bytes that may have left: what lies beyond was
// never given to the kernel, so a call that begins there can be routed anew. On plaintext
// connections it is exact; on TLS it runs ahead by at most one flush.
func (c *Conn) Attempted() uint64 { return c.attempted }

// Pause stops reading: no Data with bytes and no EOF until Resume. Data asked
// for with Again still comes.
func (c *Conn) Pause() { c.paused = true } // the poller learns of it only if something arrives

// Resume undoes Pause.
func (c *Conn) Resume() {
	if !c.paused {
		return
	}
	c.paused = false
	if c.state != open {
		return
	}
	if c.more || c.eofHeld || c.werr != nil {
		c.loop.push(c)
	}
	c.markDirty() // the flush brings the poller up to date
}

// Again has Data(c, nil) called in the next turn, for input that the handler
// kept when it had done its share of this one.
func (c *Conn) Again() {
	c.again = true
	c.loop.push(c)
}

// QuickAck acknowledges what was received now (TCP_QUICKACK), so that a peer
// whose Nagle holds back the rest of a frame sends it. Nothing happens where the system lacks it.
func (c *Conn) QuickAck() {
	if c.state == open {
		quickAck(c.fd)
	}
}

// Fragile marks a connection whose state can't be trusted after a panic: one
// that the panicking turn read or appended to is closed with ErrPanic. Node
// connections are, for a shifted queue of replies would reach the wrong clients. They are also flushed first.
func (c *Conn) Fragile(on bool) { c.fragile = on }

// Close drops the connection at the edge of the turn; unsent output is discarded.
func (c *Conn) Close() {
	if c.state <= flushing {
		c.end(nil)
	}
}

// CloseAfterFlush sends what was appended for at most d, or with a d of 0 for as long as
// the peer goes on taking it (Options.WriteTimeout), then close_notify, and
// ends our sending half. No Handler method but Closed is called any more; that one with nil when all
// was sent or the time is over. The socket then lingers without the handler, discarding at most 256 KiB of input
// for at most 1 s: closing it with unread input would reset the connection and
// destroy the last reply on its way.
func (c *Conn) CloseAfterFlush(d time.Duration) {
	if c.state != open {
		return
	}
	if c.werr != nil {
		c.end(nil)
		return
	}
	c.state = flushing
	c.patient = d == 0
	if c.patient {
		d = c.loop.group.opts.WriteTimeout
	}
	c.timer.Stop()
	if d > 0 {
		c.loop.Arm(&c.timer, d, c.expiry())
	}
	c.markDirty()
}
