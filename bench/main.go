// Command bench measures sallyport against the proxies people use in front of
// Redis, on this machine, in interleaved rounds, and holds the ratios against
// what the project promises. README.md in this folder says how to read it.
//
//	redis-benchmark ─► sallyport │ haproxy │ stunnel │ … ─► one redis-server
//	                       CPU of both read before and after each run
//
// Invariant: it ends only processes it started, and leaves nothing behind but
// its result files, on ^C too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// options are the command line.
type options struct {
	sallyport string
	predixy   string
	peers     string
	points    string
	requests  int
	rounds    int
	threads   int
	quick     bool
	baseline  bool
	gate      bool
	timing    bool
	abuse     bool
	only      string
	seed      uint64
	results   string
}

// Exit codes, as sallyport's own.
const (
	exitFailure  = 1
	exitUsage    = 2
	exitFindings = 3
)

func main() {
	o := options{}
	flag.StringVar(&o.sallyport, "sallyport", "", "sallyport `binary` to measure (default: build bin/sallyport)")
	flag.StringVar(&o.predixy, "predixy", "", "predixy `binary`, measured when given or on PATH")
	flag.StringVar(&o.peers, "peers", "", "comma-separated `names` of the peers to measure (default: all found)")
	flag.StringVar(&o.points, "points", "", "measure the points matching this `regexp`, extra ones included")
	flag.IntVar(&o.requests, "requests", 0, "requests a run at P=1; deeper pipelines scale with it (default 50000, quick 10000)")
	flag.IntVar(&o.rounds, "rounds", 0, "interleaved rounds (default 5, quick 3)")
	flag.IntVar(&o.threads, "haproxy-threads", 1, "haproxy's nbthread")
	flag.BoolVar(&o.quick, "quick", false, "a look in under two minutes, not a claim")
	flag.BoolVar(&o.baseline, "baseline", false, "measure the peers only")
	flag.BoolVar(&o.gate, "gate", false, "exit 3 when a promise is missed")
	flag.BoolVar(&o.timing, "timing", false, "ask instead whether the time of a failing login tells why it failed")
	flag.BoolVar(&o.abuse, "abuse", false, "ask instead whether clients that misbehave harm the others; -points picks checks by name")
	flag.StringVar(&o.only, "only", "", "run one `check` of -abuse in this process; what -abuse starts for each")
	flag.Uint64Var(&o.seed, "seed", 1, "what -abuse draws its random bytes from")
	flag.StringVar(&o.results, "results", "", "`folder` for the result files (default bench/results)")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unexpected argument %q\n", flag.Arg(0))
		os.Exit(exitUsage)
	}
	// SIGPIPE too: a reader of our output that goes away would otherwise end us before anything is cleaned up.
	heard := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
	if !o.abuse { // which writes to connections that were closed, as a part of the play
		heard = append(heard, syscall.SIGPIPE)
	}
	ctx, stop := signal.NotifyContext(context.Background(), heard...)
	run := bench
	switch {
	case o.timing:
		run = timing
	case o.abuse:
		run = abuse
	}
	missed, err := run(ctx, o.withDefaults())
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted && err != nil:
		fmt.Fprintln(os.Stderr, "bench: interrupted; everything is stopped")
		os.Exit(exitFailure)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitFailure)
	case missed > 0 && o.gate:
		os.Exit(exitFindings)
	}
}

func (o options) withDefaults() options {
	pick := func(value *int, normal, quick int) {
		if *value <= 0 {
			*value = normal
			if o.quick {
				*value = quick
			}
		}
	}
	pick(&o.rounds, 5, 3)
	pick(&o.requests, baseRequests, 10_000)
	return o
}

// bench does it all and returns how many promises were missed.
func bench(ctx context.Context, o options) (missed int, err error) {
	_, noMix := exec.LookPath(memtier)
	chosen, err := selectPoints(o.points, o.requests, noMix == nil)
	if err != nil {
		return 0, err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := exec.LookPath("redis-benchmark"); err != nil {
		return 0, errors.New("redis-benchmark not found on PATH; make bench-install installs what the benchmark needs")
	}
	if err := raiseFiles(); err != nil {
		return 0, fmt.Errorf("raise the limit of open files: %w", err)
	}
	most, err := openFiles()
	if err != nil {
		return 0, err
	}
	chosen = slices.DeleteFunc(chosen, func(p point) bool {
		if short := p.Clients > (most-200)/2; short && p.idle() && p.Clients < 10_000 || p.Clients > most-200 {
			fmt.Fprintf(os.Stderr, "%s: left out, as %d open files are too few\n", p, most)
			return true
		}
		return false
	})
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	f := &field{rig: &rig{dir: dir, threads: o.threads}, missing: map[string]string{}}
	if noMix != nil {
		f.missing[memtier] = "not found on PATH: no mixed load"
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	if err := f.start(ctx, o, root); err != nil {
		return 0, err
	}
	played, err := play(ctx, f.rig, chosen, f.targets, o.rounds, os.Stderr)
	if err != nil {
		return 0, err
	}
	rep := report{
		Date: today(time.Now()), Commit: shortHash(ctx, root), Host: describeHost(ctx),
		Rounds: o.rounds, Quick: o.quick, Missing: f.missing, Ratios: judge(played, chosen),
	}
	rep.Measured, rep.Links = collect(played, chosen, f.targets)
	for _, t := range f.targets {
		if t.process != nil {
			rep.Host.Versions[t.name] = t.version
		}
	}
	if o.results == "" {
		o.results = filepath.Join(root, "bench", "results")
	}
	base, err := rep.save(o.results)
	if err != nil {
		return 0, err
	}
	fmt.Print(rep.markdown())
	fmt.Fprintf(os.Stderr, "written: %s.md and .json\n", base)
	return rep.missed(), nil
}

// field is everything that runs while the benchmark does.
type field struct {
	rig     *rig
	targets []*target
	missing map[string]string // peers left out, and why
}

// start brings up both Redis servers, sallyport and the peers. Whatever runs when it fails, stop ends.
func (f *field) start(ctx context.Context, o options, root string) (err error) {
	if f.rig.pki, err = makeCredentials(f.rig.dir); err != nil {
		return err
	}
	if f.rig.plain, err = redistest.Open(ctx); err != nil {
		return err
	}
	if f.rig.tls, err = redistest.Open(ctx, redistest.TLS(f.rig.pki.serverCert, f.rig.pki.serverKey, f.rig.pki.ca)); err != nil {
		return err
	}
	if err := f.rig.startShards(ctx); err != nil {
		return err
	}
	if !o.baseline {
		if err := f.startOwn(ctx, o.sallyport, root); err != nil {
			return err
		}
	}
	if err := f.startPeers(ctx, o, root); err != nil {
		return err
	}
	f.targets = append(f.targets,
		&target{name: "redis", address: map[string]string{"plain": f.rig.plain.Addr()}, redis: f.rig.plain},
		&target{name: "redis-tls", address: map[string]string{"mtls": f.rig.tls.Addr()}, redis: f.rig.tls},
	)
	return nil
}

func (f *field) startOwn(ctx context.Context, binary, root string) (err error) {
	if binary == "" {
		if binary, err = buildSallyport(ctx, root); err != nil {
			return err
		}
	}
	ours, err := startSallyport(ctx, f.rig, binary)
	f.targets = append(f.targets, ours...)
	return err
}

// startPeers starts the peers asked for. One that is not installed is noted; one that does not start is an error.
func (f *field) startPeers(ctx context.Context, o options, root string) error {
	asked := map[string]bool{}
	for name := range strings.SplitSeq(o.peers, ",") {
		if name = strings.TrimSpace(name); name != "" {
			asked[name] = true
		}
	}
	for _, p := range peers {
		if len(asked) > 0 && !asked[p.name] {
			continue
		}
		delete(asked, p.name)
		path := ""
		switch built := filepath.Join(root, "bin", "peers", p.name); {
		case p.name == "predixy" && o.predixy != "":
			path = o.predixy
		case exists(built):
			path = built // what install.sh has built
		}
		t, err := p.start(ctx, f.rig, path)
		switch {
		case errors.Is(err, errNotFound):
			f.missing[p.name] = err.Error()
			fmt.Fprintf(os.Stderr, "%s: %v; left out\n", p.name, err)
		case err != nil:
			return fmt.Errorf("start %s: %w", p.name, err)
		default:
			f.targets = append(f.targets, t)
		}
	}
	for name := range asked {
		return fmt.Errorf("-peers: there is no peer %q", name)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// stop ends what start has started.
func (f *field) stop() error {
	var errs []error
	for _, t := range f.targets {
		errs = append(errs, t.stop())
	}
	for _, s := range []*redistest.Server{f.rig.plain, f.rig.tls} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(append(errs, f.rig.closeShards())...)
}
