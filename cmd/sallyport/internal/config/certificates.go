package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/tlsutil"
)

// nearExpiry is how long before its end a certificate becomes a finding.
const nearExpiry = 30 * 24 * time.Hour

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// loadTLS loads the certificates of listeners and backends.
func (r *reader) loadTLS(c *Config) {
	for i := range c.listeners {
		if l := &c.listeners[i]; l.tls != nil {
			r.rest()
			l.server = r.serverOf(l)
		}
	}
	for _, b := range c.backends {
		if b.tls != nil {
			b.client = r.client(b.tls, b.nodes)
		}
		if b.sentinel != nil && b.sentinel.tls != nil {
			b.sentinel.client = r.client(b.sentinel.tls, b.sentinel.nodes)
		}
	}
	r.adminTLS(c)
}

func (r *reader) server(f *serverFiles) *tlsutil.Server {
	settings := map[string]named{"certificate": f.certificate, "key": f.key, "client_ca": f.clientCA}
	auth, err := tlsutil.ParseClientAuth(f.clientAuth)
	if err != nil {
		f.fault("client_auth: %s", err)
		return nil
	}
	opts := tlsutil.ServerOptions{
		CertificateFile: f.certificate.path,
		KeyFile:         f.key.path,
		ClientAuth:      auth,
		MinVersion:      tlsVersions[f.minVersion],
		Parsed:          r.made.parsed,
	}
	for _, list := range f.crls {
		settings["crl"+list.path] = list
		opts.CRLFiles = append(opts.CRLFiles, list.path)
	}
	opts.CRLMissing, opts.NoTickets = f.crlMissing, f.noTickets
	if auth != tlsutil.None {
		opts.ClientCAFile = f.clientCA.path
	}
	server, err := tlsutil.LoadServer(opts)
	if err != nil {
		r.tlsFaults(f.value, settings, err)
		return nil
	}
	r.tlsWarnings(f.value, settings, server.Warnings(), server.NotAfter())
	return server
}

// client loads what is shown to nodes, and what they have to show.
func (r *reader) client(f *clientFiles, nodes []address) *tlsutil.Client {
	settings := map[string]named{"certificate": f.certificate, "key": f.key, "ca": f.ca}
	if len(nodes) > 0 && nodes[0].network == "unix" && f.serverName == "" {
		f.faultHint("name the host in the backend's certificate", "%q is missing: a unix socket has no host name to check", "server_name")
	}
	client, err := tlsutil.LoadClient(tlsutil.ClientOptions{
		CAFile:          f.ca.path,
		CertificateFile: f.certificate.path,
		KeyFile:         f.key.path,
		ServerName:      f.serverName,
		Parsed:          r.made.parsed,
	})
	if err != nil {
		r.tlsFaults(f.value, settings, err)
		return nil
	}
	r.tlsWarnings(f.value, settings, client.Warnings(), client.NotAfter())
	return client
}

// place is where the file is named that a fault is about. Of some settings there
// are several files.
func place(settings map[string]named, f tlsutil.Fault) named {
	if at, ok := settings[f.Setting+f.File]; ok && f.File != "" {
		return at
	}
	return settings[f.Setting]
}

// tlsFaults puts the faults of files where the files are named.
func (r *reader) tlsFaults(section value, settings map[string]named, err error) {
	faults := tlsutil.Faults(err)
	for _, f := range faults {
		at := place(settings, *f)
		switch {
		case at.path != "":
			at.faultHint(f.Hint, "%s: %s", at.written, f.What)
		case f.File == "" && (f.Setting != "ca" || at.present()):
			// No file to load, which is said already where the file should be named.
		default:
			section.faultHint(f.Hint, "%s: %s", f.Setting, f.What)
		}
	}
	if len(faults) == 0 {
		section.fault("%s", err)
	}
}

func (r *reader) tlsWarnings(section value, settings map[string]named, warnings []tlsutil.Fault, ends map[string]time.Time) {
	for _, f := range warnings {
		at := place(settings, f)
		if at.path == "" {
			section.warn(f.Hint, "%s: %s", f.Setting, f.What)
			continue
		}
		at.warn(f.Hint, "%s: %s", at.written, f.What)
	}
	for _, at := range settings {
		end, known := ends[at.path]
		if left := end.Sub(r.now); known && left > 0 && left < nearExpiry {
			at.warn("renew it", "%s: expires on %s, in %d days", at.written,
				end.UTC().Format(time.DateOnly), int(left/(24*time.Hour)))
		}
	}
}

// Succeeds says whether c may take the place of old while clients are served: a
// certificate that is out of date does not replace one that serves, nor a
// revocation list a newer one. At the start either is only a finding.
func (c *Config) Succeeds(old *Config) error {
	var faults []error
	for _, l := range c.listeners {
		for _, was := range old.listeners {
			if l.server != nil && was.server != nil && l.name.Value == was.name.Value {
				if err := l.server.Succeeds(was.server); err != nil {
					faults = append(faults, fmt.Errorf("listener %s: %w", l.name.Value, err))
				}
			}
		}
	}
	if err := c.Admin.succeeds(old.Admin); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}
