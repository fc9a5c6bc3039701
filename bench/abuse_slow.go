package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// slowKind is where a slow client stands when it begins to take its time.
type slowKind struct {
	name  string
	limit time.Duration // after which it is to be gone
	open  func(ctx context.Context, s *stage, conf *tls.Config) (net.Conn, []byte, error)
}

// slowClient sends its bytes one by one until it is closed.
type slowClient struct {
	kind  int
	conn  net.Conn
	rest  []byte
	since time.Time
	ended time.Time // zero: still open
}

// closeSlack is how much later than its limit a client may be closed.
const closeSlack = 3 * time.Second

// slowKinds are the four, by limits the standard ones or the stage's.
func slowKinds(s *stage) []slowKind {
	handshake, command := standardHandshake, standardCommand
	if s.size.handshake > 0 {
		handshake, command = s.size.handshake, s.size.handshake
	}
	return []slowKind{
		{"before TLS", handshake, func(ctx context.Context, s *stage, conf *tls.Config) (net.Conn, []byte, error) {
			hello, err := clientHello(conf)
			if err != nil {
				return nil, nil, err
			}
			nc, err := net.Dial("tcp", s.proxy.address["mtls"])
			return nc, hello, err
		}},
		{"in the handshake", handshake, func(ctx context.Context, s *stage, conf *tls.Config) (net.Conn, []byte, error) {
			hello, err := clientHello(conf)
			if err != nil {
				return nil, nil, err
			}
			nc, err := net.Dial("tcp", s.proxy.address["mtls"])
			if err != nil {
				return nil, nil, err
			}
			_, err = nc.Write(hello)
			return nc, append([]byte{20, 3, 3, 0, 1, 1, 23, 3, 3, 32, 0}, make([]byte, 64)...), err
		}},
		{"before login", handshake, func(ctx context.Context, s *stage, conf *tls.Config) (net.Conn, []byte, error) {
			stranger := *s.proxy
			stranger.user = ""
			nc, _, err := stranger.loggedIn(ctx, "mtls", conf)
			return nc, redistest.Encode("AUTH", s.proxy.user, s.proxy.password), err
		}},
		{"in a command", command, func(ctx context.Context, s *stage, conf *tls.Config) (net.Conn, []byte, error) {
			nc, client, err := s.proxy.loggedIn(ctx, "mtls", conf)
			if err != nil {
				return nil, nil, err
			}
			command := redistest.Encode("SET", "k", string(make([]byte, 4096)))
			return nc, command[1:], client.Write(command[:1]) // its time begins with its first byte
		}},
	}
}

// abuseSlow: clients that hold their connection by a byte now and then.
func abuseSlow(ctx context.Context, s *stage) error {
	if err := s.start(ctx, nil); err != nil {
		return err
	}
	conf, err := s.rig.pki.tlsClient()
	if err != nil {
		return err
	}
	p, err := startProbe(ctx, s.proxy, conf)
	if err != nil {
		return err
	}
	if err := pause(ctx, s.size.slowEvery); err != nil {
		return err
	}
	calm := p.p99()
	kinds := slowKinds(s)
	clients := make([]slowClient, s.size.slow)
	defer func() {
		for i := range clients {
			if clients[i].conn != nil {
				clients[i].conn.Close()
			}
		}
	}()
	if err := each(ctx, len(clients), 16, func(ctx context.Context, i int) (err error) {
		c := &clients[i]
		c.kind = i % len(kinds)
		c.conn, c.rest, err = kinds[c.kind].open(ctx, s, conf)
		c.since = time.Now()
		return err
	}); err != nil {
		return err
	}
	s.say("%d slow clients are there; p99 of others %v before", len(clients), calm)
	p.p99() // what the opening did to others is the flood's matter
	if err := s.crawl(ctx, clients, kinds); err != nil {
		return err
	}
	stormy := p.p99()
	s.judgeQuiet("p99 of others, times what it is in calm", float64(stormy)/float64(max(calm, time.Millisecond)), "×", 2, 0)
	s.served("the others are all served", p)
	for k, kind := range kinds {
		var slowest time.Duration
		open := 0
		for i := range clients {
			switch c := &clients[i]; {
			case c.kind != k:
			case c.ended.IsZero():
				open++
			default:
				slowest = max(slowest, c.ended.Sub(c.since))
			}
		}
		s.judge("never closed, "+kind.name, float64(open), "clients", 0, 0)
		if slowest > 0 {
			s.judge("seconds until the last is closed, "+kind.name, slowest.Seconds(), "s", (kind.limit + closeSlack).Seconds(), 0)
		}
	}
	return nil
}

// crawl has every client send a byte from time to time, until all are closed or the longest limit is well over.
func (s *stage) crawl(ctx context.Context, clients []slowClient, kinds []slowKind) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := len(clients)
	longest := time.Duration(0)
	for _, k := range kinds {
		longest = max(longest, k.limit)
	}
	over := time.Now().Add(longest + 2*closeSlack)
	for i := range clients {
		c := &clients[i]
		c.conn.SetReadDeadline(over)
		wg.Go(func() {
			buf := make([]byte, 512)
			for {
				_, err := c.conn.Read(buf)
				if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
					return
				}
				if err != nil {
					mu.Lock()
					c.ended, open = time.Now(), open-1
					mu.Unlock()
					return
				}
			}
		})
	}
	defer wg.Wait()
	tick := time.NewTicker(s.size.slowEvery)
	defer tick.Stop()
	for time.Now().Before(over) {
		for i := range clients {
			if c := &clients[i]; len(c.rest) > 0 {
				c.conn.SetWriteDeadline(time.Now().Add(time.Second))
				if _, err := c.conn.Write(c.rest[:1]); err != nil {
					c.rest = nil // it is closed, as the one that reads will find
					continue
				}
				c.rest = c.rest[1:]
			}
		}
		mu.Lock()
		left := open
		mu.Unlock()
		s.say("%d open", left)
		if left == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			for i := range clients {
				clients[i].conn.Close()
			}
			return fmt.Errorf("slow clients: %w", ctx.Err())
		}
	}
	return nil
}
