package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// elements counts an SVG's elements by name; anything that is no XML fails the test.
func elements(t *testing.T, svg string) map[string]int {
	t.Helper()
	count := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
}

func TestPlots(t *testing.T) {
	t.Run("bars are as long as their values", func(t *testing.T) {
		b := bars{title: "a < b & c", unit: "x", mark: 1, rows: []barGroup{
			{"one", []bar{{"own", 2, 0}, {"peer", 4, 1}}}, {"two", []bar{{"own", 1, 0}}},
		}}
		svg := b.svg()
		got := elements(t, svg)
		if got["rect"] != 1+2+3 { // ground, two in the legend, three bars
			t.Errorf("%v", got)
		}
		for _, want := range []string{`width="285.0" height="10.0" fill="#0072b2"`, `width="570.0" height="10.0" fill="#e69f00"`} {
			if !strings.Contains(svg, want) {
				t.Errorf("no bar with %s\n%s", want, svg)
			}
		}
	})
	t.Run("lines have a point for every figure", func(t *testing.T) {
		l := lines{title: "m", x: "n", y: "v", series: []curve{{"own", [][2]float64{{0, 1}, {10, 3}, {20, 9}}}, {"peer", [][2]float64{{0, 2}}}}}
		if got := elements(t, l.svg()); got["circle"] != 4 {
			t.Errorf("%v", got)
		}
	})
	t.Run("nothing to draw is drawn as well", func(t *testing.T) {
		elements(t, bars{}.svg())
		elements(t, lines{}.svg())
	})
}

func TestScale(t *testing.T) {
	for _, c := range []struct{ most, step, end float64 }{
		{0, 1, 1}, {1, 0.2, 1}, {4, 1, 4}, {0.9, 0.2, 1}, {37, 10, 40}, {10_000, 2000, 10_000}, {230, 50, 250},
	} {
		if step, end := scale(c.most); step < c.step*0.999 || step > c.step*1.001 || end < c.end*0.999 || end > c.end*1.001 {
			t.Errorf("%v: %v to %v", c.most, step, end)
		}
	}
}

func TestAReportShowsItsPlots(t *testing.T) {
	r := report{
		Date: "2026-01-02", Commit: "abc",
		Ratios: []ratio{
			{Point: "mtls-x", Peer: "haproxy", Metric: proxyCPU, Mine: 1, Theirs: 2, Ratio: 0.5, Must: 0.7, Aim: 0.5, Result: "AIM"},
			{Point: "mtls-x", Peer: "haproxy", Metric: rate, Mine: 2, Theirs: 1, Ratio: 2, Must: 1.2, Aim: 1.6, Result: "AIM"},
			{Point: "mtls-idle-c5000", Peer: "haproxy", Metric: perIdle, Mine: 14, Theirs: 28, Ratio: 0.5, Must: 20, Aim: 13, Absolute: true, Result: "PASS"},
		},
		Measured: []measured{
			{Point: "mtls-x", Target: own, Clients: 50, Median: figures{ProxyCPU: 1}},
			{Point: "mtls-x", Target: "haproxy", Clients: 50, Median: figures{ProxyCPU: 2}},
			{Point: "mtls-idle-c5000", Target: own, Clients: 5000, Median: figures{RSS: 80 * mib, PerClient: 14}},
		},
	}
	dir := t.TempDir()
	base, err := r.save(dir)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(base + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"goals", "mtls", "idle"} {
		name := "2026-01-02-abc-" + suffix + ".svg"
		if !strings.Contains(string(page), "("+name+")") {
			t.Errorf("the page does not show %s", name)
		}
		svg, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		elements(t, string(svg))
	}
	if !strings.Contains(string(page), "| 5000 ") {
		t.Errorf("no table of memory:\n%s", page)
	}
	text, err := os.ReadFile(base + ".json")
	if err != nil || !json.Valid(text) {
		t.Errorf("%v", err)
	}
}

func TestAnIdleClientIsHeldAgainstABoundOfItsOwn(t *testing.T) {
	g := goal{own: own, peer: "haproxy", metric: perIdle, must: 20, aim: 13}
	p := point{Listener: "mtls", Command: "idle", Clients: 5000}
	for want, mine := range map[string]float64{"AIM": 13, "PASS": 20, "MISS": 21} {
		if got := g.compare(p, []float64{mine}, []float64{23}); got.Result != want || !got.Absolute {
			t.Errorf("%v: %+v", mine, got)
		}
	}
}

func TestParseMemtier(t *testing.T) {
	const text = `{"ALL STATS": {"Sets": {"Percentile Latencies": {"p50.00": 9, "p99.00": 9}},
		"Totals": {"Ops/sec": 51234.5, "Percentile Latencies": {"p50.00": 0.455, "p99.00": 1.919}}}}`
	got, err := parseMemtier([]byte(text))
	if want := (load{p50: micros(0.455), p99: micros(1.919)}); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"ALL STATS":{"Totals":{"Percentile Latencies":{"p50.00":1}}}}`} {
		if got, err := parseMemtier([]byte(bad)); err == nil {
			t.Errorf("%q: read as %+v", bad, got)
		}
	}
}
