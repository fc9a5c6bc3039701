package proxy

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

// A client whose handshake is refused may have more to say. It reads the alert
// and the end while we still listen, or it would be reset before it has read both.
func TestARefusedHandshakeCanEndItsSendingHalfAlone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client.SetDeadline(time.Now().Add(10 * time.Second))
	nc.SetDeadline(time.Now().Add(10 * time.Second))

	transport := loop.NewTransport(&shaking{Conn: nc, ctx: t.Context(), turns: make(chan struct{}, 1)})
	if err := transport.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the client read %v", err)
	}
	if _, err := client.Write([]byte("more")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(transport, got); err != nil || string(got) != "more" {
		t.Fatalf("what it still said came as %q, %v", got, err)
	}
}
