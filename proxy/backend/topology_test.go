package backend

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// recorded is a connection that gives what was recorded, then ends.
type recorded struct {
	net.Conn
	io.Reader
}

func (r recorded) Read(p []byte) (int, error)      { return r.Reader.Read(p) }
func (r recorded) SetReadDeadline(time.Time) error { return nil }

func decoded(raw []byte) (any, error) {
	return redistest.NewClient(recorded{Reader: bytes.NewReader(raw)}).Receive()
}

// wellFormed fails for a topology that would send a call nowhere or anywhere.
func wellFormed(t *testing.T, topo *Topology) {
	t.Helper()
	for s := range Slots {
		if n := topo.Shard(s); n < -1 || n >= len(topo.Shards) {
			t.Fatalf("slot %d belongs to shard %d of %d", s, n, len(topo.Shards))
		}
	}
	for _, e := range topo.Nodes() {
		host, port, err := net.SplitHostPort(e.Address)
		if e.Network != "tcp" || err != nil || !plausibleHost(host) || port == "0" || strings.ContainsAny(e.Address, " \r\n\x00/") {
			t.Fatalf("node %q", e)
		}
	}
}

var shardSeeds = []string{
	"*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n*8\r\n$8\r\nendpoint\r\n$9\r\n127.0.0.1\r\n" +
		"$4\r\nport\r\n:6379\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$6\r\nhealth\r\n$6\r\nonline\r\n",
	"*1\r\n*4\r\n$5\r\nslots\r\n*0\r\n$5\r\nnodes\r\n*0\r\n",
	"*1\r\n*3\r\n:0\r\n:5460\r\n*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$1\r\nx\r\n",
	"*2\r\n*4\r\n:0\r\n:5460\r\n*2\r\n$3\r\n::1\r\n:7000\r\n*2\r\n$-1\r\n:7001\r\n*3\r\n:5461\r\n:16383\r\n*2\r\n$1\r\n?\r\n:1\r\n",
	"*1\r\n*3\r\n:-1\r\n:99999\r\n*2\r\n$9\r\n127.0.0.1\r\n:70000\r\n",
	"*0\r\n", "+OK\r\n", "*-1\r\n",
}

func FuzzTopologyAnswers(f *testing.F) {
	for _, s := range shardSeeds {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, tls bool) {
		reply, err := decoded(raw)
		if err != nil {
			return
		}
		by := asked{host: "127.0.0.1", tls: tls}
		for _, parse := range []func(any, asked) (*Topology, error){parseShards, parseSlots} {
			topo, err := parse(reply, by)
			if (err == nil) != (topo != nil) {
				t.Fatal("neither a topology nor an error, or both")
			}
			if topo != nil {
				wellFormed(t, topo)
			}
		}
	})
}

func FuzzRedirect(f *testing.F) {
	for _, s := range []string{
		"-MOVED 3999 127.0.0.1:6381\r\n", "-ASK 0 ::1:6381\r\n", "-MOVED 1 :7000\r\n", "-MOVED 16384 a:1\r\n",
		"-MOVED 1 a:0\r\n", "-MOVED 1 a\r\n", "-MOVED\r\n", "-ASK 1 a:1", "-ERR x\r\n", "-MOVED 1 ?:1\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok := parseRedirect(line, "10.0.0.1")
		if !ok {
			return
		}
		host, _, err := net.SplitHostPort(r.At.Address)
		if r.Slot < 0 || r.Slot >= Slots || err != nil || !plausibleHost(host) || r.At.Network != "tcp" {
			t.Fatalf("%+v", r)
		}
	})
}

func TestRedirectionsAreReadAsRedisWritesThem(t *testing.T) {
	for line, want := range map[string]Redirect{
		"-MOVED 3999 127.0.0.1:6381\r\n":   {3999, at("127.0.0.1:6381"), false},
		"-ASK 3999 redis-2.local:6381\r\n": {3999, at("redis-2.local:6381"), true},
		"-MOVED 0 ::1:6381\r\n":            {0, at("[::1]:6381"), false},
		"-MOVED 16383 :6381\r\n":           {16383, at("10.0.0.1:6381"), false},
	} {
		if got, ok := parseRedirect([]byte(line), "10.0.0.1"); !ok || got != want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"-MOVED 16384 a:1\r\n", "-MOVED 1 a:0\r\n", "-MOVED 1 ?:6379\r\n", "-MOVED x a:1\r\n", "-ERR MOVED 1 a:1\r\n", "-ASK 1 a:1"} {
		if got, ok := parseRedirect([]byte(line), "h"); ok {
			t.Errorf("%q was taken for %+v", line, got)
		}
	}
}

// However an answer is cut, what it announces is bounded before room is made for it.
func FuzzSaneLimit(f *testing.F) {
	for _, s := range append(shardSeeds, "*1000000000\r\n", "$1048577\r\n", "*131072\r\n*131072\r\n*131072\r\n", "%65537\r\n", "\r\n", "$5\r\na\nb\nc\r\n") {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		var whole, pieces saneLimit
		err := whole.take(raw)
		var inPieces error
		for rest := raw; len(rest) > 0 && inPieces == nil; {
			n := min(len(rest), max(1, cut))
			inPieces = pieces.take(rest[:n])
			rest = rest[n:]
		}
		if (err == nil) != (inPieces == nil) {
			t.Fatalf("whole: %v, in pieces: %v", err, inPieces)
		}
		if whole.count > 2*saneCount && err == nil || len(whole.line) > 32 {
			t.Fatalf("%d elements let through", whole.count)
		}
	})
}

func TestAnswersAboutTheTopologyAreStrict(t *testing.T) {
	node := "*8\r\n$8\r\nendpoint\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n:7000\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$6\r\nhealth\r\n$6\r\nonline\r\n"
	shard := func(slots, nodes string) string { return "*4\r\n$5\r\nslots\r\n" + slots + "$5\r\nnodes\r\n" + nodes }
	for name, raw := range map[string]string{
		"a slot twice":           "*2\r\n" + shard("*2\r\n:0\r\n:10\r\n", "*1\r\n"+node) + shard("*2\r\n:10\r\n:20\r\n", "*1\r\n"+node),
		"a slot too many":        "*1\r\n" + shard("*2\r\n:0\r\n:16384\r\n", "*1\r\n"+node),
		"backwards":              "*1\r\n" + shard("*2\r\n:5\r\n:4\r\n", "*1\r\n"+node),
		"half a pair":            "*1\r\n" + shard("*1\r\n:5\r\n", "*1\r\n"+node),
		"two primaries":          "*1\r\n" + shard("*2\r\n:0\r\n:1\r\n", "*2\r\n"+node+node),
		"a port of text":         "*1\r\n" + shard("*2\r\n:0\r\n:1\r\n", "*1\r\n"+strings.Replace(node, ":7000", "$4\r\n7000", 1)),
		"a host with a line end": "*1\r\n" + shard("*2\r\n:0\r\n:1\r\n", "*1\r\n"+strings.Replace(node, "127.0.0.1", "127.0\r\n.1", 1)),
		"no list":                "+OK\r\n",
	} {
		reply, err := decoded([]byte(raw))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if topo, err := parseShards(reply, asked{host: "h"}); err == nil || topo != nil {
			t.Errorf("%s: believed", name)
		}
	}
	reply, err := decoded([]byte("*1\r\n" + shard("*4\r\n:0\r\n:1\r\n:5\r\n:5\r\n", "*1\r\n"+node)))
	if err != nil {
		t.Fatal(err)
	}
	topo, err := parseShards(reply, asked{host: "h"})
	if err != nil || topo.Covered() != 3 || topo.Shard(5) != 0 || topo.Shard(4) != -1 {
		t.Fatalf("%+v, %v", topo, err)
	}
}

// slotsAnswer is an answer to CLUSTER SLOTS: n ranges of one slot each, with the
// nodes that are told for each.
func slotsAnswer(n int, nodes func(i int) []string) []any {
	reply := make([]any, n)
	for i := range reply {
		line := []any{int64(i), int64(i)}
		for _, port := range nodes(i) {
			p, _ := strconv.ParseInt(port, 10, 64)
			line = append(line, []any{"127.0.0.1", p, "id"})
		}
		reply[i] = line
	}
	return reply
}

func TestASlotMapLargerThanAnyClusterIsNotBelieved(t *testing.T) {
	for name, reply := range map[string][]any{
		"more shards than a cluster has": slotsAnswer(Slots, func(i int) []string { return []string{strconv.Itoa(1 + i)} }),
		"more nodes than a cluster has": slotsAnswer(1000, func(i int) []string {
			return strings.Fields(strings.Repeat(strconv.Itoa(1+i)+" ", 6))
		}),
	} {
		if topo, err := parseSlots(reply, asked{host: "h"}); !errors.Is(err, ErrTopology) || topo != nil {
			t.Errorf("%s: believed", name)
		}
	}
	few := slotsAnswer(Slots, func(i int) []string { return []string{strconv.Itoa(1 + i%1000)} })
	if topo, err := parseSlots(few, asked{host: "h"}); err != nil || len(topo.Shards) != 1000 || topo.Covered() != Slots || topo.Shard(1001) != 1 {
		t.Fatalf("a thousand shards whose slots lie scattered: %v", err)
	}
}

// Nodes tell their replicas in an order of their own for each range of slots.
func TestAShardIsOneWhateverOrderItsReplicasAreToldIn(t *testing.T) {
	reply := slotsAnswer(2, func(i int) []string { return [][]string{{"1", "2", "3"}, {"1", "3", "2"}}[i] })
	topo, err := parseSlots(reply, asked{host: "h"})
	if err != nil || len(topo.Shards) != 1 || topo.Covered() != 2 {
		t.Fatalf("%+v, %v", topo, err)
	}
}
