package proxy_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

func answering(value string) map[string]string {
	return map[string]string{"GET": "$1\r\n" + value + "\r\n"}
}

// slowly is a script whose node takes its time for PING.
func slowly(gap time.Duration, then redistest.Script) redistest.Script {
	return func(r redistest.Request) redistest.Answer {
		if r.Is("PING") {
			return redistest.Answer{Bytes: []byte("+PONG\r\n"), Split: 1, Gap: gap}
		}
		return then(r)
	}
}

func TestReplicasOfTheZoneAreReadFromBeforeOthers(t *testing.T) {
	here := replicaAnswering(t, "eu-west-1b", answering("h"))
	there := replicaAnswering(t, "eu-west-1a", answering("t"))
	nowhere := replicaAnswering(t, "", answering("n"))
	_, r := beside(t, backend.Routing{Reads: backend.ReadPreferReplica, Zone: "eu-west-1b", Wait: 10 * time.Second}, there, here, nowhere)
	first := r.login("root")
	eventually(t, 20*time.Second, "the replica of the zone is read from", func() bool {
		v, err := first.Do("GET", "k")
		return err == nil && v == "h"
	})
	for range 20 {
		c := r.login("root")
		for range 3 {
			r.want(c, "h", "GET", "k")
		}
		_ = c.Close()
	}
	// Without it the others are as good as each other.
	here.Close()
	eventually(t, 20*time.Second, "another replica is read from", func() bool {
		v, err := first.Do("GET", "k")
		return err == nil && (v == "t" || v == "n")
	})
}

// Where no node says where it is, as no Redis does, the zone changes nothing.
func TestAZoneThatNobodyReportsChangesNothing(t *testing.T) {
	g, r := readingFrom(t, 1, backend.ReadPreferReplica, func(o *backend.Routing) { o.Zone = "eu-west-1b" })
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	inStep(t, g)
	r.reaches(c, g.Servers[1], "k")
}

func TestTheNearestNodeIsReadFrom(t *testing.T) {
	far := redistest.NewFake(t, slowly(20*time.Millisecond, replicaScript("", answering("f"))))
	farther := redistest.NewFake(t, slowly(60*time.Millisecond, replicaScript("", answering("g"))))
	// The primary is a real one on this machine, and near.
	primary, r := beside(t, backend.Routing{Reads: backend.ReadNearest, Wait: 10 * time.Second}, far, farther)
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "p")
	eventually(t, 20*time.Second, "both replicas have been looked at", func() bool { return asked(far, "INFO") > 1 && asked(farther, "INFO") > 1 })
	before := calls(t, primary, "get")
	for range 10 {
		r.want(c, "p", "GET", "k")
	}
	if n := calls(t, primary, "get") - before; n != 10 {
		t.Errorf("%d of 10 reads went to the primary, which is nearest", n)
	}
	if err := primary.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := primary.Continue(); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, 30*time.Second, "the next one is read from", func() bool {
		d := r.login("root")
		defer d.Close()
		v, err := d.Do("GET", "k")
		if v == "g" {
			t.Error("the farthest node was read from")
		}
		return err == nil && v == "f"
	})
}
