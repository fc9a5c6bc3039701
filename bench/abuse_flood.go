package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// outstanding is how many unfinished handshakes the flood has open at a time.
const outstanding = 2000

// abuseFlood: strangers replay a ClientHello, which costs them nothing and the
// proxy two operations on a curve, and go away. They offer three times what all
// cores together could complete.
func abuseFlood(ctx context.Context, s *stage) error {
	if err := s.start(ctx, nil); err != nil {
		return err
	}
	conf, err := s.rig.pki.tlsClient()
	if err != nil {
		return err
	}
	hello, err := clientHello(conf)
	if err != nil {
		return err
	}
	cost, err := s.handshakeCost(ctx, conf)
	if err != nil {
		return err
	}
	capacity := float64(runtime.NumCPU()) / cost.Seconds()
	s.say("a full handshake costs %v of CPU: the machine could do %.0f a second", cost.Round(time.Microsecond), capacity)
	p, err := startProbe(ctx, s.proxy, conf)
	if err != nil {
		return err
	}
	if err := pause(ctx, s.size.floodFor/3+time.Second); err != nil {
		return err
	}
	calm := p.p99()
	before, err := readMemory(s.proxy.pid)
	if err != nil {
		return err
	}
	if err := resetPeak(s.proxy.pid); err != nil {
		return err
	}
	offered, answered := s.flood(ctx, hello, 3*capacity)
	stormy := p.p99()
	after, err := readMemory(s.proxy.pid)
	if err != nil {
		return err
	}
	s.say("%d handshakes offered, %d answered; p99 of others %v before, %v meanwhile", offered, answered, calm, stormy)
	s.judgeQuiet("p99 of clients that are logged in, during the flood", float64(stormy)/1e6, "ms", 50, 0)
	s.judgeQuiet("the same, times what it is in calm", float64(stormy)/float64(max(calm, time.Millisecond)), "×", 5, 0)
	s.judge("RSS grown by the flood", float64(after.peak-before.rss)/mib, "MiB", 100, 0)
	began := time.Now()
	nc, _, err := s.proxy.loggedIn(ctx, "mtls", conf)
	if err != nil {
		return err
	}
	nc.Close()
	s.judgeQuiet("seconds until a new client is logged in afterwards", time.Since(began).Seconds(), "s", 5, 0)
	s.served("the clients logged in before are all served", p)
	return nil
}

// handshakeCost is the proxy's CPU for a connection with a full handshake and a login.
func (s *stage) handshakeCost(ctx context.Context, conf *tls.Config) (time.Duration, error) {
	const n = 200
	before, err := readCPU(s.proxy.pid)
	if err != nil {
		return 0, err
	}
	var all crowd
	defer all.close()
	if err := s.proxy.gather(ctx, &all, n, conf); err != nil {
		return 0, err
	}
	after, err := readCPU(s.proxy.pid)
	return after.minus(before).total / n, err
}

// flood opens connections at a rate, each of which sends hello, reads the beginning of the answer and leaves. At most
// outstanding are under way at a time; those that would be more are not sent.
func (s *stage) flood(ctx context.Context, hello []byte, rate float64) (offered, answered int64) {
	ctx, cancel := context.WithTimeout(ctx, s.size.floodFor)
	defer cancel()
	var got atomic.Int64
	var wg sync.WaitGroup
	room := make(chan struct{}, outstanding)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, due := time.Now(), 0.0
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		for due = min(due, time.Since(began).Seconds()*rate); due < time.Since(began).Seconds()*rate && ctx.Err() == nil; due++ {
			select {
			case room <- struct{}{}:
			default:
				continue
			}
			offered++
			wg.Go(func() {
				defer func() { <-room }()
				if replay(s.proxy.address["mtls"], hello) == nil {
					got.Add(1)
				}
			})
		}
	}
	wg.Wait()
	return offered, got.Load()
}

// replay sends a recorded ClientHello and waits for the beginning of the answer.
func replay(address string, hello []byte) error {
	nc, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.(*net.TCPConn).SetLinger(0) // no port waits for a minute afterwards
	nc.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := nc.Write(hello); err != nil {
		return err
	}
	var first [5]byte
	if _, err := nc.Read(first[:]); err != nil {
		return err
	}
	if first[0] != 22 {
		return fmt.Errorf("record of type %d instead of a handshake", first[0])
	}
	return nil
}

// clientHello records what a client sends first.
func clientHello(conf *tls.Config) ([]byte, error) {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, conf).Handshake() // ends when the other side closes
		client.Close()
	}()
	buf := make([]byte, 4096)
	n, err := server.Read(buf)
	return buf[:n], err
}
