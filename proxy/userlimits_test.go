package proxy_test

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

const tooMany = "ERR max number of clients reached"

// A user's connections are counted over all loops and ways to log in. One too
// many is told so, and may go on as a stranger until it logs in as somebody else
// or its time to log in is over.
func TestAUserHasOnlySoManyConnections(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.workers = 2
		s.limits.UserConnections = 4
		s.source = func(src *acl.Source) {
			edit(src, "app").Limits.Connections = 2
			certified(src, "batch").Limits.Connections = 1
		}
	})
	first, second, third := r.login("app"), r.login("app"), r.dial("plain", nil)
	r.want(third, tooMany, "AUTH", "app", "app-pw")
	r.want(third, "NOAUTH Authentication required.", "PING")
	ev := r.await("auth", "user", "app", "reason", "user_connections")
	if ev["status"] != "failed" {
		t.Fatal("the record says", ev)
	}
	r.want(third, wrongPass, "AUTH", "app", "x") // nothing is said to those who do not know the password
	for range 4 {
		r.login("root")
	}
	r.want(third, tooMany, "AUTH", "root", "root-pw")
	second.Close()
	eventually(t, 10*time.Second, "a place is free again", func() bool {
		v, err := third.Do("AUTH", "app", "app-pw")
		return err == nil && v == "OK"
	})
	r.want(first, "OK", "AUTH", "app", "app-pw") // who is in stays in
	r.want(first, tooMany, "AUTH", "root", "root-pw")
	r.want(first, "OK", "SET", "app:k", "v")

	// A certificate logs in by itself: who is too many then is told, and closed.
	only := r.dial("gateway", r.clientTLS("batch"))
	r.want(only, "batch", "ACL", "WHOAMI")
	r.want(only, "RESET", "RESET")
	r.want(only, "batch", "ACL", "WHOAMI")
	late := r.dial("gateway", r.clientTLS("batch"))
	if v, err := late.Receive(); err != nil || v != redistest.Error(tooMany) {
		t.Fatal("the late one read", v, err)
	}
	closed(t, late)
	r.await("close_conn", "reason", "user_connections")
	m := r.scrape(t)
	if m.value(`sallyport_refused_total{listener="plain",reason="user_connections"}`) < 3 ||
		m.value(`sallyport_refused_total{listener="gateway",reason="user_connections"}`) != 1 {
		t.Error("the metric does not count them")
	}
}

// One reason, from the policy to the reply, the event and the metric; and a reload
// changes what a user may do on connections that are open.
func TestAUsersRateIsHeldOnRecordAndChangedByAReload(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.workers = 2
		s.source = func(src *acl.Source) { edit(src, "app").Limits.CommandsPerSecond = 1 }
	})
	a, b, other := r.login("app"), r.login("app"), r.login("root")
	refused := 0
	for range 20 {
		for _, c := range []*redistest.Client{a, b} {
			if _, err := c.Do("SET", "app:k", "v"); err != nil {
				if err.Error() != "ERR rate limit exceeded" {
					t.Fatal(err)
				}
				refused++
			}
		}
		r.want(other, "PONG", "PING")
	}
	if refused < 25 {
		t.Fatalf("%d of 40 were refused", refused)
	}
	if ev := r.await("refused", "reason", "rate_limited", "user", "app"); ev["command"] != "set" {
		t.Error("the record says", ev)
	}
	if got := r.scrape(t).value(`sallyport_refused_total{listener="plain",reason="rate_limited"}`); got != float64(refused) {
		t.Errorf("%v are counted, %d were refused", got, refused)
	}
	r.server.SetPolicy(compileWith(t, map[string]string{"app": "on ~app:* +@write", "root": everything}, nil, func(src *acl.Source) {
		edit(src, "app").Limits.CommandsPerSecond = -1
	}))
	eventually(t, 10*time.Second, "the new policy is in force", func() bool {
		_, err := a.Do("SET", "app:k", "v")
		return err == nil
	})
	for range 50 {
		r.want(a, "OK", "SET", "app:k", "v")
	}
}

// Bytes above the rate are not refused: they come later.
func TestBytesAboveTheRateComeLater(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.limits.BytesPerSecond = 4 << 20
	})
	c, other := r.login("root"), r.login("app")
	began := time.Now()
	value := string(make([]byte, 1<<20))
	for range 6 { // one second's worth is there at once
		r.want(c, "OK", "SET", "k", value)
	}
	r.want(other, "PONG", "PING")
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("6 MiB took %v at 4 MiB/s", took)
	}
}

// What a session hears without asking counts as what it asks for: messages wait
// at the node until those before them are paid for, and none is lost.
func TestMessagesAboveTheRateComeLater(t *testing.T) {
	for _, proto := range []string{"2", "3"} {
		t.Run("RESP"+proto, func(t *testing.T) {
			r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
				s.source = func(src *acl.Source) { edit(src, "app").Limits.BytesPerSecond = 4 << 20 }
				s.users = map[string]string{"app": "on >app-pw &* +@pubsub +hello +ping", "root": everything}
			})
			c, from := r.login("app"), r.login("root")
			if _, err := c.Do("HELLO", proto); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Do("SUBSCRIBE", "news"); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			value := string(make([]byte, 1<<20))
			for range 8 { // one second's worth is there at once
				if n, err := from.Do("PUBLISH", "news", value); n != int64(1) {
					t.Fatal(n, err)
				}
			}
			for range 8 {
				v, err := c.Receive()
				if pushed, ok := v.(redistest.Push); ok {
					v = []any(pushed)
				}
				if items, ok := v.([]any); err != nil || !ok || len(items) != 3 || items[2] != value {
					t.Fatalf("%T, %v", v, err)
				}
			}
			if took := time.Since(began); took < 500*time.Millisecond {
				t.Errorf("8 MiB of messages took %v at 4 MiB/s", took)
			}
		})
	}
}

// Who leaves with calls under way and comes back, over and over, has no more of
// them under way than one who stays, also where a call is made as several. Others
// are not held up, and all is as it was when the node has answered.
func TestComingBackInALoopPutsNoMoreCallsUnderWay(t *testing.T) {
	for name, call := range map[string][]string{
		"one node": {"SET", "app:k", "v"},
		"shards":   {"MSET", "app:a", "1", "app:b", "2", "app:c", "3", "app:d", "4"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := []*redistest.Server{redistest.Start(t)}
			if name == "shards" {
				nodes = append(nodes, redistest.Start(t))
			}
			r := withRig(t, nodes[0].Addr(), func(s *setup) {
				s.workers, s.limits.InFlight = 1, 16
				if len(nodes) > 1 {
					d, err := backend.NewDistribution("modula", "crc16", "", []backend.Member{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}})
					if err != nil {
						t.Fatal(err)
					}
					s.backend.Nodes = endpoints([]string{nodes[0].Addr(), nodes[1].Addr()})
					s.backend.Routing = backend.Routing{Kind: backend.Sharded, Distribution: d}
				}
			})
			for _, n := range nodes {
				for _, cmd := range []string{"CONFIG RESETSTAT", "CLIENT PAUSE 60000 WRITE"} {
					if _, err := n.Do(strings.Fields(cmd)...); err != nil {
						t.Fatal(err)
					}
				}
			}
			all := redistest.Encode("AUTH", "app", "app-pw")
			for range 16 {
				all = append(all, redistest.Encode(call...)...)
			}
			for i := range 40 {
				raw, err := net.Dial("tcp", r.addr("plain"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := raw.Write(all); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(raw, make([]byte, len("+OK\r\n"))); err != nil {
					t.Fatal(err)
				}
				raw.(*net.TCPConn).SetLinger(0) // gone at once, and not only silent
				raw.Close()
				eventually(t, 10*time.Second, "it has left", func() bool {
					n := 0
					for _, ev := range r.events.all() {
						if ev.is("close_conn", "user", "app") {
							n++
						}
					}
					return n == i+1
				})
			}
			other := r.login("root")
			r.want(other, "PONG", "PING")
			for _, n := range nodes {
				if _, err := n.Do("CLIENT", "UNPAUSE"); err != nil {
					t.Fatal(err)
				}
			}
			r.want(r.login("app"), "OK", call...)
			calls := regexp.MustCompile(`cmdstat_` + strings.ToLower(call[0]) + `:calls=(\d+),`)
			for _, n := range nodes {
				info, err := n.Do("INFO", "commandstats")
				if err != nil {
					t.Fatal(err)
				}
				found := calls.FindStringSubmatch(fmt.Sprint(info))
				if found == nil {
					t.Fatal("the node has run none")
				}
				if ran, _ := strconv.Atoi(found[1]); ran > 16+1 {
					t.Errorf("%d calls were under way at once, one client may have 16", ran-1)
				}
			}
		})
	}
}
