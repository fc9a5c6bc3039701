package config

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"go.uber.org/zap"
)

// pingEvery is how often a single node is asked PING.
const pingEvery = time.Second

// Running is what a configuration needs from the process that runs it.
type Running struct {
	Recorder *audit.Recorder
	Logger   *zap.Logger
	Version  string
	// Tokens proves the tokens of Issuers; nil if there are none.
	Tokens *token.Verifier
	// Quietly runs a change of ours to a file that is watched; nil: as it is.
	Quietly func(file string, change func() error) error
}

// Options gives the proxy's options. A listener's TLS state is that of the
// configuration before where its files and settings are the same.
func (c *Config) Options(run Running) proxy.Options {
	o := proxy.Options{
		Backends: make(map[string]backend.Options, len(c.backends)),
		Policy:   c.Policy,
		Table:    c.Table,
		Limits:   c.limits,
		Workers:  c.workers,
		Shutdown: c.shutdown,
		Recorder: run.Recorder,
		Logger:   run.Logger,
		Version:  run.Version,

		PingEvery: pingEvery,
		Auth:      proxy.Auth{Tokens: run.Tokens, TokenSwitch: c.rules.tokenSwitch, NoThrottle: c.throttle == nil},
		ACLFile:   c.aclFile(run),

		RefuseProbes: c.rules.refuseProbes,
		EventsOn:     c.eventsOn,
		Snapshots:    c.snapshots,
	}
	if c.throttle != nil {
		o.Auth.Throttle = *c.throttle
	}
	if len(c.rules.issuers) > 0 && o.Limits.AuthArgumentBytes == 0 {
		o.Limits.AuthArgumentBytes = tokenBytes
	}
	for _, l := range c.listeners {
		o.Listeners = append(o.Listeners, proxy.ListenerOptions{
			Name:      l.name.Value,
			Network:   l.address.network,
			Address:   l.address.text,
			Mode:      l.mode,
			TLS:       l.server,
			Backend:   l.backend,
			Routes:    l.prefixes,
			Proxy:     l.proxy,
			ProxyUnix: l.proxyUnix,
			Names:     l.names,
			ReusePort: l.reusePort,
		})
	}
	for _, b := range c.backends {
		o.Backends[b.name.Value] = b.options(run.Logger)
	}
	return o
}

func (b *backendConfig) options(log *zap.Logger) backend.Options {
	o := backend.Options{Name: b.name.Value, User: b.login.user, Discover: b.discover, Connections: b.own, Logger: log}
	for _, n := range b.nodes {
		o.Nodes = append(o.Nodes, backend.Endpoint{Network: n.network, Address: n.text})
	}
	o.Password = b.login.ask()
	if client := b.client; client != nil {
		o.TLS = client.Config
	}
	o.Routing = b.routing()
	o.Logins = b.userLogins()
	return o
}

// tokenBytes is what a token may have before login. Those of directories with
// many groups have some 10 KiB.
const tokenBytes = 64 << 10

// Issuers gives whose tokens are taken, for token.New. It must not be changed.
func (c *Config) Issuers() []token.Issuer { return c.rules.issuers }

// aclFile is how ACL LOAD and ACL SAVE reach the file, nil if there is none.
func (c *Config) aclFile(run Running) *proxy.ACLFile {
	file := c.rules.aclFile
	if file.path == "" {
		return nil
	}
	return &proxy.ACLFile{
		Name: file.written,
		Read: func() (string, error) {
			text, err := readBounded(file.path, maxFile)
			return string(text), err
		},
		Write: func(text string) error {
			change := func() error { return replaceFile(file.path, text) }
			if run.Quietly == nil {
				return change()
			}
			return run.Quietly(file.path, change)
		},
	}
}

// AuthFailures bounds failing attempts to log in; nil: they do not count.
func (c *Config) AuthFailures() *acl.ThrottleOptions { return c.throttle }

// AuthFailureDelay is how long after its receipt a failing attempt is refused; 0 or less: at once.
func (c *Config) AuthFailureDelay() time.Duration { return c.limits.AuthFailureDelay }

// Discovers says whether a running proxy learns commands from a backend that
// its table does not hold.
func (c *Config) Discovers() bool {
	return slices.ContainsFunc(c.backends, func(b *backendConfig) bool { return b.discover })
}

// RefusesProbes says whether policy.probes is refuse.
func (c *Config) RefusesProbes() bool { return c.rules.refuseProbes }

// AuditSinks gives the sinks of events; nothing is opened yet.
func (c *Config) AuditSinks() []audit.Sink {
	out := make([]audit.Sink, len(c.Sinks))
	for i, s := range c.Sinks {
		out[i] = s.sink()
	}
	return out
}

// ListenersOverTCP names the listeners that have an allow list, in the file's
// order: those that are no unix sockets.
func (c *Config) ListenersOverTCP() []string {
	var out []string
	for _, l := range c.listeners {
		if l.address.network == "tcp" {
			out = append(out, l.name.Value)
		}
	}
	return out
}

// Listeners names the listeners, in the file's order.
func (c *Config) Listeners() []string {
	out := make([]string, len(c.listeners))
	for i, l := range c.listeners {
		out[i] = l.name.Value
	}
	return out
}

// NeedsRestart names the keys in which next differs from c and that a running
// process can't change: they belong to what was opened when it started.
func (c *Config) NeedsRestart(next *Config) []string {
	var keys []string
	differ := func(key string, differs bool) {
		if differs {
			keys = append(keys, key)
		}
	}
	differ("client_snapshots", c.snapshots.Every != next.snapshots.Every || c.snapshots.ExpectUnix != next.snapshots.ExpectUnix || !slices.Equal(c.snapshots.Expected, next.snapshots.Expected))
	differ("events", !slices.EqualFunc(c.Sinks, next.Sinks, Sink.same))
	differ("admin.address", c.Admin.where() != next.Admin.where())
	differ("workers", c.workers != next.workers)
	differ("policy.commands", c.Table.Label() != next.Table.Label())
	differ("policy.token_switch", c.rules.tokenSwitch != next.rules.tokenSwitch)
	differ("limits.auth_failures", (c.throttle == nil) != (next.throttle == nil) || c.throttle != nil && *c.throttle != *next.throttle)
	differ("limits.handshakes", c.limits.Handshakes != next.limits.Handshakes)
	differ("limits.write_timeout", c.limits.WriteTimeout != next.limits.WriteTimeout)
	differ("limits.auth_failure_delay", c.limits.AuthFailureDelay != next.limits.AuthFailureDelay)
	for _, l := range c.listeners {
		for _, to := range next.listeners {
			differ("listeners: reuse_port of "+l.name.Value, l.address.text == to.address.text && l.reusePort != to.reusePort)
		}
	}
	return keys
}

func paths(files []named) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.path
	}
	return out
}

// Credentials gives the files that say how this process and its peers prove who
// they are: certificates, keys, authorities and revocation lists of listeners and
// backends, and the backends' passwords. Absolute. No rule of the policy depends
// on them.
func (c *Config) Credentials() []string {
	var files []string
	for _, l := range c.listeners {
		if f := l.tls; f != nil {
			files = append(append(files, f.certificate.path, f.key.path, f.clientCA.path), paths(f.crls)...)
		}
	}
	if c.Admin != nil && c.Admin.files != nil {
		f := c.Admin.files
		files = append(append(files, f.certificate.path, f.key.path, f.clientCA.path), paths(f.crls)...)
	}
	for _, b := range c.backends {
		files = append(append(files, b.login.passwordFile.path), b.files()...)
		for _, l := range b.logins {
			files = append(files, l.as.passwordFile.path)
		}
		if f := b.tls; f != nil {
			files = append(files, f.ca.path, f.certificate.path, f.key.path)
		}
	}
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}
