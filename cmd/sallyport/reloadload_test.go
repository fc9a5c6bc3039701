package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
)

// Policy, certificate and listeners change under clients that never stop: none
// of them loses its connection or gets a wrong answer. At night 1,000 times, and
// it says what the slowest hundredth of calls takes beside rounds without.
func TestReloadsUnderLoadDropNobody(t *testing.T) {
	node, err := redistest.Open(t.Context())
	must(t, err)
	defer node.Close()
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	dir := t.TempDir()
	rotate := func() {
		server, err := ca.Server()
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "new.pem"), append(server.CertPEM, server.KeyPEM...), 0o600))
		must(t, os.Rename(filepath.Join(dir, "new.pem"), filepath.Join(dir, "both.pem")))
	}
	configure := func(n int) {
		extra := ""
		if n%2 == 1 {
			extra = "\n  - { name: extra, address: 127.0.0.1:0 }"
		}
		put(t, filepath.Join(dir, "sallyport.yaml"), `
listeners:
  - { name: plain, address: 127.0.0.1:0 }
  - { name: secure, address: 127.0.0.1:0, tls: { certificate: both.pem, key: both.pem } }`+extra+`
backends: { main: { nodes: ["`+node.Addr()+`"] } }
policy: { file: policy.yaml }
events: [{ sink: file, path: events.jsonl }]
`)
		put(t, filepath.Join(dir, "policy.yaml"), fmt.Sprintf("users: { app: { rules: 'on #%s ~app:* ~n%d:* +@read +@write +@connection' } }\n", acl.HashPassword([]byte("pw")), n))
	}
	rotate()
	configure(0)
	d := unwatched(t, dir)
	eventuallyReady(t, d)
	const clients = 8
	conns := make([]*redistest.Client, clients)
	for i := range conns {
		listener, conf := "plain", (*tls.Config)(nil)
		if i%2 == 1 {
			listener, conf = "secure", &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}
		}
		conns[i], err = redistest.Dial("tcp", d.server.Addr(listener).String(), conf)
		must(t, err)
		defer conns[i].Close()
		_, err = conns[i].Do("AUTH", "app", "pw")
		must(t, err)
	}
	counts := make([]int, clients)
	load := &loaded{took: make([][]time.Duration, clients)}
	load.ask = func(i int) error {
		counts[i]++
		if got, err := conns[i].Do("INCR", fmt.Sprint("app:", i)); err != nil || fmt.Sprint(got) != fmt.Sprint(counts[i]) {
			return fmt.Errorf("client %d: INCR number %d gave %v, %v", i, counts[i], got, err)
		}
		return nil
	}
	rounds, reloads, every := 0, 100, time.Duration(0)
	if *nightly {
		rounds, reloads, every = 9, 112, 100*time.Millisecond // 1,008 in all
		load.pace = 500 * time.Microsecond                    // what a call takes is measured, not how many fit
	}
	made := 0
	reloading := func() {
		tick := time.NewTicker(max(every, time.Millisecond))
		defer tick.Stop()
		for range reloads {
			if made++; made%10 == 0 {
				rotate()
			}
			configure(made)
			if err := d.reload(audit.MethodSignal); err != nil {
				t.Fatal(err)
			}
			if every > 0 {
				<-tick.C
			}
		}
	}
	quiet := func() time.Duration {
		return load.round(func() { <-time.NewTimer(time.Duration(reloads) * every).C })
	}
	busy := func() time.Duration { return load.round(reloading) }
	if *nightly {
		ratio(t, "reloads", rounds, quiet, busy)
	} else {
		busy()
	}
	if err := load.failed.Load(); err != nil {
		t.Fatal(*err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	must(t, err)
	if n := strings.Count(string(text), `"event":"close_conn"`); n != 0 {
		t.Errorf("%d connections were closed", n)
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	t.Logf("%d reloads beside %d calls of %d clients", made, total, clients)
}
