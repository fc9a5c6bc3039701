package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// cell is where a target meets a point.
type cell struct{ point, target string }

// kind is what two points share when their connections cost the same.
type kind struct {
	listener string
	clients  int
}

func (p point) kind() kind { return kind{p.Listener, p.Clients} }

// link is where a target meets a kind of connection.
type link struct {
	kind
	target string
}

// series is every cell's figures, a round after the other, and what a connection costs each target, in µs of proxy CPU.
type series struct {
	rounds []map[cell]figures
	links  map[link][]float64
}

// play runs all rounds: in each, first what connections cost, then every point through every target. Targets follow
// each other directly at a point, and every other round runs them backwards, so that a machine that speeds up or slows
// down meets them all alike.
func play(ctx context.Context, r *rig, chosen []point, targets []*target, rounds int, progress io.Writer) (series, error) {
	s := series{links: map[link][]float64{}}
	start := time.Now()
	for round := range rounds {
		order := slices.Clone(targets)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		if err := s.playConnections(ctx, r, chosen, order); err != nil {
			return series{}, err
		}
		got := map[cell]figures{}
		for _, p := range chosen {
			for _, t := range order {
				if !wants(p, t.name) || p.idle() {
					continue
				}
				f, err := measure(ctx, r, t, p)
				if err != nil {
					return series{}, fmt.Errorf("%s: %w", p, err)
				}
				got[cell{p.String(), t.name}] = f
				fmt.Fprintf(progress, "round %d/%d %-22s %-14s %8.1fk/s  proxy %7.2f µs  redis %6.2f µs  p99 %8.2f ms\n",
					round+1, rounds, p, t.name, f.Rate/1000, f.ProxyCPU, f.RedisCPU, f.P99/1000)
			}
		}
		s.rounds = append(s.rounds, got)
		spent := time.Since(start)
		fmt.Fprintf(progress, "round %d/%d done after %s, about %s to go\n", round+1, rounds, spent.Round(time.Second),
			(spent / time.Duration(round+1) * time.Duration(rounds-round-1)).Round(time.Second))
	}
	return s, s.playIdle(ctx, r, chosen, targets, progress)
}

// playIdle measures memory, which needs no rounds: it does not wander. Targets are started anew for it, so it comes last.
func (s *series) playIdle(ctx context.Context, r *rig, chosen []point, targets []*target, progress io.Writer) error {
	got := map[cell]figures{}
	for _, p := range chosen {
		for _, t := range targets {
			if !p.idle() || t.process == nil || !wants(p, t.name) {
				continue
			}
			f, err := measureIdle(ctx, r, t, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			got[cell{p.String(), t.name}] = f
			fmt.Fprintf(progress, "memory    %-22s %-14s %8.1f MiB  %6.1f KiB a client\n", p, t.name, f.RSS/mib, f.PerClient)
		}
	}
	if len(got) > 0 {
		s.rounds = append(s.rounds, got)
	}
	return nil
}

// playConnections measures what connections alone cost, once for each target with a proxy and each kind.
func (s series) playConnections(ctx context.Context, r *rig, chosen []point, targets []*target) error {
	done := map[link]bool{}
	for _, p := range chosen {
		for _, t := range targets {
			at := link{p.kind(), t.name}
			if done[at] || t.pid == 0 || !wants(p, t.name) || p.handshakes() || p.idle() {
				continue
			}
			done[at] = true
			cost, err := measureConnections(ctx, r, t, p)
			if err != nil {
				return fmt.Errorf("%d connections: %w", p.Clients, err)
			}
			s.links[at] = append(s.links[at], cost)
		}
	}
	return nil
}

// values are one metric of one cell, a value a round; nil when the cell was not measured.
func (s series) values(p point, target string, m metric) []float64 {
	if m == connCPU {
		if p.handshakes() || p.idle() {
			return nil
		}
		return s.links[link{p.kind(), target}]
	}
	var out []float64
	for _, round := range s.rounds {
		if f, ok := round[cell{p.String(), target}]; ok {
			out = append(out, f.value(m))
		}
	}
	return out
}

func (f figures) value(m metric) float64 {
	switch m {
	case proxyCPU:
		return f.ProxyCPU
	case totalCPU:
		return f.ProxyCPU + f.RedisCPU
	case rate:
		return f.Rate
	case p50:
		return f.P50
	case perIdle:
		return f.PerClient
	default:
		return f.P99
	}
}

// median of values; 0 for none. The values are left as they are.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}
