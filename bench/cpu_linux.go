package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// readCPU is the process's CPU so far. /proc/PID/stat has utime and stime in steps of 10 ms, too coarse for a run of a
// tenth of a second; the process's CPU clock counts their sum to the nanosecond.
func readCPU(pid int) (cpuTime, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cpuTime{}, fmt.Errorf("CPU of a measured process: %w", err)
	}
	used, err := parseStat(string(stat))
	if err != nil {
		return cpuTime{}, fmt.Errorf("/proc/PID/stat: %w", err)
	}
	var fine unix.Timespec
	if err := unix.ClockGettime(cpuClock(pid), &fine); err == nil {
		used.total = time.Duration(fine.Nano())
	} // a kernel that hides the clock leaves the coarse sum, which is right as well
	return used, nil
}

// cpuClock is the id of another process's CPU clock, as clock_getcpuclockid(3) makes it: the pid inverted above three
// bits that say "whole process, scheduler's time".
func cpuClock(pid int) int32 { return int32(^pid)<<3 | 2 }
