package main

import (
	"fmt"
	"regexp"
)

// point is one scenario: what redis-benchmark sends, and through which kind of listener.
type point struct {
	Listener string // "mtls" or "plain"; "sharded": plaintext, over four nodes
	Command  string // "get" or "set"; "mset" of ten keys; "mix" of GET and SET; "full" and "resumed" handshakes; "idle"
	Size     int    // bytes of the value
	Clients  int
	Pipeline int
	Requests int  // a run, with the default -requests
	Extra    bool // run only when -points names it
}

func (p point) String() string {
	switch {
	case p.handshakes():
		return p.Listener + "-" + p.Command
	case p.idle():
		return fmt.Sprintf("%s-idle-c%d", p.Listener, p.Clients)
	}
	return fmt.Sprintf("%s-%s-%d-c%d-P%d", p.Listener, p.Command, p.Size, p.Clients, p.Pipeline)
}

// handshakes says that connections are measured, not requests.
func (p point) handshakes() bool { return p.Command == "full" || p.Command == "resumed" }

// idle says that memory is measured.
func (p point) idle() bool { return p.Command == "idle" }

// baseRequests is the P=1 figure that -requests replaces; the other points scale with it. A run should take a second
// or so: long against the kernel's scheduling, short against the machine's moods.
const baseRequests = 50_000

var points = []point{
	{Listener: "mtls", Command: "get", Size: 64, Clients: 50, Pipeline: 1, Requests: 50_000},
	{Listener: "mtls", Command: "set", Size: 64, Clients: 50, Pipeline: 1, Requests: 50_000},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 50, Pipeline: 16, Requests: 400_000},
	{Listener: "mtls", Command: "set", Size: 64, Clients: 50, Pipeline: 16, Requests: 400_000},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 50, Pipeline: 64, Requests: 800_000},
	{Listener: "mtls", Command: "set", Size: 64, Clients: 50, Pipeline: 64, Requests: 800_000},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 500, Pipeline: 1, Requests: 80_000},
	{Listener: "plain", Command: "get", Size: 64, Clients: 50, Pipeline: 1, Requests: 50_000},
	{Listener: "plain", Command: "set", Size: 64, Clients: 50, Pipeline: 1, Requests: 50_000},
	{Listener: "plain", Command: "get", Size: 64, Clients: 50, Pipeline: 16, Requests: 400_000},
	{Listener: "plain", Command: "set", Size: 64, Clients: 50, Pipeline: 16, Requests: 400_000},
	{Listener: "plain", Command: "get", Size: 64, Clients: 50, Pipeline: 64, Requests: 800_000},
	{Listener: "plain", Command: "set", Size: 64, Clients: 50, Pipeline: 64, Requests: 800_000},

	{Listener: "sharded", Command: "mset", Size: 64, Clients: 50, Pipeline: 1, Requests: 40_000, Extra: true},
	{Listener: "sharded", Command: "mset", Size: 64, Clients: 50, Pipeline: 16, Requests: 150_000},
	{Listener: "sharded", Command: "mset", Size: 64, Clients: 50, Pipeline: 64, Requests: 200_000},

	{Listener: "mtls", Command: "get", Size: 64, Clients: 1, Pipeline: 1, Requests: 15_000},
	{Listener: "mtls", Command: "get", Size: 1024, Clients: 50, Pipeline: 16, Requests: 200_000},
	{Listener: "mtls", Command: "get", Size: 16384, Clients: 50, Pipeline: 1, Requests: 30_000},
	{Listener: "mtls", Command: "get", Size: 16384, Clients: 50, Pipeline: 16, Requests: 60_000},
	{Listener: "mtls", Command: "set", Size: 16384, Clients: 50, Pipeline: 1, Requests: 4_000},
	{Listener: "mtls", Command: "full", Clients: handshakeWorkers, Requests: 200},
	{Listener: "mtls", Command: "resumed", Clients: handshakeWorkers, Requests: 200},
	{Listener: "mtls", Command: "mix", Size: 64, Clients: 50, Pipeline: 1, Requests: 50_000},
	{Listener: "mtls", Command: "mix", Size: 64, Clients: 50, Pipeline: 16, Requests: 400_000},

	// Sizes and numbers of clients in between.
	{Listener: "mtls", Command: "get", Size: 3, Clients: 50, Pipeline: 16, Requests: 400_000},
	{Listener: "mtls", Command: "set", Size: 3, Clients: 50, Pipeline: 16, Requests: 400_000},
	{Listener: "mtls", Command: "set", Size: 1024, Clients: 50, Pipeline: 16, Requests: 150_000},
	{Listener: "mtls", Command: "get", Size: 4096, Clients: 50, Pipeline: 16, Requests: 100_000},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 10, Pipeline: 1, Requests: 50_000},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 200, Pipeline: 1, Requests: 60_000},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 500, Pipeline: 16, Requests: 500_000},

	{Listener: "mtls", Command: "get", Size: 256, Clients: 50, Pipeline: 1, Requests: 50_000, Extra: true},
	{Listener: "mtls", Command: "set", Size: 256, Clients: 50, Pipeline: 16, Requests: 300_000, Extra: true},
	{Listener: "mtls", Command: "get", Size: 1024, Clients: 50, Pipeline: 1, Requests: 50_000, Extra: true},
	{Listener: "mtls", Command: "set", Size: 4096, Clients: 50, Pipeline: 16, Requests: 80_000, Extra: true},
	{Listener: "mtls", Command: "set", Size: 16384, Clients: 50, Pipeline: 16, Requests: 40_000, Extra: true},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 1, Pipeline: 64, Requests: 200_000, Extra: true},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 100, Pipeline: 1, Requests: 50_000, Extra: true},
	{Listener: "mtls", Command: "get", Size: 64, Clients: 500, Pipeline: 64, Requests: 1_500_000, Extra: true},

	// Memory, once and after all rounds.
	{Listener: "mtls", Command: "idle", Clients: 0},
	{Listener: "mtls", Command: "idle", Clients: 50},
	{Listener: "mtls", Command: "idle", Clients: 1_000},
	{Listener: "mtls", Command: "idle", Clients: 5_000},
	{Listener: "mtls", Command: "idle", Clients: 10_000},
}

// metric is a figure that two targets are compared by.
type metric string

const (
	proxyCPU metric = "CPU"         // proxy CPU a request, or a connection where handshakes are measured; lower is better
	totalCPU metric = "proxy+Redis" // CPU of proxy and Redis a request; lower is better
	connCPU  metric = "connection"  // proxy CPU a connection; lower is better
	rate     metric = "rate"        // requests a second; higher is better
	p50      metric = "p50"         // latency; lower is better
	p99      metric = "p99"
	perIdle  metric = "KiB/client" // what an idle client costs; held against a bound of its own, not the peer's figure
)

// higherIsBetter says in which direction a ratio of this metric has to go.
func (m metric) higherIsBetter() bool { return m == rate }

// goal is one promise: own figure ÷ peer's on the points that match, what it must reach and what it aims at.
type goal struct {
	points    *regexp.Regexp
	own, peer string // target names
	metric    metric
	must, aim float64
}

const (
	own    = "sallyport"
	ownACL = "sallyport-acl" // the same process, as a user with a twenty-rule ACL

	ownShards  = "sallyport-shards"  // the same process, before four nodes
	peerShards = "nutcracker-shards" // twemproxy before the same four
)

// small matches the 64-byte points of one pipeline depth with 50 clients, through one kind of listener.
func small(listener string, pipeline int) *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf("^%s-(get|set)-64-c50-P%d$", listener, pipeline))
}

func exactly(name string) *regexp.Regexp { return regexp.MustCompile("^" + name + "$") }

var goals = []goal{
	{small("mtls", 1), own, "haproxy", proxyCPU, 0.70, 0.50},
	{small("mtls", 16), own, "haproxy", proxyCPU, 0.70, 0.50},
	{small("mtls", 64), own, "haproxy", proxyCPU, 0.90, 0.65},
	{exactly("mtls-get-64-c500-P1"), own, "haproxy", proxyCPU, 0.70, 0.45},
	{small("mtls", 1), own, "haproxy", rate, 1.2, 1.6},
	{small("mtls", 16), own, "haproxy", rate, 1.3, 1.6},
	{small("mtls", 64), own, "haproxy", rate, 1.1, 1.25},
	{small("mtls", 1), own, "haproxy", p99, 0.8, 0.5},
	{exactly("mtls-get-64-c50-P1"), own, "haproxy", connCPU, 0.60, 0.45},
	{exactly("mtls-full"), own, "haproxy", proxyCPU, 0.60, 0.45},
	{exactly("mtls-resumed"), own, "haproxy", proxyCPU, 0.60, 0.45},
	{exactly("mtls-idle-c5000"), own, "haproxy", perIdle, 20, 13},
	{exactly("mtls-get-64-c1-P1"), own, "haproxy", p50, 1.15, 1.0},
	{exactly("mtls-get-1024-c50-P16"), own, "haproxy", proxyCPU, 0.75, 0.55},
	{exactly("mtls-get-16384-c50-P1"), own, "haproxy", proxyCPU, 0.70, 0.50},
	{exactly("mtls-get-16384-c50-P16"), own, "haproxy", proxyCPU, 1.2, 0.9},
	{exactly("mtls-set-16384-c50-P1"), own, "haproxy", rate, 5, 12},

	{small("mtls", 1), own, "stunnel", proxyCPU, 0.45, 0.30},
	{small("mtls", 16), own, "stunnel", proxyCPU, 0.45, 0.30},
	{small("mtls", 64), own, "stunnel", proxyCPU, 0.65, 0.40},
	{exactly("mtls-get-64-c500-P1"), own, "stunnel", proxyCPU, 0.45, 0.30},
	{regexp.MustCompile("^mtls-get-(64-c1|1024-c50|16384-c50)-"), own, "stunnel", proxyCPU, 0.45, 0.30},

	{small("mtls", 1), own, "ghostunnel", proxyCPU, 0.70, 0.50},
	{small("mtls", 16), own, "ghostunnel", proxyCPU, 0.70, 0.50},
	{small("mtls", 64), own, "ghostunnel", proxyCPU, 0.90, 0.65},

	{small("plain", 1), own, "nutcracker", proxyCPU, 1.10, 0.85},
	{small("plain", 16), own, "nutcracker", proxyCPU, 0.50, 0.35},
	{small("plain", 64), own, "nutcracker", proxyCPU, 0.20, 0.13},
	{exactly("sharded-mset-64-c50-P1"), ownShards, peerShards, proxyCPU, 1.10, 0.85},
	{exactly("sharded-mset-64-c50-P16"), ownShards, peerShards, proxyCPU, 0.50, 0.40},
	{exactly("sharded-mset-64-c50-P64"), ownShards, peerShards, proxyCPU, 0.50, 0.35},
	{small("plain", 1), own, "predixy", proxyCPU, 1.20, 0.95},
	{small("plain", 16), own, "predixy", proxyCPU, 0.75, 0.55},
	{small("plain", 64), own, "predixy", proxyCPU, 0.50, 0.35},

	{small("mtls", 1), own, "redis-tls", totalCPU, 1.4, 1.15},
	{small("mtls", 64), ownACL, own, proxyCPU, 1.15, 1.05},
}

// references are measured for the reader, beside what is judged. A peer with a descriptor on both sides for each client
// stops at 5,000, one with a thread each at 1,000.
var references = map[string]*regexp.Regexp{
	"redis":      regexp.MustCompile(`^plain-get-`),
	"redis-tls":  regexp.MustCompile(`^mtls-(get|set)-64-c50-`),
	own:          regexp.MustCompile(`^mtls-`),
	"haproxy":    regexp.MustCompile(`^mtls-(get|set|mix)-|^mtls-idle-c(0|50|1000)$`),
	"ghostunnel": regexp.MustCompile(`^mtls-idle-c(0|50|1000|5000)$`),
	"stunnel":    regexp.MustCompile(`^mtls-idle-c(0|50|1000)$`),
}

// selectPoints picks the points to run: the default set, or every point of the table that pattern matches.
// Mixed ones need a load generator of their own.
func selectPoints(pattern string, requests int, mixed bool) ([]point, error) {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-points: %w", err)
	}
	var chosen []point
	for _, p := range points {
		if p.Command == "mix" && !mixed {
			continue
		}
		if pattern == "" && p.Extra || !match.MatchString(p.String()) {
			continue
		}
		if !p.handshakes() && !p.idle() {
			p.Requests = max(p.Requests*requests/baseRequests, 2*connectedAfter*p.Clients, 20*p.Clients*p.Pipeline)
		}
		chosen = append(chosen, p)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-points: no point matches %q", pattern)
	}
	return chosen, nil
}

// wants reports whether the target named is to be measured at p: some goal there names it, or it is a reference.
func wants(p point, target string) bool {
	for _, g := range goals {
		if (g.own == target || g.peer == target) && g.points.MatchString(p.String()) {
			return true
		}
	}
	reference, ok := references[target]
	return ok && reference.MatchString(p.String())
}
