package proxy_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// halfCloser is what TCP and TLS connections have in common.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

func TestALargeReplyReadSlowlyArrivesWholeWhenTheClientOrTheProxyHasSaidGoodbye(t *testing.T) {
	const size = 24 << 20
	node := redistest.Start(t)
	value := strings.Repeat("v", size)
	for _, listener := range []string{"gateway", "plain"} {
		for _, goodbye := range []string{"QUIT", "half-close", "drain"} {
			t.Run(listener+" "+goodbye, func(t *testing.T) {
				t.Parallel()
				r := withRig(t, node.Addr(), nil)
				var c halfCloser
				if raw, err := net.Dial("tcp", r.addr(listener)); err != nil {
					t.Fatal(err)
				} else if c = raw.(*net.TCPConn); listener == "gateway" {
					c = tls.Client(raw, r.clientTLS("app"))
				}
				defer c.Close()
				client := redistest.NewClient(c)
				r.want(client, "OK", "AUTH", "app", "app-pw")
				r.want(client, "OK", "SET", "app:big", value)
				ask := redistest.Encode("GET", "app:big")
				want := int64(len("$25165824\r\n") + size + len("\r\n"))
				if goodbye == "QUIT" {
					ask = append(ask, redistest.Encode("QUIT")...)
					want += int64(len("+OK\r\n"))
				}
				if _, err := c.Write(ask); err != nil {
					t.Fatal(err)
				}
				first := make([]byte, 1) // the reply is on its way
				if _, err := io.ReadFull(c, first); err != nil {
					t.Fatal(err)
				}
				drained := make(chan error, 1)
				switch goodbye {
				case "half-close":
					if err := c.CloseWrite(); err != nil {
						t.Fatal(err)
					}
				case "drain":
					go func() { drained <- r.server.Drain(context.Background()) }()
				}
				<-time.After(1500 * time.Millisecond) // busy elsewhere, longer than a farewell takes
				c.SetReadDeadline(time.Now().Add(20 * time.Second))
				n, err := io.Copy(io.Discard, c)
				if n += 1; n != want || err != nil {
					t.Errorf("read %d bytes of %d, then %v", n, want, err)
				}
				if goodbye == "drain" {
					if err := <-drained; err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

func TestAClientThatNeverReadsItsLastReplyEndsByTheWriteTimeout(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) { s.limits.WriteTimeout = 200 * time.Millisecond })
	c := r.login("app")
	// Past the proxy: the short time-out holds for what is sent to the node, too.
	if _, err := node.Do("SET", "app:big", strings.Repeat("v", 24<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.Send("GET", "app:big"); err != nil {
		t.Fatal(err)
	}
	if err := c.Send("QUIT"); err != nil {
		t.Fatal(err)
	}
	r.await("close_conn")
}

func TestAReplyStillLeavingIsCutWhenItsUserIsTakenAway(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	c := r.login("app")
	r.want(c, "OK", "SET", "app:big", strings.Repeat("v", 24<<20))
	if err := c.Send("GET", "app:big"); err != nil {
		t.Fatal(err)
	}
	if err := c.Send("QUIT"); err != nil {
		t.Fatal(err)
	}
	other := r.login("root")
	eventually(t, 10*time.Second, "it is on its way", func() bool { // the rest waits until the client reads
		return r.scrape(t).value("sallyport_sent_bytes_total") > 1<<20
	})
	r.server.SetPolicy(compile(t, map[string]string{"root": everything}, nil))
	r.await("close_conn", "user", "app")
	r.want(other, "PONG", "PING")
}
