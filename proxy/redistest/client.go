package redistest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Reply values: a simple string or bulk string is a string, an integer an int64, an array []any, a null nil, an
// error reply an Error. RESP3 adds float64, bool, Map, Set and Push.
type (
	// Error is an error reply, without its leading '-'.
	Error string
	// Map is a RESP3 map: keys and values by turns.
	Map []any
	// Set is a RESP3 set.
	Set []any
	// Push is a RESP3 push message.
	Push []any
)

func (e Error) Error() string { return string(e) }

// Client is a plain RESP connection for assertions: one request, one reply, in order. Not safe for concurrent use.
type Client struct {
	conn    net.Conn
	in      *bufio.Reader
	timeout time.Duration
}

const clientTimeout = 10 * time.Second

// Dial connects to a RESP server; a nil conf means without TLS. The caller closes the Client. Every call on it has
// ten seconds.
func Dial(network, address string, conf *tls.Config) (*Client, error) {
	dialer := net.Dialer{Timeout: clientTimeout}
	var conn net.Conn
	var err error
	if conf != nil {
		conn, err = tls.DialWithDialer(&dialer, network, address, conf)
	} else {
		conn, err = dialer.Dial(network, address)
	}
	if err != nil {
		return nil, err
	}
	return NewClient(conn), nil
}

// NewClient speaks RESP over a connection that is there already and takes ownership of it.
func NewClient(conn net.Conn) *Client {
	return &Client{conn: conn, in: bufio.NewReader(conn), timeout: clientTimeout}
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends one command and returns its reply. An error reply is returned as the error, of type Error.
func (c *Client) Do(args ...string) (any, error) {
	if err := c.Send(args...); err != nil {
		return nil, err
	}
	reply, err := c.Receive()
	if err != nil {
		return nil, err
	}
	if e, ok := reply.(Error); ok {
		return nil, e
	}
	return reply, nil
}

// Send writes one command and waits for nothing: pipelines are Sends, then as many Receives.
func (c *Client) Send(args ...string) error { return c.Write(Encode(args...)) }

// Write sends bytes as they are.
func (c *Client) Write(raw []byte) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(raw)
	return err
}

// Receive reads one reply. An error reply is a value here (of type Error); err speaks of the connection or of bytes
// that are no RESP.
func (c *Client) Receive() (any, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, err
	}
	return readReply(c.in, 0)
}

// Encode is a command in its canonical form: an array of bulk strings.
func Encode(args ...string) []byte {
	out := append(strconv.AppendInt([]byte{'*'}, int64(len(args)), 10), '\r', '\n')
	for _, a := range args {
		out = append(strconv.AppendInt(append(out, '$'), int64(len(a)), 10), '\r', '\n')
		out = append(append(out, a...), '\r', '\n')
	}
	return out
}

const (
	maxReplyDepth = 64
	maxReplyBulk  = 1 << 30
)

func readReply(in *bufio.Reader, depth int) (any, error) {
	if depth > maxReplyDepth {
		return nil, errors.New("reply nested too deep")
	}
	line, err := readLine(in)
	if err != nil {
		return nil, err
	}
	if line == "" {
		return nil, errors.New("empty line where a reply should begin")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', '(':
		return rest, nil
	case '-':
		return Error(rest), nil
	case ':':
		return strconv.ParseInt(rest, 10, 64)
	case '_':
		return nil, nil
	case '#':
		return rest == "t", nil
	case ',':
		return strconv.ParseFloat(rest, 64)
	}
	size, err := strconv.Atoi(rest)
	if err != nil || size < -1 || size > maxReplyBulk {
		return nil, fmt.Errorf("bad reply header %q", line)
	}
	switch kind {
	case '$', '=', '!':
		return readBulk(in, kind, size)
	case '*', '~', '>':
		items, err := readItems(in, size, depth)
		if err != nil || size < 0 {
			return nil, err
		}
		switch kind {
		case '~':
			return Set(items), nil
		case '>':
			return Push(items), nil
		}
		return items, nil
	case '%':
		items, err := readItems(in, 2*size, depth)
		return Map(items), err
	}
	return nil, fmt.Errorf("unknown reply type %q", line)
}

func readBulk(in *bufio.Reader, kind byte, size int) (any, error) {
	if size < 0 {
		return nil, nil
	}
	body := make([]byte, size+2)
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, err
	}
	if body[size] != '\r' || body[size+1] != '\n' {
		return nil, errors.New("bulk string not closed by CRLF")
	}
	text := string(body[:size])
	switch {
	case kind == '!':
		return Error(text), nil
	case kind == '=' && size >= 4:
		return text[4:], nil
	}
	return text, nil
}

func readItems(in *bufio.Reader, n, depth int) ([]any, error) {
	var items []any
	for range max(n, 0) {
		item, err := readReply(in, depth+1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return "", fmt.Errorf("line not closed by CRLF: %q", line)
	}
	return line[:len(line)-2], nil
}
