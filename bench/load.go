package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// load is the latency redis-benchmark saw over a whole run. Its rate is not taken: it has the connecting in it.
type load struct{ p50, p99 time.Duration }

// runLoad runs redis-benchmark once. Any line it prints on stderr but the warning that CONFIG was refused is an error:
// a run in which errors were counted as replies is worth nothing.
func runLoad(ctx context.Context, t *target, pki credentials, p point, requests int) (load, error) {
	host, port, err := net.SplitHostPort(t.address[p.Listener])
	if err != nil {
		return load{}, fmt.Errorf("%s has no %s address: %w", t.name, p.Listener, err)
	}
	args := []string{"-h", host, "-p", port, "-t", p.Command, "-d", strconv.Itoa(p.Size), "-c", strconv.Itoa(p.Clients),
		"-P", strconv.Itoa(p.Pipeline), "-n", strconv.Itoa(requests), "--csv"}
	if p.Command == "mset" {
		args = append(args, "-r", splitKeyspace)
	}
	if p.Listener == "mtls" {
		args = append(args, "--tls", "--cert", pki.clientCert, "--key", pki.clientKey, "--cacert", pki.ca)
	}
	if t.user != "" {
		args = append(args, "--user", t.user, "-a", t.password)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "redis-benchmark", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		return load{}, fmt.Errorf("redis-benchmark through %s: %w", t.name, ctx.Err())
	}
	if complaint := complaints(stderr.String()); err != nil || complaint != "" {
		return load{}, fmt.Errorf("redis-benchmark through %s: %s (%v)", t.name, complaint, err)
	}
	title := p.Command
	if title == "mset" {
		title = "mset (10 keys)"
	}
	result, err := parseCSV(stdout.String(), title)
	if err != nil {
		return load{}, fmt.Errorf("redis-benchmark through %s: %w", t.name, err)
	}
	return result, nil
}

// complaints is what redis-benchmark printed that it should not have, on one line.
func complaints(stderr string) string {
	var bad []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		switch line {
		case "", "WARNING: Could not fetch server CONFIG": // a proxy may refuse CONFIG; the load is the same
		default:
			bad = append(bad, line)
		}
	}
	return strings.Join(bad, " | ")
}

// parseCSV finds the line of one command in redis-benchmark --csv (Redis 7: a header names the columns).
func parseCSV(text, command string) (load, error) {
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return load{}, fmt.Errorf("its CSV: %w", err)
	}
	if len(records) < 2 {
		return load{}, errors.New("its CSV has no figures")
	}
	column := map[string]int{}
	for i, name := range records[0] {
		column[name] = i
	}
	for _, record := range records[1:] {
		if !strings.EqualFold(record[0], command) {
			continue
		}
		var ms [2]float64
		for i, name := range []string{"p50_latency_ms", "p99_latency_ms"} {
			at, ok := column[name]
			if !ok {
				return load{}, fmt.Errorf("its CSV has no column %s", name)
			}
			if ms[i], err = strconv.ParseFloat(record[at], 64); err != nil {
				return load{}, fmt.Errorf("its CSV, %s: %w", name, err)
			}
		}
		return load{p50: micros(ms[0]), p99: micros(ms[1])}, nil
	}
	return load{}, fmt.Errorf("its CSV has no line for %s", command)
}

// micros turns milliseconds as redis-benchmark prints them, with three digits behind the point, into a duration.
func micros(ms float64) time.Duration { return time.Duration(math.Round(ms*1000)) * time.Microsecond }
