package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/sallyport/sallyport/proxy"
)

// What a process needs beside the buffers that limits.memory bounds.
const (
	perConnection = 16 << 10 // of an idle client with TLS
	ownMemory     = 8 << 20
)

// limitForClients is what the collector works towards. It would otherwise let
// as much garbage pile up as there is memory in use, so that clients who fill
// limits.memory cost the machine twice that.
func limitForClients(l proxy.Limits) int64 {
	return l.Memory + l.Memory/10 + int64(l.Connections)*perConnection + ownMemory
}

// boundCollector sets the collector's limit, unless GOMEMLIMIT says otherwise.
// It is never above most, which the control group asks for; a reload that
// raises limits.memory raises it.
func boundCollector(l proxy.Limits, most int64) {
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(min(most, limitForClients(l)))
	}
}

const (
	tidyEvery = 5 * time.Second
	tidyBurst = 24 << 20 // allocated since it was last tidied; less is not worth the work
	tidyQuiet = 1 << 20  // allocated since the last look; more says that the memory will be needed
)

// tidy gives memory back after a burst: a thousand handshakes leave as much
// garbage as their clients' state takes, and a process that then allocates
// nothing has no reason to collect for minutes. It ends with ctx.
func tidy(ctx context.Context) {
	read := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for last, done := uint64(0), uint64(0); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(read)
		allocated := read[0].Value.Uint64()
		if allocated-last < tidyQuiet && allocated-done > tidyBurst {
			debug.FreeOSMemory()
			done = allocated
		}
		last = allocated
	}
}
