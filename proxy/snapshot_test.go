package proxy_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/redistest"
)

func TestTheSnapshotSaysWhoIsConnected(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) { s.snapshots.Every = 50 * time.Millisecond })
	a, b := r.login("app"), r.login("app")
	r.want(a, "OK", "CLIENT", "SETINFO", "LIB-NAME", "redis-py")
	r.want(a, "OK", "CLIENT", "SETINFO", "LIB-VER", "5.0.1")
	r.dial("plain", nil)
	want := []string{"map[count:1 ip:127.0.0.1 library:redis-py 5.0.1 user:app]", "map[count:1 ip:127.0.0.1 user:app]", "map[count:1 ip:127.0.0.1]"}
	eventually(t, 10*time.Second, "a snapshot shows all three", func() bool {
		for _, e := range r.events.all() {
			if e.is("clients", "connections", "3") && e["backend"] == nil {
				text := fmt.Sprint(e["clients"])
				return strings.Contains(text, want[0]) && strings.Contains(text, want[1]) && strings.Contains(text, want[2])
			}
		}
		return false
	})
	r.want(b, "OK", "SET", "app:1", "x")
	e := r.await("clients", "backend", "main")
	// The test's own connection to the node came over a unix socket.
	if fmt.Sprint(e["ours"].(float64)+1) != fmt.Sprint(e["connections"]) {
		t.Errorf("our own connections are strangers: %v", e)
	}
	for _, e := range r.events.all() {
		if e.is("bypass") && e["client_ip"] != nil {
			t.Errorf("our own connection is a stranger: %v", e)
		}
	}
}

// Whoever reaches the backend another way is found, whatever it calls itself, and
// told once. Our own connections never are, nor those from expected networks.
func TestAConnectionPastTheProxyIsFound(t *testing.T) {
	for _, expected := range []bool{false, true} {
		t.Run(fmt.Sprintf("expected_%v", expected), func(t *testing.T) {
			node := redistest.Start(t)
			r := withRig(t, node.Addr(), func(s *setup) {
				s.snapshots = proxy.Snapshots{Every: 50 * time.Millisecond}
				if expected {
					s.snapshots.Expected, s.snapshots.ExpectUnix = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true
				}
			})
			c := r.login("root")
			for db := range 5 { // connections of our own come, meanwhile
				r.want(c, "OK", "SELECT", fmt.Sprint(db))
			}
			stranger, err := redistest.Dial("tcp", node.Addr(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			if _, err := stranger.Do("CLIENT", "SETNAME", "sallyport"); err != nil {
				t.Fatal(err)
			}
			info, err := stranger.Do("CLIENT", "INFO")
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := strings.Cut(fmt.Sprint(info), "addr=127.0.0.1:")
			port, _, _ = strings.Cut(port, " ")
			// The test has a connection of its own over the node's unix socket.
			seen := func() (n int) { // snapshots of the backend that have it
				for _, e := range r.events.all() {
					if e.is("clients", "backend", "main") && e["ours"].(float64)+2 == e["connections"] {
						n++
					}
				}
				return n
			}
			eventually(t, 20*time.Second, "three snapshots count it", func() bool { return seen() >= 3 })
			body := httptest.NewRecorder()
			r.server.Metrics().ServeHTTP(body, httptest.NewRequest("GET", "/metrics", nil))
			r.close()
			var told []event
			for _, e := range r.events.all() {
				if e.is("bypass") && (expected || e["client_ip"] != nil) {
					told = append(told, e)
				}
			}
			counted := strings.Contains(body.Body.String(), `sallyport_backend_bypass_total{backend="main"} 2`)
			if expected {
				if len(told) != 0 || strings.Contains(body.Body.String(), "backend_bypass_total{") {
					t.Errorf("an expected connection is reported: %v", told)
				}
				return
			}
			if len(told) != 1 || !told[0].is("bypass", "backend", "main", "client_ip", "127.0.0.1", "client_port", port, "user", "default") || !counted {
				t.Errorf("told %v, want one of port %s; counted %v", told, port, counted)
			}
		})
	}
}
