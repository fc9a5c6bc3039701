package proxy

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/resp"
)

// states are what a session can be in when it, or its node, goes. In each the
// connection that carried it is either provably clean or closed.
var states = map[string]string{
	"MULTI":            "MULTI|GET c0-1|GET c0-2|EXEC|GET c0-3",
	"MULTI_refused":    "MULTI|GET|EXEC",
	"DISCARD":          "MULTI|GET c0-1|DISCARD",
	"WATCH":            "WATCH c0-1|GET c0-2|MULTI|GET c0-3|EXEC",
	"WATCH_UNWATCH":    "WATCH c0-1|UNWATCH|GET c0-2",
	"WATCH_DISCARD":    "WATCH c0-1|MULTI|DISCARD|GET c0-2",
	"SELECT":           "SELECT 1|GET c0-1|WATCH c0-2|SELECT 2|MULTI|SELECT 0|GET c0-3|EXEC|GET c0-4",
	"SUBSCRIBE":        "SUBSCRIBE c0-1 c0-2|PING|UNSUBSCRIBE c0-1|UNSUBSCRIBE|GET c0-3",
	"PSUBSCRIBE":       "PSUBSCRIBE c0-1|PUNSUBSCRIBE",
	"SSUBSCRIBE":       "SSUBSCRIBE c0-1|SUNSUBSCRIBE",
	"SUBSCRIBE_RESP3":  "HELLO 3|SUBSCRIBE c0-1|GET c0-2|MULTI|GET c0-3|EXEC|UNSUBSCRIBE",
	"BLPOP":            "BLPOP c0-1 0|GET c0-2",
	"WAIT":             "GET c0-1|WAIT 1 0|MULTI|GET c0-2|EXEC",
	"REPLY_OFF":        "CLIENT REPLY OFF|GET c0-1|WATCH c0-2|MULTI|GET c0-3|EXEC|CLIENT REPLY ON",
	"REPLY_SKIP":       "CLIENT REPLY SKIP|GET c0-1|CLIENT REPLY SKIP|BLPOP c0-2 0|GET c0-3",
	"TRACKING":         "HELLO 3|CLIENT TRACKING ON|GET c0-1|CLIENT TRACKING OFF|GET c0-2",
	"NO-EVICT":         "CLIENT NO-EVICT ON|GET c0-1|CLIENT NO-EVICT OFF",
	"SUBSCRIBE_EXEC":   "SUBSCRIBE c0-1|UNSUBSCRIBE|MULTI|GET c0-2|EXEC",
	"TRACKING_EXEC":    "HELLO 3|CLIENT TRACKING ON|CLIENT TRACKING OFF|MULTI|GET c0-2|EXEC",
	"NO-EVICT_EXEC":    "CLIENT NO-EVICT ON|CLIENT NO-EVICT OFF|MULTI|GET c0-2|EXEC",
	"NO-TOUCH":         "CLIENT NO-TOUCH ON|GET c0-1|MULTI|GET c0-2|EXEC",
	"SETNAME":          "CLIENT SETNAME me|CLIENT GETNAME|GET c0-1",
	"READONLY":         "READONLY|GET c0-1|READWRITE",
	"ASKING":           "ASKING|GET c0-1",
	"HELLO":            "HELLO 3|GET c0-1|HELLO 2|WATCH c0-2|HELLO 3|MULTI|GET c0-3|EXEC|HELLO 4",
	"failed_AUTH":      "WATCH c0-1|AUTH nobody wrong|GET c0-2|MULTI|GET c0-3|EXEC",
	"MONITOR":          "MONITOR|GET c0-1|RESET|GET c0-2",
	"EVAL":             "EVAL return 0|GET c0-1",
	"RESET_in_between": "WATCH c0-1|MULTI|GET c0-2|RESET|GET c0-3",
	"QUIT":             "SUBSCRIBE c0-1|QUIT",
}

// going is who goes, and how.
var going = map[string]func(pl *play, p *player){
	"the_client_resets": func(pl *play, p *player) {
		p.fled = true
		pl.leave(p, errors.New("reset by the client"))
	},
	"the_client_hangs_up": func(_ *play, p *player) {
		if p.hungUp = true; !p.left && !p.door.closing {
			p.s.EOF(nil)
		}
	},
	"the_node_hangs_up": func(pl *play, _ *player) {
		for _, ln := range pl.lanes {
			if ln.pipe != nil && !ln.gone {
				ln.close()
			}
		}
	},
}

func TestWhatASessionWasInGoesWithIt(t *testing.T) {
	for name, script := range states {
		t.Run(name, func(t *testing.T) {
			var said []byte
			for _, line := range strings.Split(script, "|") {
				var args [][]byte
				for _, w := range strings.Fields(line) {
					args = append(args, []byte(w))
				}
				said = resp.AppendCommand(said, args)
			}
			for how, goes := range going {
				pl := newPlay(t)
				for cut := 0; cut <= len(said); cut++ {
					if fault := pl.ends(said[:cut], 1<<20, goes); fault != "" {
						t.Fatalf("%s after %d bytes of the requests: %s", how, cut, fault)
					}
				}
				answered := pl.delivered // when everything was said
				for cut := range answered {
					if fault := pl.ends(said, cut, goes); fault != "" {
						t.Fatalf("%s after %d bytes of the replies: %s", how, cut, fault)
					}
				}
				if answered == 0 && !strings.Contains("READONLY ASKING", name) && name != "MULTI_refused" && name != "DISCARD" {
					t.Fatal("the node was never asked")
				}
			}
		})
	}
}

// ends has a client say something, the node answer with so many bytes, somebody
// go, and then another client use what is left.
func (pl *play) ends(said []byte, replies int, goes func(*play, *player)) string {
	pl.begin(1, 0)
	p, other := pl.players[0], pl.players[1]
	p.backlog, p.said, p.anything = append([]byte(nil), said...), len(said), true
	pl.delivered = 0
	for range 40 {
		p.feed(1 << 20)
		pl.flush(true)
		for _, ln := range append([]*lane(nil), pl.lanes...) {
			if ln.pipe == nil || ln.gone {
				continue
			}
			if ln.link == nil {
				ln.attach()
			}
			for range 2 * len(ln.todo) {
				ln.work(false)
			}
			if n := min(len(ln.out), replies-pl.delivered); n > 0 {
				pl.delivered += n
				ln.deliver(n)
			}
			pl.sweep()
		}
	}
	goes(pl, p)
	pl.sweep()
	other.watch(9)
	other.transaction()
	other.get()
	pl.settle()
	if pl.fault == "" && len(other.want) > 0 {
		pl.faultf("the other client never got %.100q", other.want[0].text)
	}
	return pl.fault
}

// begin empties the stage for a play of so many clients besides the first.
func (pl *play) begin(others int, seed uint64) {
	pl.seed, pl.r = seed, rand.New(rand.NewPCG(seed, 3))
	pl.dies, pl.lies, pl.settling, pl.patience = false, false, false, 0
	clear(pl.st.timers)
	pl.lanes, pl.spare, pl.count, pl.nonce, pl.fault, pl.most = nil, nil, 0, 0, "", 100
	pl.st.w.draining, pl.st.w.congested, pl.st.posted = false, false, nil
	pl.players = pl.players[:0]
	for i := range others + 1 {
		pl.enter(i)
	}
}
