package main

import (
	"runtime"
	"time"
)

// pace keeps a reload from taking a processor for longer than a call takes. It is
// long work in small parts, and after each it rests: on a machine whose processors
// are all at work, whatever waits behind a part waits no longer than that part takes,
// and finds the processor free before the next one. A reload at once would be over
// sooner, and be seen in everybody's slowest calls.
//
// Not a thread of low priority: descheduled, it would keep what the Go scheduler
// needs to run anybody else, the loops and the collector among them.
type pace struct {
	since  time.Time // when the part at hand began
	rested time.Duration
}

const (
	restAfter = 20 * time.Microsecond // less work than that is no part of its own
	restFor   = 4                     // times as long as the part took
	restLeast = 200 * time.Microsecond
	restMost  = 5 * time.Millisecond
	// restAll bounds what a reload of many thousand users may take longer for it.
	restAll = time.Second
)

// rest ends a part of the work.
func (p *pace) rest() {
	worked := time.Since(p.since)
	if worked < restAfter {
		return
	}
	if p.rested >= restAll {
		runtime.Gosched()
	} else {
		d := min(max(restFor*worked, restLeast), restMost)
		time.Sleep(d)
		p.rested += d
	}
	p.since = time.Now()
}
