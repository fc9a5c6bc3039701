package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ratioTable is own ÷ peer against what was promised.
func (r report) ratioTable() string {
	if len(r.Ratios) == 0 {
		return "No ratios: sallyport itself or its peers were not measured.\n"
	}
	rows := [][]string{{"point", "against", "metric", "own", "peer", "own ÷ peer", "rounds", "must", "aim", ""}}
	for _, q := range r.Ratios {
		against := q.Peer
		if q.Own != own {
			against = q.Own + " ÷ " + q.Peer
		}
		bound, share := "≤", fmt.Sprintf("%.2f–%.2f", q.Low, q.High)
		if q.Absolute {
			share = "–"
		}
		if q.Metric.higherIsBetter() {
			bound = "≥"
		}
		rows = append(rows, []string{
			q.Point, against, string(q.Metric), figure(q.Mine), figure(q.Theirs), fmt.Sprintf("%.2f", q.Ratio),
			share, fmt.Sprintf("%s %.2f", bound, q.Must), fmt.Sprintf("%s %.2f", bound, q.Aim), q.Result,
		})
	}
	return "## Own figure ÷ peer's\n\n" + align(rows) +
		"\nCPU and connection in µs, rate in requests a second, latency in µs. Memory is held against a bound in KiB, not against the peer.\n"
}

// figureTable is what was measured.
func (r report) figureTable() string {
	rows := [][]string{{"point", "target", "rate/s", "p50 ms", "p99 ms", "proxy µs", "lowest–highest", "user %", "Redis µs"}}
	memory := [][]string{{"idle clients", "target", "RSS MiB", "KiB each"}}
	for _, m := range r.Measured {
		if m.Median.RSS > 0 {
			memory = append(memory, []string{fmt.Sprint(m.Clients), m.Target, fmt.Sprintf("%.1f", m.Median.RSS/mib), fmt.Sprintf("%.1f", m.Median.PerClient)})
			continue
		}
		row := []string{m.Point, m.Target, fmt.Sprintf("%.0f", m.Median.Rate), fmt.Sprintf("%.2f", m.Median.P50/1000), fmt.Sprintf("%.2f", m.Median.P99/1000)}
		if m.HighCPU > 0 {
			row = append(row, figure(m.Median.ProxyCPU), figure(m.LowCPU)+"–"+figure(m.HighCPU), fmt.Sprintf("%.0f", 100*m.Median.ProxyUser))
		} else {
			row = append(row, "–", "–", "–")
		}
		rows = append(rows, append(row, figure(m.Median.RedisCPU)))
	}
	text := "## Measured\n\nCPU a request, while all connections are up; of full and resumed, a connection.\n\n" + align(rows)
	if len(memory) > 1 {
		text += "\n## Memory\n\nOf the process with clients that are connected, logged in and do nothing.\n\n" + align(memory)
	}
	if len(r.Links) == 0 {
		return text
	}
	rows = [][]string{{"connections", "target", "proxy µs each"}}
	for _, c := range r.Links {
		rows = append(rows, []string{fmt.Sprintf("%s c%d", c.Listener, c.Clients), c.Target, figure(c.CPU)})
	}
	return text + "\n## Connections\n\nOpen, full handshake where there is TLS, one request, close.\n\n" + align(rows)
}

// figure prints a number with three digits that mean something.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// align makes a Markdown table whose source is readable too. The first row is the head.
func align(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text), 3)
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, text := range row {
			fmt.Fprintf(&b, "| %s%s ", text, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)))
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, w := range widths {
				b.WriteString("| " + strings.Repeat("-", w) + " ")
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}
