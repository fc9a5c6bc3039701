package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// Policy, certificate and listeners change under clients that never stop: none
// of them loses its connection or gets a wrong answer. At night 1,000 times, and
// what the slowest hundredth of calls takes is held against rounds without.
//
// Every reload changes the policy, every second one opens or closes a listener,
// every tenth brings a certificate. Whoever edits files is another process and, as
// in a Kubernetes volume, one rename puts a whole folder in place: what the test
// itself writes is written before the clients begin.
func TestReloadsUnderLoadDropNobody(t *testing.T) {
	node, err := redistest.Open(t.Context())
	must(t, err)
	defer node.Close()
	f := newReloadFiles(t)
	f.node = node.Addr()
	f.prepare(0, 0)
	f.put(0)
	d := unwatched(t, f.dir)
	eventuallyReady(t, d)
	const clients = 8
	conns := make([]*redistest.Client, clients)
	for i := range conns {
		listener, conf := "plain", (*tls.Config)(nil)
		if i%2 == 1 {
			listener, conf = "secure", &tls.Config{RootCAs: f.ca.Pool(), ServerName: "localhost"}
		}
		conns[i], err = redistest.Dial("tcp", d.server.Addr(listener).String(), conf)
		must(t, err)
		defer conns[i].Close()
		_, err = conns[i].Do("AUTH", "app", "pw")
		must(t, err)
	}
	counts := make([]int, clients)
	load := &loaded{took: make([][2][]time.Duration, clients)}
	load.ask = func(i int) error {
		counts[i]++
		if got, err := conns[i].Do("INCR", fmt.Sprint("app:", i)); err != nil || fmt.Sprint(got) != fmt.Sprint(counts[i]) {
			return fmt.Errorf("client %d: INCR number %d gave %v, %v", i, counts[i], got, err)
		}
		return nil
	}
	rounds, pairs, reloads, every := 0, 0, 100, time.Duration(0)
	if *nightly {
		rounds, pairs, reloads, every = 9, 14, 8, 100*time.Millisecond // 1,008 in all
		load.pace = 500 * time.Microsecond                             // what a call takes is measured, not how many fit
	}
	made := 0
	var took []time.Duration
	reloading := func() {
		tick := time.NewTicker(max(every, time.Millisecond))
		defer tick.Stop()
		for range reloads {
			made++
			f.put(made)
			began := time.Now()
			if err := d.reload(audit.MethodSignal); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(began))
			if every > 0 {
				<-tick.C
			}
		}
	}
	if *nightly {
		f.prepare(1, rounds*pairs*reloads)
		resting := func() { <-time.NewTimer(time.Duration(reloads) * every).C }
		if r := ratioOf(t, "reloads", rounds, func() (_, _ time.Duration) { return load.beside(pairs, resting, reloading) }); r > 1.25 {
			t.Errorf("p99 with reloads is %.2f times p99 without, 1.25 at most", r)
		}
	} else {
		f.prepare(1, reloads)
		load.round(reloading)
	}
	if err := load.failed.Load(); err != nil {
		t.Fatal(*err)
	}
	text, err := os.ReadFile(filepath.Join(f.root, "events.jsonl"))
	must(t, err)
	if n := strings.Count(string(text), `"event":"close_conn"`); n != 0 {
		t.Errorf("%d connections were closed", n)
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	slices.Sort(took)
	t.Logf("%d reloads, of %v in the median and %v at most, beside %d calls of %d clients", made, took[made/2], took[made-1], total, clients)
}
