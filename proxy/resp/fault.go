package resp

import "errors"

// Fault is the family a ProtocolError belongs to.
type Fault uint8

const (
	// Malformed bytes get "-ERR " and the error's text, then the connection
	// closes, as Redis does.
	Malformed Fault = iota
	// CrossProtocol bytes are not meant for Redis: HTTP, or TLS on a plaintext
	// port. The connection closes without a reply, as Redis does for HTTP.
	CrossProtocol
	// TooLarge is a command that would have to be held and is longer than may be.
	TooLarge
)

// String returns the reason as events and metrics spell it.
func (f Fault) String() string {
	switch f {
	case CrossProtocol:
		return "cross_protocol"
	case TooLarge:
		return "request_too_large"
	}
	return "protocol_error"
}

// ProtocolError says why a client's bytes are not a command. The stream behind
// it can't be read any further. Its text holds at most one byte of the
// client's, and that one printable.
type ProtocolError struct {
	Kind Fault
	// Text follows "-ERR " in the reply, in Redis's words where Redis has some.
	Text string
}

// Error returns the text.
func (e *ProtocolError) Error() string { return e.Text }

func malformed(what string) *ProtocolError {
	return &ProtocolError{Kind: Malformed, Text: "Protocol error: " + what}
}

func crossProtocol(what string) *ProtocolError {
	return &ProtocolError{Kind: CrossProtocol, Text: "Protocol error: " + what}
}

var (
	errCount        = malformed("invalid multibulk length")
	errCountLine    = malformed("too big mbulk count string")
	errCountLogin   = malformed("unauthenticated multibulk length")
	errBulk         = malformed("invalid bulk length")
	errBulkLine     = malformed("too big bulk count string")
	errBulkLogin    = malformed("unauthenticated bulk length")
	errBulkEnd      = malformed("expected CR LF after bulk")
	errRequest      = malformed("too big request")
	errHeld         = &ProtocolError{Kind: TooLarge, Text: "request too large to be held"}
	errRequestLogin = malformed("unauthenticated request too big")
	errInline       = malformed("too big inline request")
	errInlineNUL    = malformed("NUL in inline request")
	errQuotes       = malformed("unbalanced quotes in request")
	errEmpties      = malformed("too many empty requests")
	errHTTP         = crossProtocol("HTTP request")
	errTLS          = crossProtocol("TLS handshake on a plaintext port")
)

// unexpected is Redis's answer to an argument that is not a bulk string.
func unexpected(c byte) *ProtocolError {
	if c < ' ' || c > '~' {
		c = ' '
	}
	return malformed("expected '$', got '" + string(rune(c)) + "'")
}

// ErrReply is what every error of a Framer wraps: the node's stream is not
// RESP, or not the RESP version agreed upon. What follows can't be told apart
// any more, so the connection must be given up.
var ErrReply = errors.New("malformed reply")
