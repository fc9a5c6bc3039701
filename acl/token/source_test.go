package token

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server is a server of keys without sockets: each connection is a pipe, so that
// time can be virtual. It speaks plain HTTP for one request a connection.
type server struct {
	asked atomic.Int64
	mu    sync.Mutex
	body  []byte
	fails bool // refuses connections
	stall bool // begins an answer and never ends it
	flood bool // answers for ever
}

func (s *server) serve(keys ...dict) func(t *testing.T) {
	return func(t *testing.T) { s.set(func() { s.body = jwks(t, keys...) }) }
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *server) dial(context.Context, string, string) (net.Conn, error) {
	s.asked.Add(1)
	s.mu.Lock()
	body, fails, stall, flood := s.body, s.fails, s.stall, s.flood
	s.mu.Unlock()
	if fails {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		if _, err := http.ReadRequest(bufio.NewReader(there)); err != nil {
			return
		}
		switch {
		case stall:
			fmt.Fprintf(there, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":")
			_, _ = io.Copy(io.Discard, there) // until the other side hangs up
		case flood:
			fmt.Fprintf(there, "HTTP/1.1 200 OK\r\n\r\n{\"keys\":[")
			for {
				if _, err := io.WriteString(there, strings.Repeat("{},", 10000)); err != nil {
					return
				}
			}
		default:
			fmt.Fprintf(there, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		}
	}()
	return here, nil
}

// virtual plays a test in virtual time: an issuer whose keys come from s.
func virtual(t *testing.T, change func(*Issuer), play func(t *testing.T, v *Verifier, s *server)) {
	t.Helper()
	testKeys() // outside the bubble
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.serve(keyOf(t, "p256", "p256", ""))(t)
		v := dialed(t, s, change, Options{})
		play(t, v, s)
	})
}

func dialed(t *testing.T, s *server, change func(*Issuer), opts Options) *Verifier {
	t.Helper()
	v, err := New([]Issuer{entra(func(i *Issuer) {
		i.Keys.URL = "http://127.0.0.1/keys"
		if change != nil {
			change(i)
		}
	})}, opts)
	if err != nil {
		t.Fatal(err)
	}
	v.order[0].dial = s.dial
	return v
}

// running starts Run and gives what ends it and waits.
func running(t *testing.T, v *Verifier) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := v.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-done
	}
}

// fresh makes a token that lives for a month from the bubble's now, signed by key.
func fresh(t *testing.T, key string) []byte {
	t.Helper()
	return sign(t, "ES256", key, nil, toJSON(t, claims(dict{"iat": nil, "nbf": nil, "exp": time.Now().Add(30 * 24 * time.Hour).Unix()})))
}

func needsKeys(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.NeedsKeys()
}

func TestAFloodOfUnknownKeysAsksOncePer30Seconds(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		defer running(t, v)()
		if n := s.asked.Load(); n != 1 {
			t.Fatalf("asked %d times at the start", n)
		}
		began := time.Now()
		unknown := fresh(t, "p256b")
		for second := range 600 {
			for range 10 {
				_, err := v.Verify(unknown, time.Now())
				if !errors.Is(err, ErrUnknownKey) || !needsKeys(err) {
					t.Fatalf("second %d: %v", second, err)
				}
				may := v.CanRefresh("entra", time.Now())
				if err := v.Refresh(t.Context(), "entra"); may != (err == nil) {
					t.Fatalf("second %d: CanRefresh says %v, Refresh %v", second, may, err)
				}
			}
			if n, most := s.asked.Load(), 1+int64(time.Since(began)/fetchAtMost); n > most {
				t.Fatalf("second %d: asked %d times, at most %d are allowed", second, n, most)
			}
			time.Sleep(time.Second)
		}
		if n := s.asked.Load(); n < 20 {
			t.Errorf("asked %d times in ten minutes: a flood must not keep new keys out", n)
		}
	})
}

func TestABadSignatureUnderAKnownKeyAsksNobody(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		if err := v.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		forged := sign(t, "ES256", "p256b", dict{"kid": "p256"}, toJSON(t, claims(nil)))
		for range 1000 {
			_, err := v.Verify(forged, time.Now())
			if !errors.Is(err, ErrSignature) || needsKeys(err) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := s.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// Many clients that meet a new key at once are one fetch, and all get its fruit.
func TestRefreshIsSharedByWhoeverWaits(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		defer running(t, v)()
		time.Sleep(fetchAtMost + time.Second)
		before := s.asked.Load()
		s.serve(keyOf(t, "p256b", "p256b", ""))(t)
		raw := fresh(t, "p256b")
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				// Who comes when all is done hears ErrTooSoon.
				if err := v.Refresh(t.Context(), "entra"); err != nil && !errors.Is(err, ErrTooSoon) {
					t.Error(err)
				}
				if _, err := v.Verify(raw, time.Now()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := s.asked.Load() - before; n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// A client that connects, shows a token of a new key and leaves must not spoil
// the fetch for the others.
func TestWhoLeavesDoesNotEndTheFetch(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		defer running(t, v)()
		time.Sleep(fetchAtMost + time.Second)
		s.serve(keyOf(t, "p256b", "p256b", ""))(t)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_ = v.Refresh(gone, "entra") // either outcome is right, as both are ready
		synctest.Wait()
		if _, err := v.Verify(fresh(t, "p256b"), time.Now()); err != nil {
			t.Error(err)
		}
	})
}

func TestAnIssuerThatIsDown(t *testing.T) {
	const age = 2 * time.Hour
	virtual(t, func(i *Issuer) { i.Keys.MaxAge = age }, func(t *testing.T, v *Verifier, s *server) {
		defer running(t, v)()
		raw := fresh(t, "p256")
		s.set(func() { s.fails = true })
		loaded := v.Status()[0].Loaded
		for time.Since(loaded) <= age {
			if _, err := v.Verify(raw, time.Now()); err != nil {
				t.Fatalf("known keys, %v old: %v", time.Since(loaded), err)
			}
			time.Sleep(time.Minute)
		}
		_, err := v.Verify(raw, time.Now())
		if !errors.Is(err, ErrKeysUnavailable) || !needsKeys(err) {
			t.Fatalf("keys %v old: %v", time.Since(loaded), err)
		}
		if st := v.Status()[0]; st.Err == nil || st.Keys != 1 || !st.Until.Equal(loaded.Add(age)) {
			t.Errorf("status %+v", st)
		}
		if n, most := s.asked.Load(), 1+int64(time.Since(loaded)/fetchAtMost); n > most {
			t.Errorf("a server that is down was asked %d times, at most %d are allowed", n, most)
		}
		s.set(func() { s.fails = false })
		time.Sleep(time.Minute)
		if _, err := v.Verify(raw, time.Now()); err != nil {
			t.Errorf("a minute after it is back: %v", err)
		}
	})
}

func TestAFirstLoadThatFailsIsClosed(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		raw := fresh(t, "p256")
		if _, err := v.Verify(raw, time.Now()); !errors.Is(err, ErrKeysUnavailable) {
			t.Errorf("before anything was read: %v", err)
		}
		s.set(func() { s.fails = true })
		if err := v.Load(t.Context()); err == nil {
			t.Error("Load tells of no failure")
		}
		if _, err := v.Verify(raw, time.Now()); !errors.Is(err, ErrKeysUnavailable) || !needsKeys(err) {
			t.Errorf("after a failure: %v", err)
		}
		if st := v.Status()[0]; st.Err == nil || !st.Until.IsZero() {
			t.Errorf("status %+v", st)
		}
		s.set(func() { s.fails = false })
		defer running(t, v)()
		time.Sleep(fetchAtMost + time.Second)
		if _, err := v.Verify(raw, time.Now()); err != nil {
			t.Errorf("once it answers: %v", err)
		}
	})
}

func TestKeysRotateWithinAMinute(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		defer running(t, v)()
		before, after := fresh(t, "p256"), fresh(t, "p256b")
		time.Sleep(time.Second) // the worst: just after a look
		s.serve(keyOf(t, "p256b", "p256b", ""))(t)
		time.Sleep(time.Minute)
		if _, err := v.Verify(after, time.Now()); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if _, err := v.Verify(before, time.Now()); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("the old key: %v", err)
		}
	})
}

func TestAServerThatNeverFinishes(t *testing.T) {
	for name, change := range map[string]func(*server){
		"stalls": func(s *server) { s.stall = true },
		"floods": func(s *server) { s.flood = true },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
				if err := v.Load(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				s.set(func() { change(s) })
				began := time.Now()
				if err := v.Load(t.Context()); err == nil {
					t.Error("taken for an answer")
				}
				if took := time.Since(began); took > fetchTimeout {
					t.Errorf("waited %v", took)
				}
				if _, err := v.Verify(fresh(t, "p256"), time.Now()); err != nil {
					t.Errorf("the last keys that were good: %v", err)
				}
			})
		})
	}
}

// What is read is taken whole or not at all.
func TestABadAnswerKeepsTheLastGoodKeys(t *testing.T) {
	for name, body := range map[string]string{
		"no_JSON": "<html>maintenance</html>", "cut": `{"keys":[{"kty"`, "empty_set": `{"keys":[]}`, "no_set": `{}`, "null": `null`,
		"only_secrets": `{"keys":[{"kty":"oct","kid":"p256","k":"AAAA"}]}`, "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
				if err := v.Load(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				s.set(func() { s.body = []byte(body) })
				if err := v.Load(t.Context()); err == nil {
					t.Error("taken")
				}
				if _, err := v.Verify(fresh(t, "p256"), time.Now()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A reload neither forgets keys nor lets the issuer be asked more often; an
// issuer whose keys come from elsewhere starts anew.
func TestInherit(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		if err := v.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		raw := fresh(t, "p256")
		for range 10 {
			next := dialed(t, s, nil, Options{})
			next.Inherit(v)
			if err := next.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := next.Verify(raw, time.Now()); err != nil {
				t.Fatal(err)
			}
			v = next
		}
		if n := s.asked.Load(); n != 1 {
			t.Errorf("ten reloads asked %d times", n)
		}
		for name, change := range map[string]func(*Issuer){
			"another_URL":    func(i *Issuer) { i.Keys.URL = "http://127.0.0.1/others" },
			"another_name":   func(i *Issuer) { i.Name = "other" },
			"another_issuer": func(i *Issuer) { i.Issuer = "https://other.example" },
		} {
			next := dialed(t, s, change, Options{})
			next.Inherit(v)
			if st := next.Status()[0]; st.Keys != 0 {
				t.Errorf("%s: %d keys were taken over", name, st.Keys)
			}
		}
		v.Inherit(nil)
	})
}

func TestAfterRunNobodyWaits(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		end := running(t, v)
		time.Sleep(fetchAtMost + time.Second)
		s.set(func() { s.stall = true })
		result := make(chan error, 1)
		go func() { result <- v.Refresh(context.Background(), "entra") }()
		synctest.Wait()
		end()
		if err := <-result; err == nil {
			t.Error("a fetch that was cut short is no success")
		}
		if err := v.Refresh(t.Context(), "entra"); !errors.Is(err, ErrStopped) {
			t.Errorf("%v", err)
		}
		if v.CanRefresh("entra", time.Now()) {
			t.Error("CanRefresh after Run")
		}
		if err := v.Refresh(t.Context(), "nobody"); !errors.Is(err, ErrNoSuchName) {
			t.Errorf("%v", err)
		}
	})
}

// Load and Refresh may meet: neither leaves the other waiting.
func TestRefreshBesideLoad(t *testing.T) {
	virtual(t, nil, func(t *testing.T, v *Verifier, s *server) {
		defer running(t, v)()
		for range 50 {
			time.Sleep(fetchAtMost - time.Second)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { _ = v.Load(t.Context()) })
				wg.Go(func() { _ = v.Refresh(t.Context(), "entra") })
			}
			wg.Wait()
		}
		if _, err := v.Verify(fresh(t, "p256"), time.Now()); err != nil {
			t.Error(err)
		}
	})
}

// A start that waits only so long still tells of a server that does not answer.
func TestAStartThatDoesNotWaitReportsTheFailure(t *testing.T) {
	testKeys()
	synctest.Test(t, func(t *testing.T) {
		heard := make(chan Report, 1)
		v := dialed(t, &server{stall: true}, nil, Options{Report: func(r Report) { heard <- r }})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := v.Load(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		select {
		case r := <-heard:
			if r.Err == nil || r.Issuer != "entra" {
				t.Errorf("%+v", r)
			}
		default:
			t.Error("nothing was reported")
		}
	})
}

// Operators hear of a change once, not every 45 seconds.
func TestReportsTellOfChanges(t *testing.T) {
	testKeys()
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.serve(keyOf(t, "p256", "p256", ""))(t)
		var mu sync.Mutex
		var heard []string
		v := dialed(t, s, nil, Options{Report: func(r Report) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, fmt.Sprintf("%s %d %v", r.Issuer, r.Keys.Usable, r.Err != nil))
		}})
		end := running(t, v)
		time.Sleep(10 * time.Minute)
		s.set(func() { s.fails = true })
		time.Sleep(10 * time.Minute)
		s.serve(keyOf(t, "p256", "p256", ""), keyOf(t, "p256b", "p256b", ""))(t)
		s.set(func() { s.fails = false })
		time.Sleep(10 * time.Minute)
		end()
		if got, want := strings.Join(heard, ", "), "entra 1 false, entra 0 true, entra 2 false"; got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
	})
}
