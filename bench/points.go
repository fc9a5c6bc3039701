package main

import (
	"fmt"
	"regexp"
)

// point is one scenario: what redis-benchmark sends, and through which kind of listener.
type point struct {
	Listener string // "mtls" or "plain"
	Command  string // "get" or "set"
	Size     int    // bytes of the value
	Clients  int
	Pipeline int
	Requests int  // a run, with the default -requests
	Extra    bool // run only when -points names it
}

func (p point) String() string {
	return fmt.Sprintf("%s-%s-%d-c%d-P%d", p.Listener, p.Command, p.Size, p.Clients, p.Pipeline)
}

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

	{Listener: "mtls", Command: "get", Size: 64, Clients: 1, Pipeline: 1, Requests: 15_000, Extra: true},
	{Listener: "mtls", Command: "get", Size: 1024, Clients: 50, Pipeline: 16, Requests: 200_000, Extra: true},
	{Listener: "mtls", Command: "get", Size: 16384, Clients: 50, Pipeline: 1, Requests: 30_000, Extra: true},
	{Listener: "mtls", Command: "get", Size: 16384, Clients: 50, Pipeline: 16, Requests: 60_000, Extra: true},
	{Listener: "mtls", Command: "set", Size: 16384, Clients: 50, Pipeline: 1, Requests: 5_000, Extra: true},
}

// metric is a figure that two targets are compared by.
type metric string

const (
	proxyCPU metric = "CPU"         // proxy CPU a request; lower is better
	totalCPU metric = "proxy+Redis" // CPU of proxy and Redis a request; lower is better
	connCPU  metric = "connection"  // proxy CPU a connection; lower is better
	rate     metric = "rate"        // requests a second; higher is better
	p50      metric = "p50"         // latency; lower is better
	p99      metric = "p99"
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
	{exactly("mtls-get-64-c1-P1"), own, "haproxy", p50, 1.15, 1.0},
	{exactly("mtls-get-1024-c50-P16"), own, "haproxy", proxyCPU, 0.75, 0.55},
	{exactly("mtls-get-16384-c50-P1"), own, "haproxy", proxyCPU, 0.70, 0.50},
	{exactly("mtls-get-16384-c50-P16"), own, "haproxy", proxyCPU, 1.2, 0.9},
	{exactly("mtls-set-16384-c50-P1"), own, "haproxy", rate, 5, 12},

	{small("mtls", 1), own, "stunnel", proxyCPU, 0.45, 0.30},
	{small("mtls", 16), own, "stunnel", proxyCPU, 0.45, 0.30},
	{small("mtls", 64), own, "stunnel", proxyCPU, 0.65, 0.40},
	{exactly("mtls-get-64-c500-P1"), own, "stunnel", proxyCPU, 0.45, 0.30},

	{small("mtls", 1), own, "ghostunnel", proxyCPU, 0.70, 0.50},
	{small("mtls", 16), own, "ghostunnel", proxyCPU, 0.70, 0.50},
	{small("mtls", 64), own, "ghostunnel", proxyCPU, 0.90, 0.65},

	{small("plain", 1), own, "nutcracker", proxyCPU, 1.10, 0.85},
	{small("plain", 16), own, "nutcracker", proxyCPU, 0.50, 0.35},
	{small("plain", 64), own, "nutcracker", proxyCPU, 0.20, 0.13},
	{small("plain", 1), own, "predixy", proxyCPU, 1.20, 0.95},
	{small("plain", 16), own, "predixy", proxyCPU, 0.75, 0.55},
	{small("plain", 64), own, "predixy", proxyCPU, 0.50, 0.35},

	{small("mtls", 1), own, "redis-tls", totalCPU, 1.4, 1.15},
	{small("mtls", 64), ownACL, own, proxyCPU, 1.15, 1.05},
}

// references are measured for the reader; redis-tls is judged against at P=1 only.
var references = map[string]*regexp.Regexp{
	"redis":     regexp.MustCompile(`^plain-get-`),
	"redis-tls": regexp.MustCompile(`^mtls-get-64-c50-`),
}

// selectPoints picks the points to run: the default set, or every point of the table that pattern matches.
func selectPoints(pattern string, requests int) ([]point, error) {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-points: %w", err)
	}
	var chosen []point
	for _, p := range points {
		if pattern == "" && p.Extra || !match.MatchString(p.String()) {
			continue
		}
		p.Requests = max(p.Requests*requests/baseRequests, 2*connectedAfter*p.Clients, 20*p.Clients*p.Pipeline)
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
