package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve runs s on ln until the test ends or stop is called; done gives Serve's result.
func serve(t *testing.T, s *Server, ln net.Listener) (stop func(), done <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		result <- s.Serve(ctx, ln, nil)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return cancel, result
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dial(t *testing.T, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends a request on c and gives the answer's status.
func exchange(t *testing.T, c net.Conn, request string) int {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	w, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if _, err := io.Copy(io.Discard, w.Body); err != nil {
		t.Fatal(err)
	}
	return w.StatusCode
}

func TestServeOnLoopbackAndUnix(t *testing.T) {
	for _, ln := range []net.Listener{
		listen(t, "tcp", "127.0.0.1:0"),
		listen(t, "unix", filepath.Join(t.TempDir(), "admin.sock")),
	} {
		t.Run(ln.Addr().Network(), func(t *testing.T) {
			stop, done := serve(t, New(Options{}), ln)
			if code := exchange(t, dial(t, ln.Addr()), "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); code != 200 {
				t.Errorf("status %d", code)
			}
			// A name no browser was led here by: it can't speak to a unix socket.
			want := map[string]int{"tcp": 421, "unix": 200}[ln.Addr().Network()]
			if code := exchange(t, dial(t, ln.Addr()), "GET /livez HTTP/1.1\r\nHost: sallyport\r\n\r\n"); code != want {
				t.Errorf("Host: sallyport: status %d, want %d", code, want)
			}
			if code := exchange(t, dial(t, ln.Addr()), "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n"); code == 200 {
				t.Error("OPTIONS * is answered around the checks")
			}
			stop()
			if err := <-done; err != nil {
				t.Errorf("Serve: %v", err)
			}
			if c, err := net.Dial(ln.Addr().Network(), ln.Addr().String()); err == nil {
				c.Close()
				t.Error("still accepting after Serve returned")
			}
		})
	}
}

func TestServeRefusesAddressesOthersReach(t *testing.T) {
	ln := listen(t, "tcp", "0.0.0.0:0")
	if err := New(Options{}).Serve(t.Context(), ln, nil); !errors.Is(err, ErrNotLocal) {
		t.Errorf("error %v, want ErrNotLocal", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener was left open: %v", err)
	}
}

func TestServeSaysWhyItsListenerFailed(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	_, done := serve(t, New(Options{}), ln)
	ln.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v, want net.ErrClosed", err)
	}
}

func TestRequestUnderWayIsAnsweredAtTheEnd(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := New(Options{Sessions: func(ctx context.Context, _ Page) (any, error) {
		close(begun)
		<-goOn
		return []int{}, ctx.Err()
	}})
	ln := listen(t, "tcp", "127.0.0.1:0")
	stop, done := serve(t, s, ln)
	c := dial(t, ln.Addr())
	code := make(chan int, 1)
	go func() { code <- exchange(t, c, "GET /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n") }()
	<-begun
	stop()
	close(goOn)
	if got := <-code; got != 200 {
		t.Errorf("status %d, want 200", got)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// The end waits for a reload a few seconds; one that takes longer is told to stop.
func TestEndOfServingEndsAReload(t *testing.T) {
	t.Parallel() // takes a real time limit of the server, as TestSilentConnectionIsClosed does
	begun := make(chan struct{})
	ended := make(chan error, 1)
	s := New(Options{Reload: func(ctx context.Context, _ Caller) error {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}})
	ln := listen(t, "tcp", "127.0.0.1:0")
	stop, done := serve(t, s, ln)
	if _, err := io.WriteString(dial(t, ln.Addr()), "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	stop()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the reload's context ended by %v", err)
	}
}

func TestOversizedHeadersAreRefused(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, New(Options{}), ln)
	// The server's own slack on top of the limit is 4 KiB.
	request := "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", maxHeader+8<<10) + "\r\n\r\n"
	if code := exchange(t, dial(t, ln.Addr()), request); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", code)
	}
}

func TestSilentConnectionIsClosed(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp", "127.0.0.1:0")
	serve(t, New(Options{}), ln)
	c := dial(t, ln.Addr())
	if _, err := io.WriteString(c, "GET /livez HT"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			t.Fatal("still open long after the header timeout")
		}
	}
	if took := time.Since(began); took < headerTimeout/2 {
		t.Errorf("closed after %v already", took)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	inner := listen(t, "tcp", "127.0.0.1:0")
	p := newPlaces(inner, 2)
	accepted := make(chan *place, 3)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := p.Accept()
			if err != nil {
				ended <- err
				return
			}
			release := hold(placed(t.Context(), c)) // as if it were served
			t.Cleanup(release)
			accepted <- c.(*place)
		}
	}()
	for range 3 {
		dial(t, inner.Addr())
	}
	first, second := <-accepted, <-accepted
	select {
	case c := <-accepted:
		t.Errorf("a third connection %v, while two are served", c.RemoteAddr())
	default:
	}
	first.Close()
	first.Close() // gives back one place, not two
	third := <-accepted
	dial(t, inner.Addr())
	p.Close() // ends an Accept that waits for a place
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	second.Close()
	third.Close()
	if len(p.open) != 0 {
		t.Errorf("%d places never came back", len(p.open))
	}
}

// Whoever opens connections and says nothing, or half a request, or half a body,
// keeps nobody out: long before a time limit ends it.
func TestHalfSentRequestsHoldNoPlaces(t *testing.T) {
	for name, half := range map[string]string{
		"nothing":       "",
		"half a header": "GET /livez HT",
		"half a body":   "POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{",
		"an idle one":   "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ln := listen(t, "tcp", "127.0.0.1:0")
			serve(t, New(Options{Drain: func() { t.Error("drained") }}), ln)
			began := time.Now()
			for range maxConnections {
				if _, err := io.WriteString(dial(t, ln.Addr()), half); err != nil {
					t.Fatal(err)
				}
			}
			for range 20 {
				if code := exchange(t, dial(t, ln.Addr()), "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); code != 200 {
					t.Fatalf("status %d", code)
				}
			}
			if took := time.Since(began); took >= headerTimeout {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// The address with most of them makes room, not the one that came first.
func TestWhoHoldsMostMakesRoom(t *testing.T) {
	p := newPlaces(listen(t, "tcp", "127.0.0.1:0"), 4)
	take := func(from string) *place {
		a, b := net.Pipe()
		t.Cleanup(func() { b.Close() })
		took, yields := p.take(a, from)
		if took != nil {
			return took
		}
		a.Close()
		return yields
	}
	lone := take("10.0.0.1")
	crowd := take("10.0.0.2")
	take("10.0.0.2")
	take("10.0.0.3")
	if got := take("10.0.0.4"); got != crowd {
		t.Errorf("the connection of %s makes room", got.from)
	}
	crowd.busy.Store(true)
	if got := take("10.0.0.4"); got == crowd || got == lone || got.from != "10.0.0.2" {
		t.Errorf("the connection of %s makes room", got.from)
	}
	p.Close()
}
