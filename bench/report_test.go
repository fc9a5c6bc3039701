package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{9, 1, 5, 6}, 5.5},
	} {
		given := slices.Clone(c.values)
		if got := median(c.values); got != c.want {
			t.Errorf("%v: %v", c.values, got)
		}
		if !slices.Equal(given, c.values) {
			t.Errorf("%v was reordered to %v", given, c.values)
		}
	}
}

func TestCompare(t *testing.T) {
	p := point{Listener: "mtls", Command: "get", Size: 64, Clients: 50, Pipeline: 1}
	cpu := goal{own: own, peer: "haproxy", metric: proxyCPU, must: 0.70, aim: 0.50}
	speed := goal{own: own, peer: "haproxy", metric: rate, must: 1.2, aim: 1.6}
	for name, c := range map[string]struct {
		goal         goal
		mine, theirs []float64
		ratio        float64
		result       string
	}{
		"CPU at the aim":             {cpu, []float64{8}, []float64{16}, 0.5, "AIM"},
		"CPU between":                {cpu, []float64{7}, []float64{10}, 0.7, "PASS"},
		"CPU above":                  {cpu, []float64{71}, []float64{100}, 0.71, "MISS"},
		"a rate at the aim":          {speed, []float64{16}, []float64{10}, 1.6, "AIM"},
		"a rate between":             {speed, []float64{12}, []float64{10}, 1.2, "PASS"},
		"a rate below":               {speed, []float64{11}, []float64{10}, 1.1, "MISS"},
		"nothing measured is a miss": {cpu, []float64{0}, []float64{10}, 0, "MISS"},
		"nothing to divide by":       {cpu, []float64{5}, []float64{0}, 0, "MISS"},
		"one wild round of three":    {cpu, []float64{8, 80, 8}, []float64{16, 16, 16}, 0.5, "AIM"},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.goal.compare(p, c.mine, c.theirs)
			if got.Ratio != c.ratio || got.Result != c.result {
				t.Fatalf("%+v", got)
			}
		})
	}
	t.Run("shows the spread of the rounds", func(t *testing.T) {
		got := cpu.compare(p, []float64{8, 10, 6}, []float64{16, 16, 16})
		if got.Low != 0.375 || got.High != 0.625 {
			t.Fatalf("%v to %v", got.Low, got.High)
		}
	})
}

func TestPoints(t *testing.T) {
	t.Run("every goal has a point, and every point a target", func(t *testing.T) {
		for _, g := range goals {
			if !slices.ContainsFunc(points, func(p point) bool { return g.points.MatchString(p.String()) }) {
				t.Errorf("no point for %s against %s", g.points, g.peer)
			}
		}
		for _, p := range points {
			if !wants(p, own) && !wants(p, ownShards) {
				t.Errorf("%s is measured for nobody", p)
			}
		}
	})
	t.Run("every goal is against something that can be started", func(t *testing.T) {
		known := []string{own, ownACL, ownShards, "redis", "redis-tls"}
		for _, p := range peers {
			known = append(known, p.name)
		}
		for _, g := range goals {
			if !slices.Contains(known, g.peer) || !slices.Contains(known, g.own) {
				t.Errorf("%s against %s", g.own, g.peer)
			}
		}
	})
	t.Run("the aim is beyond what must be", func(t *testing.T) {
		for _, g := range goals {
			if g.metric.higherIsBetter() != (g.aim > g.must) {
				t.Errorf("%s against %s: must %v, aim %v", g.metric, g.peer, g.must, g.aim)
			}
		}
	})
	t.Run("extra points run only when named", func(t *testing.T) {
		usual, err := selectPoints("", baseRequests, true)
		if err != nil || slices.ContainsFunc(usual, func(p point) bool { return p.Extra }) {
			t.Fatalf("%v, %v", usual, err)
		}
		named, err := selectPoints("16384", baseRequests, true)
		if err != nil || len(named) != 4 || !slices.ContainsFunc(named, func(p point) bool { return p.Extra }) {
			t.Fatalf("%v, %v", named, err)
		}
	})
	t.Run("requests scale, but never below what the clients need", func(t *testing.T) {
		got, err := selectPoints("^mtls-get-64-c50-P(1|64)$", 500_000, true)
		if err != nil || got[0].Requests != 500_000 || got[1].Requests != 8_000_000 {
			t.Fatalf("%v, %v", got, err)
		}
		got, err = selectPoints("^mtls-get-64-c500-P1$", 1, true)
		if err != nil || got[0].Requests != 2*connectedAfter*500 {
			t.Fatalf("%v, %v", got, err)
		}
	})
	t.Run("a pattern that matches nothing is an error", func(t *testing.T) {
		if got, err := selectPoints("no-such-point", 1, true); err == nil {
			t.Fatalf("%v", got)
		}
		if got, err := selectPoints("(", 1, true); err == nil {
			t.Fatalf("%v", got)
		}
	})
}

// sampleSeries is two rounds of two targets at one point.
func sampleSeries() (series, point, []*target) {
	p := points[0]
	at := func(name string) cell { return cell{p.String(), name} }
	return series{
		rounds: []map[cell]figures{
			{at(own): {Rate: 50_000, ProxyCPU: 8, RedisCPU: 3, P50: 900, P99: 2000}, at("haproxy"): {Rate: 25_000, ProxyCPU: 16, RedisCPU: 7, P50: 1500, P99: 5000}},
			{at(own): {Rate: 54_000, ProxyCPU: 8, RedisCPU: 3, P50: 900, P99: 2000}, at("haproxy"): {Rate: 27_000, ProxyCPU: 16, RedisCPU: 7, P50: 1500, P99: 5000}},
		},
		links: map[link][]float64{{p.kind(), own}: {500, 700}, {p.kind(), "haproxy"}: {1500, 1500}},
	}, p, []*target{{name: own}, {name: "haproxy"}, {name: "stunnel"}}
}

func TestReport(t *testing.T) {
	s, p, targets := sampleSeries()
	r := report{Date: "2026-01-02", Commit: "abc1234", Rounds: 2, Ratios: judge(s, []point{p}), Missing: map[string]string{"stunnel": "not found on PATH"}}
	r.Measured, r.Links = collect(s, []point{p}, targets)
	t.Run("judges what was measured and nothing else", func(t *testing.T) {
		var got []string
		for _, q := range r.Ratios {
			got = append(got, string(q.Metric)+" "+q.Peer+" "+q.Result)
		}
		want := []string{"CPU haproxy AIM", "rate haproxy AIM", "p99 haproxy AIM", "connection haproxy AIM"}
		if !slices.Equal(got, want) {
			t.Fatalf("%q", got)
		}
		if r.missed() != 0 {
			t.Fatalf("%d missed", r.missed())
		}
	})
	t.Run("lists every measured cell with its medians", func(t *testing.T) {
		if len(r.Measured) != 2 || r.Measured[0].Median.Rate != 52_000 || len(r.Links) != 2 {
			t.Fatalf("%+v, %+v", r.Measured, r.Links)
		}
	})
	t.Run("is saved as JSON that reads back, and as Markdown", func(t *testing.T) {
		base, err := r.save(filepath.Join(t.TempDir(), "results"))
		if err != nil || filepath.Base(base) != "2026-01-02-abc1234" {
			t.Fatalf("%s, %v", base, err)
		}
		text, err := os.ReadFile(base + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var back report
		if err := json.Unmarshal(text, &back); err != nil || len(back.Ratios) != len(r.Ratios) {
			t.Fatalf("%+v, %v", back, err)
		}
		text, err = os.ReadFile(base + ".md")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			"| mtls-get-64-c50-P1 | haproxy | CPU        | 8.00  | 16.0  | 0.50       | 0.50–0.50 | ≤ 0.70 | ≤ 0.50 | AIM |",
			"Not measured: stunnel (not found on PATH).",
		} {
			if !strings.Contains(string(text), line+"\n") {
				t.Errorf("no line %q in\n%s", line, text)
			}
		}
	})
	t.Run("says that there are no ratios when there are none", func(t *testing.T) {
		if text := (report{}).markdown(); !strings.Contains(text, "No ratios") {
			t.Fatal(text)
		}
	})
}
