package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// figures are what one run gave, per request.
type figures struct {
	Rate      float64 `json:"rate"`       // requests a second
	ProxyCPU  float64 `json:"proxy_us"`   // µs of proxy CPU a request; 0 where Redis itself is the target
	ProxyUser float64 `json:"proxy_user"` // the share of it spent outside the kernel, 0 to 1
	RedisCPU  float64 `json:"redis_us"`
	P50       float64 `json:"p50_us"` // as redis-benchmark counts latency, over the whole run
	P99       float64 `json:"p99_us"`
	RSS       float64 `json:"rss_bytes,omitempty"` // of the proxy with idle clients
	PerClient float64 `json:"rss_kib_per_client,omitempty"`
}

// sample is how far a run has come, and what it has cost until then.
type sample struct {
	at       time.Time
	requests int64 // that Redis has run for others than the benchmark itself
	proxy    cpuTime
	redis    cpuTime
}

// A run is measured between these shares of its requests. Before the first, redis-benchmark connects, and a full TLS
// handshake costs as much as a hundred requests; after the last it runs dry. What happens in between has neither in it,
// so nothing has to be subtracted. A separate run that only connects would have to be subtracted from a run of the same
// size, and its own spread, on a busy machine a fifth, would fall on the result.
const (
	windowFrom = 0.25
	windowTo   = 0.92
	leastShare = 0.30 // of the requests must lie between the samples taken, or the run was too short to measure

	// connectedAfter is the requests per client after which all connections are taken to be up. Clients that are
	// connected keep the proxy busy while the others' handshakes wait their turn.
	connectedAfter = 40
)

// sampleEvery is the time between two looks: an INFO of some 50 µs at the Redis in use, and two reads of CPU clocks.
const sampleEvery = 10 * time.Millisecond

// errTooShort means that too little of a run lay between two samples, which a busy machine can cause as well.
var errTooShort = errors.New("the run was too short to measure")

// measure sends one run through the target, and a longer one when the first was too short.
func measure(ctx context.Context, r *rig, t *target, p point) (figures, error) {
	if p.handshakes() {
		return measureHandshakes(ctx, r, t, p)
	}
	for {
		f, err := measureOnce(ctx, r, t, p)
		if !errors.Is(err, errTooShort) || p.Requests > 10_000_000 {
			return f, err
		}
		p.Requests *= 2
	}
}

func measureOnce(ctx context.Context, r *rig, t *target, p point) (figures, error) {
	if err := t.ready(p); err != nil {
		return figures{}, err
	}
	watch := watcher{target: t, from: int64(windowFrom * float64(p.Requests)), to: int64(windowTo * float64(p.Requests))}
	watch.from = max(watch.from, int64(connectedAfter*p.Clients), int64(3*p.Clients*p.Pipeline))
	start, err := watch.sample()
	if err != nil {
		return figures{}, err
	}
	watch.zero = start.requests

	type outcome struct {
		load load
		err  error
	}
	finished := make(chan outcome, 1)
	go func() {
		run := func() (load, error) { return runLoad(ctx, t, r.pki, p, p.Requests) }
		if p.Command == "mix" {
			run = func() (load, error) { return runMixed(ctx, t, r, p, p.Requests) }
		}
		result, err := run()
		finished <- outcome{result, err}
	}()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := watch.look(); err != nil {
				<-finished
				return figures{}, errors.Join(err, t.alive())
			}
		case done := <-finished:
			if done.err != nil {
				return figures{}, errors.Join(t.alive(), done.err)
			}
			each, err := watch.perRequest(p.Requests)
			if err != nil {
				return figures{}, err
			}
			return watch.figures(p.Requests, each, done.load)
		}
	}
}

// benchKey is the key that redis-benchmark's GET and SET use.
const benchKey = "key:__rand_int__"

// ready is an error when the target has died. It gives Redis the value that GET will ask for: redis-benchmark -t get
// reads the very key that -t set writes, and a GET that answers nil would measure nothing.
func (t *target) ready(p point) error {
	if err := t.alive(); err != nil {
		return err
	}
	if _, err := t.redis.Do("SET", benchKey, strings.Repeat("x", p.Size)); err != nil {
		return fmt.Errorf("seed the key: %w", err)
	}
	return nil
}

// watcher follows one run and keeps the first and the last sample inside the window.
type watcher struct {
	target      *target
	zero        int64 // requests before the run
	from, to    int64 // the window, in requests of the run
	first, last sample
	looks       int64
}

func (w *watcher) look() error {
	s, err := w.sample()
	if err != nil {
		return err
	}
	done := s.requests - w.zero
	switch {
	case done < w.from || done > w.to:
	case w.first.at.IsZero():
		w.first = s
	default:
		w.last = s
	}
	return nil
}

// sample reads the CPU on both sides of asking Redis how far it is, and takes the middle: under a deep pipeline the
// answer can be some milliseconds late.
func (w *watcher) sample() (sample, error) {
	early, err := readBoth(w.target)
	if err != nil {
		return sample{}, err
	}
	asked := time.Now()
	info, err := w.target.redis.Info("stats")
	if err != nil {
		return sample{}, err
	}
	answered := time.Now()
	late, err := readBoth(w.target)
	if err != nil {
		return sample{}, err
	}
	requests, err := strconv.ParseInt(info["total_commands_processed"], 10, 64)
	if err != nil {
		return sample{}, fmt.Errorf("INFO stats: %w", err)
	}
	w.looks++
	return sample{
		at: asked.Add(answered.Sub(asked) / 2), requests: requests - w.looks,
		proxy: middle(early[0], late[0]), redis: middle(early[1], late[1]),
	}, nil
}

// figures divides what happened between the first and the last sample; perCommand is how many requests a command at the
// watched node stands for.
func (w *watcher) figures(requests int, perCommand float64, l load) (figures, error) {
	n := float64(w.last.requests-w.first.requests) * perCommand
	if w.last.at.IsZero() || n < leastShare*float64(requests) {
		return figures{}, fmt.Errorf("%s: %w", w.target.name, errTooShort)
	}
	each := func(d time.Duration) float64 { return float64(d) / n / float64(time.Microsecond) }
	proxy := w.last.proxy.minus(w.first.proxy)
	f := figures{
		Rate:     n / w.last.at.Sub(w.first.at).Seconds(),
		ProxyCPU: each(proxy.total),
		RedisCPU: each(w.last.redis.minus(w.first.redis).total),
		P50:      float64(l.p50) / float64(time.Microsecond),
		P99:      float64(l.p99) / float64(time.Microsecond),
	}
	if counted := proxy.user + proxy.system; counted > 0 {
		f.ProxyUser = float64(proxy.user) / float64(counted)
	}
	return f, nil
}

// settle is how long the processes get after a run to notice that the connections are gone.
const settle = 30 * time.Millisecond

// measureConnections has every client connect, send one request and leave, and returns the µs of proxy CPU that one
// connection costs.
func measureConnections(ctx context.Context, r *rig, t *target, p point) (float64, error) {
	p.Command, p.Size, p.Pipeline = "get", 64, 1
	if err := t.ready(p); err != nil {
		return 0, err
	}
	before, err := readBoth(t)
	if err != nil {
		return 0, err
	}
	if _, err := runLoad(ctx, t, r.pki, p, p.Clients); err != nil {
		return 0, errors.Join(t.alive(), err)
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := readBoth(t)
	if err != nil {
		return 0, err
	}
	// One connection more than clients: redis-benchmark asks CONFIG GET over its own.
	return float64(after[0].minus(before[0]).total) / float64(p.Clients+1) / float64(time.Microsecond), nil
}

// readBoth reads the CPU of the target's proxy, if it has one, and of its Redis.
func readBoth(t *target) (cpu [2]cpuTime, err error) {
	if t.pid != 0 {
		if cpu[0], err = readCPU(t.pid); err != nil {
			return cpu, err
		}
	}
	for _, s := range append([]*redistest.Server{t.redis}, t.beside...) {
		one, err := readCPU(s.Pid())
		if err != nil {
			return cpu, err
		}
		cpu[1] = cpu[1].plus(one)
	}
	return cpu, nil
}
