package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cpuTime is what a process, all its threads past and present together, has used. User and system come in steps of
// 10 ms and are counted by samples; total is as fine as the system has it.
type cpuTime struct{ user, system, total time.Duration }

// clockTick is the unit of utime and stime in /proc: USER_HZ, 100 a second on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// parseStat reads utime and stime out of /proc/PID/stat. The command's name stands in parentheses and may itself hold
// spaces and parentheses, so fields are counted from the last one.
func parseStat(stat string) (cpuTime, error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return cpuTime{}, errors.New("no command name")
	}
	fields := strings.Fields(stat[end+1:])
	const utime, stime = 14 - 3, 15 - 3 // proc(5) counts from 1; the field after the name is the third
	if len(fields) <= stime {
		return cpuTime{}, fmt.Errorf("%d fields after the name", len(fields))
	}
	user, err := strconv.ParseUint(fields[utime], 10, 63)
	if err != nil {
		return cpuTime{}, fmt.Errorf("utime: %w", err)
	}
	system, err := strconv.ParseUint(fields[stime], 10, 63)
	if err != nil {
		return cpuTime{}, fmt.Errorf("stime: %w", err)
	}
	c := cpuTime{user: time.Duration(user) * clockTick, system: time.Duration(system) * clockTick}
	c.total = c.user + c.system
	return c, nil
}

func (c cpuTime) minus(earlier cpuTime) cpuTime {
	return cpuTime{c.user - earlier.user, c.system - earlier.system, c.total - earlier.total}
}

func (c cpuTime) plus(other cpuTime) cpuTime {
	return cpuTime{c.user + other.user, c.system + other.system, c.total + other.total}
}

// middle is halfway between two readings.
func middle(a, b cpuTime) cpuTime {
	return cpuTime{(a.user + b.user) / 2, (a.system + b.system) / 2, (a.total + b.total) / 2}
}
