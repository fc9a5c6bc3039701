package proxy

import (
	"math"
	"syscall"

	"go.uber.org/zap"
)

// keptDescriptors are not for clients: without them a crowd at the door would
// keep nodes from being dialled, health from being asked for, files from being
// read anew. A connection on its way to its loop needs a second one for a moment.
const keptDescriptors = 128

// roomFor gives how many connections fit a process with that many descriptors,
// most of those asked for.
func roomFor(connections int, descriptors uint64) int {
	kept := min(keptDescriptors, descriptors/2)
	return int(min(uint64(connections), max(1, descriptors-kept)))
}

// fitDescriptors lowers limits.connections to what the system lets the process open.
func (s *Server) fitDescriptors(l *Limits) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return
	}
	descriptors := min(uint64(r.Cur), math.MaxInt)
	if n := roomFor(l.Connections, descriptors); n < l.Connections {
		s.log.Warn("limits.connections is more than the system lets this process open; raise its limit of open files (ulimit -n)",
			zap.Int("connections", l.Connections), zap.Uint64("open_files", descriptors), zap.Int("limit_in_force", n))
		l.Connections = n
	}
}
