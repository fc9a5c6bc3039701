package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func newServe(std streams) *cobra.Command {
	var path string
	var checkOnly bool
	var how process
	var logs logOptions
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the proxy",
		Long: `Serve reads the configuration, opens the listeners and runs until it is told to
end. Its log goes to standard error, as text on a terminal and as JSON otherwise;
security events go to the sinks that the configuration names.

Signals: TERM and INT drain (no longer ready, no new clients, replies that are
owed are delivered) and end; a second one ends at once. HUP reloads
configuration, policy and certificates, all or nothing: a file with a fault
changes nothing, and the log says what is wrong and where. Listeners and backends
come and go with a reload; event sinks, workers, the nodes of a backend and a few
limits belong to the start, and a reload that would change one names it. USR1
opens the event files anew, for log rotation.

A supervisor is told of start, reload, end and well-being as systemd wants it
(Type=notify, WatchdogSec), and may pass sockets that are already bound (a socket
unit): each belongs to the listener with its address.

It refuses to run as root without --allow-root. Once started it is kept to the
folders that the configuration names where the kernel has Landlock: a reload that
names a file elsewhere says that it needs a restart. Where GOMEMLIMIT is not set,
it is nine tenths of the memory limit of the process's control group.

A change of any file that was read (configuration, policy, certificates, keys,
authorities, revocation lists, secrets) reloads as HUP does, within seconds.

Secrets come from files or the environment, never from the command line.`,
		Example: `  sallyport serve --config /etc/sallyport/sallyport.yaml
  sallyport serve --config sallyport.yaml --log-level debug --log-format text`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if checkOnly {
				return check(std, path, false, false)
			}
			if err := how.user(os.Geteuid()); err != nil {
				return err
			}
			return serve(cmd.Context(), std, path, how, logs)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&checkOnly, "check-config", false, "only check the configuration, as sallyport check does")
	how.flags(cmd)
	logs.flags(cmd)
	return cmd
}

// serve runs the proxy until a signal, ctx or a failure ends it.
func serve(ctx context.Context, std streams, path string, how process, logs logOptions) error {
	log, err := logs.newLogger(std.err)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }() // standard error may be a terminal, which can't be synced
	// From here on signals are ours: one that comes while starting must not be lost.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)

	w := newWatch(log)
	cfg, problems, err := w.load(std, path)
	if err != nil {
		return err
	}
	for _, p := range problems.Warnings() {
		log.Warn("configuration", at(p), zap.String("finding", p.What), zap.String("hint", p.Hint))
	}
	boundMemory(log)
	d, err := start(cfg, path, log, w)
	if err != nil {
		return &exit{exitFailure, err}
	}
	defer d.close()
	if how.noLandlock {
		log.Warn("not kept to folders: --no-landlock")
	} else if err := d.enclose(); err != nil {
		return &exit{exitFailure, err}
	}
	if err := d.run(ctx, signals); err != nil {
		return &exit{exitFailure, err}
	}
	return nil
}

// daemon is a running proxy with what is around it.
type daemon struct {
	path     string
	log      *zap.Logger
	recorder *audit.Recorder
	server   *proxy.Server

	collector int64 // the collector's limit before those of the configuration
	reloading sync.Mutex
	cfg       *config.Config // what is in force
	tokens    issuers
	hits      *acl.Hits // of rules, over all reloads
	watch     *watch
	enclosure *enclosure
	over      supervisor
	ending    atomic.Int64 // how long the end may take, a time.Duration

	drain    chan struct{} // asked for over HTTP
	admin    func()        // ends the admin endpoints
	adminAt  net.Addr      // where they listen; nil: nowhere
	adminErr chan error
	access   access                      // who may use them
	told     atomic.Pointer[reloadState] // how the last reload ended
}

// start opens the sinks, builds the proxy and binds its addresses. On an error
// nothing is left behind.
func start(cfg *config.Config, path string, log *zap.Logger, w *watch) (*daemon, error) {
	recorder, err := audit.New(audit.Options{Sinks: cfg.AuditSinks(), Logger: log})
	if err != nil {
		return nil, err
	}
	d := &daemon{
		path: path, log: log, recorder: recorder, cfg: cfg, watch: w, hits: w.hits,
		drain: make(chan struct{}, 1), admin: func() {}, adminErr: make(chan error, 1),
		enclosure: &enclosure{}, over: supervisor{log},
	}
	d.ending.Store(int64(cfg.Ending()))
	passed, err := passedSockets()
	if err == nil {
		defer passed.close()
		err = d.build(cfg, passed)
	}
	if err != nil {
		d.closeRecorder()
		return nil, err
	}
	if err = d.server.Start(); err == nil {
		err = d.startAdmin(passed)
	}
	if err == nil {
		err = passed.unclaimed()
	}
	if err != nil {
		d.close()
		return nil, err
	}
	for _, name := range cfg.Listeners() {
		log.Info("listening", zap.String("listener", name), zap.Stringer("address", d.server.Addr(name)))
	}
	d.server.MetricSet().Reloaded(true, time.Now()) // the first configuration counts as one
	log.Info("started", zap.String("version", version), zap.Int("pid", os.Getpid()), zap.Strings("files", cfg.Files))
	return d, nil
}

// enclose keeps the process to the folders of its files. A reload that came
// over HTTP meanwhile waits, or is what it is closed for.
func (d *daemon) enclose() error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	d.enclosure = enclosureFor(d.cfg, d.watch.list())
	return d.enclosure.close(d.log)
}

// build makes the proxy, which does not listen yet.
func (d *daemon) build(cfg *config.Config, passed *sockets) error {
	tokens, err := d.prepare(cfg, nil)
	if err != nil {
		return err
	}
	options := cfg.Options(d.running(tokens))
	for i := range options.Listeners {
		l := &options.Listeners[i]
		l.Bound = passed.take(l.Network, l.Address)
	}
	d.collector = debug.SetMemoryLimit(-1)
	boundCollector(options.Limits, d.collector)
	if d.server, err = proxy.NewServer(options); err != nil {
		for _, l := range options.Listeners {
			if l.Bound != nil {
				l.Bound.Close()
			}
		}
		return err
	}
	d.tokens.keep(tokens)
	return nil
}

func (d *daemon) running(tokens *token.Verifier) config.Running {
	return config.Running{Recorder: d.recorder, Logger: d.log, Version: version, Tokens: tokens, Quietly: d.watch.quietly}
}

// run obeys signals until one of them, ctx or a failure ends the proxy.
func (d *daemon) run(ctx context.Context, signals <-chan os.Signal) error {
	watching, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	d.watch.reload = func() error { return d.reload(audit.MethodWatch) }
	go tidy(watching)
	go func() {
		defer close(ended)
		d.watch.run(watching)
	}()
	defer func() { cancel(); <-ended }()
	barked := make(chan struct{})
	go func() {
		defer close(barked)
		d.over.watchdog(watching, d.server.Alive)
	}()
	defer func() { cancel(); <-barked }()
	d.over.ready("serving")
	for {
		select {
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				_ = d.reload(audit.MethodSignal) // logged and on record
			case syscall.SIGUSR1:
				d.reopen()
			default:
				return d.end(signals, s.String(), 1)
			}
		case <-d.drain:
			return d.end(signals, "admin", 0)
		case <-ctx.Done():
			return d.end(signals, "context", 0)
		case err := <-d.server.Fatal():
			return fmt.Errorf("the proxy can't go on: %w", err)
		case err := <-d.adminErr:
			return err
		}
	}
}

// reopen opens event files anew after a rotation.
func (d *daemon) reopen() {
	if err := d.recorder.Reopen(); err != nil {
		d.log.Error("event files could not all be opened anew", zap.Error(err))
		return
	}
	d.log.Info("event files opened anew")
}

var errTwice = errors.New("a second signal cut the drain short")

// end drains; a second TERM or INT cuts it short. heard is how many there were:
// none if the drain was asked for over HTTP, as a Kubernetes preStop hook does
// before the first signal comes, which must not cut it then.
func (d *daemon) end(signals <-chan os.Signal, why string, heard int) error {
	d.log.Info("draining", zap.String("by", why))
	d.over.stopping(time.Duration(d.ending.Load()))
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	drained := make(chan error, 1)
	go func() { drained <- d.server.Drain(ctx) }()
	for {
		select {
		case err := <-drained:
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			if err != nil {
				d.log.Warn("the drain took too long, the sessions left are cut", zap.Error(err))
			}
			d.log.Info("ended")
			return nil
		case s := <-signals:
			if s != syscall.SIGTERM && s != syscall.SIGINT {
				continue
			}
			if heard++; heard > 1 {
				cancel(errTwice)
			}
			d.log.Info("signal while draining", zap.String("signal", s.String()))
		case err := <-d.server.Fatal():
			cancel(err)
		}
	}
}

// close ends everything at once. It is fine after a drain and after a start
// that failed half-way.
func (d *daemon) close() {
	d.admin()
	d.server.Close()
	d.tokens.stop()
	d.closeRecorder()
}

func (d *daemon) closeRecorder() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := d.recorder.Close(ctx); err != nil {
		d.log.Error("events may be lost", zap.Error(err))
	}
}

func at(p config.Problem) zap.Field { return zap.Stringer("at", p.At) }
