package proxy_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
	"go.uber.org/zap"
)

// there reports whether somebody is connected to a node as a user.
func there(t testing.TB, n *redistest.Server, user string) bool {
	t.Helper()
	return strings.Contains(fmt.Sprint(told(t, n, "CLIENT", "LIST")), " user="+user+" ")
}

func TestTheControlPlaneIsSomebodyElseThanTheCalls(t *testing.T) {
	c := redistest.StartCluster(t, 3, 0)
	secret := filepath.Join(t.TempDir(), "control")
	writeSecret(t, secret, "control-pw")
	for _, n := range c.Servers {
		// Neither may do what is the other's.
		told(t, n, "ACL", "SETUSER", "control", "reset", "on", ">control-pw", "+ping", "+info", "+cluster|info", "+cluster|shards")
		told(t, n, "ACL", "SETUSER", "data", "reset", "on", ">data-pw", "~*", "&*", "+@all", "-cluster", "-info", "-role")
	}
	with := func(control func() (string, error)) func(*setup) {
		return func(s *setup) {
			s.backend.Nodes = endpoints(c.Addrs()[:1])
			s.backend.User, s.backend.Password = "data", func() (string, error) { return "data-pw", nil }
			s.backend.LoadEvery = often
			s.backend.Routing = backend.Routing{
				Kind: backend.Cluster, Refresh: 100 * time.Millisecond, Control: &backend.Login{User: "control", Password: control},
			}
		}
	}
	r := withRig(t, "", with(func() (string, error) { return readSecret(secret) }))
	app := r.login("root")
	for i := range 30 {
		r.want(app, "OK", "SET", fmt.Sprintf("k%d", i), "v")
	}
	for _, n := range c.Servers {
		node := n
		eventually(t, 20*time.Second, "both are there, each for its own", func() bool { return there(t, node, "control") && there(t, node, "data") })
		for _, entry := range told(t, n, "ACL", "LOG").([]any) {
			t.Errorf("a node refused something: %v", entry)
		}
	}
	// A new password, and the connections of the old one ended: nobody notices.
	for _, n := range c.Servers {
		told(t, n, "ACL", "SETUSER", "control", "resetpass", ">rotated")
	}
	writeSecret(t, secret, "rotated")
	for _, n := range c.Servers {
		told(t, n, "CLIENT", "KILL", "USER", "control")
	}
	for _, n := range c.Servers {
		node := n
		eventually(t, 20*time.Second, "the control plane is back", func() bool { return there(t, node, "control") })
	}
	r.want(app, "OK", "SET", "k", "v")

	t.Run("without its password nothing goes on as somebody else", func(t *testing.T) {
		r := withRig(t, "", func(s *setup) {
			with(func() (string, error) { return "", errors.New("no such file") })(s)
			s.down, s.log = true, zap.NewNop()
		})
		if _, err := r.login("root").Do("SET", "k", "v"); err == nil || err.Error() != textUnavailable {
			t.Errorf("SET answered %v", err)
		}
	})
}

func TestASingleNodeIsAskedByTheControlPlaneToo(t *testing.T) {
	node := redistest.Start(t)
	told(t, node, "ACL", "SETUSER", "control", "reset", "on", ">control-pw", "+info", "+client|id", "+client|list", "+client|setname", "+command")
	told(t, node, "ACL", "SETUSER", "data", "reset", "on", ">data-pw", "~*", "&*", "+@all", "-info", "-client|list", "-command")
	r := withRig(t, node.Addr(), func(s *setup) {
		s.backend.User, s.backend.Password = "data", func() (string, error) { return "data-pw", nil }
		s.backend.LoadEvery, s.backend.Discover = often, true
		s.backend.Routing.Control = &backend.Login{User: "control", Password: func() (string, error) { return "control-pw", nil }}
		s.snapshots = proxy.Snapshots{Every: 50 * time.Millisecond}
	})
	at := `{backend="main",node="` + node.Addr() + `"}`
	eventually(t, 20*time.Second, "the node's load is known", func() bool {
		return r.scrape(t).series["sallyport_backend_memory_used_bytes"+at] > 0
	})
	r.await("clients", "backend", "main")
	r.want(r.login("root"), "OK", "SET", "k", "v")
	for _, entry := range told(t, node, "ACL", "LOG").([]any) {
		t.Errorf("the node refused something: %v", entry)
	}
	// A reload may make it somebody else, or nobody of its own.
	next := r.options
	o := next.Backends["main"]
	o.Routing.Control = nil
	next.Backends = map[string]backend.Options{"main": o}
	if err := r.server.Reload(next); err != nil {
		t.Fatal(err)
	}
	told(t, node, "CLIENT", "KILL", "USER", "control")
	eventually(t, 40*time.Second, "it is asked as everybody, who may not", func() bool {
		return strings.Contains(fmt.Sprint(told(t, node, "ACL", "LOG")), "data")
	})
}
