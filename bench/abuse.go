package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// Abuse: clients that cost more than they should, in their thousands. Each
// check starts a sallyport of its own, misuses it, and holds figures against
// what is promised. Run from the command line, a check is a process of its own
// too, so that one that eats its descriptors or dies leaves the others alone.

// abuseSizes are how many and how much. Tests run the same checks smaller.
type abuseSizes struct {
	idle       int           // clients that do nothing
	floodFor   time.Duration // handshakes nobody finishes
	slow       int           // clients that send a byte now and then
	slowEvery  time.Duration // a byte
	readers    int           // clients that do not read their replies
	value      int           // bytes of what those ask for
	memory     int           // MiB, limits.memory while they do
	pipeline   int           // commands in one pipeline
	big        int64         // bytes of one value, in and out
	connectors int           // connections to a process with 256 descriptors
	handshake  time.Duration // limits.handshake_timeout, auth_timeout and command_timeout; 0: the standard ones
	write      time.Duration // limits.write_timeout; 0: the standard one
	settle     time.Duration // over which idle CPU is measured
}

var fullAbuse = abuseSizes{
	idle: 10_000, floodFor: 10 * time.Second, slow: 5_000, slowEvery: 5 * time.Second, readers: 500, value: 10_000_000,
	memory: 256, pipeline: 1_000_000, big: 512_000_000, connectors: 2_000, settle: 10 * time.Second,
}

// Standard limits that the checks count on.
const (
	standardHandshake = 10 * time.Second
	standardCommand   = 30 * time.Second
	standardWrite     = 30 * time.Second
)

// manyProcs is the GOMAXPROCS of a process that abuses and measures at once: the kernel, which is fair, shares out the
// cores then. Go's scheduler would have a probe wait until thousands of others have had their turn.
const manyProcs = 32

// check is one kind of abuse.
type check struct {
	name, what string
	run        func(ctx context.Context, s *stage) error
}

var checks = []check{
	{"idle", "clients that log in over mutual TLS and do nothing", abuseIdle},
	{"flood", "handshakes that are begun and never finished, three times as many as there is CPU for", abuseFlood},
	{"slow", "clients that send a byte now and then: before TLS, in it, before login, in a command", abuseSlow},
	{"readers", "clients that ask for large values and do not read them", abuseReaders},
	{"pipeline", "one client that sends a million commands in one go", abusePipeline},
	{"value", "one value as large as Redis takes, in and out", abuseValue},
	{"descriptors", "more connections than the process has descriptors", abuseDescriptors},
}

// finding is one figure held against its bound; lower is better.
type finding struct {
	figure    string
	value     float64
	unit      string
	must, aim float64 // aim 0: none beside must
	quiet     bool    // says nothing on a machine that is busy with something else
}

func (f finding) result() string {
	switch {
	case f.value > f.must:
		return "MISS"
	case f.aim > 0 && f.value <= f.aim:
		return "AIM"
	}
	return "PASS"
}

// stage is what one check plays on: a Redis, a sallyport before it, and what was found.
type stage struct {
	rig      *rig
	binary   string
	size     abuseSizes
	seed     uint64
	rng      *rand.Rand
	proxy    *target
	progress io.Writer
	began    time.Time
	before   int64 // RSS before the abuse
	findings []finding
}

// say prints progress.
func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.progress, "%6.1fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// judge notes a figure and its bound.
func (s *stage) judge(figure string, value float64, unit string, must, aim float64) {
	f := finding{figure: figure, value: value, unit: unit, must: must, aim: aim}
	s.note(f)
}

// judgeQuiet is judge for a figure that a busy machine spoils.
func (s *stage) judgeQuiet(figure string, value float64, unit string, must, aim float64) {
	s.note(finding{figure: figure, value: value, unit: unit, must: must, aim: aim, quiet: true})
}

func (s *stage) note(f finding) {
	s.findings = append(s.findings, f)
	s.say("%s: %.4g %s, at most %.4g: %s", f.figure, f.value, f.unit, f.must, f.result())
}

// require notes something that has to be so.
func (s *stage) require(what string, ok bool) {
	broken := 1.0
	if ok {
		broken = 0
	}
	s.judge(what, broken, "broken", 0, 0)
}

// served ends a probe and requires that none of its clients met an error.
func (s *stage) served(what string, p *probe) {
	errs := p.stop()
	for _, err := range errs {
		s.say("a probe: %v", err)
	}
	s.require(what, len(errs) == 0)
}

func (s *stage) missed() (n int) {
	for _, f := range s.findings {
		if f.result() == "MISS" {
			n++
		}
	}
	return n
}

func (s *stage) table() string {
	rows := [][]string{{"figure", "value", "must", "aim", ""}}
	for _, f := range s.findings {
		aim := ""
		if f.aim > 0 {
			aim = fmt.Sprintf("≤ %.4g", f.aim)
		}
		rows = append(rows, []string{f.figure, fmt.Sprintf("%.4g %s", f.value, f.unit), fmt.Sprintf("≤ %.4g", f.must), aim, f.result()})
	}
	return align(rows)
}

// play runs a check on a fresh Redis and cleans up after it.
func (c check) play(ctx context.Context, s *stage) (err error) {
	s.began = time.Now()
	s.rng = rand.New(rand.NewPCG(s.seed, 0))
	dir, err := os.MkdirTemp("", "abuse")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s.rig = &rig{dir: dir}
	if s.rig.pki, err = makeCredentials(dir); err != nil {
		return err
	}
	if s.rig.plain, err = redistest.Open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.rig.plain.Close()) }()
	defer func() {
		if s.proxy != nil {
			err = errors.Join(err, s.proxy.stop())
		}
	}()
	if err := c.run(ctx, s); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if err := s.proxy.alive(); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// start runs sallyport with these limits, as lines of YAML, for the stage's check. shell comes before it on the command
// line, to set what a process inherits.
func (s *stage) start(ctx context.Context, limits []string, shell ...string) error {
	dir := filepath.Join(s.rig.dir, own)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	addresses := map[string]string{}
	for _, name := range []string{"mtls", "plain", "admin"} {
		address, _, err := freeAddress()
		if err != nil {
			return err
		}
		addresses[name] = address
	}
	config := benchConfig(s.rig, addresses) + "admin:\n  address: " + addresses["admin"] + "\nlimits:\n"
	for _, l := range append(limits, s.shorter(limits)...) {
		config += "  " + l + "\n"
	}
	path := filepath.Join(dir, "sallyport.yaml")
	if err := errors.Join(write(filepath.Join(dir, "policy.yaml"), abusePolicy), write(path, config)); err != nil {
		return err
	}
	s.proxy = &target{name: own, address: addresses, user: "bench", password: abusePassword, redis: s.rig.plain}
	command := append(slices.Clone(shell), s.binary, "serve", "--allow-root", "--config", path)
	return s.proxy.launch(ctx, dir, command[0], command[1:])
}

// shorter are the limits of a stage but for those given: its times, where it has no time for the standard ones, and room
// for all its clients.
func (s *stage) shorter(given []string) (limits []string) {
	set := func(name, value string) {
		if value != "0s" && !slices.ContainsFunc(given, func(l string) bool { return strings.HasPrefix(l, name+":") }) {
			limits = append(limits, name+": "+value)
		}
	}
	set("handshake_timeout", s.size.handshake.String())
	set("auth_timeout", s.size.handshake.String())
	set("command_timeout", s.size.handshake.String())
	set("write_timeout", s.size.write.String())
	set("connections", "12000")
	return limits
}

// abusePassword has no secret to keep: the rig listens on loopback for as long as a check takes.
const abusePassword = "correct-horse-battery"

// abusePolicy is benchPolicy for that password.
const abusePolicy = `users:
  bench:
    rules: "on #62249369389075490555a758353aec61500c6218fa597252d52dc4bd0148f12d ~* &* +@all"
`

// abuse runs the checks that match, each in a process of its own, and returns how many figures missed their bound.
func abuse(ctx context.Context, o options) (missed int, err error) {
	if o.only != "" {
		return abuseHere(ctx, o)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return 0, err
	}
	if o.sallyport == "" {
		if o.sallyport, err = buildSallyport(ctx, root); err != nil {
			return 0, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	matched := 0
	for _, c := range checks {
		if !strings.Contains(c.name, o.points) {
			continue
		}
		matched++
		args := []string{"-abuse", "-gate", "-only", c.name, "-seed", strconv.FormatUint(o.seed, 10), "-sallyport", o.sallyport}
		if o.quick {
			args = append(args, "-quick")
		}
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 15 * time.Second
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == exitFindings {
			missed++
			continue
		}
		if err != nil {
			return missed, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if matched == 0 {
		return 0, fmt.Errorf("-points: no check is named like %q", o.points)
	}
	return missed, nil
}

// abuseHere runs one check in this process.
func abuseHere(ctx context.Context, o options) (missed int, err error) {
	for _, c := range checks {
		if c.name != o.only {
			continue
		}
		if err := raiseFiles(); err != nil {
			return 0, err
		}
		runtime.GOMAXPROCS(manyProcs)
		s := &stage{binary: o.sallyport, size: fullAbuse, seed: o.seed, progress: os.Stderr}
		if o.quick {
			s.size = quickAbuse
		}
		fmt.Fprintf(os.Stderr, "\n%s: %s (seed %d)\n", c.name, c.what, o.seed)
		err := c.play(ctx, s)
		fmt.Printf("\n## %s\n\n%s, seed %d.\n\n%s", c.name, capital(c.what), o.seed, s.table())
		return s.missed(), err
	}
	return 0, fmt.Errorf("-only: there is no check %q", o.only)
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// quickAbuse takes half a minute in all, and is what tests run.
var quickAbuse = abuseSizes{
	idle: 300, floodFor: 1500 * time.Millisecond, slow: 80, slowEvery: 300 * time.Millisecond, readers: 40, value: 10_000_000,
	memory: 128, pipeline: 100_000, big: 16_000_000, connectors: 600, handshake: 2 * time.Second, write: 2 * time.Second,
	settle: time.Second,
}
