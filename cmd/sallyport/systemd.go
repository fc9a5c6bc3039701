package main

import (
	"context"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// supervisor is who started the process and wants to hear from it, as systemd
// does of a unit with Type=notify; without one nothing is said. Its methods are
// safe for concurrent use.
type supervisor struct{ log *zap.Logger }

func (s supervisor) say(format string, args ...any) {
	if _, err := sd.SdNotify(false, fmt.Sprintf(format, args...)); err != nil {
		s.log.Warn("the supervisor can't be told", zap.Error(err))
	}
}

func (s supervisor) ready(status string) { s.say("%s\nSTATUS=%s", sd.SdNotifyReady, status) }

// reloading is followed by ready, whatever becomes of the reload. The time in it
// tells the supervisor which of two signals it belongs to.
func (s supervisor) reloading() {
	s.say("%s\n%sSTATUS=reloading", sd.SdNotifyReloading, sd.SdNotifyMonotonicUsec())
}

// stopping also says how long the end may take, so that a shorter time-out of
// the unit does not cut a drain.
func (s supervisor) stopping(within time.Duration) {
	s.say("%s\nEXTEND_TIMEOUT_USEC=%d\nSTATUS=draining", sd.SdNotifyStopping, within.Microseconds())
}

// watchdog tells a supervisor that wants it (WatchdogSec=) at half its interval
// that the process works, as long as alive says so, until ctx ends.
func (s supervisor) watchdog(ctx context.Context, alive func(context.Context) error) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("the supervisor's watchdog asks for what is no time", zap.Error(err))
		return
	}
	if interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		within, cancel := context.WithTimeout(ctx, interval/4)
		err := alive(within)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("an event loop does not answer; the supervisor will end this process", zap.Error(err))
		default:
			s.say("%s", sd.SdNotifyWatchdog)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
