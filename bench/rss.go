package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// memory is what a process has in RAM, in bytes: now, and at most since resetPeak.
type memory struct{ rss, peak int64 }

// parseStatus finds VmRSS and VmHWM, which are in KiB.
func parseStatus(text []byte) (m memory, err error) {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[2]) != "kB" {
			continue
		}
		to := &m.rss
		switch string(fields[0]) {
		case "VmRSS:":
		case "VmHWM:":
			to = &m.peak
		default:
			continue
		}
		n, err := strconv.ParseInt(string(fields[1]), 10, 50)
		if err != nil {
			return m, fmt.Errorf("status of a measured process: %w", err)
		}
		*to = n << 10
	}
	if m.rss == 0 || m.peak == 0 {
		return m, errors.New("status of a measured process: no memory in it")
	}
	return m, nil
}
