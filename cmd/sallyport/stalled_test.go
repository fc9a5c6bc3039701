package main

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// A place that takes no events: a collector that reads nothing, a disk with no
// room. Each gives the sink's configuration.
var stalledSinks = map[string]func(*testing.T) string{
	"syslog": func(t *testing.T) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_ = conn.(*net.TCPConn).SetReadBuffer(4096) // taken, and never read
				t.Cleanup(func() { conn.Close() })
			}
		}()
		return "{ sink: syslog, address: \"" + ln.Addr().String() + "\" }"
	},
	"disk": func(*testing.T) string { return "{ sink: file, path: /dev/full }" },
}

// recorded runs a proxy with a sink, every call of which is on record, and loads
// it.
func recorded(t *testing.T, node, sink string) (*daemon, *loaded) {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "sallyport.yaml"), `
listeners: [{ name: gateway, address: 127.0.0.1:0 }]
backends: { main: { nodes: ["`+node+`"] } }
policy: { file: policy.yaml }
events: [`+sink+`]
events_on: ["app:*"]
client_snapshots: { every: 0s }
`)
	put(t, filepath.Join(dir, "policy.yaml"), "users: { app: { rules: 'on #"+acl.HashPassword([]byte("pw"))+" ~app:* +@read +@write +@connection' } }\n")
	d := unwatched(t, dir)
	eventuallyReady(t, d)
	const clients = 8
	conns := make([]*redistest.Client, clients)
	for i := range conns {
		c, err := redistest.Dial("tcp", d.server.Addr("gateway").String(), nil)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = c.Do("AUTH", "app", "pw")
		must(t, err)
		conns[i] = c
	}
	load := &loaded{took: make([][2][]time.Duration, clients)}
	load.ask = func(i int) error {
		if got, err := conns[i].Do("SET", fmt.Sprint("app:", i), "x"); err != nil || got != "OK" {
			return fmt.Errorf("client %d: SET gave %v, %v", i, got, err)
		}
		return nil
	}
	return d, load
}

// dropped is how many events the sinks of a proxy lost.
func dropped(d *daemon) (n uint64) {
	for _, s := range d.recorder.Stats() {
		n += s.Dropped
	}
	return n
}

// While a collector takes nothing, or the disk is full, calls are answered as
// ever, and what is not on record is counted. At night it says what the slowest
// hundredth of calls takes beside a proxy whose record is kept.
func TestARecordThatStallsSlowsNobody(t *testing.T) {
	for name, sink := range stalledSinks {
		t.Run(name, func(t *testing.T) {
			node, err := redistest.Open(t.Context())
			must(t, err)
			defer node.Close()
			d, stalled := recorded(t, node.Addr(), sink(t))
			fills := func() {
				eventually(t, func() error {
					if n := dropped(d); n == 0 {
						return fmt.Errorf("%d drops are counted", n)
					}
					return nil
				})
			}
			stalled.round(fills)
			if *nightly {
				_, kept := recorded(t, node.Addr(), "{ sink: file, path: events.jsonl }")
				kept.pace, stalled.pace = 500*time.Microsecond, 500*time.Microsecond
				lasts := func() { <-time.NewTimer(2 * time.Second).C }
				ratio(t, name, 9, func() time.Duration { return kept.round(lasts) }, func() time.Duration { return stalled.round(lasts) })
				if err := kept.failed.Load(); err != nil {
					t.Fatal(*err)
				}
			}
			if err := stalled.failed.Load(); err != nil {
				t.Fatal(*err)
			}
			t.Logf("%d events are counted as lost", dropped(d))
		})
	}
}
