package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// whatStays are the flags of CLIENT LIST for what a session may leave behind:
// blocked, watched and touched keys, MULTI, subscriptions, tracking, MONITOR,
// no-evict and no-touch.
const whatStays = "bdxPtOeTR"

// Sessions leave in the middle of whatever they did. The connections that go on
// exist at the node have nothing of it, are in the database they say they are in,
// and work for others.
func TestNoConnectionAtTheNodeKeepsWhatASessionLeft(t *testing.T) {
	node := redistest.Start(t)
	r := transparent(t, node.Addr())
	lines := []string{
		"MULTI|SET k v|EXEC", "WATCH k|MULTI|GET k|EXEC", "WATCH k|UNWATCH", "WATCH k|MULTI|DISCARD", "WATCH k|SELECT 1|MULTI|GET k|EXEC",
		"WATCH k", "MULTI|GET k", "SUBSCRIBE c", "PSUBSCRIBE c*", "SSUBSCRIBE c", "BLPOP none 0", "BLPOP none 0.01|WATCH k", "CLIENT TRACKING ON",
		"CLIENT NO-EVICT ON", "CLIENT NO-EVICT ON|CLIENT NO-EVICT OFF|MULTI|EXEC", "MONITOR", "WAIT 0 1|MULTI|GET k|EXEC", "CLIENT REPLY OFF|WATCH k|MULTI|GET k|EXEC",
		"SELECT 2|WATCH k|MULTI|SELECT 3|EXEC|GET k", "MULTI|SELECT 99|EXEC|GET k", "SUBSCRIBE c|UNSUBSCRIBE|GET k", "HELLO 3|SUBSCRIBE c|RESET|GET k",
	}
	rnd := rand.New(rand.NewPCG(4, 4))
	for round := range 200 {
		c := r.dial("plain", nil)
		var all []byte
		for range 1 + rnd.IntN(3) {
			if rnd.IntN(3) == 0 {
				all = append(all, redistest.Encode("HELLO", "3")...)
			}
			for _, call := range strings.Split(lines[rnd.IntN(len(lines))], "|") {
				all = append(all, redistest.Encode(strings.Fields(call)...)...)
			}
		}
		if rnd.IntN(4) == 0 {
			all = all[:rnd.IntN(len(all))]
		}
		if err := c.Write(all); err != nil {
			t.Fatal(err)
		}
		for range rnd.IntN(4) {
			if rnd.IntN(2) == 0 {
				break
			}
			c.Write(redistest.Encode("PING"))
		}
		c.Close()
		if round%20 == 19 {
			nothingStays(t, r, node)
		}
	}
}

// nothingStays waits until every session has gone, and looks what is left of them.
func nothingStays(t *testing.T, r *rig, node *redistest.Server) {
	t.Helper()
	var left string
	deadline := time.Now().Add(20 * time.Second)
	eventually(t, 20*time.Second, "nothing is left of who has gone", func() bool {
		list, err := node.ClientList()
		if err != nil {
			t.Fatal(err)
		}
		left = ""
		for _, c := range list {
			if c["name"] != "sallyport" {
				continue
			}
			if strings.ContainsAny(c["flags"], whatStays) || c["multi"] != "-1" || c["sub"] != "0" || c["psub"] != "0" || c["ssub"] != "0" && c["ssub"] != "" {
				left += fmt.Sprintf("id %s flags %s multi %s sub %s/%s/%s cmd %s\n", c["id"], c["flags"], c["multi"], c["sub"], c["psub"], c["ssub"], c["cmd"])
			}
		}
		if left != "" && time.Now().After(deadline.Add(-time.Second)) {
			t.Error(left)
		}
		return left == ""
	})
	for _, c := range []*redistest.Client{r.dial("plain", nil), r.dial("plain", nil)} {
		r.want(c, "OK", "WATCH", "mine")
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "SET", "mine", "x")
		if said, err := c.Do("EXEC"); err != nil || fmt.Sprint(said) != "[OK]" {
			t.Fatalf("EXEC: %v, %v", said, err)
		}
		c.Close()
	}
}
