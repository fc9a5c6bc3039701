package config

import (
	"os"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/tlsutil"
)

// Config is a configuration without a fault. It is immutable; a reload loads
// another one.
type Config struct {
	Files  []string    // what was read, sallyport.yaml first, as displayed
	Policy *acl.Policy // compiled
	Table  *command.Table
	Sinks  []Sink
	Admin  *Admin // nil: no admin endpoints

	eventsOn  []string // patterns of keys whose calls are recorded
	snapshots proxy.Snapshots
	listeners []listener
	backends  []*backendConfig
	rules     policy
	throttle  *acl.ThrottleOptions // nil: off
	limits    proxy.Limits
	workers   int
	shutdown  proxy.Shutdown

	made made // for the next load
}

// Load reads a configuration: the file at path, the policy it names, and every
// certificate, key and password file it needs. The Config is nil if any of the
// problems is a fault. Paths in messages are path itself and what follows from
// it, so they can be opened from where the command was typed.
func Load(path string) (*Config, Problems) {
	return load(path, machineIsHere())
}

// Keep is what a configuration takes over from the one it may replace.
type Keep struct {
	Hits  *acl.Hits      // counters of rules; nil: nothing is counted
	Table *command.Table // the running proxy's
	Was   *Config        // what it made of files that have not changed is used again; nil: nothing is
	Seen  tlsutil.Seen   // files that were just read
	Rest  func()         // called between the parts of the work; nil: there is nothing more urgent
}

func (r *reader) rest() {
	if r.keep.Rest != nil {
		r.keep.Rest()
	}
}

// LoadNaming is Load, and tells the absolute paths of all files that were asked
// for, those of a faulty configuration too: a change of any may change the outcome.
func LoadNaming(path string, keep Keep) (*Config, Problems, []string) {
	r := newReader(machineIsHere())
	r.keep = keep
	if keep.Was != nil {
		r.was, r.made.parsed = keep.Was, keep.Was.made.parsed.Next()
	}
	r.made.parsed.Seen = keep.Seen
	c, problems := r.load(path)
	r.made.parsed.Settle()
	// What a configuration holds still names its reader: the one before must not live as long.
	r.was, r.keep = &Config{}, Keep{}
	return c, problems, r.named
}

// surroundings is what a configuration depends on besides its files.
type surroundings struct {
	env     environment
	machine machine
	now     func() time.Time
}

func machineIsHere() surroundings {
	return surroundings{env: os.LookupEnv, machine: machine{root: "/"}, now: time.Now}
}

func load(path string, here surroundings) (*Config, Problems) { return newReader(here).load(path) }

func newReader(here surroundings) *reader {
	return &reader{env: here.env, machine: here.machine, now: here.now(), table: command.Newest(), docs: make(map[string]*document), expanded: make(map[string]string), was: &Config{}, made: newMade()}
}

func (r *reader) load(path string) (*Config, Problems) {
	doc := r.open(path, acl.Origin{}, "")
	if doc.root == nil {
		return nil, r.finish()
	}
	c := r.config(r.top(doc))
	if r.failed() {
		return nil, r.finish()
	}
	c.Files, c.made = r.files, r.made
	return c, r.finish()
}

// config reads sallyport.yaml and what it leads to.
func (r *reader) config(s *section) *Config {
	c := &Config{
		listeners: r.listeners(s.required("listeners")),
		backends:  r.backends(s.required("backends").section()),
		Sinks:     r.sinks(s.get("events")),
		eventsOn:  r.eventsOn(s.get("events_on")),
		snapshots: r.snapshots(s.get("client_snapshots").section()),
		Admin:     r.admin(s.get("admin").section()),
		workers:   s.get("workers").workers(),
		shutdown:  r.shutdown(s.get("shutdown").section()),
	}
	r.rest()
	limits := s.get("limits").section()
	c.throttle = r.throttle(limits.get("auth_failures"))
	c.limits = r.limits(limits)
	c.rules = r.policyFile(s.required("policy").section())
	if c.Table = r.table; !c.Discovers() {
		c.Table = r.table.Base() // what the running proxy learned is not for this configuration
	}
	r.commandNames(c)
	s.close("console", "posture")
	r.route(c)
	r.adminAddress(c)
	r.rest()
	c.Policy = r.compile(c, c.rules.source)
	r.rest()
	r.knownLogins(c)
	r.loadTLS(c)
	return c
}

// route gives each listener its backend.
func (r *reader) route(c *Config) {
	names := make([]string, len(c.backends))
	for i, b := range c.backends {
		names[i] = b.name.Value
	}
	for i := range c.listeners {
		l := &c.listeners[i]
		written := l.backendAt
		switch {
		case !written.present() && len(c.backends) == 1:
			l.backend = names[0]
		case !written.present() && l.present() && len(c.backends) > 1:
			l.fault("%q is missing: there are %d backends", "backend", len(c.backends))
		}
		found := false
		for _, b := range c.backends {
			if b.name.Value == l.backend {
				b.used, found = true, true
			}
		}
		if !found && written.present() && l.backend != "" {
			written.faultHint(DidYouMean(l.backend, names), "there is no backend %s", quoted(l.backend))
		}
		r.lead(c, l, names)
	}
	r.usersBackends(c, names)
	for _, b := range c.backends {
		if !b.used && len(c.listeners) > 0 && !r.failed() {
			r.warn(b.name.At, b.path, "", "no listener uses it")
		}
	}
}

func (v value) workers() int {
	const most = 1024
	if !v.present() {
		return 0
	}
	if v.node.Value == "auto" {
		return 0
	}
	if v.node.ShortTag() == "!!int" {
		return v.number(0, 1, most)
	}
	if v.node.ShortTag() == "!!str" {
		s, expanded := v.expand(v.node.Value)
		switch {
		case s == "auto" || v.failedHere():
			return 0
		case expanded:
			return v.number(0, 1, most)
		}
	}
	v.fault("wants auto or a whole number, not %s", described(v.node))
	return 0
}

func (r *reader) shutdown(s *section) proxy.Shutdown {
	d := proxy.Shutdown{
		Delay:   s.get("delay").duration(0, true),
		Timeout: s.get("timeout").duration(30*time.Second, true),
	}
	s.close()
	return d
}

// standardMemory is the share all clients' buffers may take if nothing is said.
const standardMemory = "25%"

// maxRate is how many commands a second can be asked for.
const maxRate = 1 << 30

// rate reads v as bytes a second; absent and 0 are no limit. Less than a read
// brings at once can't be kept to.
func (v value) rate() int64 {
	if v.present() && v.node.Value == "0" {
		return 0
	}
	return v.size(0, 1<<10)
}

// userLimits reads limits: of a user, where 0 is no limit even if everybody has one.
func (s *section) userLimits() acl.Limits {
	said := func(v value, n int64) int64 {
		if v.present() && n == 0 {
			return -1
		}
		return n
	}
	connections, commands, bytes := s.get("connections"), s.get("commands_per_second"), s.get("bytes_per_second")
	l := acl.Limits{
		Connections:       said(connections, int64(connections.number(0, 0, 1<<24))),
		CommandsPerSecond: said(commands, int64(commands.number(0, 0, maxRate))),
		BytesPerSecond:    said(bytes, bytes.rate()),
	}
	s.close()
	return l
}

func (r *reader) limits(s *section) proxy.Limits {
	const many = 1 << 24
	d := proxy.DefaultLimits()
	l := proxy.Limits{
		Connections:          s.get("connections").number(d.Connections, 1, many),
		ConnectionsPerSource: s.get("connections_per_source").number(0, 0, many),
		Handshakes:           s.get("handshakes").number(d.Handshakes, 1, many),
		HandshakeTimeout:     s.get("handshake_timeout").duration(d.HandshakeTimeout, false),
		AuthTimeout:          s.get("auth_timeout").duration(d.AuthTimeout, false),
		AuthFailureDelay:     failureDelay(s.get("auth_failure_delay"), d.AuthFailureDelay),
		IdleTimeout:          s.get("idle_timeout").duration(0, true),
		WriteTimeout:         s.get("write_timeout").duration(d.WriteTimeout, false),
		CommandTimeout:       s.get("command_timeout").duration(d.CommandTimeout, false),
		InFlight:             s.get("in_flight").number(d.InFlight, 1, 1<<20),
		RequestBytes:         s.get("request_bytes").size(d.RequestBytes, 16<<10),
		RequestBuffer:        s.get("request_buffer").size(d.RequestBuffer, 64<<10),
		RequestArgs:          s.get("request_args").number(d.RequestArgs, 16, 1<<30),
		OutputBytes:          s.get("output_bytes").size(d.OutputBytes, 16<<10),
		AuthArgumentBytes:    int(s.get("auth_argument_bytes").size(int64(d.AuthArgumentBytes), 1<<10)),
		Memory:               s.get("memory").memory(standardMemory),
		UserConnections:      s.get("user_connections").number(0, 0, many),
		CommandsPerSecond:    s.get("commands_per_second").number(0, 0, maxRate),
		BytesPerSecond:       s.get("bytes_per_second").rate(),
	}
	s.close()
	return l
}

// failureDelay reads limits.auth_failure_delay; 0s is none, for measuring.
func failureDelay(v value, standard time.Duration) time.Duration {
	d := v.duration(standard, true)
	if d == 0 {
		v.warn("remove it", "the time of a failing login may tell why it failed")
		return -1
	}
	return d
}

// throttle reads limits.auth_failures: how many failing logins are let try. The
// word off counts none; it is for measuring.
func (r *reader) throttle(v value) *acl.ThrottleOptions {
	o := &acl.ThrottleOptions{PairFailures: 10, PairRefill: 6 * time.Second, SourceFailures: 100, SourceRefill: time.Second, Trust: time.Hour, Entries: 1 << 16}
	if !v.present() {
		return o
	}
	if !v.mapping() {
		if v.word("", "off") == "off" {
			v.warn("remove it", "nothing slows down who guesses passwords")
			return nil
		}
		return o
	}
	s := v.section()
	o.PairFailures = s.get("per_user").number(o.PairFailures, 1, 1<<20)
	o.PairRefill = s.get("per_user_refill").duration(o.PairRefill, false)
	o.SourceFailures = s.get("per_source").number(o.SourceFailures, 1, 1<<20)
	o.SourceRefill = s.get("per_source_refill").duration(o.SourceRefill, false)
	o.Trust = s.get("trust").duration(o.Trust, false)
	o.Entries = s.get("entries").number(o.Entries, 1024, 1<<22)
	s.close()
	return o
}
