package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// peer is whom the control plane speaks to, and as whom.
type peer struct {
	at       Endpoint
	sentinel bool
}

// contact is a connection of the control plane.
type contact struct {
	redis *redis.Client
	host  string
}

// quiet stops the library from writing to stderr by itself: what goes wrong
// comes back as an error, and is written down here, without secrets.
var quiet = sync.OnceFunc(logging.Disable)

// client gives the connection to a peer, made at the first question.
func (c *control) client(p peer) (*contact, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, net.ErrClosed
	}
	cl := c.clients[p]
	if cl == nil {
		quiet()
		cl = &contact{redis: redis.NewClient(c.options(p)), host: hostOf(p.at)}
		c.clients[p] = cl
	}
	return cl, nil
}

func hostOf(e Endpoint) string {
	if host, _, err := net.SplitHostPort(e.Address); e.Network == "tcp" && err == nil {
		return host
	}
	return ""
}

// options are those of a client that does one thing at a time and nothing twice.
func (c *control) options(p peer) *redis.Options {
	return &redis.Options{
		Network: p.at.Network, Addr: p.at.Address,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx, p) },
		CredentialsProviderContext: func(context.Context) (string, string, error) {
			l := c.as(p)
			if l.Password == nil {
				return "", "", nil
			}
			password, err := l.Password()
			return l.User, password, err
		},
		Protocol: 2, MaxRetries: -1, DialerRetries: 1,
		DialTimeout: controlTimeout, ReadTimeout: controlTimeout, WriteTimeout: controlTimeout, ContextTimeoutEnabled: true,
		PoolSize: 8, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// as is how the control plane introduces itself to a peer.
func (c *control) as(p peer) *Login {
	switch now := c.logins.Load(); {
	case p.sentinel:
		return now.sentinels
	case now.nodes != nil:
		return now.nodes
	}
	return c.login()
}

// dial connects to a peer if it may.
func (c *control) dial(ctx context.Context, p peer) (net.Conn, error) {
	own := p.sentinel || slices.Contains(c.seeds, p.at)
	nc, err := c.allowed.dial(ctx, p.at, own)
	if err != nil {
		return nil, err
	}
	c.own.add(nc)
	if l := c.as(p); l.TLS != nil {
		config, err := l.TLS(hostOf(p.at))
		if err != nil {
			return nil, errors.Join(err, nc.Close())
		}
		secured := tls.Client(nc, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		nc = secured
	}
	return &sane{Conn: nc}, nil
}

// ask puts one question to a peer.
func (c *control) ask(ctx context.Context, p peer, question ...any) (any, error) {
	cl, err := c.client(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	reply, err := cl.redis.Do(ctx, question...).Result()
	if said := redis.Error(nil); err != nil && !errors.As(err, &said) {
		c.discard(p, cl)
	}
	if err != nil {
		return nil, c.cleaned(p, err)
	}
	return reply, nil
}

// discard ends a connection that failed; the next question begins another. The
// library would go on dialling by itself, beyond the end of its client, once as
// many attempts have failed as its pool is large: that many never are at once.
func (c *control) discard(p peer, cl *contact) {
	c.mu.Lock()
	if c.clients[p] == cl {
		delete(c.clients, p)
	}
	c.mu.Unlock()
	cl.redis.Close()
}

// cleaned is an error without what a peer may have repeated of a login.
func (c *control) cleaned(p peer, err error) error {
	text, _, cut := strings.Cut(err.Error(), ", with args beginning with")
	if l := c.as(p); l.Password != nil {
		if secret, failed := l.Password(); failed == nil && secret != "" && strings.Contains(text, secret) {
			text, cut = strings.ReplaceAll(text, secret, "***"), true
		}
	}
	if said := redis.Error(nil); errors.As(err, &said) || cut {
		return &RefusedError{Step: "control", Reply: printable([]byte(text))}
	}
	return err
}
