package audit

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
)

// SyslogOptions is where a collector is and what it is told.
type SyslogOptions struct {
	Network string // "unix" (datagrams, or a stream where the socket is one) or "tcp"
	Address string
	// TLS is asked for at each dial of a tcp collector; nil: plaintext.
	TLS      func() (*tls.Config, error)
	Facility uint8  // 0 to 23
	App      string // empty: sallyport
}

const (
	syslogDial      = 5 * time.Second
	syslogWrite     = 10 * time.Second
	syslogRetryMost = 5 * time.Second
)

// syslogEnd sends lines to a collector. Messages on a stream are framed by octet
// counting (RFC 6587, RFC 5425): no byte of a message can end it early.
// Its Write counts whole messages only; after a failure the connection is given
// up, since half a message may have left, and the next Write dials.
type syslogEnd struct {
	o      SyslogOptions
	host   string
	ctx    context.Context // ends when nobody waits any more
	cancel context.CancelFunc
	buf    []byte
	ends   []frame
	number uint64

	mu   sync.Mutex
	conn net.Conn
	gram bool // every message is a datagram
}

// frame is where a message ends in buf, and its line in what Write was given.
type frame struct{ buf, line int }

func newSyslogEnd(o SyslogOptions) *syslogEnd {
	s := &syslogEnd{o: o}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.o.App == "" {
		s.o.App = "sallyport"
	}
	if s.host, _ = os.Hostname(); s.host == "" {
		s.host = "-"
	}
	return s
}

// Write sends whole lines.
func (s *syslogEnd) Write(p []byte) (int, error) {
	conn, gram, err := s.connection()
	if err != nil {
		return 0, err
	}
	if err := s.frames(p, gram); err != nil {
		return 0, err
	}
	sent, err := s.send(conn, gram)
	if err != nil {
		s.drop(conn)
	}
	whole := 0
	for _, f := range s.ends {
		if f.buf > sent {
			break
		}
		whole = f.line
	}
	if cap(s.buf) > 4*keepBuffer {
		s.buf, s.ends = nil, nil
	}
	return whole, err
}

// send writes buf, and says how much of it has left.
func (s *syslogEnd) send(conn net.Conn, gram bool) (sent int, err error) {
	if s.ctx.Err() != nil {
		return 0, s.ctx.Err()
	}
	conn.SetWriteDeadline(time.Now().Add(syslogWrite))
	if !gram {
		return conn.Write(s.buf)
	}
	for _, f := range s.ends {
		if _, err := conn.Write(s.buf[sent:f.buf]); err != nil {
			return sent, err
		}
		sent = f.buf
	}
	return sent, nil
}

// frames makes a message of each line.
func (s *syslogEnd) frames(p []byte, gram bool) error {
	s.buf, s.ends = s.buf[:0], s.ends[:0]
	for at := 0; at < len(p); {
		n := bytes.IndexByte(p[at:], '\n')
		if n < 0 {
			return errors.New("syslog: a line without an end")
		}
		text, err := s.message(p[at : at+n])
		if err != nil {
			return err
		}
		if !gram {
			s.buf = append(strconv.AppendInt(s.buf, int64(len(text)), 10), ' ')
		}
		s.buf = append(s.buf, text...)
		at += n + 1
		s.ends = append(s.ends, frame{len(s.buf), at})
	}
	return nil
}

// message is one line as an RFC 5424 message. The line is JSON without control
// characters, so it can't break out of it.
func (s *syslogEnd) message(line []byte) (string, error) {
	at, name := timeOf(line), member(line, `"event":"`)
	if at.IsZero() {
		at = time.Now()
	}
	if name == "" {
		name = "-"
	}
	s.number = s.number%(1<<31-1) + 1
	m := &rfc5424.SyslogMessage{}
	m.SetVersion(1)
	m.SetPriority(s.o.Facility*8 + severity(name, line))
	m.SetTimestamp(at.UTC().Format(timeLayout))
	m.SetHostname(s.host)
	m.SetAppname(s.o.App)
	m.SetProcID(strconv.Itoa(os.Getpid()))
	m.SetMsgID(name)
	m.SetParameter("meta", "sequenceId", strconv.FormatUint(s.number, 10))
	m.SetMessage(string(line))
	text, err := m.String()
	if err != nil {
		return "", fmt.Errorf("syslog message: %w", err)
	}
	return text, nil
}

// member finds a member's text. Quotes of what clients chose are escaped, so only
// a real member is found.
func member(line []byte, open string) string {
	_, rest, _ := bytes.Cut(line, []byte(open))
	text, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(text)
}

// severity is a message's, as RFC 5424 numbers them.
func severity(event string, line []byte) uint8 {
	const failure, warning, notice, info = 3, 4, 5, 6
	switch {
	case event == "dropped" || event == "bypass":
		return failure
	case event == "refused", event == "reload" && member(line, `"status":"`) == "failed", event == "auth" && member(line, `"status":"`) == "failed":
		return warning
	case event == "admin", event == "reload", event == "first_seen":
		return notice
	}
	return info
}

// connection gives the one there is, or dials.
func (s *syslogEnd) connection() (net.Conn, bool, error) {
	s.mu.Lock()
	conn, gram := s.conn, s.gram
	s.mu.Unlock()
	if conn != nil {
		return conn, gram, nil
	}
	conn, gram, err := s.dial()
	if err != nil {
		return nil, false, fmt.Errorf("syslog: %w", err)
	}
	s.mu.Lock()
	s.conn, s.gram = conn, gram
	s.mu.Unlock()
	if !gram {
		go s.listen(conn)
	}
	return conn, gram, nil
}

func (s *syslogEnd) dial() (net.Conn, bool, error) {
	ctx, cancel := context.WithTimeout(s.ctx, syslogDial)
	defer cancel()
	d := net.Dialer{}
	if s.o.Network == "unix" {
		conn, err := d.DialContext(ctx, "unixgram", s.o.Address)
		if err == nil {
			return conn, true, nil
		}
		if !errors.Is(err, syscall.EPROTOTYPE) { // what a stream's socket answers
			return nil, false, err
		}
		conn, err = d.DialContext(ctx, "unix", s.o.Address)
		return conn, false, err
	}
	conn, err := d.DialContext(ctx, "tcp", s.o.Address)
	if err != nil || s.o.TLS == nil {
		return conn, false, err
	}
	cfg, err := s.o.TLS()
	if err == nil {
		secure := tls.Client(conn, cfg)
		if err = secure.HandshakeContext(ctx); err == nil {
			return secure, false, nil
		}
	}
	conn.Close()
	return nil, false, err
}

// listen waits for the collector to go away. What is written to a connection that
// its other end has closed is lost without an error, so that must be known
// before the next write.
func (s *syslogEnd) listen(conn net.Conn) {
	var sink [512]byte
	for {
		if _, err := conn.Read(sink[:]); err != nil {
			s.drop(conn)
			return
		}
	}
}

// drop gives a connection up.
func (s *syslogEnd) drop(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == conn {
		s.conn = nil
	}
}

// SetWriteDeadline ends what hangs; the time is not looked at.
func (s *syslogEnd) SetWriteDeadline(time.Time) error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn.SetWriteDeadline(time.Unix(1, 0))
	}
	return nil
}

// Close ends the connection.
func (s *syslogEnd) Close() error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn.Close()
	}
	return nil
}
