package proxy_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// plainOnes is the rig's configuration with these plaintext listeners, name and
// address in turn, and a policy that knows them.
func (r *rig) plainOnes(node string, pairs ...string) proxy.Options {
	o := r.options
	o.Listeners, o.Backends = nil, map[string]backend.Options{"main": {Nodes: []backend.Endpoint{{Network: "tcp", Address: node}}}}
	for i := 0; i < len(pairs); i += 2 {
		network, address := "tcp", pairs[i+1]
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			network, address = "unix", path
		}
		o.Listeners = append(o.Listeners, proxy.ListenerOptions{Name: pairs[i], Network: network, Address: address, Backend: "main"})
	}
	o.Policy = compileWith(r.t, map[string]string{"app": everything, "root": everything}, nil, func(s *acl.Source) {
		s.Listeners = nil
		for _, l := range o.Listeners {
			s.Listeners = append(s.Listeners, acl.ListenerSource{Name: acl.Text{Value: l.Name}})
		}
	})
	return o
}

func (r *rig) reload(o proxy.Options) {
	r.t.Helper()
	if err := r.server.Reload(o); err != nil {
		r.t.Fatal(err)
	}
}

// over opens a connection to an address and logs in.
func (r *rig) over(network, address string) *redistest.Client {
	r.t.Helper()
	c, err := redistest.Dial(network, address, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	r.want(c, "OK", "AUTH", "app", "app-pw")
	return c
}

// freePort is an address nobody listens on now.
func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func refusesConnections(t testing.TB, network, address string) {
	t.Helper()
	if c, err := net.Dial(network, address); err == nil {
		c.Close()
		t.Errorf("%s still takes connections", address)
	}
}

func TestListenersComeAndGoWithoutTouchingOthers(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	socket := filepath.Join(t.TempDir(), "s")
	r.reload(r.plainOnes(node.Addr(), "plain", "127.0.0.1:0"))
	stays := r.login("app")
	at := r.addr("plain")

	r.reload(r.plainOnes(node.Addr(), "plain", "127.0.0.1:0", "second", "127.0.0.1:0", "third", "unix:"+socket))
	second, third := r.over("tcp", r.addr("second")), r.over("unix", socket)
	r.want(second, "OK", "SET", "k", "2")
	r.want(third, "2", "GET", "k")
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Error("the socket:", info, err)
	}
	gone := r.addr("second")

	o := r.plainOnes(node.Addr(), "third", "unix:"+socket, "plain", "127.0.0.1:0") // in another order
	o.Listeners[0].Mode = 0o600
	r.reload(o)
	refusesConnections(t, "tcp", gone)
	r.await("close_conn", "listener", "second", "reason", "policy_changed")
	r.want(third, "2", "GET", "k")
	r.want(stays, "2", "GET", "k")
	if r.addr("plain") != at {
		t.Errorf("plain moved from %s to %s", at, r.addr("plain"))
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("the socket's new mode:", info, err)
	}
	m := r.scrape(t)
	for series, want := range map[string]float64{
		`sallyport_connections{listener="plain"}`: 1, `sallyport_connections{listener="third"}`: 1, `sallyport_connections{listener="second"}`: 0,
		`sallyport_connections_total{listener="second",result="accepted"}`: 1,
	} {
		if got, ok := m.series[series]; !ok || got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	r.reload(r.plainOnes(node.Addr(), "plain", "127.0.0.1:0"))
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Error("the socket was left behind:", err)
	}
}

func TestAListenerMovesAndItsOldSessionsDrain(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	from, to := freePort(t), freePort(t)
	r.reload(r.plainOnes(node.Addr(), "plain", from, "other", "127.0.0.1:0"))
	old, other := r.over("tcp", from), r.over("tcp", r.addr("other"))
	r.want(old, "OK", "SET", "k", "1")
	r.reload(r.plainOnes(node.Addr(), "plain", to, "other", "127.0.0.1:0"))
	r.await("close_conn", "listener", "plain", "reason", "drain")
	refusesConnections(t, "tcp", from)
	r.want(r.over("tcp", to), "1", "GET", "k")
	r.want(other, "1", "GET", "k")
}

// An address that changes hands is listened on all the time.
func TestListenersSwapTheirAddresses(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	one, two := freePort(t), freePort(t)
	r.reload(r.plainOnes(node.Addr(), "a", one, "b", two))
	for i := range 20 {
		names := []string{"a", "b"}
		if i%2 == 0 {
			names = []string{"b", "a"}
		}
		r.reload(r.plainOnes(node.Addr(), names[0], one, names[1], two))
		r.over("tcp", one)
		r.await("new_conn", "listener", names[0])
		if got := r.addr(names[0]); got != one {
			t.Fatalf("%s is at %s", names[0], got)
		}
	}
}

func TestAnAddressThatCannotBeHadChangesNothing(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	fresh := freePort(t)
	before := r.login("app")
	o := r.plainOnes(node.Addr(), "fresh", fresh, "plain", taken.Addr().String())
	err = r.server.Reload(o)
	if err == nil || !strings.Contains(err.Error(), "listener plain") || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("the reload said %v", err)
	}
	refusesConnections(t, "tcp", fresh)
	r.want(before, "OK", "SET", "app:k", "1")
	r.want(r.login("app"), "1", "GET", "app:k")

	// One of ours is in the way: that is said, and how to go about it.
	port := freePort(t)
	r.reload(r.plainOnes(node.Addr(), "plain", port))
	_, number, _ := net.SplitHostPort(port)
	if err := r.server.Reload(r.plainOnes(node.Addr(), "plain", "0.0.0.0:"+number)); err == nil || !strings.Contains(err.Error(), "a reload of its own") {
		t.Errorf("the reload said %v", err)
	}
}

func TestBackendsComeAndGo(t *testing.T) {
	old, next := redistest.Start(t), redistest.Start(t)
	r := withRig(t, old.Addr(), nil)
	at := freePort(t)
	r.reload(r.plainOnes(old.Addr(), "plain", at, "other", "127.0.0.1:0"))
	moved, stays := r.over("tcp", at), r.over("tcp", r.addr("other"))
	r.want(moved, "OK", "SET", "where", "old")
	for range 3 { // back and forth, as fast as it goes
		o := r.plainOnes(old.Addr(), "plain", at, "other", "127.0.0.1:0")
		o.Backends["next"] = backend.Options{Nodes: []backend.Endpoint{{Network: "tcp", Address: next.Addr()}}}
		o.Listeners[0].Backend = "next"
		r.reload(o)
		c := r.over("tcp", at)
		eventually(t, 5*time.Second, "the new backend answers", func() bool { _, err := c.Do("SET", "where", "next"); return err == nil })
		r.want(stays, "old", "GET", "where")
		r.reload(r.plainOnes(old.Addr(), "plain", at, "other", "127.0.0.1:0"))
		r.want(r.over("tcp", at), "old", "GET", "where")
	}
	r.await("close_conn", "listener", "plain", "reason", "policy_changed")
	eventually(t, 10*time.Second, "the backend that was left has no connection of ours", func() bool {
		list, err := next.Do("CLIENT", "LIST")
		return err == nil && strings.Count(fmt.Sprint(list), "\n") == 1 // that of this question
	})
	for series := range r.scrape(t).series {
		if strings.HasPrefix(series, "sallyport_backend_up") && strings.Contains(series, "next") {
			t.Errorf("%s is still shown", series)
		}
	}
}

func TestAReloadBringsNewLimits(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	at := freePort(t)
	o := r.plainOnes(node.Addr(), "plain", at)
	r.reload(o)
	in := r.over("tcp", at)
	o.Limits.Connections, o.Limits.RequestBytes = 1, 16<<10
	r.reload(o)
	r.want(r.dial("plain", nil), "ERR max number of clients reached", "PING")
	r.want(in, "ERR Protocol error: invalid bulk length", "SET", "k", strings.Repeat("x", 17<<10))
	r.await("close_conn", "listener", "plain", "reason", "protocol_error")
	o.Limits.Connections, o.Limits.IdleTimeout = 10, 50*time.Millisecond
	eventually(t, 5*time.Second, "the place is free", func() bool {
		c, err := redistest.Dial("tcp", at, nil)
		if err != nil {
			return false
		}
		if _, err := c.Do("AUTH", "app", "app-pw"); err != nil {
			c.Close()
			return false
		}
		t.Cleanup(func() { c.Close() })
		return true
	})
	r.reload(o)
	r.await("close_conn", "listener", "plain", "reason", "idle")
}

// A rotated certificate is no reason to forget what ACL SETUSER did.
func TestAReloadWithoutAPolicyKeepsUsersMadeAtRunTime(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) { s.changeable = true })
	if err := r.server.SetUser("made", "on", ">made-pw", "~*", "+@all"); err != nil {
		t.Fatal(err)
	}
	c := r.login("made")
	o := r.options
	o.Policy = nil
	r.reload(o)
	r.want(c, "OK", "SET", "k", "1")
	r.want(r.login("made"), "1", "GET", "k")
	if err := r.server.Reload(func() proxy.Options { o := o; o.Listeners = o.Listeners[:1]; return o }()); err == nil {
		t.Error("listeners changed without a policy that knows them")
	}
	r.reload(r.options) // all of it: the files say nothing of this user
	r.await("close_conn", "user", "made", "reason", "policy_changed")
}
