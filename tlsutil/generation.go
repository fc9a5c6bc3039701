package tlsutil

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ticketKeyAge is how long one ticket key makes tickets. It opens them for as
// long again, so a ticket lives one to two days and a stolen key tells no more.
const ticketKeyAge = 24 * time.Hour

// generation is everything one set of files amounts to. But for its ticket
// keys it never changes.
type generation struct {
	number   uint64
	opts     ServerOptions
	config   *tls.Config
	sum      [sha256.Size]byte // of files and options
	trust    [sha256.Size]byte // of those that say who is let in
	notAfter map[string]time.Time
	warnings []Fault
	crls     *crlSet // nil: revocation is not checked

	keyMade atomic.Int64 // Unix nanoseconds
	keyMu   sync.Mutex
	keys    [][32]byte // newest first
}

// loadAttempts bounds how often files are read that change while being read.
const loadAttempts = 3

// loadGeneration reads and checks the files for opts.
func loadGeneration(opts ServerOptions) (*generation, error) {
	if opts.now == nil {
		opts.now = time.Now
	}
	parsed := opts.Parsed
	opts.Parsed = nil // of this load alone: it knows other listeners' keys
	return settled(opts.now, parsed, func(l *loader) *generation { return l.generation(opts) })
}

// settled gives what files amount to, or why they don't fit: nil of load says that
// faults were noted. Where they also differ from one reading to the next, somebody
// is just replacing them (the link of a Kubernetes volume may be swapped between
// certificate and key), so they are read again.
func settled[G any](now func() time.Time, parsed *Parsed, load func(*loader) *G) (g *G, err error) {
	var seen [sha256.Size]byte
	for n := range loadAttempts {
		l := newLoader(now(), parsed)
		l.again = n > 0
		if g = load(l); g != nil {
			return g, nil
		}
		err = l.err()
		if l.digest() == seen {
			break
		}
		seen = l.digest()
	}
	return nil, err
}

// generation gives nil when faults were noted.
func (l *loader) generation(opts ServerOptions) *generation {
	config := baseline(l.lowestVersion(opts.MinVersion))
	config.Time = opts.now
	config.SessionTicketsDisabled = opts.NoTickets
	if pair, ok := l.pair(opts.CertificateFile, opts.KeyFile); ok {
		config.Certificates = []tls.Certificate{pair}
		l.judgeServer(opts.CertificateFile, pair.Leaf)
	}
	whole := l.sum
	l.sum = sha256.New()
	crls := l.clients(config, opts)
	fmt.Fprintf(l.sum, "%v %v", opts.ClientAuth, opts.CRLMissing)
	trust := l.digest()
	l.sum = whole
	l.sum.Write(trust[:])
	fmt.Fprintf(l.sum, "%d %v", config.MinVersion, opts.NoTickets)
	if l.err() != nil {
		return nil
	}
	g := &generation{opts: opts, config: config, sum: l.digest(), trust: trust, notAfter: l.notAfter, warnings: l.warnings, crls: crls}
	config.VerifyConnection = g.verify
	g.newKey()
	return g
}

// clients sets which client certificates are asked for and trusted, and gives
// the revocation lists they are held against.
func (l *loader) clients(config *tls.Config, opts ServerOptions) *crlSet {
	switch opts.ClientAuth {
	case Require:
		config.ClientAuth = tls.RequireAndVerifyClientCert
	case Optional:
		config.ClientAuth = tls.VerifyClientCertIfGiven
	case None:
		config.ClientAuth = tls.NoClientCert
		if opts.ClientCAFile != "" {
			l.warn("client_ca", opts.ClientCAFile, "is not used: client certificates are off", "set client_auth: require or optional")
		}
		if len(opts.CRLFiles) > 0 {
			l.warn("crl", opts.CRLFiles[0], "is not used: client certificates are off", "set client_auth: require or optional")
		}
		return nil
	default:
		config.ClientAuth = tls.RequireAndVerifyClientCert
		l.fault("client_auth", "", opts.ClientAuth.String()+" is not known", "require, optional or off", nil)
	}
	if opts.ClientCAFile == "" {
		l.fault("client_ca", "", fmt.Sprintf("no file is named, and client_auth: %v needs one", opts.ClientAuth),
			"name the certificate of the CA that issues your clients' certificates; the machine's own CAs are never trusted for clients", nil)
		return nil
	}
	pool, trusted := l.authorities("client_ca", opts.ClientCAFile)
	config.ClientCAs = pool
	if opts.CRLMissing > AllowMissing {
		l.fault("crl_missing", "", opts.CRLMissing.String()+" is not known", "refuse or allow", nil)
	}
	return l.crls(opts.CRLFiles, opts.CRLMissing, trusted)
}

// judgeServer warns of a certificate that clients will refuse.
func (l *loader) judgeServer(file string, leaf *x509.Certificate) {
	const setting = "certificate"
	switch {
	case l.now.After(leaf.NotAfter):
		l.warn(setting, file, "expired on "+day(leaf.NotAfter)+": clients will refuse it", "renew it")
	case l.now.Before(leaf.NotBefore):
		l.warn(setting, file, "is not valid before "+leaf.NotBefore.UTC().Format(time.RFC3339)+": clients will refuse it",
			"is this machine's clock right?")
	}
	if !allowsUsage(leaf, x509.ExtKeyUsageServerAuth) {
		l.warn(setting, file, "is not meant for servers (no serverAuth usage): clients will refuse it", "issue it with extendedKeyUsage = serverAuth")
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.URIs) == 0 {
		l.warn(setting, file, "names no host (no subjectAltName): clients will refuse it", "issue it with subjectAltName = DNS:your.host")
	}
}

func allowsUsage(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, usage) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// succeeds refuses to put what is out of date in the place of what is not:
// that would end a service which works, or let in again what was revoked. At
// the start there is nothing to lose, and it is only a warning.
func (g *generation) succeeds(old *generation) error {
	return errors.Join(g.certificateSucceeds(old), g.crls.succeeds(old.crls, g.opts.now()))
}

func (g *generation) certificateSucceeds(old *generation) error {
	leaf, now := g.config.Certificates[0].Leaf, g.opts.now()
	if bytes.Equal(leaf.Raw, old.config.Certificates[0].Leaf.Raw) || inDate(leaf, now) || !inDate(old.config.Certificates[0].Leaf, now) {
		return nil
	}
	what := "expired on " + day(leaf.NotAfter)
	if now.Before(leaf.NotBefore) {
		what = "is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)
	}
	return &Fault{Setting: "certificate", File: g.opts.CertificateFile, What: what + "; the certificate in use still serves", Hint: "renew it"}
}

func inDate(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// again gives a generation with the same files and new ticket keys.
func (g *generation) again() *generation {
	config := g.config.Clone() // copies g's ticket keys, which newKey replaces
	next := &generation{opts: g.opts, config: config, sum: g.sum, trust: g.trust, notAfter: g.notAfter, warnings: g.warnings, crls: g.crls}
	config.VerifyConnection = next.verify
	next.newKey()
	return next
}

// fresh gives the configuration for a handshake that begins now.
func (g *generation) fresh() *tls.Config {
	if !g.opts.NoTickets && g.opts.now().UnixNano()-g.keyMade.Load() > int64(ticketKeyAge) {
		g.newKey()
	}
	return g.config
}

// newKey makes a random key the one for new tickets and keeps the one before it
// for those already out. Keys set explicitly are neither shared with another
// configuration nor renewed by crypto/tls, so this does both.
func (g *generation) newKey() {
	if g.opts.NoTickets {
		return
	}
	g.keyMu.Lock()
	defer g.keyMu.Unlock()
	now := g.opts.now().UnixNano()
	age := now - g.keyMade.Load()
	if len(g.keys) > 0 && age <= int64(ticketKeyAge) {
		return // somebody else was faster
	}
	var key [32]byte
	rand.Read(key[:]) // never fails: crypto/rand ends the process instead
	keys := [][32]byte{key}
	if len(g.keys) > 0 && age <= 2*int64(ticketKeyAge) {
		keys = append(keys, g.keys[0])
	}
	g.keys = keys
	g.keyMade.Store(now)
	g.config.SetSessionTicketKeys(keys)
}

// clientCAFile is empty when the file named in the options is not used.
func (g *generation) clientCAFile() string {
	if g.opts.ClientAuth == None {
		return ""
	}
	return g.opts.ClientCAFile
}
