package proxy_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

const (
	textUnavailable = "ERR backend unavailable: the command was not sent"
	textLost        = "ERR backend connection lost, the command may have run"
)

// redis-server is killed under load, three times. Clients see one of two clear
// errors, never another's reply nor one of an old connection, and service is
// back within two seconds of the server's return.
func TestAKilledBackendCostsErrorsAndNothingElse(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	const clients = 20
	stop := make(chan struct{})
	done := make(chan error, clients)
	var ok, lost, unavailable atomic.Int64
	var started atomic.Int64 // Unix ns when the server was there again
	for i := range clients {
		go func() {
			done <- hammer(r, i, stop, &ok, &lost, &unavailable)
		}()
	}
	for round := range 3 {
		before := ok.Load()
		eventually(t, 10*time.Second, "load", func() bool { return ok.Load() > before+2000 })
		if err := redis.Kill(); err != nil {
			t.Fatal(err)
		}
		failed := unavailable.Load() + lost.Load()
		eventually(t, 5*time.Second, "clear errors while the server is away", func() bool { return unavailable.Load()+lost.Load() > failed })
		if err := redis.Restart(); err != nil {
			t.Fatal(err)
		}
		started.Store(time.Now().UnixNano())
		after := ok.Load()
		eventually(t, 2*time.Second, "service after the server's return", func() bool { return ok.Load() > after+100 })
		t.Logf("round %d: back after %v", round, time.Since(time.Unix(0, started.Load())))
	}
	close(stop)
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d answered, %d lost, %d unavailable", ok.Load(), lost.Load(), unavailable.Load())
	if lost.Load()+unavailable.Load() == 0 {
		t.Error("three kills under load and nobody saw an error")
	}
}

// hammer pipelines SET and GET of its own key and checks that what it reads is
// what it wrote last, or nothing at all after a server came back empty.
func hammer(r *rig, id int, stop chan struct{}, ok, lost, unavailable *atomic.Int64) error {
	c, err := redistest.Dial("tcp", r.addr("plain"), nil)
	if err != nil {
		return err
	}
	defer func() { c.Close() }()
	if _, err := c.Do("AUTH", "root", "root-pw"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		key, value := fmt.Sprint("k", id), fmt.Sprintf("%d-%d", id, n)
		if err := c.Write(append(redistest.Encode("SET", key, value), redistest.Encode("GET", key)...)); err != nil {
			return err
		}
		for i, want := range []string{"OK", value} {
			v, err := c.Receive()
			if err != nil {
				// A reply was cut in the middle: the only honest end.
				c.Close()
				if c, err = redistest.Dial("tcp", r.addr("plain"), nil); err != nil {
					return err
				}
				if _, err := c.Do("AUTH", "root", "root-pw"); err != nil {
					return err
				}
				break
			}
			switch got := fmt.Sprint(v); {
			case got == want:
				ok.Add(1)
			case got == textUnavailable:
				unavailable.Add(1)
			case got == textLost:
				lost.Add(1)
			case i == 1 && (v == nil || strings.HasPrefix(got, fmt.Sprint(id, "-"))):
				// The SET failed, so an older value of its own, or none, is right.
			case strings.HasPrefix(got, "LOADING"):
			default:
				return fmt.Errorf("client %d call %d.%d got %q, want %q", id, n, i, got, want)
			}
		}
	}
}
