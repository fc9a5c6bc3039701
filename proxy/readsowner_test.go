package proxy_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// Connections to replicas die and come back while many clients read in pipelines:
// each reads its own value, or that the call was lost.
func TestWhatIsReadFromReplicasReachesOnlyItsOwner(t *testing.T) {
	g, r := readingFrom(t, 2, backend.ReadPreferReplica, nil)
	const clients, depth = 6, 40
	setup := r.login("root")
	for i := range clients {
		r.want(setup, "OK", "SET", fmt.Sprintf("own:%d", i), fmt.Sprintf("value of %d", i))
	}
	inStep(t, g)
	var reads, lost atomic.Int64
	done := make(chan struct{})
	faults := make(chan error, clients)
	var running sync.WaitGroup
	for i := range clients {
		c := r.login("root")
		running.Go(func() {
			faults <- func() error {
				want := fmt.Sprintf("value of %d", i)
				for {
					select {
					case <-done:
						return nil
					default:
					}
					for n := range depth {
						call := []string{"GET", fmt.Sprintf("own:%d", i)}
						if n%8 == 7 {
							call = []string{"SET", fmt.Sprintf("own:%d", i), want}
						}
						if err := c.Send(call...); err != nil {
							return err
						}
					}
					for n := range depth {
						got, err := c.Receive()
						refused, isError := got.(redistest.Error)
						switch {
						case err != nil:
							return err
						case isError && strings.Contains(string(refused), "may have run"):
							lost.Add(1)
						case n%8 == 7 && got != "OK", n%8 != 7 && got != want:
							return fmt.Errorf("client %d read %v", i, got)
						default:
							reads.Add(1)
						}
					}
				}
			}()
		})
	}
	for round := range 12 {
		then := reads.Load()
		before := calls(t, g.Servers[1+round%2], "get")
		eventually(t, 30*time.Second, "reads go on", func() bool {
			select {
			case err := <-faults:
				t.Fatal(err)
			default:
			}
			return reads.Load() > then+500 && calls(t, g.Servers[1+round%2], "get") > before+100
		})
		if _, err := g.Servers[1+round%2].Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	running.Wait()
	for range clients {
		if err := <-faults; err != nil {
			t.Error(err)
		}
	}
	if calls(t, g.Servers[1], "get") == 0 || calls(t, g.Servers[2], "get") == 0 {
		t.Error("a replica was not read from")
	}
	t.Logf("%d answered, %d lost", reads.Load(), lost.Load())
}
