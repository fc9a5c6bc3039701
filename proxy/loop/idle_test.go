// The race detector multiplies memory, so this runs without it.

//go:build !race

package loop

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

const idleServerEnv = "LOOP_TEST_IDLE_SERVER"

// runIdleServer is the other process of TestIdleClientIsCheap: a mutual TLS echo
// server that tells its resident memory for each line on standard input.
func runIdleServer() bool {
	if os.Getenv(idleServerEnv) == "" {
		return false
	}
	g, err := Start(Options{Workers: 1})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(serverCert.PrivateKey)
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr(), hex.EncodeToString(serverCert.Certificate[0]), hex.EncodeToString(key))
	sc, _ := configs(tls.VersionTLS13)
	h := &funcs{data: echo}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				tr := NewTransport(nc)
				tc := tls.Server(tr, sc)
				if tc.Handshake() == nil {
					g.Pick().Post(func() { _, _ = g.Pick().Adopt(tr, tc, h, nil) })
				}
			}()
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		before := resident()
		runtime.GC()
		debug.FreeOSMemory()
		fmt.Println(before, resident(), g.Pick().Conns())
	}
	ln.Close()
	g.Close()
	return true
}

func resident() (bytes int) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int
	fmt.Sscan(string(b), &size, &pages)
	return pages * os.Getpagesize()
}

// Ten thousand idle clients are what a proxy is for: one that has done a
// mutual TLS handshake and a request costs at most 20 KiB of resident memory.
func TestIdleClientIsCheap(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // reads /proc
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), idleServerEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	answers := bufio.NewReader(out)
	hello, err := answers.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(hello)
	addr, cc := f[0], clientFor(t, f[1], f[2])

	ask := func() (before, after, conns int) {
		t.Helper()
		fmt.Fprintln(in)
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		fmt.Sscan(line, &before, &after, &conns)
		return before, after, conns
	}
	dial := func() {
		t.Helper()
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		nc.SetDeadline(time.Now().Add(patience))
		tc := tls.Client(nc, cc)
		p := make([]byte, 64)
		if _, err := tc.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(tc, p); err != nil {
			t.Fatal(err)
		}
	}
	const warm, n = 50, 1000
	for range warm {
		dial()
	}
	_, base, _ := ask()
	for range n {
		dial()
	}
	before, after, conns := ask()
	if conns != warm+n {
		t.Fatalf("%d connections", conns)
	}
	each := float64(after-base) / n / 1024
	t.Logf("%.1f KiB resident for each idle mutual TLS client, %.1f before garbage collection",
		each, float64(before-base)/n/1024)
	if each > 20 || each <= 0 {
		t.Errorf("%.1f KiB for each idle client", each)
	}
}

func clientFor(t *testing.T, cert, key string) *tls.Config {
	t.Helper()
	der, err := hex.DecodeString(cert)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(rawKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{RootCAs: pool, ServerName: "loop.test", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}}}
}

// What waits for reuse belongs to nobody: a limit on what clients hold that
// counted it could not be met again by closing clients.
func TestBuffersForReuseCountForNobody(t *testing.T) {
	l := startGroup(t, Options{}).Pick()
	on(t, l, func() {
		for range 2 * freeLimit / maxBuffer {
			l.Buffers().Put(make([]byte, 0, maxBuffer))
		}
		if l.buffers.bytes != freeLimit {
			t.Errorf("%d bytes are kept for reuse, not %d", l.buffers.bytes, freeLimit)
		}
	})
	on(t, l, func() {}) // the turn after
	if n := l.BufferBytes(); n != 0 {
		t.Errorf("%d bytes count as held", n)
	}
}
