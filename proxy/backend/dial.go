package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/proxy/resp"
)

// node is a connection that has passed TLS and the login and is ready for a loop.
type node struct {
	transport *loop.Transport
	tls       *tls.Conn
	info      Info
	id        int64 // the connection's number at the node; 0: it did not say
	at        Endpoint
}

// within bounds what is asked of a node outside any loop: by the time given, and
// by ctx, whose end closes the connection until stop is called.
func (n *node) within(ctx context.Context, most time.Duration) (stop func() bool, err error) {
	deadline := time.Now().Add(most)
	if until, ok := ctx.Deadline(); ok && until.Before(deadline) {
		deadline = until
	}
	if err := n.conn().SetDeadline(deadline); err != nil {
		return nil, err
	}
	return context.AfterFunc(ctx, n.close), nil
}

func (n *node) close() { n.conn().Close() }

func (n *node) conn() net.Conn {
	if n.tls != nil {
		return n.tls
	}
	return n.transport
}

// RefusedError is a node's own error reply during the login. Its text is
// Redis's, without what the node may have repeated of our question: it holds no
// credential.
type RefusedError struct{ Step, Reply string }

func (e *RefusedError) Error() string { return e.Step + " refused: " + e.Reply }

// connect dials the node, shakes hands, logs in and selects the database. Every
// reply of the login is read before the connection is handed over, so that none
// can be taken for a client's.
func (b *Backend) connect(k Key) (*node, error) { return b.attempt(context.Background(), k) }

// attempt is connect until ctx ends.
func (b *Backend) attempt(ctx context.Context, k Key) (*node, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.DialTimeout)
	defer cancel()
	at, nc, err := b.reach(ctx, k)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	b.opts.Addresses.add(nc)
	as, err := b.introduction(k)
	if err != nil {
		nc.Close()
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline)
	n := &node{transport: loop.NewTransport(nc), at: at}
	if as.tls != nil {
		cfg, err := as.tls(hostOf(at))
		if err != nil {
			nc.Close()
			return nil, err
		}
		n.tls = tls.Client(n.transport, cfg)
		if err := n.tls.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
	}
	if err := as.introduce(n, k); err != nil {
		n.close()
		return nil, as.asOwn(k, err)
	}
	if err := b.readOnly(n, k); err != nil {
		n.close()
		return nil, err
	}
	if !stop() {
		n.close()
		return nil, ctx.Err()
	}
	nc.SetDeadline(time.Time{})
	return n, nil
}

// introduce says HELLO (AUTH where the node is too old for it), names the
// connection and selects the database.
func (as *login) introduce(n *node, k Key) error {
	password := ""
	if as.password != nil {
		var err error
		if password, err = as.password(); err != nil {
			return err
		}
	}
	d := dialogue{conn: n.conn(), secret: password}
	user := as.user
	if user == "" {
		user = "default"
	}
	hello := []string{"HELLO", strconv.Itoa(k.Proto)}
	if password != "" {
		hello = append(hello, "AUTH", user, password)
	}
	said, err := d.ask("HELLO", hello...)
	var refused *RefusedError
	switch {
	case err == nil:
		n.info = Info{Version: said.field("version"), RESP3: true}
		n.id, _ = strconv.ParseInt(strings.TrimPrefix(said.field("id"), ":"), 10, 64)
	case errors.As(err, &refused) && strings.HasPrefix(refused.Reply, "ERR unknown command") && k.Proto == 2:
		if err := as.introduceBefore6(&d, password); err != nil { // Redis 5 has no HELLO
			return err
		}
	default:
		return err
	}
	if _, err := d.ask("CLIENT SETNAME", "CLIENT", "SETNAME", "sallyport"); err != nil && !errors.As(err, &refused) {
		return err
	}
	if k.DB != 0 {
		if _, err := d.ask("SELECT", "SELECT", strconv.Itoa(k.DB)); err != nil {
			return err
		}
	}
	return nil
}

var errNoUsers = errors.New("the node is older than Redis 6 and has no users; leave backend user empty")

// introduceBefore6 logs in to a node that knows only AUTH password.
func (as *login) introduceBefore6(d *dialogue, password string) error {
	if as.user != "" {
		return errNoUsers
	}
	if password == "" {
		return nil
	}
	_, err := d.ask("AUTH", "AUTH", password)
	return err
}

// dialogue asks one question at a time on a connection that nobody else uses.
type dialogue struct {
	conn   net.Conn
	secret string // what some questions hold and no error may
	most   int    // bytes of a reply; 0: maxLoginReply
}

// said is a login reply, raw.
type said []byte

// maxLoginReply bounds what a node may answer to a login step.
const maxLoginReply = 16 << 10

// ask sends one command and reads exactly its reply. A byte after it is an error.
func (d *dialogue) ask(step string, args ...string) (said, error) {
	raw := make([][]byte, len(args))
	for i, a := range args {
		raw[i] = []byte(a)
	}
	if _, err := d.conn.Write(resp.AppendCommand(nil, raw)); err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	var framer resp.Framer
	framer.Reset(3)
	buf, most := make([]byte, 0, 512), max(d.most, maxLoginReply)
	for at := 0; ; {
		if len(buf) == cap(buf) {
			if cap(buf) >= most {
				return nil, fmt.Errorf("%s: reply too long", step)
			}
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		m, err := d.conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+m]
		n, done, ferr := framer.Next(buf[at:])
		at += n
		switch {
		case ferr != nil:
			return nil, fmt.Errorf("%s: %w", step, ferr)
		case done && framer.Kind() == '>':
			return nil, fmt.Errorf("%s: %w", step, errPush)
		case done && at != len(buf):
			return nil, fmt.Errorf("%s: %w", step, errSurplusReply)
		case done && framer.Kind() == '-':
			return nil, &RefusedError{Step: step, Reply: d.redact(buf[1 : at-2])}
		case done:
			return said(buf), nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", step, err)
		}
	}
}

// redact gives a node's error without what it repeats of the question. A Redis
// that does not know a command (an old one HELLO, a renamed one AUTH) shows its
// arguments, the password among them, cut to their first bytes.
func (d *dialogue) redact(b []byte) string {
	text, _, _ := strings.Cut(string(b), ", with args beginning with")
	if d.secret != "" {
		text = strings.ReplaceAll(text, d.secret, "***")
	}
	return printable([]byte(text))
}

// field finds the bulk string that follows a key in HELLO's flat or map reply.
func (s said) field(key string) string {
	lines := strings.Split(string(s), "\r\n")
	for i := 0; i+2 < len(lines); i++ {
		if lines[i] != key {
			continue
		}
		if strings.HasPrefix(lines[i+1], ":") {
			return lines[i+1]
		}
		return printable([]byte(lines[i+2]))
	}
	return ""
}

// printable bounds and cleans a node's words for a log line.
func printable(b []byte) string {
	b = b[:min(len(b), 200)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, string(b))
}
