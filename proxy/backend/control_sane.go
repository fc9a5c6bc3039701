package backend

import (
	"errors"
	"net"
	"strconv"
)

// What a peer of the control plane may say in answer to one question. The
// largest honest answer is the slot map of a large cluster.
const (
	saneBytes  = 8 << 20
	saneCount  = 1 << 17 // elements announced, over all levels
	saneBulk   = 1 << 20
	saneHeader = 64 << 10 // one line
)

var errInsane = errors.New("an answer too large to be one")

// sane is a connection that refuses answers which announce more than they may:
// the client library makes room for what is announced before it has come.
type sane struct {
	net.Conn
	limit saneLimit
}

func (s *sane) Write(p []byte) (int, error) {
	s.limit.asked()
	return s.Conn.Write(p)
}

func (s *sane) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if bad := s.limit.take(p[:n]); bad != nil {
		s.Conn.Close()
		return 0, bad
	}
	return n, err
}

// saneLimit follows RESP just far enough to see what is announced.
type saneLimit struct {
	bytes int
	count int
	skip  int // of a bulk and its line end
	line  []byte
	long  int // bytes of a line beyond what is kept
}

// asked begins a new allowance.
func (l *saneLimit) asked() { l.bytes, l.count = 0, 0 }

func (l *saneLimit) take(p []byte) error {
	if l.bytes += len(p); l.bytes > saneBytes {
		return errInsane
	}
	for len(p) > 0 {
		if l.skip > 0 {
			n := min(l.skip, len(p))
			l.skip -= n
			p = p[n:]
			continue
		}
		b := p[0]
		p = p[1:]
		if b != '\n' {
			if len(l.line) < 32 {
				l.line = append(l.line, b)
			} else if l.long++; l.long > saneHeader {
				return errInsane
			}
			continue
		}
		err := l.header()
		l.line, l.long = l.line[:0], 0
		if err != nil {
			return err
		}
	}
	return nil
}

// header judges a line that is whole but for its LF.
func (l *saneLimit) header() error {
	n := len(l.line)
	if n < 2 || l.line[n-1] != '\r' && l.long == 0 {
		return errInsane
	}
	switch l.line[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		return nil
	case '$', '=', '!', '*', '%', '~', '>', '|':
	default:
		return errInsane
	}
	if l.long > 0 {
		return errInsane
	}
	size, err := strconv.Atoi(string(l.line[1 : n-1]))
	if err != nil || size < -1 {
		return errInsane
	}
	if l.line[0] == '$' || l.line[0] == '=' || l.line[0] == '!' {
		if size > saneBulk {
			return errInsane
		}
		if size >= 0 {
			l.skip = size + 2
		}
		return nil
	}
	if size > saneCount {
		return errInsane
	}
	if l.count += 1 + 2*max(size, 0); l.count > 2*saneCount {
		return errInsane
	}
	return nil
}
