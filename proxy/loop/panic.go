package loop

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

// errPanics is given to Options.Fatal.
var errPanics = errors.New("loop: three panics within a minute")

// recovered is the turn's edge for panics. Whose handler ran is closed, and so is
// every fragile connection that the turn touched, because which of the clients
// waiting on it got its reply is unknown. The others go on.
func (l *Loop) recovered() {
	v := recover()
	if v == nil {
		return
	}
	l.log.Error("panic on an event loop", zap.Int("loop", l.id), zap.String("panic", PanicText(v)),
		zap.ByteString("stack", debug.Stack()))
	at := l.current
	l.current, l.sealing = nil, nil
	if at != nil {
		l.abort(at)
	}
	for _, s := range l.slots {
		if c := s.conn; c != nil && c.fragile && c.touched == l.turnNo {
			l.abort(c)
		}
	}
	copy(l.panics[:], l.panics[1:])
	l.panics[2] = l.now
	if first := l.panics[0]; !first.IsZero() && l.now.Sub(first) < time.Minute {
		l.group.fatal(errPanics)
	}
}

// abort closes c without another byte.
func (l *Loop) abort(c *Conn) {
	if c.state == lingering {
		l.drop(c)
		return
	}
	c.control = nil
	c.linger = false
	c.end(ErrPanic)
}

// PanicText says for a log what kind of panic it was. The value itself may hold a
// client's data; the runtime's own errors hold types and numbers only.
func PanicText(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", v)
}
