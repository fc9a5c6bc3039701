package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// A cluster that nobody has given slots to yet has no shard. Whatever is asked of it
// is answered with an error, also what any node could answer.
func TestAClusterWithoutSlotsAnswersWithErrors(t *testing.T) {
	t.Parallel()
	node := redistest.NewFake(t, redistest.AfterHandshake(func(r redistest.Request) redistest.Answer {
		if r.Is("CLUSTER") && len(r.Args) == 2 && r.Args[1] == "INFO" {
			return redistest.Reply("$20\r\ncluster_state:fail\r\n\r\n")
		}
		return redistest.Reply("*0\r\n")
	}))
	r := withRig(t, "", func(s *setup) {
		s.down = true
		s.users["root"] = everything + " +scan +dbsize +keys +info +randomkey"
		s.backend.Nodes = endpoints([]string{node.Addr()})
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 10 * time.Millisecond}
	})
	c := r.login("root")
	eventually(t, 10*time.Second, "the topology is known", func() bool {
		_, err := c.Do("GET", "k")
		return err != nil && strings.HasPrefix(err.Error(), "CLUSTERDOWN")
	})
	for _, call := range [][]string{
		{"GET", "k"}, {"PUBLISH", "ch", "m"}, {"TIME"}, {"SCAN", "0"}, {"SCAN", "4194304"}, {"DBSIZE"}, {"RANDOMKEY"}, {"MGET", "a", "b"}, {"SUBSCRIBE", "ch"}, {"BLPOP", "l", "1"}, {"WATCH", "k"},
	} {
		if got, err := c.Do(call...); err == nil {
			t.Errorf("%v: %v", call, got)
		}
		r.want(c, "PONG", "PING")
	}
}
