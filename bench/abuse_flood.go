package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
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
	offered, answered, err := s.flood(ctx, hello, 3*capacity)
	if err != nil {
		return err
	}
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

// strangersVariable, in the environment of this program, makes it the process that floods: its arguments come on standard input.
const strangersVariable = "SALLYPORT_BENCH_STRANGERS"

// strangers is what that process is told, and what it answers.
type strangers struct {
	Address  string
	Hello    []byte
	Rate     float64 // connections a second
	For      time.Duration
	Offered  int64
	Answered int64
}

func init() {
	if os.Getenv(strangersVariable) == "" {
		return
	}
	runtime.GOMAXPROCS(manyProcs)
	var s strangers
	err := errors.Join(raiseFiles(), json.NewDecoder(os.Stdin).Decode(&s))
	if err == nil {
		s.flood()
		err = json.NewEncoder(os.Stdout).Encode(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "strangers:", err)
		os.Exit(exitFailure)
	}
	os.Exit(0)
}

// flood has another process send what strangers send. It has the lowest priority: elsewhere they have machines of their own, and
// what is asked is what the proxy's work for them does to its clients, not what their own work does on the same two cores.
func (s *stage) flood(ctx context.Context, hello []byte, rate float64) (offered, answered int64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	order, err := json.Marshal(strangers{Address: s.proxy.address["mtls"], Hello: hello, Rate: rate, For: s.size.floodFor})
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, "nice", "-n", "19", self)
	cmd.Env = append(os.Environ(), strangersVariable+"=1")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(order), s.progress
	out, err := cmd.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("the process that floods: %w", err)
	}
	var done strangers
	err = json.Unmarshal(out, &done)
	return done.Offered, done.Answered, err
}

// flood opens connections at the rate, each of which sends the hello, reads the beginning of the answer and leaves. At most
// outstanding are under way at a time; those that would be more are not sent.
func (s *strangers) flood() {
	ctx, cancel := context.WithTimeout(context.Background(), s.For)
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
		for due = min(due, time.Since(began).Seconds()*s.Rate); due < time.Since(began).Seconds()*s.Rate && ctx.Err() == nil; due++ {
			select {
			case room <- struct{}{}:
			default:
				continue
			}
			s.Offered++
			wg.Go(func() {
				defer func() { <-room }()
				if replay(s.Address, s.Hello) == nil {
					got.Add(1)
				}
			})
		}
	}
	wg.Wait()
	s.Answered = got.Load()
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
