package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// plot is one picture of a report: the end of its file's name, what it shows, and itself.
type plot struct{ suffix, says, svg string }

// plots draws what a report has figures for.
func (r report) plots() (all []plot) {
	if len(r.Ratios) > 0 {
		all = append(all, plot{"goals", "Every ratio as a share of what was promised: below 1 the promise is kept. The small mark is the aim.", r.goalBars().svg()})
	}
	for _, base := range []struct{ listener, peer, suffix string }{{"mtls", "haproxy", "mtls"}, {"plain", "nutcracker", "plain"}} {
		if b := r.cpuBars(base.listener, base.peer); len(b.rows) > 0 {
			all = append(all, plot{base.suffix, "CPU a request as a multiple of " + base.peer + "'s.", b.svg()})
		}
	}
	if l := r.idleLines(); len(l.series) > 0 {
		all = append(all, plot{"idle", "Memory of the whole process with clients that are connected and do nothing.", l.svg()})
	}
	return all
}

// goalBars has a bar for every ratio: its share of the bound.
func (r report) goalBars() bars {
	b := bars{title: "Promises: share of the bound that was used", unit: "1 = the bound", mark: 1}
	for _, q := range r.Ratios {
		x := bar{series: "against " + q.Peer}
		switch {
		case q.Ratio <= 0:
			continue
		case q.Absolute:
			x.value, x.tick = q.Mine/q.Must, q.Aim/q.Must
		case q.Metric.higherIsBetter():
			x.value, x.tick = q.Must/q.Ratio, q.Must/q.Aim
		default:
			x.value, x.tick = q.Ratio/q.Must, q.Aim/q.Must
		}
		b.rows = append(b.rows, barGroup{label: q.Point + " " + string(q.Metric), bars: []bar{x}})
	}
	return b
}

// cpuBars compares the CPU a request of all targets at the points where the peer was measured.
func (r report) cpuBars(listener, peer string) bars {
	b := bars{title: "Proxy CPU a request, " + peer + " = 1", unit: "multiple of " + peer + "'s", mark: 1}
	theirs := map[string]float64{}
	for _, m := range r.Measured {
		if m.Target == peer && strings.HasPrefix(m.Point, listener+"-") {
			theirs[m.Point] = m.Median.ProxyCPU
		}
	}
	for _, m := range r.Measured {
		base := theirs[m.Point]
		if base == 0 || m.Median.ProxyCPU == 0 {
			continue
		}
		if n := len(b.rows); n == 0 || b.rows[n-1].label != m.Point {
			b.rows = append(b.rows, barGroup{label: m.Point})
		}
		last := &b.rows[len(b.rows)-1]
		last.bars = append(last.bars, bar{series: m.Target, value: m.Median.ProxyCPU / base})
	}
	return b
}

// idleLines is memory over clients.
func (r report) idleLines() lines {
	l := lines{title: "Memory with idle mTLS clients", x: "clients", y: "RSS, MiB"}
	for _, m := range r.Measured {
		if m.Median.RSS == 0 {
			continue
		}
		at := slices.IndexFunc(l.series, func(c curve) bool { return c.name == m.Target })
		if at < 0 {
			at = len(l.series)
			l.series = append(l.series, curve{name: m.Target})
		}
		l.series[at].points = append(l.series[at].points, [2]float64{float64(m.Clients), m.Median.RSS / mib})
	}
	for _, s := range l.series {
		slices.SortFunc(s.points, func(a, b [2]float64) int { return int(a[0] - b[0]) })
	}
	return l
}

// savePlots writes each beside the report and gives the Markdown that shows them.
func (r report) savePlots(base string) (markdown string, err error) {
	for _, p := range r.plots() {
		path := base + "-" + p.suffix + ".svg"
		err = errors.Join(err, os.WriteFile(path, []byte(p.svg), 0o644))
		markdown += p.says + "\n\n![" + p.suffix + "](" + filepath.Base(path) + ")\n\n"
	}
	if markdown != "" {
		markdown = "## Plots\n\n" + markdown
	}
	return markdown, err
}
