package conformance

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// several is a deployment of three nodes behind a proxy, beside one server.
type several struct {
	nodes   []*redistest.Server
	one     *redistest.Server
	proxied string
}

// Every case that makes sense on several nodes is played against one server
// directly, and through a proxy before a cluster of three primaries and before
// three shards. The client reads the same, but for what is listed.
func TestSeveralNodesReadAsOne(t *testing.T) {
	files := readCases(t)
	for name, start := range map[string]func(*testing.T) *several{"cluster": startCluster, "sharded": startShards} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, own := readDifferences(t, "differences.txt"), readDifferences(t, "differences-"+name+".txt")
			v := start(t)
			total := 0
			for _, file := range slices.Sorted(maps.Keys(files)) {
				for _, c := range files[file] {
					if !c.tagged("single") && !seeded[c.id()] && !(name == "sharded" && c.names("PSUBSCRIBE")) {
						total++
						v.compare(t, c, one, own)
					}
				}
			}
			if !t.Failed() {
				own.unused(t)
			}
			t.Logf("%d cases", total)
		})
	}
}

// seeded are cases in which frames, or nested elements, come in the order of the
// hash table of one server, which another one shuffles otherwise.
var seeded = map[string]bool{"pubsub/unsubscribe from all": true, "pubsub/glob patterns": true, "pubsub/several patterns": true, "zsets/a sorted set that grew": true}

// names reports whether some step is this command. PSUBSCRIBE is refused over
// shards, and what a case waits for then never comes.
func (s *script) names(command string) bool {
	return slices.ContainsFunc(s.steps, func(st step) bool {
		return len(st.args) > 0 && strings.EqualFold(st.args[0], command)
	})
}

func startCluster(t *testing.T) *several {
	c := redistest.StartCluster(t, 3, 0, redistest.Args("--slowlog-log-slower-than", "-1"))
	return &several{nodes: c.Servers, one: redistest.Start(t, redistest.Args("--slowlog-log-slower-than", "-1")), proxied: frontOf(t, backend.Options{
		Nodes:   []backend.Endpoint{{Network: "tcp", Address: c.Addrs()[0]}},
		Routing: backend.Routing{Kind: backend.Cluster, Wait: 2 * time.Second},
	})}
}

func startShards(t *testing.T) *several {
	v := &several{one: redistest.Start(t, redistest.Args("--slowlog-log-slower-than", "-1"))}
	var at []backend.Endpoint
	var members []backend.Member
	for i := range 3 {
		node := redistest.Start(t, redistest.Args("--slowlog-log-slower-than", "-1"))
		v.nodes = append(v.nodes, node)
		at = append(at, backend.Endpoint{Network: "tcp", Address: node.Addr()})
		members = append(members, backend.Member{Name: fmt.Sprintf("shard%d", i), Weight: 1})
	}
	d, err := backend.NewDistribution("ketama", "fnv1a_64", "{}", members)
	if err != nil {
		t.Fatal(err)
	}
	v.proxied = frontOf(t, backend.Options{Nodes: at, Routing: backend.Routing{Kind: backend.Sharded, Distribution: d, Wait: 2 * time.Second}})
	return v
}

// compare plays a case both ways, in the version of the protocol it is written for.
func (v *several) compare(t *testing.T, c *script, listed ...*differences) {
	t.Helper()
	proto := 2
	if c.tagged("resp3") {
		proto = 3
	}
	for _, node := range append(v.nodes, v.one) {
		if err := empty(node); err != nil {
			t.Fatal(err)
		}
	}
	direct, err := (&player{address: v.one.Addr(), node: v.one, proto: proto}).play(c)
	if err != nil {
		t.Errorf("%s directly: %v", c.id(), err)
		return
	}
	proxied, err := (&player{address: v.proxied, node: v.nodes[0], others: v.nodes[1:], proto: proto}).play(c)
	if err != nil {
		t.Errorf("%s through the proxy: %v", c.id(), err)
	}
	for i := range max(len(direct), len(proxied)) {
		a, b := at(direct, i), at(proxied, i)
		text, mask := "after the last step", ""
		for _, h := range []heard{b, a} {
			if h.step != nil {
				text, mask = h.step.text, h.step.mask
			}
		}
		if mask == "" && len(a.bytes) > 0 && strings.IndexByte("*~%", a.bytes[0]) >= 0 {
			mask = "unordered" // two servers' hash tables differ; the order is held elsewhere
		}
		if a.step == b.step && same(mask, a.bytes, b.bytes) || slices.ContainsFunc(listed, func(d *differences) bool { return d.covers(c, text, b.bytes) }) {
			continue
		}
		t.Errorf("%s | %s | %s\n   redis %.300q", c.id(), text, strings.ReplaceAll(fmt.Sprintf("%.200q", bytes.TrimSuffix(b.bytes, []byte("\r\n"))), "|", `\|`), a.bytes)
	}
}
