package audit

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/sallyport/sallyport/tlsutil"
)

// collector takes one message after the other off a stream, by octet counting.
func collector(t *testing.T, conn net.Conn, to chan<- string) {
	in := bufio.NewReader(conn)
	for {
		size, err := in.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, " "))
		if err != nil || n <= 0 || n > 2*maxLine {
			t.Errorf("a frame of %q bytes", size)
			return
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(in, text); err != nil {
			return
		}
		to <- string(text)
	}
}

// message waits for one and takes it apart.
func message(t *testing.T, from <-chan string) (m *rfc5424.SyslogMessage, body string) {
	t.Helper()
	select {
	case text := <-from:
		parsed, err := rfc5424.NewParser().Parse([]byte(text))
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		m = parsed.(*rfc5424.SyslogMessage)
		return m, *m.Message
	case <-time.After(20 * time.Second):
		t.Fatal("no message came")
	}
	return nil, ""
}

// events takes messages until n are there that are not about the chain.
func events(t *testing.T, from <-chan string, n int) (record []byte) {
	t.Helper()
	for n > 0 {
		m, body := message(t, from)
		record = append(append(record, body...), '\n')
		if *m.MsgID != "chain" {
			n--
		}
		if *m.Appname != "sallyport" || *m.Facility != 13 || m.Timestamp.IsZero() || (*m.StructuredData)["meta"]["sequenceId"] == "" {
			t.Errorf("message %+v", m)
		}
		if !json.Valid([]byte(body)) {
			t.Errorf("the message is no JSON: %q", body)
		}
	}
	return record
}

func TestSyslogOverUnixTCPAndTLS(t *testing.T) {
	ca, err := tlsutil.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Server()
	if err != nil {
		t.Fatal(err)
	}
	stream := func(network string, o SyslogOptions, config *tls.Config) func(*testing.T, chan<- string) SyslogOptions {
		return func(t *testing.T, to chan<- string) SyslogOptions {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "log")
			}
			ln, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			if config != nil {
				ln = tls.NewListener(ln, config)
			}
			t.Cleanup(func() { ln.Close() })
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					go func() { defer conn.Close(); collector(t, conn, to) }()
				}
			}()
			o.Network, o.Address = network, ln.Addr().String()
			return o
		}
	}
	gram := func(t *testing.T, to chan<- string) SyslogOptions {
		path := filepath.Join(t.TempDir(), "log")
		conn, err := net.ListenPacket("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 2*maxLine)
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				to <- string(buf[:n])
			}
		}()
		return SyslogOptions{Network: "unix", Address: path, Facility: 13}
	}
	secure := func() (*tls.Config, error) {
		return &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}, nil
	}
	for name, listen := range map[string]func(*testing.T, chan<- string) SyslogOptions{
		"unix_datagrams": gram,
		"unix_stream":    stream("unix", SyslogOptions{Facility: 13}, nil),
		"tcp":            stream("tcp", SyslogOptions{Facility: 13}, nil),
		"tls":            stream("tcp", SyslogOptions{Facility: 13, TLS: secure}, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}}),
	} {
		t.Run(name, func(t *testing.T) {
			k := key(t, "k")
			got := make(chan string, 100)
			r := open(t, Options{Sinks: []Sink{Syslog("collector", listen(t, got)).With(Settings{Key: k})}})
			for range 10 {
				r.Record(&Event{Time: noon, Kind: Auth, User: "a\r\n<1>1 forged\x00\xff", Status: Failed})
			}
			record := events(t, got, 10)
			finish(t, r)
			if v := verdict(t, VerifierOptions{Keys: []*Key{k}}, record); v.Count != 0 || v.Last.Seq != 10 {
				t.Errorf("%+v", v)
			}
			if bytes.Contains(record, []byte{'\r'}) {
				t.Errorf("a carriage return in %q", record)
			}
		})
	}
}

// What a collector did not take while it was away comes when it is back, and no
// half message comes first.
func TestACollectorThatComesBackHasEverythingAfter(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	r := open(t, Options{Sinks: []Sink{Syslog("collector", SyslogOptions{Network: "tcp", Address: address, Facility: 13}).With(Settings{Refuse: true})}})
	first, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 100)
	go collector(t, first, got)
	message(t, got) // the chain begins
	ln.Close()
	first.Close()
	// What is written before the end of the connection is known may be lost.
	waitFor(t, func() bool { return r.queues[0].current.(*syslogEnd).gone() })
	for range 5 {
		r.Record(&Event{Time: noon, Kind: Admin})
	}
	waitFor(t, func() bool { return r.Stats()["collector"].Failed > 0 })
	if r.Keeps() {
		t.Error("a record that can't be written counts as kept")
	}
	if ln, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	again, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	go collector(t, again, got)
	record := events(t, got, 5)
	waitFor(t, r.Keeps)
	finish(t, r)
	if got := entries(t, record); len(got) != 5 {
		t.Errorf("%d events", len(got))
	}
}

// gone says that there is no connection.
func (s *syslogEnd) gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil
}

// A collector that stops reading holds up nobody, and Close ends in time.
func TestAStalledCollectorHoldsUpNobody(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := open(t, Options{Sinks: []Sink{Syslog("collector", SyslogOptions{Network: "tcp", Address: ln.Addr().String()}).With(Settings{})}, Buffer: 4000})
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	e := full()
	e.Kind = Refused
	waitFor(t, func() bool { // more than the kernel's buffers and the queue hold
		for range 1000 {
			r.Record(e)
		}
		since := r.queues[0].busy.Load()
		return since != 0 && time.Since(time.Unix(0, since)) > 500*time.Millisecond && r.Dropped()["collector"] > 0
	})
	ctx, cancel := contextFor(t, 200*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); err == nil {
		t.Error("everything was written to a collector that reads nothing")
	}
	ctx, cancel = contextFor(t, 20*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil && strings.Contains(err.Error(), "deadline") {
		t.Error("the write still hangs")
	}
}

// A socket's kind is told by the kernel's number, not by words that may as well
// stand in a path.
func TestASocketIsAStreamOnlyIfTheKernelSaysSo(t *testing.T) {
	s := newSyslogEnd(SyslogOptions{Network: "unix", Address: filepath.Join(t.TempDir(), "wrong type")})
	defer s.Close()
	_, _, err := s.dial()
	var op *net.OpError
	if !errors.As(err, &op) || op.Net != "unixgram" {
		t.Fatalf("where there is no socket, a stream was tried: %v", err)
	}
}
