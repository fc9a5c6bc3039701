package config

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// machine tells how much memory the process may use, in bytes: the least limit
// of its control groups, else the machine's RAM. root is where /proc and /sys
// are, "/" but in tests.
type machine struct{ root string }

func (m machine) memory() (int64, error) {
	if m.root != "/" {
		return m.ask()
	}
	thisMachine.Lock()
	defer thisMachine.Unlock()
	if now := time.Now(); thisMachine.asked.IsZero() || now.Sub(thisMachine.asked).Abs() > askedFor {
		thisMachine.asked = now
		thisMachine.bytes, thisMachine.err = m.ask()
	}
	return thisMachine.bytes, thisMachine.err
}

// askedFor is how long an answer holds: limits change, but a run of reloads need not
// read the kernel's files each time.
const askedFor = time.Second

var thisMachine struct {
	sync.Mutex
	asked time.Time
	bytes int64
	err   error
}

func (m machine) ask() (int64, error) {
	ram, err := m.ram()
	if limit := m.cgroupLimit(); limit > 0 && (err != nil || limit < ram) {
		return limit, nil
	}
	return ram, err
}

// cgroupLimit is the least limit on the way from the process's group to the
// top, for version 2 of control groups and for version 1; 0 if there is none.
func (m machine) cgroupLimit() int64 {
	text, err := os.ReadFile(path.Join(m.root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	var least int64
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		// hierarchy:controllers:path
		_, rest, _ := strings.Cut(lines.Text(), ":")
		controllers, group, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		folder, name := "sys/fs/cgroup", "memory.max"
		if controllers != "" {
			if !strings.Contains(","+controllers+",", ",memory,") {
				continue
			}
			folder, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for g := path.Clean("/" + group); ; g = path.Dir(g) {
			if n := m.limitIn(path.Join(m.root, folder, g, name)); n > 0 && (least == 0 || n < least) {
				least = n
			}
			if g == "/" {
				break
			}
		}
	}
	return least
}

// limitIn reads one limit file; 0 for "max", for no file, and for version 1's
// way of saying "none", a number near the largest.
func (m machine) limitIn(name string) int64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n >= 1<<60 {
		return 0
	}
	return n
}

// ram is the machine's memory, as the kernel tells it.
func (m machine) ram() (int64, error) {
	text, err := os.ReadFile(path.Join(m.root, "proc/meminfo"))
	switch {
	case err != nil && m.root == "/":
		return systemMemory()
	case err != nil:
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 53)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo says no MemTotal")
}
