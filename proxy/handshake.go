package proxy

import (
	"errors"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/tlsutil"
)

// handshakeReasons maps why a TLS handshake failed to the one list of reasons
// and to the metric's label. What is not listed is a plain failure.
var handshakeReasons = map[tlsutil.Reason]struct {
	reason acl.Reason
	metric metrics.HandshakeFailure
}{
	tlsutil.ReasonNoCertificate:      {acl.NoCertificate, metrics.HandshakeNoCertificate},
	tlsutil.ReasonUnknownCA:          {acl.UnknownCA, metrics.HandshakeCertificate},
	tlsutil.ReasonExpiredCertificate: {acl.CertificateExpired, metrics.HandshakeExpired},
	tlsutil.ReasonNotYetValid:        {acl.CertificateEarly, metrics.HandshakeCertificate},
	tlsutil.ReasonWrongUsage:         {acl.CertificateUsage, metrics.HandshakeCertificate},
	tlsutil.ReasonBadCertificate:     {acl.CertificateBad, metrics.HandshakeCertificate},
	tlsutil.ReasonBadName:            {acl.CertificateBad, metrics.HandshakeCertificate},
	tlsutil.ReasonRevoked:            {acl.CertificateRevoked, metrics.HandshakeRevoked},
	tlsutil.ReasonRevocationUnknown:  {acl.RevocationUnknown, metrics.HandshakeRevoked},
	tlsutil.ReasonUnsupportedVersion: {acl.TLSVersion, metrics.HandshakeProtocol},
	tlsutil.ReasonNoSharedCipher:     {acl.TLSCipher, metrics.HandshakeProtocol},
	tlsutil.ReasonNotTLS:             {acl.NotTLS, metrics.HandshakeNotTLS},
	tlsutil.ReasonProtocolError:      {acl.HandshakeFailed, metrics.HandshakeProtocol},
	tlsutil.ReasonClientRefused:      {acl.HandshakeFailed, metrics.HandshakeRejected},
	tlsutil.ReasonClientClosed:       {acl.HandshakeFailed, metrics.HandshakeClosed},
	tlsutil.ReasonTimeout:            {acl.HandshakeTimeout, metrics.HandshakeTimeout},
}

// handshakeFailed counts a failed handshake and gives its reason.
func (s *Server) handshakeFailed(err error) acl.Reason {
	var failure *tlsutil.HandshakeError
	if errors.As(err, &failure) {
		if known, ok := handshakeReasons[failure.Reason]; ok {
			s.metrics.HandshakeFailed(known.metric)
			return known.reason
		}
	}
	s.metrics.HandshakeFailed(metrics.HandshakeOther)
	return acl.HandshakeFailed
}
