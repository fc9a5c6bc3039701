package proxy_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

const often = 20 * time.Millisecond

func TestTheLoadOfANodeIsCounted(t *testing.T) {
	node := redistest.Start(t, redistest.Args("--maxmemory", "64mb"))
	r := withRig(t, node.Addr(), func(s *setup) { s.backend.LoadEvery = often })
	at := `{backend="main",node="` + node.Addr() + `"}`
	eventually(t, 20*time.Second, "the node's load is known", func() bool {
		return r.scrape(t).series["sallyport_backend_memory_used_bytes"+at] > 0
	})
	m := r.scrape(t)
	if limit := m.value("sallyport_backend_memory_limit_bytes" + at); limit != 64<<20 {
		t.Errorf("the limit of its memory is %v", limit)
	}
	if m.value("sallyport_backend_clients"+at) < 1 || m.value("sallyport_backend_cpu_seconds_total"+at) <= 0 {
		t.Error("it has no clients, or has never done anything")
	}
	m.value("sallyport_backend_commands_per_second" + at)
	// Who may not ask learns nothing, and says nothing that is old.
	told(t, node, "ACL", "SETUSER", "default", "-info")
	eventually(t, 40*time.Second, "an old load is forgotten", func() bool {
		_, there := r.scrape(t).series["sallyport_backend_memory_used_bytes"+at]
		return !there
	})
	r.want(r.login("root"), "OK", "SET", "k", "v")
}

func TestTheMarginOfAQuorumIsCounted(t *testing.T) {
	g := redistest.StartSentinels(t, redistest.SentinelOptions{})
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = nil
		s.backend.LoadEvery = often
		s.backend.Routing = backend.Routing{
			Kind: backend.Sentinel, Refresh: 100 * time.Millisecond, Sentinels: backend.Sentinels{Nodes: endpoints(g.Addrs()), Name: g.Name},
		}
	})
	awaitMargin(t, r, 1)
	if err := g.Sentinels[2].Stop(); err != nil {
		t.Fatal(err)
	}
	awaitMargin(t, r, 0)
	if err := g.Sentinels[1].Stop(); err != nil {
		t.Fatal(err)
	}
	awaitMargin(t, r, -1)
	for _, s := range g.Servers {
		at := `sallyport_backend_memory_used_bytes{backend="main",node="` + s.Addr() + `"}`
		eventually(t, 20*time.Second, "the load of each node is known", func() bool { return r.scrape(t).series[at] > 0 })
	}
}

func TestTheMarginOfAClusterIsCounted(t *testing.T) {
	c := redistest.StartCluster(t, 3, 0)
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints(c.Addrs())
		s.backend.Routing = backend.Routing{Kind: backend.Cluster}
	})
	awaitMargin(t, r, 1)
	for n, margin := range []float64{0, -1} {
		if err := c.Servers[n].Stop(); err != nil {
			t.Fatal(err)
		}
		awaitMargin(t, r, margin)
	}
}

func awaitMargin(t *testing.T, r *rig, want float64) {
	t.Helper()
	eventually(t, 40*time.Second, "the margin is as it is", func() bool {
		got, there := r.scrape(t).series[`sallyport_backend_quorum_margin{backend="main"}`]
		return there && got == want
	})
}
