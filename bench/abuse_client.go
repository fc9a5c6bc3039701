package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// tlsClient is a client's configuration with its certificate.
func (c credentials) tlsClient() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.clientCert, c.clientKey)
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in the authority's file")
	}
	// As OpenSSL 3.0's clients do, which all peers know.
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "localhost", CurvePreferences: []tls.CurveID{tls.X25519},
	}, nil
}

// loggedIn opens a connection, with a nil conf without TLS, and logs in where the target asks for it.
func (t *target) loggedIn(ctx context.Context, listener string, conf *tls.Config) (net.Conn, *redistest.Client, error) {
	dialer := net.Dialer{Timeout: 30 * time.Second}
	nc, err := dialer.DialContext(ctx, "tcp", t.address[listener])
	if err != nil {
		return nil, nil, err
	}
	if conf != nil {
		tc := tls.Client(nc, conf)
		nc.SetDeadline(time.Now().Add(30 * time.Second))
		if err := tc.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, nil, err
		}
		nc.SetDeadline(time.Time{})
		nc = tc
	}
	client := redistest.NewClient(nc)
	if t.user != "" {
		if _, err := client.Do("AUTH", t.user, t.password); err != nil {
			nc.Close()
			return nil, nil, err
		}
	}
	return nc, client, nil
}

// crowd is many open connections.
type crowd struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *crowd) add(nc net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, nc)
}

func (c *crowd) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		// TLS would wait to say goodbye on each of thousands of connections.
		rawConn(nc).Close()
	}
	c.conns = nil
}

// each calls f for 0 to n-1 in a few goroutines, until one fails.
func each(ctx context.Context, n, workers int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range work {
				if err := f(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case work <- i:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

// gather opens n connections that log in and then do nothing.
func (t *target) gather(ctx context.Context, c *crowd, n int, conf *tls.Config) error {
	return each(ctx, n, 16, func(ctx context.Context, _ int) error {
		nc, _, err := t.loggedIn(ctx, "mtls", conf)
		if err == nil {
			c.add(nc)
		}
		return err
	})
}

// probe is a few clients of good behaviour that measure what the others' does to them.
type probe struct {
	stop func() []error
	mu   sync.Mutex
	took []time.Duration
}

const (
	probeClients = 4
	probeEvery   = 4 * time.Millisecond
)

// startProbe has a few clients over mutual TLS ask for a small value now and then.
func startProbe(ctx context.Context, t *target, conf *tls.Config) (*probe, error) {
	const key, want = "probe", "here"
	if _, err := t.redis.Do("SET", key, want); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &probe{}
	var wg sync.WaitGroup
	errs := make(chan error, probeClients)
	p.stop = func() (all []error) {
		cancel()
		wg.Wait()
		close(errs)
		for err := range errs {
			all = append(all, err)
		}
		return all
	}
	for range probeClients {
		nc, client, err := t.loggedIn(ctx, "mtls", conf)
		if err != nil {
			return nil, errors.Join(append(p.stop(), err)...)
		}
		wg.Go(func() {
			defer nc.Close()
			tick := time.NewTicker(probeEvery)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				began := time.Now()
				got, err := client.Do("GET", key)
				if err == nil && got != want {
					err = fmt.Errorf("a probe got %.40q", got)
				}
				if err != nil {
					errs <- err
					return
				}
				p.mu.Lock()
				p.took = append(p.took, time.Since(began))
				p.mu.Unlock()
			}
		})
	}
	return p, nil
}

// p99 is that of what was measured since it was last asked, which it forgets; 0 for nothing.
func (p *probe) p99() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := p.took
	p.took = nil
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// pause waits, or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const mib = 1 << 20

// rawConn is the connection below TLS.
func rawConn(nc net.Conn) *net.TCPConn {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	return nc.(*net.TCPConn)
}
