package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"go.uber.org/zap"
)

// enclosure keeps the process to the folders that its configuration names, where
// the kernel can (Landlock, Linux 5.13 and later): what gets hold of the process
// can't read or write the rest of the machine, whatever user it runs as. Network
// access is not restricted, as nodes and issuers may move.
//
// Folders, not files: whoever renews a certificate or rotates a log renames
// another file into place.
type enclosure struct {
	reads, writes []string // absolute, without links, sorted
	up            bool
}

// systemPaths are read by Go's own libraries at any time: names of hosts,
// authorities of issuers' web servers, time zones, and what the process's
// metrics and limits say. /etc as a whole, since its files are replaced by renaming.
func systemPaths() []string {
	paths := []string{
		"/etc", "/usr/share/ca-certificates", "/usr/share/zoneinfo", "/usr/local/share/ca-certificates", "/usr/lib/ssl", "/var/lib/ca-certificates",
		"/proc/self", "/proc/stat", "/proc/meminfo", "/proc/sys", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage", "/dev/urandom",
	}
	for _, f := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/localtime", "/etc/ssl/certs"} {
		for _, name := range onTheWay(f)[1:] {
			paths = append(paths, filepath.Dir(name))
		}
	}
	return paths
}

// enclosureFor gives the enclosure of a configuration that has read the files named.
func enclosureFor(cfg *config.Config, named []string) *enclosure {
	return &enclosure{reads: foldersOf(named), writes: foldersOf(cfg.Written())}
}

// foldersOf gives the folders of files and of every link on their way.
func foldersOf(files []string) []string {
	var dirs []string
	for _, file := range files {
		for _, name := range onTheWay(file) {
			if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return dirs
}

// close shuts the process in for the rest of the process's life.
func (f *enclosure) close(log *zap.Logger) error {
	enforced, err := restrictPaths(f.reads, f.writes)
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if f.up = enforced; !enforced {
		log.Info("the kernel has no Landlock, so files are kept apart by their owners and modes only")
		return nil
	}
	log.Info("kept to folders (Landlock)", zap.Strings("reads", f.reads), zap.Strings("writes", f.writes))
	return nil
}

// admits says which of the files that a reload needs lie where the process can't
// reach any more, and what to do.
func (f *enclosure) admits(named, written []string) error {
	if !f.up {
		return nil
	}
	var outside []string
	look := func(files []string, reachable func(dir string) bool) {
		for _, file := range files {
			for _, dir := range foldersOf([]string{file}) {
				if !reachable(dir) && !slices.Contains(outside, file) {
					outside = append(outside, file)
				}
			}
		}
	}
	system := sync.OnceValue(systemPaths) // asks the file system, and mostly nobody needs it
	look(named, func(dir string) bool { return within(f.reads, dir) || within(f.writes, dir) || within(system(), dir) })
	look(written, func(dir string) bool { return within(f.writes, dir) })
	if len(outside) == 0 {
		return nil
	}
	return fmt.Errorf("%s: outside the folders that were named at the start, which the process is kept to (Landlock): restart to add a folder", strings.Join(outside, ", "))
}

// within reports whether dir is one of folders, or lies in one.
func within(folders []string, dir string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool { return below(folder, dir) })
}

// below reports whether dir is folder or lies in it.
func below(folder, dir string) bool {
	return dir == folder || folder == "/" || strings.HasPrefix(dir, folder+string(os.PathSeparator))
}
