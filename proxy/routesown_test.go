package proxy_test

import (
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// What binds a session to one of several backends does not take its other keys there.
func TestSelectOfABoundSessionLeavesEachKeyAtItsBackend(t *testing.T) {
	t.Parallel()
	v := overRoutes(t, startNodes(t), shop)
	c, other := v.login("root"), v.login("root")
	for _, k := range []string{"cart:1", "user:{a}", "plain"} {
		v.want(c, "OK", "SET", k, "zero")
		for _, watched := range []string{"cart:1", "plain"} {
			v.want(c, "OK", "WATCH", watched)
			v.want(c, "zero", "GET", k)
			v.want(c, "OK", "SELECT", "1")
			for _, at := range []string{"plain", "cart:1", "plain"} {
				v.want(c, "OK", "SET", at, "one")
				v.want(c, "one", "GET", at)
			}
			v.want(c, "OK", "SELECT", "0")
			v.want(other, "OK", "SET", watched, "other")
			v.want(c, "OK", "MULTI")
			v.want(c, "QUEUED", "SET", watched, "lost")
			v.want(c, "<nil>", "EXEC")
			v.want(c, "OK", "SET", watched, "zero")
			v.want(c, "OK", "SET", k, "zero")
		}
	}
	v.onlyTheirOwn()
}

// A session that begins to speak RESP3 hears it from all backends, whichever it is bound to.
func TestHelloOfABoundSessionHoldsForAllBackends(t *testing.T) {
	t.Parallel()
	v := overRoutes(t, startNodes(t), shop)
	for _, watched := range []string{"cart:1", "plain"} {
		c := v.login("root")
		keys := []string{"plain:h", "cart:h", "user:h"}
		for _, k := range keys {
			v.want(c, "1", "HSET", k, "f", "v")
		}
		v.want(c, "OK", "WATCH", watched)
		v.want(c, "v", "HGET", "plain:h", "f")
		if _, err := c.Do("HELLO", "3"); err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			got, err := c.Do("HGETALL", k)
			if _, list := got.([]any); err != nil || list {
				t.Errorf("HGETALL %s of a session of RESP3 that watches %s: %T %v, %v", k, watched, got, got, err)
			}
		}
		v.want(c, "OK", "UNWATCH")
		v.want(c, "3", append([]string{"DEL"}, keys...)...)
	}
}

// Whatever a session is bound to, a database has to be at all backends.
func TestABoundSessionSelectsWhatAllBackendsHave(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t)
	nodes["one"] = []*redistest.Server{redistest.Start(t, redistest.Args("--databases", "2"))}
	v := overRoutes(t, nodes, shop)
	c, other := v.login("root"), v.login("root")
	for _, watched := range []string{"cart:1", "plain"} {
		v.want(c, "OK", "WATCH", watched)
		v.fails(c, "ERR DB index is out of range", "SELECT", "5")
		v.want(c, "OK", "SELECT", "1")
		for _, k := range []string{"cart:1", "user:1", "plain"} {
			v.want(c, "OK", "SET", k, "one")
			v.want(c, "one", "GET", k)
			v.want(other, "<nil>", "GET", k)
		}
		v.want(c, "OK", "SELECT", "0")
		v.want(c, "OK", "MULTI")
		v.want(c, "QUEUED", "EXISTS", watched)
		v.want(c, "[0]", "EXEC")
	}
	v.onlyTheirOwn()
}
