package proxy

import (
	"errors"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// What clients read. Suites compare these texts, so they are Redis's to the letter.
const (
	errNoAuth         = "NOAUTH Authentication required."
	errWrongPass      = "WRONGPASS invalid username-password pair or user is disabled."
	errAuthNoPassword = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
	errHelloNoAuth    = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
	errNoKey          = "NOPERM No permissions to access a key"
	errNoExpiry       = "NOPERM No permissions to leave a key of this pattern without an expiry, or with so late a one"
	errNoChannel      = "NOPERM No permissions to access a channel"
	errDBRange        = "ERR DB index is out of range"
	errClientName     = "ERR Client names cannot contain spaces, newlines or special characters."
	errBadKeys        = "ERR syntax error"
	errMaxClients     = "ERR max number of clients reached"
	errRateLimit      = "ERR rate limit exceeded"
	errUnavailable    = "ERR backend unavailable: the command was not sent"
	errLost           = "ERR backend connection lost, the command may have run"
	errOwnLimit       = "ERR backend connection limit reached"
	errNoReplica      = "ERR backend unavailable: no replica is fit to be read from"
	errNoLogin        = "ERR backend login of this user failed: the command was not sent"
	errOverloaded     = "ERR backend unavailable: too many commands are waiting for a connection"
)

var (
	replyUnavailable = resp.AppendError(nil, errUnavailable)
	replyLost        = resp.AppendError(nil, errLost)
	replyOwnLimit    = resp.AppendError(nil, errOwnLimit)
	replyNoReplica   = resp.AppendError(nil, errNoReplica)
	replyNoLogin     = resp.AppendError(nil, errNoLogin)
	replyOverloaded  = resp.AppendError(nil, errOverloaded)
)

// failureText is the reply to a call that has none from Redis.
func failureText(f backend.Failure) []byte {
	switch f {
	case backend.Lost:
		return replyLost
	case backend.Overloaded:
		return replyOverloaded
	case backend.Limited:
		return replyOwnLimit
	case backend.NoReplica:
		return replyNoReplica
	case backend.NoLogin:
		return replyNoLogin
	default:
		return replyUnavailable
	}
}

// faultReason maps why a request is no call to the one list of reasons.
func faultReason(err error) acl.Reason {
	switch err {
	case command.Unknown:
		return acl.UnknownCommand
	case command.UnknownSubcommand:
		return acl.UnknownSubcommand
	case command.WrongArity:
		return acl.WrongArity
	default:
		return acl.KeysNotFound
	}
}

// refuse answers a call with no: one reason becomes the RESP error, the metric
// and the event. It costs no backend round trip and never closes the connection.
func (s *session) refuse(reason acl.Reason, args [][]byte, d acl.Decision) {
	text := s.refusalText(reason, args, d)
	if s.call.Spec != nil && s.call.Spec.Name == "exec" {
		text = s.abort(text)
	}
	s.taint()
	s.emit(resp.AppendError(s.w.scratch[:0], text))
	s.noteRefusal(reason, d)
}

// noteRefusal counts a refusal and puts it on record.
func (s *session) noteRefusal(reason acl.Reason, d acl.Decision) {
	s.refused++
	s.w.count.Command(uint8(s.class()), metrics.Refused, 1)
	s.w.count.Listener(s.facts.listenerIndex).Refuse(uint8(reason))
	s.w.refusedEvent(s, reason, d)
	s.logDenied(reason, d)
}

// class is the class of the call being refused; a command that is in no table counts as Refused.
func (s *session) class() command.Class {
	if s.call.Spec == nil {
		return command.Refused
	}
	return s.call.Class
}

// refusalText is the RESP error without its "-".
func (s *session) refusalText(reason acl.Reason, args [][]byte, d acl.Decision) string {
	spec := s.call.Spec
	switch reason {
	case acl.NotAuthenticated:
		if spec != nil && spec.Name == "hello" {
			return errHelloNoAuth
		}
		return errNoAuth
	case acl.UnknownCommand:
		return unknownCommand(args)
	case acl.UnknownSubcommand:
		return "ERR unknown subcommand '" + excerpt(args[1]) + "'. Try " + strings.ToUpper(string(cut(args[0], 128))) + " HELP."
	case acl.WrongArity:
		return "ERR wrong number of arguments for '" + s.shown(spec) + "' command"
	case acl.KeysNotFound:
		return errBadKeys
	case acl.KeyNotAllowed:
		if d.Option != "" {
			return "ERR " + d.Option + " option of SORT denied due to insufficient ACL permissions."
		}
		return errNoKey
	case acl.ChannelNotAllowed:
		return errNoChannel
	case acl.TTLRequired:
		return errNoExpiry
	case acl.ConnectionLimit:
		return errOwnLimit
	case acl.LoginBound:
		return errLoginBound
	case acl.RateLimited:
		return errRateLimit
	case acl.CommandUnsupported:
		return "ERR '" + s.shown(spec) + "' is not offered by this proxy"
	default:
		return "NOPERM User " + s.user.Name() + " has no permissions to run the '" + s.shown(spec) + "' command"
	}
}

// unknownCommand is Redis's text: quoted arguments, cut when they reach 128 bytes in all.
func unknownCommand(args [][]byte) string {
	var b strings.Builder
	b.WriteString("ERR unknown command '")
	b.WriteString(excerpt(args[0]))
	b.WriteString("', with args beginning with: ")
	quoted := 0
	for _, a := range args[1:] {
		if quoted >= 128 {
			break
		}
		a = cut(a, 128-quoted)
		b.WriteString("'" + clean(a) + "' ")
		quoted += len(a) + 3
	}
	return b.String()
}

// excerpt is at most 128 bytes of what a client sent, fit for an error line.
func excerpt(b []byte) string { return clean(cut(b, 128)) }

func cut(b []byte, n int) []byte { return b[:min(len(b), n)] }

// clean replaces what could break or forge a line.
func clean(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), "?"))
}

// protocolFault gives the reason and the client's text for bytes that are no
// request. What is not meant for Redis at all gets no text, as Redis does.
func protocolFault(err error) (acl.Reason, string) {
	var fault *resp.ProtocolError
	switch {
	case !errors.As(err, &fault):
		return acl.ProtocolError, "ERR Protocol error"
	case fault.Kind == resp.CrossProtocol:
		return acl.CrossProtocol, ""
	case fault.Kind == resp.TooLarge:
		return acl.RequestTooLarge, "ERR " + fault.Text
	default:
		return acl.ProtocolError, "ERR " + fault.Text
	}
}

// closeFor is why a connection ends after such bytes.
func closeFor(reason acl.Reason) audit.CloseReason {
	switch reason {
	case acl.CrossProtocol:
		return audit.CloseCrossProtocol
	case acl.RequestTooLarge:
		return audit.CloseRequestLimit
	}
	return audit.CloseProtocolError
}
