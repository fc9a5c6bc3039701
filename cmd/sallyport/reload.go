package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/proxy/audit"
	"go.uber.org/zap"
)

// reload reads the files again and puts all of it in force, or nothing. What is
// wrong is logged with its place, and returned.
func (d *daemon) reload(by audit.Method) error { return d.reloadFor(by, "") }

// reloadFor is reload for somebody who asked by name.
func (d *daemon) reloadFor(by audit.Method, who string) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	d.over.reloading()
	defer d.over.ready("serving")
	began, before := time.Now(), d.watch.before()
	defer d.watch.done()
	pace := pace{since: time.Now()}
	pace.rest()
	cfg, problems, named := config.LoadNaming(d.path, config.Keep{Hits: d.hits, Table: d.server.Table(), Was: d.cfg, Seen: d.watch.seen, Rest: pace.rest})
	d.watch.tried(before, began, named)
	pace.rest()
	var written []string
	if cfg != nil {
		written = cfg.Written()
	}
	// A rotated certificate is no word about users: what ACL SETUSER made of them
	// stays. Whoever asks for a reload by hand asks for the files.
	keepUsers := by == audit.MethodWatch && d.watch.only(before, d.cfg.Credentials())
	err := d.enclosure.admits(named, written)
	if err != nil {
		problems = nil // that they can't be read is no fault of theirs
	} else {
		err = d.replace(cfg, problems, keepUsers)
	}
	event := audit.Event{Time: time.Now(), Kind: audit.Reload, Method: by, User: who, Status: audit.OK, Duration: time.Since(began)}
	if err != nil {
		event.Status, event.Rule = audit.Failed, err.Error()
		if faults := problems.Faults(); len(faults) > 0 {
			event.Rule = faults[0].String()
		}
	}
	d.recorder.Record(&event)
	d.tell(&event, len(problems.Faults()))
	d.server.MetricSet().Reloaded(err == nil, event.Time)
	if err != nil {
		for _, p := range problems.Faults() {
			d.log.Error("reload: fault", at(p), zap.String("what", p.What), zap.String("hint", p.Hint))
		}
		d.log.Error("reload failed, nothing has changed", zap.Error(err))
		return err
	}
	d.watch.taken()
	for _, p := range problems.Warnings() {
		d.log.Warn("configuration", at(p), zap.String("finding", p.What), zap.String("hint", p.Hint))
	}
	d.log.Info("reloaded", zap.Strings("files", cfg.Files), zap.Duration("took", event.Duration))
	return nil
}

// replace puts cfg in force, but for its users if they are to be kept.
func (d *daemon) replace(cfg *config.Config, problems config.Problems, keepUsers bool) error {
	if cfg == nil {
		return problems
	}
	if keys := d.cfg.NeedsRestart(cfg); len(keys) > 0 {
		return fmt.Errorf("%s: changes take effect at a restart only; undo them to reload the rest", strings.Join(keys, ", "))
	}
	if err := cfg.Succeeds(d.cfg); err != nil {
		return err
	}
	tokens, err := d.prepare(cfg, d.tokens.verifier)
	if err != nil {
		return err
	}
	options := cfg.Options(d.running(tokens))
	if keepUsers {
		options.Policy = nil
	}
	if err := d.server.Reload(options); err != nil {
		return err
	}
	boundCollector(options.Limits, d.collector)
	d.tokens.keep(tokens)
	d.cfg = cfg
	d.access.set(cfg)
	d.ending.Store(int64(cfg.Ending()))
	return nil
}

// reloadState is how the last reload ended, as /readyz shows it.
type reloadState struct {
	Status string    `json:"status"`
	Time   time.Time `json:"time"`
	By     string    `json:"by,omitempty"`
	Error  string    `json:"error,omitempty"`  // the first fault and its place
	Faults int       `json:"faults,omitempty"` // how many there are
}

func (d *daemon) tell(e *audit.Event, faults int) {
	s := &reloadState{Status: e.Status.String(), Time: e.Time.UTC(), By: e.Method.String()}
	if e.Status != audit.OK {
		s.Error, s.Faults = e.Rule, faults
	}
	d.told.Store(s)
}
