package metrics

import (
	"math"
	"sync"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	tests := []struct {
		name string
		d    time.Duration
		want int // index of the bucket
	}{
		{"zero", 0, 0},
		{"clock_went_back", -time.Second, 0},
		{"a_bound_belongs_to_its_bucket", 50 * time.Microsecond, 0},
		{"just_over_it_to_the_next", 50*time.Microsecond + 1, 1},
		{"ten_seconds", 10 * time.Second, len(bounds) - 1},
		{"longer", time.Hour, len(bounds)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h Histogram
			h.ObserveN(tt.d, 3)
			if h.counts[tt.want] != 3 || h.Count() != 3 {
				t.Errorf("counts %v", h.counts)
			}
			if want := max(tt.d, 0).Seconds() * 3; math.Abs(h.sum-want) > 1e-9*want {
				t.Errorf("sum %v, want %v", h.sum, want)
			}
		})
	}
}

func TestObserveTakesAnyNumber(t *testing.T) {
	var h Histogram
	for _, s := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0.0003, 1e300} {
		h.Observe(s)
	}
	if h.Count() != 6 || h.counts[0] != 3 || h.counts[3] != 1 || h.counts[len(bounds)] != 2 {
		t.Errorf("counts %v", h.counts)
	}
	if math.IsNaN(h.sum) || math.IsInf(h.sum, 0) {
		t.Errorf("sum %v", h.sum)
	}
}

func TestBlockedClientsDoNotOverflowTheSum(t *testing.T) {
	var h Histogram
	const years = 10_000.0 // what ten thousand blocked clients wait in a year
	for range int(years) {
		h.ObserveN(365*24*time.Hour, 1)
	}
	if want := years * 365 * 24 * 3600; math.Abs(h.sum-want) > want/1e6 {
		t.Errorf("sum %v, want %v", h.sum, want)
	}
}

// A loop that is busy when a scrape comes must not make a counter fall:
// Prometheus would take that for a restart.
func TestCountersNeverFallWhenALoopDoesNotAnswer(t *testing.T) {
	answers := true
	var loop *Loop
	o := lists()
	o.Gather = func(add func(*Loop)) {
		if answers {
			add(loop)
		}
	}
	s := build(t, o)
	loop = s.NewLoop()
	loop.Received = 10
	has(t, scrape(t, s), "sallyport_received_bytes_total 10")
	loop.Received = 20
	answers = false
	has(t, scrape(t, s), "sallyport_received_bytes_total 10")
	answers = true
	has(t, scrape(t, s), "sallyport_received_bytes_total 20")
}

func TestAddMayComeAfterTheScrapeThatAskedForIt(t *testing.T) {
	var late func(*Loop)
	o := lists()
	o.Gather = func(add func(*Loop)) { late = add }
	s := build(t, o)
	loop := s.NewLoop()
	loop.Sent = 5
	has(t, scrape(t, s), "sallyport_sent_bytes_total 0")
	late(loop)
	has(t, scrape(t, s), "sallyport_sent_bytes_total 5")
}

func TestScrapingKeepsNoMemoryOfALoop(t *testing.T) {
	var loop *Loop
	o := lists()
	gather := true
	o.Gather = func(add func(*Loop)) {
		if gather {
			add(loop)
		}
	}
	s := build(t, o)
	loop = s.NewLoop()
	loop.Listeners[0].Connections = 1
	scrape(t, s)
	gather = false
	loop.Listeners[0].Connections = 99
	has(t, scrape(t, s), `sallyport_connections{listener="gateway"} 1`)
}

// Loops count without locks while scrapes go on; run with -race.
func TestLoopsCountWhileScraped(t *testing.T) {
	type loop struct {
		counters *Loop
		ask      chan func(*Loop)
	}
	var loops []*loop
	o := lists()
	o.Gather = func(add func(*Loop)) {
		var wg sync.WaitGroup
		for _, l := range loops {
			wg.Add(1)
			l.ask <- func(c *Loop) { add(c); wg.Done() }
		}
		wg.Wait()
	}
	s := build(t, o)
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range 2 {
		l := &loop{s.NewLoop(), make(chan func(*Loop))}
		loops = append(loops, l)
		running.Go(func() {
			for {
				select {
				case f := <-l.ask:
					f(l.counters)
				case <-stop:
					return
				default:
					l.counters.Command(1, Allowed, 1)
					l.counters.Listeners[0].Refuse(1)
					l.counters.CommandSeconds.ObserveN(time.Millisecond, 1)
				}
			}
		})
	}
	var scrapes sync.WaitGroup
	for range 2 {
		scrapes.Go(func() {
			for range 5 {
				scrape(t, s)
				s.Count(func(l *Loop) { l.Listeners[1].Connection(ConnectionFailed) })
			}
		})
	}
	scrapes.Wait()
	close(stop)
	running.Wait()
	has(t, scrapeStopped(t, s), `sallyport_connections_total{listener="local",result="failed"} 10`)
}

// scrapeStopped sums up without asking loops that have ended.
func scrapeStopped(t *testing.T, s *Set) string {
	t.Helper()
	s.collected.gather = nil
	return scrape(t, s)
}

func TestCountingAllocatesNothing(t *testing.T) {
	l := build(t, lists()).NewLoop()
	if n := testing.AllocsPerRun(100, func() {
		l.Command(1, Allowed, 1)
		l.Auth(MethodPassword, true)
		l.Listeners[0].Refuse(1)
		l.CommandSeconds.ObserveN(time.Millisecond, 3)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
