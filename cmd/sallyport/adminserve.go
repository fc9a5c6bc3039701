package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/admin"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
)

// access is what the admin endpoints know of their users. Reloads replace it.
type access struct {
	cfg     atomic.Pointer[config.Config]
	guesses guesses
}

func (a *access) set(cfg *config.Config) { a.cfg.Store(cfg) }

// now is the admin part of the configuration in force. Whether there is one, and
// whether it has TLS and users, changes by a restart only.
func (a *access) now() *config.Admin { return a.cfg.Load().Admin }

// identify says who shows a proof. A certificate is judged as of now, however
// old the connection: one that was revoked since is nobody's.
func (a *access) identify(p admin.Proof) (admin.Caller, bool) {
	now := a.now()
	name := ""
	if p.TLS != nil && len(p.TLS.PeerCertificates) > 0 && now.TLS.Trusts(*p.TLS) != nil {
		return admin.Caller{}, false
	}
	switch {
	case p.Token != "":
		name = a.guesses.judge(p, func(at time.Time) string { return now.Users.ByToken([]byte(p.Token), at) })
	case p.TLS != nil:
		id, err := tlsutil.IdentityOf(*p.TLS)
		if err != nil || id == nil {
			return admin.Caller{}, false
		}
		name = now.Users.ByCertificate(&acl.Certificate{
			CommonNames: id.CommonNames, DNS: id.DNS, Email: id.Email, URI: id.URI, SHA256: id.SHA256, Ambiguous: id.Ambiguous,
		})
	}
	if name == "" {
		return admin.Caller{}, false
	}
	role, ok := admin.ParseRole(now.Roles[name])
	return admin.Caller{Name: name, Role: role}, ok
}

// tls is the endpoints' side of TLS, nil where they speak plain HTTP. Each handshake
// uses the files in force.
func (a *access) tls() *tls.Config {
	if a.now().TLS == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true, ClientAuth: tls.RequireAndVerifyClientCert,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return a.now().TLS.Config().GetConfigForClient(hello)
		},
	}
}

// named reports a name that the certificate bears out.
func (a *access) named(host string) bool {
	t := a.now().TLS
	return t != nil && t.Certificate().VerifyHostname(host) == nil
}

// startAdmin serves the admin endpoints, if there are any to be served.
func (d *daemon) startAdmin(passed *sockets) error {
	d.access.set(d.cfg)
	a := d.cfg.Admin
	if a == nil {
		return nil
	}
	ln := passed.take(a.Network, a.Address)
	if ln == nil {
		var err error
		if ln, err = listenAdmin(a.Network, a.Address); err != nil {
			return fmt.Errorf("admin endpoints: %w", err)
		}
	}
	d.access.guesses.begin(d.cfg.AuthFailures(), d.log)
	server := admin.New(d.adminOptions(a))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(ctx, ln, d.access.tls()); err != nil {
			d.adminErr <- err
		}
	}()
	d.admin = func() { cancel(); <-ended }
	d.adminAt = ln.Addr()
	d.log.Info("listening", zap.String("listener", "admin"), zap.Stringer("address", ln.Addr()))
	return nil
}

// adminOptions connects the endpoints to what they show and steer.
func (d *daemon) adminOptions(a *config.Admin) admin.Options {
	o := admin.Options{
		Ready: d.server.Ready,
		Reloaded: func() any {
			if told := d.told.Load(); told != nil {
				return told
			}
			return nil
		},
		Metrics:      d.server.Metrics(),
		Version:      func() any { return thisBuild() },
		Rules:        func(ctx context.Context) (any, error) { return d.server.Rules(ctx) },
		Users:        shown(d.server.Users),
		Backends:     shown(d.server.Backends),
		Listeners:    shown(d.server.Listeners),
		Certificates: shown(d.server.Certificates),
		Sessions: func(ctx context.Context, p admin.Page) (any, error) {
			return d.server.Sessions(ctx, proxy.SessionQuery{After: p.After, Limit: p.Limit, User: p.User, Listener: p.Listener})
		},
		EndSession: d.server.EndSession,
		Events:     d.events,
		Explain:    d.explain,
		Drain:      func() { d.drain <- struct{}{} },
		Reload:     func(_ context.Context, who admin.Caller) error { return d.reloadFor(audit.MethodAPI, who.Name) },
		Acted:      d.acted,
		Named:      d.access.named,

		FailureDelay: d.cfg.AuthFailureDelay(),

		Hosts:  a.Hosts,
		Logger: d.log,
	}
	if a.Users != nil {
		o.Identify = d.access.identify
	}
	return o
}

// events gives what happened last; of these kinds alone, if any are named.
func (d *daemon) events(n int, after uint64, kinds []string) ([][]byte, error) {
	f := audit.Filter{After: after}
	for _, name := range kinds {
		k, ok := audit.KindNamed(name)
		if !ok {
			return nil, fmt.Errorf("there is no such kind of event: %.32q", name)
		}
		f.Kinds = append(f.Kinds, k)
	}
	return d.recorder.Recent(n, f), nil
}

// shown is an overview that can't fail.
func shown[T any](list func() T) func(context.Context) (any, error) {
	return func(context.Context) (any, error) { return list(), nil }
}

// explain judges a call by the policy in force, with what was changed at run time.
func (d *daemon) explain(_ context.Context, q admin.Question) (any, error) {
	live := *d.access.cfg.Load()
	live.Policy = d.server.Policy()
	said, err := explain(&live, whence{from: q.From, listener: q.Listener}, q.User, q.Command)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrQuestion, err)
	}
	return said, nil
}

// acted puts what was asked for over HTTP on record. A reload records itself,
// unless it was not let happen.
func (d *daemon) acted(a admin.Action) {
	if a.Name != "reload" || a.Err == admin.ErrForbidden {
		e := audit.Event{Time: a.Time, Kind: audit.Admin, Method: audit.MethodAPI, User: a.Who.Name, Status: audit.OK, Command: a.Name}
		if a.Err != nil {
			e.Status = audit.Failed
		}
		if host, port, err := net.SplitHostPort(a.Remote); err == nil {
			if at, err := netip.ParseAddrPort(net.JoinHostPort(host, port)); err == nil {
				e.ClientIP, e.ClientPort = at.Addr().Unmap().WithZone(""), at.Port()
			}
		}
		d.recorder.Record(&e)
	}
	d.log.Info("admin", zap.String("action", a.Name), zap.String("who", a.Who.Name), zap.String("role", a.Who.Role.String()), zap.String("from", a.Remote), zap.Error(a.Err))
}
