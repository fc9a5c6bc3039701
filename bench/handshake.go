package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

const handshakeWorkers = 4

// measureHandshakes is the µs of proxy CPU for a connection: open, handshake, for us a login, one GET, close. The client
// is our own, since redis-benchmark never resumes a session; every peer gets the same.
func measureHandshakes(ctx context.Context, r *rig, t *target, p point) (figures, error) {
	if err := t.ready(p); err != nil {
		return figures{}, err
	}
	resumed := p.Command == "resumed"
	confs := make([]*tls.Config, handshakeWorkers)
	for i := range confs {
		conf, err := r.pki.tlsClient()
		if err != nil {
			return figures{}, err
		}
		if resumed {
			conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		confs[i] = conf
	}
	play := func(n int, warm bool) error {
		return each(ctx, handshakeWorkers, handshakeWorkers, func(ctx context.Context, worker int) error {
			for range n / handshakeWorkers {
				if err := t.shakeOnce(ctx, confs[worker], resumed && !warm); err != nil {
					return errors.Join(t.alive(), fmt.Errorf("%s: %w", t.name, err))
				}
			}
			return nil
		})
	}
	if err := play(2*handshakeWorkers, true); err != nil { // the first of each gets the ticket
		return figures{}, err
	}
	before, err := readBoth(t)
	if err != nil {
		return figures{}, err
	}
	began := time.Now()
	if err := play(p.Requests, false); err != nil {
		return figures{}, err
	}
	spent := time.Since(began)
	if err := pause(ctx, settle); err != nil {
		return figures{}, err
	}
	after, err := readBoth(t)
	if err != nil {
		return figures{}, err
	}
	n := float64(p.Requests / handshakeWorkers * handshakeWorkers)
	proxy := after[0].minus(before[0])
	f := figures{Rate: n / spent.Seconds(), ProxyCPU: float64(proxy.total) / n / 1e3, RedisCPU: float64(after[1].minus(before[1]).total) / n / 1e3}
	if counted := proxy.user + proxy.system; counted > 0 {
		f.ProxyUser = float64(proxy.user) / float64(counted)
	}
	return f, nil
}

// shakeOnce is one connection. A handshake that was to be resumed and was not is an error: it would measure the other kind.
func (t *target) shakeOnce(ctx context.Context, conf *tls.Config, resumed bool) error {
	nc, client, err := t.loggedIn(ctx, "mtls", conf)
	if err != nil {
		return err
	}
	defer nc.Close()
	if got := nc.(*tls.Conn).ConnectionState().DidResume; got != resumed && resumed {
		return errors.New("the session was not resumed")
	}
	_, err = client.Do("GET", benchKey)
	return err
}

// idleSettle is what a process gets to tidy up after the last client has come.
const idleSettle = 12 * time.Second

// measureIdle starts the target anew, has clients connect, log in and do nothing, and says what its memory grew by.
func measureIdle(ctx context.Context, r *rig, t *target, p point) (figures, error) {
	if err := t.restart(ctx); err != nil {
		return figures{}, err
	}
	conf, err := r.pki.tlsClient()
	if err != nil {
		return figures{}, err
	}
	if err := pause(ctx, time.Second); err != nil {
		return figures{}, err
	}
	empty, err := readMemory(t.pid)
	if err != nil || p.Clients == 0 {
		return figures{RSS: float64(empty.rss)}, err
	}
	var all crowd
	defer all.close()
	if err := each(ctx, p.Clients, 16, func(ctx context.Context, _ int) error {
		nc, client, err := t.loggedIn(ctx, p.Listener, conf)
		if err != nil {
			return err
		}
		all.add(nc)
		_, err = client.Do("PING") // a peer without a login has served it, too
		return err
	}); err != nil {
		return figures{}, errors.Join(t.alive(), err)
	}
	if err := pause(ctx, idleSettle); err != nil {
		return figures{}, err
	}
	full, err := readMemory(t.pid)
	return figures{RSS: float64(full.rss), PerClient: float64(full.rss-empty.rss) / 1024 / float64(p.Clients)}, err
}

// restart ends the target's process and starts it again with the same arguments.
func (t *target) restart(ctx context.Context) error {
	if err := t.stop(); err != nil {
		return err
	}
	return t.launch(ctx, t.dir, t.binary, t.args)
}
