package tlsutil

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Reason is why a handshake failed, from a closed list that serves as metric
// label and event field.
type Reason string

// The closed list.
const (
	ReasonNoCertificate      Reason = "no_certificate"            // one is required and none was shown
	ReasonUnknownCA          Reason = "unknown_ca"                // issued by nobody in client_ca
	ReasonExpiredCertificate Reason = "expired_certificate"       // or one above it is
	ReasonNotYetValid        Reason = "certificate_not_yet_valid" // or one above it is; often a clock
	ReasonWrongUsage         Reason = "wrong_usage"               // not issued for clients
	ReasonBadCertificate     Reason = "bad_certificate"           // damaged, weak, forbidden by its CA, or its key wasn't proved
	ReasonBadName            Reason = "bad_name"                  // a name with control characters in it
	ReasonRevoked            Reason = "certificate_revoked"       // a revocation list names it, or one above it
	ReasonRevocationUnknown  Reason = "revocation_unknown"        // no list in force speaks about it, or one above it
	ReasonUnsupportedVersion Reason = "unsupported_version"       // older than min_version
	ReasonNoSharedCipher     Reason = "no_shared_cipher"          // no cipher suite, group or signature in common
	ReasonNotTLS             Reason = "not_tls"                   // the first bytes are something else
	ReasonClientRefused      Reason = "client_refused"            // the client sent an alert: it doesn't like us
	ReasonProtocolError      Reason = "protocol_error"            // TLS, but broken
	ReasonTimeout            Reason = "timeout"                   // the context's deadline
	ReasonClientClosed       Reason = "client_closed"             // closed or reset by the client
	ReasonCancelled          Reason = "cancelled"                 // the context was cancelled
)

// Reasons lists all reasons, so that metrics can be registered with a closed
// set of labels. The caller owns the slice.
func Reasons() []Reason {
	return []Reason{
		ReasonNoCertificate, ReasonUnknownCA, ReasonExpiredCertificate, ReasonNotYetValid, ReasonWrongUsage,
		ReasonBadCertificate, ReasonBadName, ReasonRevoked, ReasonRevocationUnknown, ReasonUnsupportedVersion, ReasonNoSharedCipher, ReasonNotTLS,
		ReasonClientRefused, ReasonProtocolError, ReasonTimeout, ReasonClientClosed, ReasonCancelled,
	}
}

// alerted reports whether the client was told why, by an alert it may still
// have to read.
func (r Reason) alerted() bool {
	switch r {
	case ReasonNotTLS, ReasonClientRefused, ReasonTimeout, ReasonClientClosed, ReasonCancelled:
		return false
	}
	return true
}

// HandshakeError is how Handshake fails, and what Trusts says of a connection.
type HandshakeError struct {
	Reason Reason
	Err    error // what crypto/tls or crypto/x509 said; for the log, it may hold names the client chose
}

// Error gives the reason and the cause.
func (e *HandshakeError) Error() string {
	return "TLS handshake: " + string(e.Reason) + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

func classify(err error) *HandshakeError { return &HandshakeError{Reason: reasonOf(err), Err: err} }

func reasonOf(err error) Reason {
	if r := reasonOfCertificate(err); r != "" {
		return r
	}
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		switch {
		case header.Conn != nil:
			return ReasonNotTLS
		case header.RecordHeader[0] == 0x80: // an SSLv2 hello
			return ReasonUnsupportedVersion
		}
		return ReasonProtocolError
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return ReasonClientRefused
	}
	switch {
	case errors.Is(err, context.Canceled):
		return ReasonCancelled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return ReasonClientClosed
	}
	return reasonOfText(err.Error())
}

func reasonOfCertificate(err error) Reason {
	switch {
	case errors.Is(err, errNoCertificate):
		return ReasonNoCertificate
	case errors.Is(err, errRevoked):
		return ReasonRevoked
	case errors.Is(err, errRevocationUnknown):
		return ReasonRevocationUnknown
	case errors.Is(err, errLongChain), errors.Is(err, errWeakKey):
		return ReasonBadCertificate
	}
	if _, ok := errors.AsType[*NameError](err); ok {
		return ReasonBadName
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return ReasonUnknownCA
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok {
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return ReasonBadCertificate
		}
		return ""
	}
	switch invalid.Reason {
	case x509.Expired:
		// crypto/x509 has one reason for both ends of the period.
		if strings.Contains(invalid.Detail, " is before ") {
			return ReasonNotYetValid
		}
		return ReasonExpiredCertificate
	case x509.IncompatibleUsage, x509.CANotAuthorizedForExtKeyUsage:
		return ReasonWrongUsage
	}
	return ReasonBadCertificate
}

// reasonOfText tells apart what crypto/tls has no error types for. A text that
// changes in a later Go release ends up as a protocol error, which is less
// helpful but lets nobody in; the tests notice.
func reasonOfText(text string) Reason {
	for _, known := range []struct {
		part   string
		reason Reason
	}{
		{"client didn't provide a certificate", ReasonNoCertificate},
		{"client offered only unsupported versions", ReasonUnsupportedVersion},
		{"inappropriate protocol fallback", ReasonUnsupportedVersion},
		{"no cipher suite supported by both", ReasonNoSharedCipher},
		{"no key exchanges supported by both", ReasonNoSharedCipher},
		{"no supported elliptic curves offered", ReasonNoSharedCipher},
		{"doesn't support any of the certificate's signature algorithms", ReasonNoSharedCipher},
		{"failed to parse client certificate", ReasonBadCertificate},
		{"client certificate", ReasonBadCertificate},
		{"client sent certificate", ReasonBadCertificate},
	} {
		if strings.Contains(text, known.part) {
			return known.reason
		}
	}
	return ReasonProtocolError
}
