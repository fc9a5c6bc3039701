package main

import (
	"fmt"
	"os"
)

// readMemory reads /proc/PID/status.
func readMemory(pid int) (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, fmt.Errorf("memory of a measured process: %w", err)
	}
	return parseStatus(text)
}

// resetPeak has the kernel forget the highest memory so far.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o600)
}
