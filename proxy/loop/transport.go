package loop

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// Transport is the net.Conn that crypto/tls runs over. Until Adopt it passes
// through to the connection it was made of, deadlines included, and belongs to
// whichever goroutine does the handshake. After Adopt it never blocks: Read
// takes from what the loop has read and answers a temporary error when that is
// used up, which crypto/tls does not latch, so that the same tls.Conn is
// simply read again when more has come; Write collects records for the loop to send.
type Transport struct {
	nc            net.Conn // nil after Adopt
	local, remote net.Addr
	c             *Conn
	in            []byte // read and not yet taken
	eof           bool
}

// NewTransport wraps nc, a TCP or unix connection (anything with SyscallConn).
func NewTransport(nc net.Conn) *Transport {
	return &Transport{nc: nc, local: nc.LocalAddr(), remote: nc.RemoteAddr()}
}

// Unread has p read again before anything else, before Adopt or after: bytes
// that came in one segment with a PROXY header, say. The Transport keeps p.
func (t *Transport) Unread(p []byte) {
	if len(t.in) > 0 {
		p = append(p[:len(p):len(p)], t.in...)
	}
	t.in = p
}

// empty is what Read answers when the loop has nothing more.
type empty struct{}

func (empty) Error() string   { return "loop: no more input now" }
func (empty) Timeout() bool   { return true }
func (empty) Temporary() bool { return true }

var errEmpty net.Error = empty{}

func (t *Transport) Read(p []byte) (int, error) {
	if len(t.in) > 0 {
		n := copy(p, t.in)
		t.in = t.in[n:]
		return n, nil
	}
	switch {
	case t.nc != nil:
		t.in = nil
		return t.nc.Read(p)
	case t.eof:
		return 0, io.EOF
	}
	return 0, errEmpty
}

func (t *Transport) Write(p []byte) (int, error) {
	if t.c == nil {
		return t.nc.Write(p)
	}
	l := t.c.loop
	if l.sealing == t.c {
		l.sealed = append(l.sealed, p...)
		return len(p), nil
	}
	// crypto/tls answers something it read. It goes out before any record
	// encrypted later, because it may announce the key of those.
	t.c.control = append(t.c.control, p...)
	t.c.markDirty()
	return len(p), nil
}

// Close closes the connection before Adopt and does nothing after it: then the
// Conn is closed.
func (t *Transport) Close() error {
	if t.nc == nil {
		return nil
	}
	return t.nc.Close()
}

func (t *Transport) LocalAddr() net.Addr  { return t.local }
func (t *Transport) RemoteAddr() net.Addr { return t.remote }

func (t *Transport) SetDeadline(at time.Time) error {
	if t.nc == nil {
		return nil
	}
	return t.nc.SetDeadline(at)
}

func (t *Transport) SetReadDeadline(at time.Time) error {
	if t.nc == nil {
		return nil
	}
	return t.nc.SetReadDeadline(at)
}

func (t *Transport) SetWriteDeadline(at time.Time) error {
	if t.nc == nil {
		return nil
	}
	return t.nc.SetWriteDeadline(at)
}

// duplicate gives a second descriptor for the connection, outside the runtime's
// poller and non-blocking as the first.
func (t *Transport) duplicate() (int, error) {
	if t.nc == nil {
		return -1, errors.New("loop: connection was adopted before")
	}
	sc, ok := t.nc.(syscall.Conn)
	if !ok {
		return -1, errors.New("loop: connection has no descriptor")
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	if err := rc.Control(func(s uintptr) { fd, dupErr = dupFD(int(s)) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

// adopted hands the transport over to c.
func (t *Transport) adopted(c *Conn, leftover []byte) {
	if len(leftover) > 0 {
		t.Unread(leftover)
	}
	t.nc.Close() // only its descriptor: the connection has another one
	t.nc, t.c = nil, c
}
