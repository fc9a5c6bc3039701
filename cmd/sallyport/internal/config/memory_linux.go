package config

import "golang.org/x/sys/unix"

// systemMemory asks the kernel where /proc is not mounted, as in a plain chroot.
func systemMemory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, err
	}
	return int64(uint64(info.Totalram) * uint64(info.Unit)), nil
}
