package config

import "golang.org/x/sys/unix"

// systemMemory asks the kernel where there is no /proc.
func systemMemory() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	return int64(n), err
}
