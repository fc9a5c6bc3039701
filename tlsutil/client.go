package tlsutil

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ClientOptions describes how we connect to a backend over TLS.
type ClientOptions struct {
	CAFile          string // PEM: who issues the backend's certificates; empty: the machine's own roots
	CertificateFile string // PEM: what we show the backend; empty: nothing
	KeyFile         string // PEM: its key
	ServerName      string // the name the backend's certificate must have; empty: the host that is dialled
	MinVersion      uint16 // tls.VersionTLS12 or tls.VersionTLS13; 0: TLS 1.2

	Parsed *Parsed // spares parsing anew what has not changed; nil: everything is

	now func() time.Time // tests give the time
}

// Client is the TLS side of connections to a backend, safe for concurrent use.
type Client struct {
	current   atomic.Pointer[clientGeneration]
	reloading sync.Mutex
}

type clientGeneration struct {
	opts     ClientOptions
	config   *tls.Config
	sum      [sha256.Size]byte
	notAfter map[string]time.Time
	warnings []Fault
}

// LoadClient reads and checks the files. A CA file that is named has to be
// there and to hold certificates: there is no falling back to the machine's
// roots. Its error holds every fault found (see Faults).
func LoadClient(opts ClientOptions) (*Client, error) {
	g, err := loadClientGeneration(opts)
	if err != nil {
		return nil, err
	}
	c := &Client{}
	c.current.Store(g)
	return c, nil
}

// Config gives the configuration for a connection to host, which may be a name
// or an address, without a port. The backend's certificate is always verified,
// for ServerName where the options have one, else for host; having neither is
// an error. Ask for each connection: the files may have been reloaded since.
func (c *Client) Config(host string) (*tls.Config, error) {
	g := c.current.Load()
	config := g.config.Clone()
	if config.ServerName = g.opts.ServerName; config.ServerName == "" {
		config.ServerName = host
	}
	if config.ServerName == "" {
		return nil, &Fault{Setting: "server_name", What: "no host to verify the backend's certificate for", Hint: "set server_name"}
	}
	return config, nil
}

// Reload reads the files again. Connections made after it returned use them; on
// an error the ones in use stay.
func (c *Client) Reload() (changed bool, err error) {
	c.reloading.Lock()
	defer c.reloading.Unlock()
	old := c.current.Load()
	next, err := loadClientGeneration(old.opts)
	if err != nil || next.sum == old.sum {
		return false, err
	}
	c.current.Store(next)
	return true, nil
}

// Warnings gives the findings about the files in use. The caller owns the slice.
func (c *Client) Warnings() []Fault { return slices.Clone(c.current.Load().warnings) }

// NotAfter gives the earliest end among the certificates in each file. The
// caller owns the map.
func (c *Client) NotAfter() map[string]time.Time { return maps.Clone(c.current.Load().notAfter) }

// Files lists the files in use, each once, as the operator named them.
func (c *Client) Files() []string {
	o := c.current.Load().opts
	return fileList(o.CAFile, o.CertificateFile, o.KeyFile)
}

// loadClientGeneration reads and checks the files for opts.
func loadClientGeneration(opts ClientOptions) (*clientGeneration, error) {
	if opts.now == nil {
		opts.now = time.Now
	}
	parsed := opts.Parsed
	opts.Parsed = nil // of this load alone: it knows other backends' keys
	return settled(opts.now, parsed, func(l *loader) *clientGeneration { return l.clientGeneration(opts) })
}

// clientGeneration gives nil when faults were noted.
func (l *loader) clientGeneration(opts ClientOptions) *clientGeneration {
	config := baseline(l.lowestVersion(opts.MinVersion))
	config.Time = opts.now
	if opts.CAFile != "" {
		config.RootCAs, _ = l.authorities("ca", opts.CAFile)
	} else {
		config.RootCAs = l.systemRoots()
	}
	if opts.CertificateFile != "" || opts.KeyFile != "" {
		if pair, ok := l.pair(opts.CertificateFile, opts.KeyFile); ok {
			config.Certificates = []tls.Certificate{pair}
			l.judgeClient(opts.CertificateFile, pair.Leaf)
		}
	}
	if l.err() != nil {
		return nil
	}
	return &clientGeneration{opts: opts, config: config, sum: l.digest(), notAfter: l.notAfter, warnings: l.warnings}
}

// systemRoots gives the machine's own roots; having none is a fault, as no
// backend could be verified.
func (l *loader) systemRoots() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil || pool.Equal(x509.NewCertPool()) {
		l.fault("ca", "", "no file is named and this machine has no CA certificates of its own", "name the CA that issued the backend's certificate", err)
		return x509.NewCertPool()
	}
	return pool
}

func (l *loader) judgeClient(file string, leaf *x509.Certificate) {
	if !inDate(leaf, l.now) {
		l.warn("certificate", file, fmt.Sprintf("is valid from %s to %s only: the backend will refuse it", day(leaf.NotBefore), day(leaf.NotAfter)), "renew it")
	}
	if !allowsUsage(leaf, x509.ExtKeyUsageClientAuth) {
		l.warn("certificate", file, "is not meant for clients (no clientAuth usage): the backend will refuse it", "issue it with extendedKeyUsage = clientAuth")
	}
}
