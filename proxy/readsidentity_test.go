package proxy_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// A user with a login of its own that only reads is pipelined like everybody: its
// second call is with the replica before that has answered the first.
func TestReadsOfAUserWithItsOwnLoginAreNotSentOneByOne(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := make(map[string]int)
	info := replicaScript("", nil)
	replica := redistest.NewFake(t, redistest.AfterHandshake(func(r redistest.Request) redistest.Answer {
		if !r.Is("GET") {
			return info(r)
		}
		mu.Lock()
		defer mu.Unlock()
		switch key := r.Args[1]; {
		case key == "ready":
			return redistest.Reply("$7\r\nreplica\r\n")
		default:
			if got[key]++; got[key]%3 != 0 {
				return redistest.Drop() // until the third has come, too
			}
		}
		return redistest.Reply("$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n")
	}))
	primary := redistest.Start(t)
	logins := cast(t, t.TempDir(), primary)
	r := withRig(t, "", func(s *setup) {
		personal(logins)(s)
		s.backend.Nodes = endpoints([]string{primary.Addr(), replica.Addr()})
		s.backend.Routing = backend.Routing{Kind: backend.Replicated, Reads: backend.ReadReplica, Wait: 20 * time.Second, Refresh: time.Hour}
	})
	c := r.login("alice")
	r.want(c, "replica", "GET", "ready")
	for range 3 {
		for range 3 {
			if err := c.Send("GET", "alice:k"); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []string{"1", "2", "3"} {
			if v, err := c.Receive(); err != nil || v != want {
				t.Fatalf("%v, %v; want %s", v, err, want)
			}
		}
	}
}

// Where every replica refuses a user's login, waiting for one changes nothing.
func TestAReadWhoseLoginAllReplicasRefuseDoesNotWait(t *testing.T) {
	t.Parallel()
	replica := replicaAnswering(t, "", map[string]string{"GET": "$1\r\nv\r\n"})
	strict := redistest.NewFake(t, func(r redistest.Request) redistest.Answer {
		if r.Is("HELLO") && slices.Contains(r.Args, "node-alice") {
			return redistest.Reply("-WRONGPASS invalid username-password pair or user is disabled.\r\n")
		}
		return replicaScript("", map[string]string{"GET": "$1\r\nv\r\n"})(r)
	})
	primary := redistest.Start(t)
	logins := cast(t, t.TempDir(), primary)
	for _, c := range []struct {
		replicas []string
		want     string
	}{{[]string{strict.Addr()}, "ERR backend login of this user failed"}, {[]string{strict.Addr(), replica.Addr()}, ""}} {
		r := withRig(t, "", func(s *setup) {
			personal(logins)(s)
			s.backend.Nodes = endpoints(append([]string{primary.Addr()}, c.replicas...))
			s.backend.Routing = backend.Routing{Kind: backend.Replicated, Reads: backend.ReadReplica, Wait: time.Hour, Refresh: time.Hour}
		})
		other, own := r.login("root"), r.login("alice")
		r.want(other, "v", "GET", "k") // a replica is fit
		for range 5 {
			if c.want != "" {
				r.fails(own, c.want, "GET", "alice:k")
			}
		}
		if c.want == "" {
			eventually(t, 20*time.Second, "the other replica is read from", func() bool {
				got, err := own.Do("GET", "alice:k")
				return err == nil && got == "v"
			})
		}
	}
}
