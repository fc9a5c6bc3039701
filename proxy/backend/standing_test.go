package backend

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestAReplicaIsReadFromAsLongAsItHearsItsPrimary(t *testing.T) {
	said := func(link, io, down, sync, role string) map[string]string {
		return map[string]string{
			"role": role, "master_link_status": link, "master_last_io_seconds_ago": io, "master_link_down_since_seconds": down,
			"master_sync_in_progress": sync,
		}
	}
	for _, c := range []struct {
		what   string
		said   map[string]string
		maxLag time.Duration
		fit    bool
	}{
		{"connected", said("up", "9", "", "0", "slave"), 0, true},
		{"not connected", said("down", "-1", "1", "0", "slave"), 0, false},
		{"connected, heard lately", said("up", "9", "", "0", "slave"), 30 * time.Second, true},
		{"connected, silent for long", said("up", "31", "", "0", "slave"), 30 * time.Second, false},
		{"not connected since lately", said("down", "-1", "12", "0", "slave"), 30 * time.Second, true},
		{"not connected for long", said("down", "-1", "31", "0", "slave"), 30 * time.Second, false},
		{"never connected", said("down", "-1", "-1", "0", "slave"), 30 * time.Second, false},
		{"its data is on the way", said("down", "-1", "2", "1", "slave"), 30 * time.Second, false},
		{"a primary", said("up", "1", "", "0", "master"), 0, false},
		{"a number that is none", said("up", "99999999999999999999", "", "0", "slave"), time.Hour, false},
		{"nothing said", map[string]string{}, 0, false},
	} {
		ctl := &control{routing: Routing{Reads: ReadPreferReplica, MaxLag: c.maxLag}}
		if got := ctl.follows(c.said); got != c.fit {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// seen makes what the checks have shown of a node.
func seen(c *control, e Endpoint, zone, data string, took time.Duration) *health {
	h := &health{review: review{fit: true, lives: true, zone: zone, data: data, n: 16}}
	for i := range h.review.took {
		h.review.took[i] = took
	}
	c.health.Store(e, h)
	return h
}

func TestNodesOfTheZoneComeFirstAndThenTheNearOnes(t *testing.T) {
	at := func(name string) Endpoint { return Endpoint{"tcp", name} }
	p, a, b, x := at("p:1"), at("a:1"), at("b:1"), at("x:1")
	c := &control{routing: Routing{Reads: ReadNearest, Zone: "here"}}
	c.topology.Store(&Topology{Shards: []Shard{{Primary: p, Replicas: []Endpoint{a, b, x}}}})
	seen(c, p, "there", "d", 200*time.Microsecond)
	seen(c, a, "here", "d", 400*time.Microsecond)
	near := seen(c, b, "here", "d", 3*time.Millisecond)
	seen(c, x, "", "other", 100*time.Microsecond)
	c.publish()
	check := func(what string, want map[Endpoint]standing) {
		t.Helper()
		got := c.standing()
		if len(got) != len(want) {
			t.Errorf("%s: %v", what, got)
		}
		for e, s := range want {
			if got[e] != s {
				t.Errorf("%s: %s is %+v, not %+v", what, e.Address, got[e], s)
			}
		}
	}
	want := map[Endpoint]standing{p: {true, tierAbove}, a: {true, 0}, b: {true, tierFar}}
	check("nearest in a zone, one with other data", want)
	before := c.stands.Load()
	c.publish()
	if c.stands.Load() != before {
		t.Error("what has not changed was published again")
	}
	for i := range near.review.took {
		near.review.took[i] = 600 * time.Microsecond
	}
	c.publish()
	want[b] = standing{true, 0}
	check("one has come near", want)
	for i := range near.review.took {
		near.review.took[i] = 850 * time.Microsecond // would not be near if it had not been
	}
	c.publish()
	check("one that is near stays so", want)
	near.review.fit = false
	c.publish()
	delete(want, b)
	check("one has lost its link", want)
}

// A seat keeps its node while others come and go, and seats spread.
func TestASeatKeepsItsReplica(t *testing.T) {
	nodes := make([]candidate, 5)
	for i := range nodes {
		nodes[i].draw = drawOf(Endpoint{"tcp", "10.0.0." + string(rune('1'+i)) + ":6379"})
	}
	choose := func(seat uint64, among []candidate) uint64 {
		best := among[0]
		for _, n := range among {
			if mix(n.draw^seat) > mix(best.draw^seat) {
				best = n
			}
		}
		return best.draw
	}
	share, moved := map[uint64]int{}, 0
	const seats = 10000
	for seat := uint64(1); seat <= seats; seat++ {
		was := choose(seat, nodes)
		share[was]++
		if now := choose(seat, nodes[:4]); now != was {
			moved++
			if was != nodes[4].draw {
				t.Fatal("a seat moved whose node has stayed")
			}
		}
	}
	for _, n := range nodes {
		if share[n.draw] < seats/5*8/10 || share[n.draw] > seats/5*12/10 {
			t.Errorf("the seats are not shared out: %v", share)
			break
		}
	}
	if moved != share[nodes[4].draw] {
		t.Errorf("%d seats moved, %d had to", moved, share[nodes[4].draw])
	}
}

func FuzzWhatANodeSaysOfItself(f *testing.F) {
	f.Add("# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:3\r\nmaster_sync_in_progress:0\r\nmaster_replid:0f\r\n", int64(30))
	f.Add("role:slave\nmaster_link_status:down\nmaster_link_down_since_seconds:-1\nmaster_sync_in_progress:0\n", int64(30))
	f.Add("role:master\r\nconnected_slaves:1\r\navailability_zone:eu-west-1b\r\n", int64(0))
	f.Add("role:slave:up\r\nrole", int64(0))
	f.Fuzz(func(t *testing.T, text string, lag int64) {
		said := parseInfo(text)
		for name, value := range said {
			if len(value) > maxInfoValue || strings.ContainsAny(value, "\n") {
				t.Errorf("%s has %d bytes", name, len(value))
			}
		}
		c := &control{routing: Routing{Reads: ReadReplica, MaxLag: time.Duration(lag)}}
		if c.follows(said) && (said["role"] != "slave" || lag == 0 && said["master_link_status"] != "up") {
			t.Errorf("%q is taken for a replica in step", text)
		}
	})
}

func TestAReadingKeepsItsArgumentsWhateverTheirSize(t *testing.T) {
	for _, sizes := range [][]int{{3, 1}, {3, 109}, {3, 110}, {1, 1, 1, 1}, {1, 0, 1, 1, 1}, {3, 5000}} {
		var args [][]byte
		for i, n := range sizes {
			args = append(args, bytes.Repeat([]byte{byte('a' + i)}, n))
		}
		f := new(reading)
		f.keep(args)
		if len(f.args) != len(args) {
			t.Fatalf("%v: %d arguments", sizes, len(f.args))
		}
		for i, a := range args {
			want := bytes.Clone(a)
			clear(a) // the caller's memory is used again
			if !bytes.Equal(f.args[i], want) || f.args[i] == nil || cap(f.args[i]) != len(want) {
				t.Errorf("%v: argument %d is %q", sizes, i, f.args[i])
			}
		}
	}
}
