package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// hears wants the next thing that a listener reads to be this.
func hears(t *testing.T, c *redistest.Client, want string) {
	t.Helper()
	if got, err := c.Receive(); err != nil || fmt.Sprint(got) != want {
		t.Fatalf("heard %v, %v; want %s", got, err, want)
	}
}

// reaches publishes until so many listen, and once they do everybody has heard it once.
func reaches(t *testing.T, what string, n int, publish func() (any, error)) {
	t.Helper()
	eventually(t, 40*time.Second, what, func() bool {
		got, err := publish()
		return err == nil && fmt.Sprint(got) == fmt.Sprint(n)
	})
}

// hellos are sessions of both protocol versions.
var hellos = []string{"2", "3"}

// Subscriptions survive the loss of their primary: the session hears what is said
// at the next one, and nothing else.
func TestSubscriptionsSurviveAFailover(t *testing.T) {
	pair, r := overPair(t, 30*time.Second, nil)
	listeners := map[string]*redistest.Client{}
	for _, proto := range hellos {
		c := r.login("root")
		if _, err := c.Do("HELLO", proto); err != nil {
			t.Fatal(err)
		}
		r.want(c, "[subscribe a 1]", "SUBSCRIBE", "a", "b")
		hears(t, c, "[subscribe b 2]")
		r.want(c, "[psubscribe p* 3]", "PSUBSCRIBE", "p*")
		r.want(c, "[unsubscribe b 2]", "UNSUBSCRIBE", "b")
		r.want(c, "[ssubscribe s 1]", "SSUBSCRIBE", "s")
		listeners[proto] = c
	}
	if err := pair.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := pair.Promote(t.Context(), pair.Servers[1]); err != nil {
		t.Fatal(err)
	}
	now := pair.Servers[1]
	numsub := func(want string, call ...string) {
		eventually(t, 30*time.Second, fmt.Sprint(call, " is ", want), func() bool {
			got, err := now.Do(call...)
			return err == nil && fmt.Sprint(got) == want
		})
	}
	numsub("[a 2 b 0]", "PUBSUB", "NUMSUB", "a", "b")
	numsub("1", "PUBSUB", "NUMPAT")
	numsub("[s 2]", "PUBSUB", "SHARDNUMSUB", "s")
	other := r.login("root")
	r.want(other, "0", "PUBLISH", "b", "nobody")
	r.want(other, "2", "PUBLISH", "a", "1")
	r.want(other, "2", "PUBLISH", "px", "2")
	r.want(other, "2", "SPUBLISH", "s", "3")
	for proto, c := range listeners {
		hears(t, c, "[message a 1]")
		hears(t, c, "[pmessage p* px 2]")
		hears(t, c, "[smessage s 3]")
		if proto == "3" {
			r.want(c, "OK", "SET", "k", "v")
			r.want(c, "v", "GET", "k")
		}
		r.want(c, "[subscribe new 3]", "SUBSCRIBE", "new")
		r.want(c, "[sunsubscribe s 0]", "SUNSUBSCRIBE")
		r.want(c, "[punsubscribe p* 2]", "PUNSUBSCRIBE")
	}
	if n := r.scrape(t).value(`sallyport_resubscriptions_total{result="resumed"}`); n < 2 {
		t.Errorf("%v sessions are counted as subscribed again", n)
	}
}

// However many channels there are, all of them are asked for, in calls of a size
// that any node takes.
func TestManySubscriptionsSurviveAFailover(t *testing.T) {
	pair, r := overPair(t, 30*time.Second, nil)
	c := r.login("root")
	call := []string{"SUBSCRIBE"}
	for i := range 3500 {
		call = append(call, fmt.Sprint("channel", i))
	}
	for len(call) < 4000 {
		call = append(call, fmt.Sprint(strings.Repeat("long", 250), len(call)))
	}
	if err := c.Send(call...); err != nil {
		t.Fatal(err)
	}
	for range call[1:] {
		if _, err := c.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if err := pair.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if err := pair.Promote(t.Context(), pair.Servers[1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "all channels are heard", func() bool {
		all, err := pair.Servers[1].Do("PUBSUB", "CHANNELS")
		list, _ := all.([]any)
		return err == nil && len(list) == len(call)-1
	})
	r.want(r.login("root"), "1", "PUBLISH", "channel3499", "m")
	hears(t, c, "[message channel3499 m]")
}

// Where no primary comes in time the session ends, and says why.
func TestAListenerIsClosedWhenNoNodeComes(t *testing.T) {
	pair, r := overPair(t, time.Second, nil)
	c := r.login("root")
	r.want(c, "[subscribe a 1]", "SUBSCRIBE", "a")
	if err := pair.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Receive(); !errors.Is(err, io.EOF) {
		t.Fatalf("it hears %v, %v", got, err)
	}
	r.await("close_conn", "reason", "backend_lost")
	if n := r.scrape(t).value(`sallyport_resubscriptions_total{result="closed"}`); n != 1 {
		t.Errorf("%v sessions are counted as closed", n)
	}
}

// What else a session has on its connection can't be had again, so it is closed.
func TestASessionThatDoesMoreThanListenIsClosedWithItsNode(t *testing.T) {
	pair, r := overPair(t, 30*time.Second, func(s *setup) {
		s.source = func(src *acl.Source) { src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{} }
	})
	bind := map[string][][]string{
		"it watches":          {{"HELLO", "3"}, {"SUBSCRIBE", "a"}, {"WATCH", "k"}},
		"it tracks":           {{"HELLO", "3"}, {"SUBSCRIBE", "a"}, {"CLIENT", "TRACKING", "ON"}},
		"it hears tracking":   {{"SUBSCRIBE", "__redis__:invalidate"}},
		"it monitors":         {{"MONITOR"}},
		"it watches, RESP2":   {{"WATCH", "k"}},
		"it only tracks keys": {{"HELLO", "3"}, {"CLIENT", "TRACKING", "ON"}},
	}
	sessions := map[string]*redistest.Client{}
	for what, calls := range bind {
		c := r.login("root")
		for _, call := range calls {
			if _, err := c.Do(call...); err != nil {
				t.Fatal(what, err)
			}
		}
		sessions[what] = c
	}
	if err := pair.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	for what, c := range sessions {
		var err error
		for err == nil {
			_, err = c.Receive()
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s, and reads %v", what, err)
		}
	}
}

// In a cluster classic listeners go to another node at once, those of a shard's
// channels to its next primary.
func TestSubscriptionsSurviveAFailoverInACluster(t *testing.T) {
	t.Parallel()
	rig := redistest.StartCluster(t, 3, 1)
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints(rig.Addrs())
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 60 * time.Second, Refresh: time.Second}
	})
	classic, sharded := r.login("root"), r.login("root")
	r.want(sharded, "[ssubscribe {foo}1 1]", "SSUBSCRIBE", "{foo}1", "{foo}2")
	hears(t, sharded, "[ssubscribe {foo}2 2]")
	r.want(sharded, "[subscribe everywhere 1]", "SUBSCRIBE", "everywhere")
	r.want(classic, "[subscribe everywhere 1]", "SUBSCRIBE", "everywhere")
	other := r.login("root")
	owner, err := rig.Owner(fooSlot)
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Kill(); err != nil {
		t.Fatal(err)
	}
	reaches(t, "the shard's channels are heard again", 1, func() (any, error) { return other.Do("SPUBLISH", "{foo}2", "s") })
	hears(t, sharded, "[smessage {foo}2 s]")
	if _, err := other.Do("PUBLISH", "everywhere", "m"); err != nil {
		t.Fatal(err)
	}
	hears(t, sharded, "[message everywhere m]")
	hears(t, classic, "[message everywhere m]")
}

// A slot that moves away takes its channels along: the session is told, as by
// Redis, and may subscribe where they are now.
func TestChannelsOfAMovingSlotAreEndedAsByRedis(t *testing.T) {
	rig, r := overPinnedCluster(t, 0)
	other := r.login("root")
	for i, proto := range hellos {
		from, to := rig.Servers[2], rig.Servers[0]
		if i == 1 {
			from, to = to, from
		}
		c := r.login("root")
		if _, err := c.Do("HELLO", proto); err != nil {
			t.Fatal(err)
		}
		r.want(c, "[ssubscribe {foo}1 1]", "SSUBSCRIBE", "{foo}1")
		if err := rig.MoveSlot(fooSlot, from, to); err != nil {
			t.Fatal(err)
		}
		hears(t, c, "[sunsubscribe {foo}1 0]")
		r.want(c, "[ssubscribe {foo}1 1]", "SSUBSCRIBE", "{foo}1")
		reaches(t, "the channel is heard where it is now", 1, func() (any, error) { return other.Do("SPUBLISH", "{foo}1", "m") })
		hears(t, c, "[smessage {foo}1 m]")
		r.want(c, "[sunsubscribe {foo}1 0]", "SUNSUBSCRIBE")
		r.want(c, "<nil>", "GET", "{foo}none")
		c.Close()
	}
}
