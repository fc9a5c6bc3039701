package config

import (
	"slices"
	"time"
)

// Written gives the absolute paths of what a running proxy makes or replaces:
// event files, the ACL file, sockets.
func (c *Config) Written() []string {
	var files []string
	for _, s := range c.Sinks {
		if s.Path != "" {
			files = append(files, s.Path)
		}
	}
	if f := c.rules.aclFile.path; f != "" {
		files = append(files, f)
	}
	for _, l := range c.listeners {
		if l.address.network == "unix" {
			files = append(files, l.address.text)
		}
	}
	if c.Admin != nil && c.Admin.Network == "unix" {
		files = append(files, c.Admin.Address)
	}
	return slices.Compact(files)
}

// MemoryBound is the least memory limit of the process's control groups, in
// bytes; 0: there is none.
func MemoryBound() int64 { return machineIsHere().machine.cgroupLimit() }

// Ending is how long the end of the process may take: the drain, and what is
// left to write.
func (c *Config) Ending() time.Duration {
	return c.shutdown.Delay + c.shutdown.Timeout + 15*time.Second
}
