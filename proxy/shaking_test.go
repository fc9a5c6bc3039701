package proxy_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// mute is a connection of which nothing is ever read.
type mute struct {
	net.Conn
	sent chan struct{} // closed once something was
	over <-chan struct{}
}

func (c *mute) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.sent != nil {
		close(c.sent)
		c.sent = nil
	}
	return n, err
}

func (c *mute) Read([]byte) (int, error) {
	<-c.over
	return 0, net.ErrClosed
}

func TestClientsThatKeepTheirHandshakesWaitingKeepNobodyElseOut(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) {
		s.limits.Handshakes, s.limits.HandshakeTimeout = 2, time.Minute
	})
	over := make(chan struct{})
	ended := make(chan struct{}, 4)
	for range 4 {
		silent, err := net.Dial("tcp", r.addr("gateway"))
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		begun, err := net.Dial("tcp", r.addr("gateway"))
		if err != nil {
			t.Fatal(err)
		}
		defer begun.Close()
		// A whole hello, and no word after the server's answer.
		c := &mute{Conn: begun, sent: make(chan struct{}), over: over}
		sent := c.sent
		go func() {
			_ = tls.Client(c, r.clientTLS("app")).Handshake()
			ended <- struct{}{}
		}()
		<-sent
	}
	began := time.Now()
	c := r.dial("gateway", r.clientTLS("app"))
	r.want(c, "OK", "AUTH", "app", "app-pw")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a handshake took %v", took)
	}
	close(over)
	for range 4 {
		<-ended
	}
}
