package tlsutil

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"time"
)

// State is what is known about a connection once the handshake is done.
type State struct {
	Version    string    // "TLSv1.3"
	Cipher     string    // "TLS_AES_128_GCM_SHA256"
	Group      string    // key exchange, "X25519MLKEM768"
	ServerName string    // what the client asked for (SNI), or empty; the client's word
	Resumed    bool      // by a ticket of this listener and generation
	Identity   *Identity // nil: the client showed no certificate
	Generation uint64    // of the server at this handshake
}

const (
	lingerTime  = 250 * time.Millisecond
	lingerBytes = 64 << 10
)

// Handshake makes the server side of a TLS connection out of conn. ctx bounds
// it from the first byte to the last; a context without a deadline waits for
// ever for a silent client. Deadlines of conn are left alone.
//
// On success the connection belongs to the caller, through the tls.Conn. On
// failure conn is closed and the error is a *HandshakeError.
func Handshake(ctx context.Context, conn net.Conn, s *Server) (*tls.Conn, State, error) {
	g := s.current.Load()
	tc := tls.Server(conn, g.fresh())
	if err := tc.HandshakeContext(ctx); err != nil {
		failure := classify(err)
		if failure.Reason.alerted() {
			linger(ctx, conn)
		}
		conn.Close()
		return nil, State{}, failure
	}
	cs := tc.ConnectionState()
	identity, err := IdentityOf(cs)
	if err != nil { // verify has let it pass, so this can't be; closed all the same
		conn.Close()
		return nil, State{}, classify(err)
	}
	return tc, State{
		Version:    versionName(cs.Version),
		Cipher:     tls.CipherSuiteName(cs.CipherSuite),
		Group:      cs.CurveID.String(),
		ServerName: cs.ServerName,
		Resumed:    cs.DidResume,
		Identity:   identity,
		Generation: g.number,
	}, nil
}

// linger gives the client the time to read the alert that says why it was
// refused. A TLS 1.3 client sends its first command without waiting for our
// verdict; closing over that unread data would make the kernel send a reset,
// and the user would see "connection reset by peer" instead.
//
// It ends when the client closes, which it does on reading the alert, or after
// lingerTime. A timer closes the connection then: not every net.Conn a caller
// hands in has deadlines that work.
func linger(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, lingerTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	io.CopyN(io.Discard, conn, lingerBytes)
}

// verify judges a connection at the end of its handshake. crypto/tls calls it
// for resumed connections as well, for which it calls nothing else.
func (g *generation) verify(cs tls.ConnectionState) error {
	identity, err := IdentityOf(cs)
	if err != nil {
		return err
	}
	if identity == nil {
		if g.opts.ClientAuth == Require {
			return errNoCertificate
		}
		return nil
	}
	if len(cs.PeerCertificates) > maxChain {
		return errLongChain
	}
	for _, chain := range cs.VerifiedChains {
		for _, c := range chain[:max(1, len(chain)-1)] { // the last is the operator's choice
			if weakKey(c.PublicKey) {
				return errWeakKey
			}
		}
	}
	return g.crls.checkChains(cs.VerifiedChains, g.opts.now())
}

// maxChain is how many certificates a client may send. Real chains have two to
// four; each one more is work for whoever asks for it.
const maxChain = 10

// Trusts judges an open connection anew, as if it came now: by the CA, the
// revocation lists, the client_auth setting and the date of today. nil means that it would be let in;
// the error is a *HandshakeError. For use after a reload, and now and then
// because certificates expire and lists go stale. It costs as much as checking the signatures in
// a handshake.
func (s *Server) Trusts(cs tls.ConnectionState) error {
	g := s.current.Load()
	if g.opts.ClientAuth == None {
		return nil
	}
	if len(cs.PeerCertificates) > 0 {
		opts := x509.VerifyOptions{
			Roots:         g.config.ClientCAs,
			Intermediates: x509.NewCertPool(),
			CurrentTime:   g.opts.now(),
			KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		for _, c := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		chains, err := cs.PeerCertificates[0].Verify(opts)
		if err != nil {
			return classify(err)
		}
		cs.VerifiedChains = chains
	}
	if err := g.verify(cs); err != nil {
		return classify(err)
	}
	return nil
}

var (
	errNoCertificate = errors.New("tlsutil: the client showed no certificate")
	errWeakKey       = errors.New("tlsutil: a certificate's key is too short, or of a kind TLS 1.3 has no use for")
	errLongChain     = errors.New("tlsutil: the client sent too many certificates")
)

func versionName(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return tls.VersionName(v)
}
