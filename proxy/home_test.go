package proxy_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// estate is a proxy of three backends: main, of the listener; cellar, one node, of
// alice; and the cluster attic, of bob.
func estate(t *testing.T) (r *rig, main, cellar *redistest.Server) {
	t.Helper()
	main, cellar = redistest.Start(t), redistest.Start(t)
	attic := redistest.StartCluster(t, 3, 0)
	r = withRig(t, main.Addr(), func(s *setup) {
		logins := cast(t, t.TempDir(), append(attic.Servers, main, cellar)...)
		personal(nil)(s)
		s.others = map[string]backend.Options{
			"cellar": {Nodes: endpoints([]string{cellar.Addr()}), Logins: logins},
			"attic":  {Nodes: endpoints(attic.Addrs()[:1]), Logins: logins, Routing: backend.Routing{Kind: backend.Cluster, Wait: 10e9}},
		}
		s.source = func(src *acl.Source) {
			src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{}
			for i := range src.Users {
				src.Users[i].Backend.Value = map[string]string{"alice": "cellar", "bob": "attic"}[src.Users[i].Name.Value]
			}
		}
	})
	return r, main, cellar
}

func TestAUsersCallsGoToItsOwnBackend(t *testing.T) {
	r, main, cellar := estate(t)
	c := r.login("carol")
	r.want(c, "OK", "SET", "carol:k", "in the house")
	r.want(c, "OK", "SELECT", "5")
	r.want(c, "OK", "AUTH", "alice", "alice-pw")
	r.want(c, "OK", "SET", "alice:k", "in the cellar") // at database 0
	r.want(c, noPermission, "GET", "carol:k")          // as her own user there
	r.want(c, "<nil>", "BLPOP", "alice:l", "0.01")
	r.want(c, "OK", "AUTH", "bob", "bob-pw")
	r.want(c, "OK", "MSET", "bob:1", "a", "bob:2", "b", "bob:3", "c") // over all of the cluster
	r.want(c, "[a b c]", "MGET", "bob:1", "bob:2", "bob:3")
	r.want(c, "OK", "AUTH", "carol", "carol-pw")
	r.want(c, "in the house", "GET", "carol:k")
	r.want(c, "<nil>", "GET", "bob:1")
	if got := told(t, cellar, "GET", "alice:k"); got != "in the cellar" {
		t.Errorf("the cellar has %v", got)
	}
	if n := told(t, main, "EXISTS", "alice:k", "bob:1"); n != int64(0) {
		t.Errorf("%v keys are where they should not be", n)
	}
	r.want(c, "RESET", "RESET")
	r.want(c, "NOAUTH Authentication required.", "GET", "carol:k")
}

func TestABackendIsLeftBehindWithNothingOwed(t *testing.T) {
	r, _, _ := estate(t)
	c := r.login("carol")
	var raw []byte
	const turns = 150
	for i := range turns {
		who := persons[i%3]
		raw = append(raw, redistest.Encode("AUTH", who, who+"-pw")...)
		raw = append(raw, redistest.Encode("SET", who+":n", fmt.Sprint(i))...)
		raw = append(raw, redistest.Encode("SET", who+":big", strings.Repeat("b", i*100))...)
		raw = append(raw, redistest.Encode("GET", who+":n")...)
	}
	if err := c.Write(raw); err != nil {
		t.Fatal(err)
	}
	for i := range turns {
		for _, want := range []any{"OK", "OK", "OK", fmt.Sprint(i)} {
			if got, err := c.Receive(); err != nil || got != want {
				t.Fatalf("turn %d: %v %v, want %v", i, got, err, want)
			}
		}
	}
	// What is watched at one backend does not follow to another.
	r.want(c, "OK", "AUTH", "carol", "carol-pw")
	r.want(c, "OK", "WATCH", "carol:k")
	r.want(c, "ERR this connection is bound", "AUTH", "alice", "alice-pw")
	r.want(c, "OK", "UNWATCH")
	r.want(c, "OK", "AUTH", "alice", "alice-pw")
}

func TestAReloadThatMovesAUserEndsItsSessions(t *testing.T) {
	r, _, _ := estate(t)
	c, other := r.login("alice"), r.login("carol")
	r.want(c, "OK", "SET", "alice:k", "v")
	next := r.options
	next.Backends = maps.Clone(r.options.Backends)
	next.Policy = compile(t, map[string]string{"alice": everything, "bob": everything, "carol": everything}, nil)
	if err := r.server.Reload(next); err != nil {
		t.Fatal(err)
	}
	r.await("close_conn", "reason", "policy_changed", "user", "alice")
	r.want(other, "OK", "SET", "carol:k", "v")
	next.Policy = compileWith(t, map[string]string{"alice": everything}, nil, func(src *acl.Source) { src.Users[0].Backend.Value = "celar" })
	if err := r.server.Reload(next); err == nil || !strings.Contains(err.Error(), `user alice: no backend "celar"`) {
		t.Errorf("a backend that there is not: %v", err)
	}
	r.want(other, "OK", "SET", "carol:k", "v")
}
