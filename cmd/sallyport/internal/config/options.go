package config

import (
	"crypto/tls"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"go.uber.org/zap"
)

// Running is what a configuration needs from the process that runs it.
type Running struct {
	Recorder *audit.Recorder
	Logger   *zap.Logger
	Version  string
}

// Options gives the proxy's options. Each Config makes its own TLS state, so
// session tickets of one generation are worth nothing in the next; call it once.
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
	}
	for _, l := range c.listeners {
		o.Listeners = append(o.Listeners, proxy.ListenerOptions{
			Name:      l.name.Value,
			Network:   l.address.network,
			Address:   l.address.text,
			Mode:      l.mode,
			TLS:       l.server,
			Backend:   l.backend,
			Anonymous: l.anonymous,
		})
	}
	for _, b := range c.backends {
		o.Backends[b.name.Value] = b.options(run.Logger)
	}
	return o
}

func (b *backendConfig) options(log *zap.Logger) backend.Options {
	o := backend.Options{Name: b.name.Value, User: b.user, Logger: log}
	for _, n := range b.nodes {
		o.Nodes = append(o.Nodes, backend.Endpoint{Network: n.network, Address: n.text})
	}
	switch path, password := b.passwordFile.path, b.password; {
	case path != "":
		o.Password = func() (string, error) { return readPassword(path) }
	case password != "":
		o.Password = func() (string, error) { return password, nil }
	}
	if client := b.client; client != nil {
		host := b.nodes[0].host
		o.TLS = func() (*tls.Config, error) { return client.Config(host) }
	}
	return o
}

// AuditSinks gives the sinks of events; nothing is opened yet.
func (c *Config) AuditSinks() []audit.Sink {
	var out []audit.Sink
	for _, s := range c.Sinks {
		switch s.Kind {
		case "stdout":
			out = append(out, audit.Stdout())
		case "stderr":
			out = append(out, audit.Stderr())
		case "file":
			out = append(out, audit.File(s.Path, s.Mode))
		}
	}
	return out
}
