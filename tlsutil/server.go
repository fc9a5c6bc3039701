package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ClientAuth says what a listener wants to see of a client. The zero value is
// the strictest.
type ClientAuth uint8

// A certificate that is shown is verified in every case but None, where none
// is asked for.
const (
	Require  ClientAuth = iota // no certificate, no connection
	Optional                   // a client may come without; a bad certificate is refused all the same
	None                       // certificates are not asked for
)

// String gives the word used in the configuration.
func (a ClientAuth) String() string {
	switch a {
	case Require:
		return "require"
	case Optional:
		return "optional"
	case None:
		return "off"
	}
	return fmt.Sprintf("ClientAuth(%d)", uint8(a))
}

// ParseClientAuth reads "require", "optional" or "off".
func ParseClientAuth(s string) (ClientAuth, error) {
	for _, a := range []ClientAuth{Require, Optional, None} {
		if s == a.String() {
			return a, nil
		}
	}
	return Require, &Fault{Setting: "client_auth", What: fmt.Sprintf("%.20q is not known", s), Hint: "require, optional or off"}
}

// ServerOptions describes the TLS side of one listener.
type ServerOptions struct {
	CertificateFile string // PEM: the server's certificate, then its intermediates
	KeyFile         string // PEM: its private key; may be the same file
	ClientCAFile    string // PEM: who issues client certificates; needed for Require and Optional
	ClientAuth      ClientAuth
	MinVersion      uint16 // tls.VersionTLS12 or tls.VersionTLS13; 0: TLS 1.2
	NoTickets       bool   // true: every handshake is a full one (some 50 requests' worth of CPU)

	// CRLFiles hold revocation lists of client certificates, PEM or DER. Without
	// any, nothing is found revoked. Every certificate on the way to the trusted
	// CA, resumed connections' too, needs a list of its issuer that is in force,
	// unless CRLMissing says otherwise.
	CRLFiles   []string
	CRLMissing CRLMissing

	// Parsed spares parsing anew what has not changed; nil: everything is. The
	// files are read and judged all the same.
	Parsed *Parsed

	now func() time.Time // tests give the time
}

// Server is the TLS side of one listener. It is safe for concurrent use, with
// Reload during handshakes too.
type Server struct {
	outer     *tls.Config
	current   atomic.Pointer[generation]
	mu        sync.Mutex // held while a generation is put in place
	reloading sync.Mutex
}

// LoadServer reads and checks the files. Its error holds every fault found
// (see Faults); the server it gives is ready for handshakes. Findings that
// don't keep it from working, an expired certificate among them, are in
// Warnings.
func LoadServer(opts ServerOptions) (*Server, error) {
	g, err := loadGeneration(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{outer: baseline(g.config.MinVersion)}
	s.outer.ClientAuth = tls.RequireAndVerifyClientCert
	// Clone copies the callback but no ticket keys, as the outer configuration
	// has none; each generation brings its own.
	s.outer.SessionTicketsDisabled = true
	s.outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load().fresh(), nil }
	g.number = 1
	s.current.Store(g)
	return s, nil
}

// Config gives a configuration for tls.Server, tls.NewListener or http.Server
// that may be kept: each handshake uses the generation current at that moment.
// It must not be changed. Handshake does not need it.
func (s *Server) Config() *tls.Config { return s.outer }

// Reload reads the files again. When they differ from those in use, and are
// good, every handshake that begins after Reload returned uses them, and no
// ticket issued before is taken any more. On an error everything stays.
//
// What is out of date does not replace what is not, and no revocation list an
// older one (see Succeeds).
func (s *Server) Reload() (changed bool, err error) {
	// Held over reading as well: of two reloads at once, the one that read
	// older files must not end up in place.
	s.reloading.Lock()
	defer s.reloading.Unlock()
	u, err := s.Prepare(s.current.Load().opts)
	if err != nil {
		return false, err
	}
	return u.Apply(), nil
}

// Update is a checked generation that waits to be put in place, so that
// several listeners can change together or not at all.
type Update struct {
	server *Server
	next   *generation
}

// Prepare reads and checks everything for opts, which may differ from the
// options in use, and changes nothing.
func (s *Server) Prepare(opts ServerOptions) (*Update, error) {
	next, err := loadGeneration(opts)
	if err != nil {
		return nil, err
	}
	if err := next.succeeds(s.current.Load()); err != nil {
		return nil, err
	}
	return &Update{server: s, next: next}, nil
}

// Changed reports whether Apply would change anything.
func (u *Update) Changed() bool { return u.next.sum != u.server.current.Load().sum }

// Warnings gives the findings about the prepared files. The caller owns the slice.
func (u *Update) Warnings() []Fault { return slices.Clone(u.next.warnings) }

// Apply puts the update in place and can't fail; it reports whether anything
// changed. If not, the generation and its tickets live on. Of two updates the
// one applied last wins.
func (u *Update) Apply() (changed bool) {
	s := u.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if !u.Changed() {
		return false
	}
	u.next.number = s.current.Load().number + 1
	s.current.Store(u.next)
	return true
}

// ForgetTickets begins a generation with the same files and new ticket keys:
// clients have to shake hands in full. For a change of policy or revocation
// made outside the files.
func (s *Server) ForgetTickets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	next := old.again()
	next.number = old.number + 1
	s.current.Store(next)
}

// Generation counts what was put in place, from 1. Every State carries the one
// it was made under, so that a caller sees which connections are older.
func (s *Server) Generation() uint64 { return s.current.Load().number }

// Options gives the options in use.
func (s *Server) Options() ServerOptions { return s.current.Load().opts }

// Warnings gives the findings about the files in use. The caller owns the slice.
func (s *Server) Warnings() []Fault { return slices.Clone(s.current.Load().warnings) }

// Files lists the files in use, each once, as the operator named them. Watch
// their folders: a Kubernetes volume replaces a link, not the file.
func (s *Server) Files() []string {
	g := s.current.Load()
	files := []string{g.opts.CertificateFile, g.opts.KeyFile, g.clientCAFile()}
	if g.opts.ClientAuth != None {
		files = append(files, g.opts.CRLFiles...)
	}
	return fileList(files...)
}

// NotAfter gives the earliest end among the certificates in each file, for the
// expiry metric. The caller owns the map.
func (s *Server) NotAfter() map[string]time.Time { return maps.Clone(s.current.Load().notAfter) }

// CRLs tells of the revocation lists in use, for the metric of their age,
// ordered by file. The caller owns the slice.
func (s *Server) CRLs() []CRL { return s.current.Load().crls.describe() }

// Succeeds says whether s, which would take old's place, is no step back: a
// certificate that is out of date, a revocation list older than the one in use.
// The error holds the faults (see Faults). Prepare asks this by itself; it is
// for callers who build a new Server instead.
func (s *Server) Succeeds(old *Server) error { return s.current.Load().succeeds(old.current.Load()) }

// Same reports whether s was made of the same files, by name and content, and of
// the same settings as other: nothing but their ticket keys differs.
func (s *Server) Same(other *Server) bool {
	a, b := s.current.Load(), other.current.Load()
	return a.sum == b.sum && a.opts.sameFiles(&b.opts)
}

// sameFiles compares the names, which messages and metrics show; what the files
// hold and all settings are in the sum of a generation.
func (o *ServerOptions) sameFiles(as *ServerOptions) bool {
	return o.CertificateFile == as.CertificateFile && o.KeyFile == as.KeyFile && o.ClientCAFile == as.ClientCAFile && slices.Equal(o.CRLFiles, as.CRLFiles)
}

// TrustsLike reports whether s takes the very clients that other takes: the same
// authorities, revocation lists and demands. Only what it shows of itself may
// differ.
func (s *Server) TrustsLike(other *Server) bool {
	return s.current.Load().trust == other.current.Load().trust
}

// Certificate gives the server's own certificate. It must not be changed.
func (s *Server) Certificate() *x509.Certificate { return s.current.Load().config.Certificates[0].Leaf }

func fileList(files ...string) []string {
	var list []string
	for _, f := range files {
		if f != "" && !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}
