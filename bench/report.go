package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is one benchmark's outcome, as it is written to the JSON file.
type report struct {
	Date     string            `json:"date"` // UTC day
	Commit   string            `json:"commit"`
	Host     host              `json:"host"`
	Rounds   int               `json:"rounds"`
	Quick    bool              `json:"quick,omitempty"`
	Missing  map[string]string `json:"missing,omitempty"` // peers left out, and why
	Ratios   []ratio           `json:"ratios"`
	Measured []measured        `json:"measured"`
	Links    []connection      `json:"connections"`
}

// ratio is one goal at one point.
type ratio struct {
	Point  string  `json:"point"`
	Own    string  `json:"own"`
	Peer   string  `json:"against"`
	Metric metric  `json:"metric"`
	Mine   float64 `json:"own_median"`
	Theirs float64 `json:"peer_median"`
	Ratio  float64 `json:"ratio"`
	// Absolute: the bounds are for the own figure, not for the ratio.
	Absolute bool    `json:"absolute,omitempty"`
	Low      float64 `json:"lowest_round"`
	High     float64 `json:"highest_round"`
	Must     float64 `json:"must"`
	Aim      float64 `json:"aim"`
	Result   string  `json:"result"` // AIM, PASS or MISS
}

// measured is one cell: medians over the rounds, and the lowest and highest CPU as a measure of how quiet the machine was.
type measured struct {
	Point    string    `json:"point"`
	Target   string    `json:"target"`
	Clients  int       `json:"clients"`
	Median   figures   `json:"median"`
	LowCPU   float64   `json:"proxy_us_lowest"`
	HighCPU  float64   `json:"proxy_us_highest"`
	PerRound []figures `json:"rounds"`
}

// connection is what one kind of connection costs a target, in µs of proxy CPU.
type connection struct {
	Listener string  `json:"listener"`
	Clients  int     `json:"clients"`
	Target   string  `json:"target"`
	CPU      float64 `json:"proxy_us"`
}

// judge compares own with peer at every goal that was measured.
func judge(s series, chosen []point) []ratio {
	var out []ratio
	for _, g := range goals {
		for _, p := range chosen {
			if !g.points.MatchString(p.String()) {
				continue
			}
			mine, theirs := s.values(p, g.own, g.metric), s.values(p, g.peer, g.metric)
			if len(mine) == 0 || len(theirs) == 0 {
				continue
			}
			out = append(out, g.compare(p, mine, theirs))
		}
	}
	return out
}

// compare is the quotient of the medians; the spread is that of the quotients round by round.
func (g goal) compare(p point, mine, theirs []float64) ratio {
	r := ratio{
		Point: p.String(), Own: g.own, Peer: g.peer, Metric: g.metric,
		Mine: median(mine), Theirs: median(theirs), Must: g.must, Aim: g.aim, Result: "MISS", Absolute: g.metric == perIdle,
	}
	r.Ratio = quotient(r.Mine, r.Theirs)
	for i := range min(len(mine), len(theirs)) {
		q := quotient(mine[i], theirs[i])
		if i == 0 {
			r.Low, r.High = q, q
		}
		r.Low, r.High = min(r.Low, q), max(r.High, q)
	}
	reaches := func(limit float64) bool {
		if g.metric.higherIsBetter() {
			return r.Ratio >= limit
		}
		if r.Absolute {
			return r.Mine > 0 && r.Mine <= limit
		}
		return r.Ratio > 0 && r.Ratio <= limit // 0: one side measured nothing, which is no success
	}
	switch {
	case reaches(g.aim):
		r.Result = "AIM"
	case reaches(g.must):
		r.Result = "PASS"
	}
	return r
}

// quotient is a/b, and 0 where there is nothing to divide by: JSON has no infinity.
func quotient(a, b float64) float64 {
	if b <= 0 || a <= 0 {
		return 0
	}
	return a / b
}

// collect lists what was measured, in the table's order.
func collect(s series, chosen []point, targets []*target) (cells []measured, connections []connection) {
	for _, p := range chosen {
		for _, t := range targets {
			m := measured{Point: p.String(), Target: t.name, Clients: p.Clients}
			for _, round := range s.rounds {
				if f, ok := round[cell{p.String(), t.name}]; ok {
					m.PerRound = append(m.PerRound, f)
				}
			}
			if len(m.PerRound) == 0 {
				continue
			}
			pick := func(get func(figures) float64) (values []float64) {
				for _, f := range m.PerRound {
					values = append(values, get(f))
				}
				return values
			}
			cpu := pick(func(f figures) float64 { return f.ProxyCPU })
			m.LowCPU, m.HighCPU = slices.Min(cpu), slices.Max(cpu)
			m.Median = figures{
				Rate:      median(pick(func(f figures) float64 { return f.Rate })),
				ProxyCPU:  median(cpu),
				ProxyUser: median(pick(func(f figures) float64 { return f.ProxyUser })),
				RedisCPU:  median(pick(func(f figures) float64 { return f.RedisCPU })),
				P50:       median(pick(func(f figures) float64 { return f.P50 })),
				P99:       median(pick(func(f figures) float64 { return f.P99 })),
				RSS:       median(pick(func(f figures) float64 { return f.RSS })),
				PerClient: median(pick(func(f figures) float64 { return f.PerClient })),
			}
			cells = append(cells, m)
		}
	}
	for at, costs := range s.links {
		connections = append(connections, connection{at.listener, at.clients, at.target, median(costs)})
	}
	slices.SortFunc(connections, func(a, b connection) int {
		return cmp.Or(cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Clients, b.Clients), cmp.Compare(a.Target, b.Target))
	})
	return cells, connections
}

// missed is how many promises were not kept.
func (r report) missed() (n int) {
	for _, ratio := range r.Ratios {
		if ratio.Result == "MISS" {
			n++
		}
	}
	return n
}

// save writes <date>-<commit>.json and .md into dir and returns their common path without the ending.
func (r report) save(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", err
	}
	base := filepath.Join(dir, r.Date+"-"+r.Commit)
	plots, err := r.savePlots(base)
	return base, errors.Join(err,
		os.WriteFile(base+".json", append(text, '\n'), 0o644),
		os.WriteFile(base+".md", []byte(r.markdown()+"\n"+plots), 0o644),
	)
}

// today is the day in UTC, as result files are named.
func today(now time.Time) string { return now.UTC().Format(time.DateOnly) }

// markdown is the report for readers.
func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark %s, commit %s\n\n", r.Date, r.Commit)
	fmt.Fprintf(&b, "%s, %s, %d cores; %d interleaved rounds, medians.\n", r.Host.System, r.Host.CPU, r.Host.Cores, r.Rounds)
	if r.Quick {
		b.WriteString("A quick run: short and few rounds, good for a look, not for a claim.\n")
	}
	var versions []string
	for name, version := range r.Host.Versions {
		versions = append(versions, name+" "+version)
	}
	slices.Sort(versions)
	fmt.Fprintf(&b, "Versions: %s.\n", strings.Join(versions, ", "))
	for _, name := range slices.Sorted(maps.Keys(r.Missing)) {
		fmt.Fprintf(&b, "Not measured: %s (%s).\n", name, r.Missing[name])
	}
	b.WriteString("\n" + r.ratioTable() + "\n" + r.figureTable())
	return b.String()
}
