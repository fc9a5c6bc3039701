package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// memtier is the load generator of mixed points: ten reads for a write, of random keys. It is measured with when it is
// on PATH.
const memtier = "memtier_benchmark"

// runMixed runs memtier_benchmark once, as runLoad runs redis-benchmark.
func runMixed(ctx context.Context, t *target, r *rig, p point, requests int) (load, error) {
	host, port, err := net.SplitHostPort(t.address[p.Listener])
	if err != nil {
		return load{}, fmt.Errorf("%s has no %s address: %w", t.name, p.Listener, err)
	}
	out := filepath.Join(r.dir, "memtier.json")
	defer os.Remove(out)
	const threads = 2
	args := []string{"-s", host, "-p", port, "--hide-histogram", "--ratio", "1:10", "-d", strconv.Itoa(p.Size),
		"-t", strconv.Itoa(threads), "-c", strconv.Itoa(max(1, p.Clients/threads)), "--pipeline", strconv.Itoa(p.Pipeline),
		"-n", strconv.Itoa(max(1, requests/p.Clients)), "--key-maximum", "100000", "--json-out-file", out}
	if p.Listener == "mtls" {
		args = append(args, "--tls", "--cert", r.pki.clientCert, "--key", r.pki.clientKey, "--cacert", r.pki.ca)
	}
	if t.user != "" {
		args = append(args, "--authenticate", t.user+":"+t.password)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, memtier, args...)
	cmd.Stdout, cmd.Stderr = &printed, &printed
	if err := cmd.Run(); err != nil {
		return load{}, fmt.Errorf("%s through %s: %w: %.200q", memtier, t.name, err, printed.String())
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return load{}, err
	}
	return parseMemtier(text)
}

// parseMemtier reads the latencies of all requests together out of memtier's JSON.
func parseMemtier(text []byte) (load, error) {
	var doc struct {
		All struct {
			Totals struct {
				Latencies map[string]float64 `json:"Percentile Latencies"`
			}
		} `json:"ALL STATS"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return load{}, fmt.Errorf("%s: its JSON: %w", memtier, err)
	}
	p50, p99 := doc.All.Totals.Latencies["p50.00"], doc.All.Totals.Latencies["p99.00"]
	if p50 <= 0 || p99 <= 0 {
		return load{}, fmt.Errorf("%s: its JSON has no latencies", memtier)
	}
	return load{p50: micros(p50), p99: micros(p99)}, nil
}
