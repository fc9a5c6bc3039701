package proxy_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// A node that does not answer UNWATCH would keep the connection, and its place
// among those there may be, for ever.
func TestAConnectionThatDoesNotForgetWhatItWatchedIsClosed(t *testing.T) {
	t.Parallel()
	node := redistest.NewFake(t, redistest.AfterHandshake(func(q redistest.Request) redistest.Answer {
		if q.Is("UNWATCH") {
			return redistest.Drop()
		}
		return redistest.Reply("+OK\r\n")
	}))
	r := withRig(t, node.Addr(), func(s *setup) { s.backend.Connections.Pinned = 1 })
	c := r.login("root")
	r.want(c, "OK", "WATCH", "k")
	r.want(c, "OK", "MULTI")
	r.want(c, "OK", "DISCARD")
	other := r.login("root")
	eventually(t, 20*time.Second, "its place is another's", func() bool {
		_, err := other.Do("WATCH", "k")
		return err == nil
	})
}
