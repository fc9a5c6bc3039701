package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// A big reply goes at its client's pace and in little memory when nobody waits
// behind it, and a client that does not read it holds up nobody.
func TestABigReplyThatIsReadSlowlyHoldsUpNobody(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.OutputBytes = 8 << 20 })
	const size = 64 << 20
	if _, err := redis.Do("SETRANGE", "big", fmt.Sprint(size-1), "x"); err != nil {
		t.Fatal(err)
	}
	other, slow := r.login("app"), r.wire(t, nil).as("root")
	base := held(t, r)
	for _, protocol := range []string{"", "HELLO 3\r\n"} {
		if protocol != "" {
			slow.say(protocol)
			slow.hear("%7\r\n")
			drainUntil(t, slow, "*0\r\n")
		}
		slow.say("GET big\r\n")
		slow.hear(fmt.Sprintf("$%d\r\n", size))
		most := int64(0)
		for i := range 50 {
			r.want(other, "OK", "SET", "app:k", fmt.Sprint(i))
			r.want(other, fmt.Sprint(i), "GET", "app:k")
			most = max(most, held(t, r)-base)
		}
		if most > 4<<20 {
			t.Errorf("%d KiB are held for a client that reads nothing", most>>10)
		}
		got, err := io.CopyN(io.Discard, slow, size+2)
		if err != nil {
			t.Fatal(got, err)
		}
		slow.say("PING\r\n")
		slow.hear("+PONG\r\n")
	}
	// One stands by for the next big one: many do not make as many connections.
	for range 10 {
		slow.say("GETRANGE big 0 3000000\r\nGET none\r\n")
		slow.hear("$3000001\r\n")
		if _, err := io.CopyN(io.Discard, slow, 3000003); err != nil {
			t.Fatal(err)
		}
		slow.hear("_\r\n")
	}
	list, err := redis.ClientList()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) > 6 { // two of each protocol version, and the test's own
		t.Errorf("Redis has %d connections", len(list))
	}
}

// held is what the proxy keeps for clients.
func held(t *testing.T, r *rig) int64 {
	t.Helper()
	return int64(r.scrape(t).value("sallyport_buffer_bytes"))
}

func drainUntil(t *testing.T, c io.Reader, end string) {
	t.Helper()
	var b []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(b, []byte(end)) {
		if _, err := c.Read(one); err != nil {
			t.Fatal(err)
		}
		b = append(b, one[0])
	}
}

// Who waits behind a big reply is served as soon as Redis is, whatever the reader of
// the big one does: it is held up to output_bytes, and then its client is closed.
func TestABigReplyWithOthersBehindItIsHeldOrItsClientClosed(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.OutputBytes = 8 << 20; s.workers = 1 })
	if _, err := redis.Do("SETRANGE", "big", fmt.Sprint(32<<20), "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := redis.Do("SET", "app:k", "v"); err != nil {
		t.Fatal(err)
	}
	slow := r.wire(t, nil).as("root")
	var others []*redistest.Client
	for range 10 {
		others = append(others, r.login("app"))
	}
	if err := redis.Pause(); err != nil {
		t.Fatal(err)
	}
	defer redis.Continue()
	slow.say("GET big\r\n")
	eventually(t, 10*time.Second, "its call has been taken", func() bool {
		return r.scrape(t).value(`sallyport_commands_total{class="shared",decision="allowed"}`) >= 1
	})
	for _, c := range others {
		if err := c.Send("GET", "app:k"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, "the others' calls have been taken", func() bool {
		return r.scrape(t).value(`sallyport_commands_total{class="shared",decision="allowed"}`) >= 11
	})
	if err := redis.Continue(); err != nil {
		t.Fatal(err)
	}
	for _, c := range others {
		if v, err := c.Receive(); err != nil || v != "v" {
			t.Fatal("one that waited behind read", v, err)
		}
	}
	r.await("close_conn", "reason", "output_limit")
	for _, c := range others {
		r.want(c, "v", "GET", "app:k")
	}
}
