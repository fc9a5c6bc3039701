package main

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// perReader is what a client may cost beside its buffers, in KiB.
const perReader = 20

// smallWindow keeps the kernel from reading in the clients' stead.
const smallWindow = 16 << 10

// abuseReaders: clients ask for values of megabytes and read nothing of them.
func abuseReaders(ctx context.Context, s *stage) error {
	if err := s.start(ctx, []string{"memory: " + strconv.Itoa(s.size.memory) + "MiB", "connections: 1000"}); err != nil {
		return err
	}
	conf, err := s.rig.pki.tlsClient()
	if err != nil {
		return err
	}
	if _, err := s.rig.plain.Do("SET", "large", strings.Repeat("x", s.size.value)); err != nil {
		return err
	}
	empty, err := readMemory(s.proxy.pid)
	if err != nil {
		return err
	}
	p, err := startProbe(ctx, s.proxy, conf)
	if err != nil {
		return err
	}
	if err := resetPeak(s.proxy.pid); err != nil {
		return err
	}
	var all crowd
	defer all.close()
	if err := each(ctx, s.size.readers, 16, func(ctx context.Context, i int) error {
		listener, with := "plain", conf
		if i%2 == 0 {
			listener = "mtls"
		} else {
			with = nil
		}
		nc, client, err := s.proxy.loggedIn(ctx, listener, with)
		if err != nil {
			return ignoreRefused(err) // over limits.memory nobody new is let in
		}
		all.add(nc)
		if err := rawConn(nc).SetReadBuffer(smallWindow); err != nil {
			return err
		}
		return client.Write(redistest.Encode("GET", "large"))
	}); err != nil {
		return err
	}
	s.say("%d clients let in, which have asked for %d MB each", len(all.conns), s.size.value/1_000_000)
	limit := standardWrite
	if s.size.write > 0 {
		limit = s.size.write
	}
	if err := s.untilAnswered(ctx, int64(len(all.conns))*int64(s.size.value)); err != nil {
		return err
	}
	asked := time.Now()
	last, open, err := s.untilClosed(ctx, asked.Add(limit+2*closeSlack))
	if err != nil {
		return err
	}
	after, err := readMemory(s.proxy.pid)
	if err != nil {
		return err
	}
	bound := float64(s.size.memory)*1.2 + float64(empty.rss)/mib + perReader*float64(s.size.readers)/1024
	s.judge("RSS at most", float64(after.peak)/mib, "MiB", bound, 0)
	s.judge("clients that were never closed", float64(open), "clients", 0, 0)
	if open == 0 {
		s.judge("seconds from the last answer until the last was closed", last.Sub(asked).Seconds(), "s", (limit + closeSlack).Seconds(), 0)
	}
	s.say("p99 of others: %v", p.p99())
	s.served("the others are all served", p)
	return nil
}

// ignoreRefused lets pass that a connection was turned away, which is how a limit shows.
func ignoreRefused(err error) error {
	if _, ok := err.(*net.OpError); ok || err != nil && (strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "max number of clients")) {
		return nil
	}
	return err
}

// untilAnswered waits until Redis has said what it has to say, so many bytes: only then does the last client's time
// begin. Of a client that was closed early it may have less to say.
func (s *stage) untilAnswered(ctx context.Context, all int64) error {
	began := time.Now()
	patience := began.Add(time.Minute)
	for last, still := int64(-1), 0; last < all && (still < 3 || time.Since(began) < 30*time.Second && s.size.write == 0); {
		info, err := s.rig.plain.Info("stats")
		if err != nil { // it copies gigabytes, and answers nobody meanwhile
			if time.Now().After(patience) {
				return err
			}
			continue
		}
		sent, err := strconv.ParseInt(info["total_net_output_bytes"], 10, 64)
		if err != nil {
			return err
		}
		if still++; sent-last > int64(s.size.value) {
			still = 0
		}
		last = sent
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
	s.say("all are answered")
	return nil
}

// untilClosed waits until the proxy has no more connections than those of the probe, or the time is over. It says when the
// last one was closed and how many are left. The proxy is asked, since a client that does not read never sees the end:
// it comes behind what waits.
func (s *stage) untilClosed(ctx context.Context, over time.Time) (last time.Time, open int, err error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for looks := 0; ; looks++ {
		if open, err = s.connections(ctx); err != nil {
			return last, open, err
		}
		open -= probeClients
		if looks%20 == 0 {
			s.say("%d open", open)
		}
		if last = time.Now(); open <= 0 || last.After(over) {
			return last, max(0, open), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, open, ctx.Err()
		}
	}
}

// connections is how many clients the proxy says it has.
func (s *stage) connections(ctx context.Context) (int, error) {
	text, err := s.ask(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "sallyport_connections{"); ok {
			_, value, _ := strings.Cut(rest, "} ")
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return int(sum), nil
}
