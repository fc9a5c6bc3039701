package main

import (
	"math"
	"os"
	"runtime/debug"

	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

// process is what the command line says about the process itself.
type process struct {
	allowRoot  bool
	noLandlock bool
}

func (p *process) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.allowRoot, "allow-root", false, "run as root nevertheless")
	cmd.Flags().BoolVar(&p.noLandlock, "no-landlock", false, "do not keep the process to the folders that the configuration names")
}

// user refuses root: nothing here needs its rights, so a hole in the proxy
// would open the whole machine for nothing.
func (p *process) user(uid int) error {
	if uid == 0 && !p.allowRoot {
		return usage("serve does not run as root, as it needs no right of root's: start it as a user of its own, or say --allow-root")
	}
	return nil
}

// memoryShare of the control group's limit is what Go's collector works
// towards: the kernel ends a process at the limit itself, and some memory is
// not the collector's.
const memoryShare = 0.9

// boundMemory lets the collector work harder near the control group's limit,
// unless GOMEMLIMIT says otherwise.
func boundMemory(log *zap.Logger) {
	if _, set := os.LookupEnv("GOMEMLIMIT"); set {
		return
	}
	if bound := config.MemoryBound(); bound > 0 {
		debug.SetMemoryLimit(collectorLimit(bound))
		log.Info("memory", zap.Int64("control_group_limit", bound), zap.Int64("collector_limit", collectorLimit(bound)))
	}
}

func collectorLimit(bound int64) int64 { return int64(math.Round(float64(bound) * memoryShare)) }
