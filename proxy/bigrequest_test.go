package proxy_test

import (
	"bytes"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

var hugeMiB = flag.Int("huge.mib", 64, "MiB of the value that goes through")

// A value far larger than what may be held goes through, in and out, in little
// memory, and nobody else waits for it.
func TestAHugeValueGoesThroughInLittleMemory(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.RequestBuffer = 4 << 20; s.limits.OutputBytes = 8 << 20 })
	size := *hugeMiB << 20
	for name, conf := range map[string]bool{"plaintext": false, "mutual TLS": true} {
		t.Run(name, func(t *testing.T) {
			other := r.login("app")
			big := r.wire(t, nil)
			if conf {
				big = r.wire(t, r.clientTLS("root"))
			}
			big = big.as("root")
			base := held(t, r)
			piece := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
			big.say(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n", size))
			most := int64(0)
			for range size / len(piece) {
				big.say(piece)
				most = max(most, held(t, r)-base)
				r.want(other, "OK", "SET", "app:k", "v")
			}
			if most > 4<<20 {
				t.Errorf("%d KiB were held on the way in", most>>10)
			}
			big.say("\r\nSTRLEN big\r\nGET big\r\n")
			big.hear(fmt.Sprintf("+OK\r\n:%d\r\n$%d\r\n", size, size))
			got := make([]byte, len(piece))
			for i := range size / len(piece) {
				if _, err := readFull(big, got); err != nil {
					t.Fatal(i, err)
				}
				if !bytes.Equal(got, []byte(piece)) {
					t.Fatalf("MiB %d differs", i)
				}
				if i%8 == 0 {
					most = max(most, held(t, r)-base)
					r.want(other, "v", "GET", "app:k")
				}
			}
			big.hear("\r\n")
			if most > 4<<20 {
				t.Errorf("%d KiB were held in all", most>>10)
			}
		})
	}
}

func readFull(c interface{ Read([]byte) (int, error) }, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = c.Read(b[n:])
		n += m
	}
	return n, err
}

// A request that ends in its middle never becomes a command.
func TestHalfABigRequestNeverReachesRedisAsAWhole(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	by := r.login("app")
	for _, sent := range []int{0, 1, 1 << 20, 3<<20 - 1, 3 << 20} {
		c := r.wire(t, nil).as("root")
		c.say(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$%d\r\n", 3<<20) + strings.Repeat("x", sent))
		if sent%2 == 0 {
			c.say("")
		}
		c.reset()
		r.await("close_conn", "client_port", c.port())
		r.want(by, "OK", "SET", "app:k", "v")
	}
	eventually(t, 10*time.Second, "the connections that had half a request are gone", func() bool {
		list, err := redis.ClientList()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			if c["qbuf"] != "0" && c["cmd"] != "client|list" && c["cmd"] != "client" {
				return false
			}
		}
		return true
	})
	if v, err := redis.Do("EXISTS", "half"); err != nil || v != int64(0) {
		t.Fatal("half a SET has run:", v, err)
	}
	// One whose last bytes are not those that must be there ends as any such does.
	c := r.wire(t, nil).as("root")
	c.say(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$%d\r\n", 2<<20) + strings.Repeat("x", 2<<20) + "xx")
	r.await("close_conn", "client_port", c.port(), "reason", "protocol_error")
	if v, err := redis.Do("EXISTS", "half"); err != nil || v != int64(0) {
		t.Fatal("half a SET has run:", v, err)
	}
}

// What is refused is refused before its value has come, and the value thrown away.
func TestABigRequestThatIsRefusedIsNotHeld(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.RequestBuffer = 2 << 20 })
	c := r.wire(t, nil).as("app")
	value := strings.Repeat("x", 8<<20)
	c.say(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$5\r\nother\r\n$%d\r\n", len(value)))
	c.hear("-NOPERM No permissions to access a key\r\n")
	c.say(value + "\r\nGET app:k\r\n")
	c.hear("$-1\r\n")
	// Its big argument is not the last one, so it would have to be held.
	c.say(fmt.Sprintf("*5\r\n$3\r\nSET\r\n$5\r\napp:k\r\n$%d\r\n", len(value)))
	c.hear("-ERR request too large to be held\r\n")
	c.ends()
	r.await("close_conn", "client_port", c.port(), "reason", "request_limit")
	r.await("refused", "client_port", c.port(), "reason", "request_too_large")
}

// Redis ends connections that send more than its own limits allow. That is no
// connection on which anybody else waits, whether the request was held or not.
func TestWhatRedisFindsTooLongEndsNobodyElsesCalls(t *testing.T) {
	redis := redistest.Start(t)
	if _, err := redis.Do("CONFIG", "SET", "proto-max-bulk-len", "1mb"); err != nil {
		t.Fatal(err)
	}
	r := withRig(t, redis.Addr(), nil)
	by := r.login("app")
	for _, tail := range []string{"", "$2\r\nNX\r\n"} {
		c := r.wire(t, nil).as("root")
		n := 3
		if tail != "" {
			n = 4
		}
		c.say(fmt.Sprintf("*%d\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n%s", n, 2<<20, strings.Repeat("x", 2<<20), tail))
		c.hear("-ERR")
		for range 20 {
			r.want(by, "OK", "SET", "app:k", "v")
		}
		c.reset()
	}
	if lost := r.scrape(t).value(`sallyport_commands_total{class="shared",decision="allowed"}`); lost < 40 {
		t.Error(lost, "calls")
	}
}

// A connection that a big request has to itself counts as its user's own: what is
// over the limit is refused, on record, and its value thrown away; with the request
// the place comes back, however that ended.
func TestBigRequestsCountAmongAUsersOwnConnections(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.backend.Connections = backend.Connections{Pinned: 3, PerUser: 2} })
	value := strings.Repeat("x", 2<<20)
	half := func(user string) *wire {
		c := r.wire(t, nil).as(user)
		c.say(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$5\r\napp:k\r\n$%d\r\n%s", len(value), value[:1<<20]))
		return c
	}
	owned := func(want float64) {
		t.Helper()
		eventually(t, 10*time.Second, fmt.Sprint(want, " connections are some session's own"), func() bool {
			return r.scrape(t).value(`sallyport_backend_own_connections{backend="main"}`) == want
		})
	}
	first, second := half("app"), half("app")
	owned(2)
	third := half("app")
	third.hear("-ERR backend connection limit reached\r\n")
	r.await("refused", "user", "app", "reason", "backend_connection_limit")
	third.say(value[1<<20:] + "\r\nGET app:none\r\n")
	third.hear("$-1\r\n")
	other := half("root")
	owned(3)
	one := r.login("app")
	if _, err := one.Do("BLPOP", "app:l", "1"); err == nil || err.Error() != "ERR backend connection limit reached" {
		t.Error("a fourth connection was had by BLPOP:", err)
	}
	first.say(value[1<<20:] + "\r\n")
	first.hear("+OK\r\n")
	second.reset()
	owned(1)
	for range 5 {
		r.want(one, "OK", "SET", "app:k", value)
		r.want(one, "<nil>", "BLPOP", "app:none", "0.01")
	}
	other.reset()
}
