package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// rig is a proxy with a mutual-TLS listener "gateway" and a plaintext loopback
// listener "plain", in front of one backend.
type rig struct {
	t       testing.TB
	ca      *tlsutil.DevCA
	server  *proxy.Server
	events  *events
	rec     *audit.Recorder
	policy  *acl.Policy
	options proxy.Options // it was started with
	stop    sync.Once
}

// setup is what a test may change before the rig starts.
type setup struct {
	backend backend.Options
	others  map[string]backend.Options // besides
	users   map[string]string          // name: rules; the password is the name with "-pw" behind
	allow   map[string][]string
	limits  proxy.Limits
	workers int
	log     *zap.Logger
	down    bool // the backend can't be reached at first
	auth    proxy.Auth
	source  func(*acl.Source)                   // what else the policy says
	listen  func(*rig, []proxy.ListenerOptions) // what else the listeners do

	changeable   bool // ACL SETUSER may change the users
	aclFile      *proxy.ACLFile
	refuseProbes bool

	sinks    []audit.Sink // besides the one the test reads
	buffer   int          // of the record; 0: more than any test fills
	eventsOn []string

	snapshots proxy.Snapshots
}

const everything = "on ~* &* +@all"

func withRig(t testing.TB, node string, change func(*setup)) *rig {
	t.Helper()
	s := setup{
		users:  map[string]string{"app": "on ~app:* &app:* +@read +@write +@connection", "root": everything},
		allow:  map[string][]string{},
		limits: quick(),
		auth:   proxy.Auth{NoThrottle: true},
		log:    zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)),
	}
	s.backend = backend.Options{Nodes: []backend.Endpoint{{Network: "tcp", Address: node}}}
	if change != nil {
		change(&s)
	}
	r := &rig{t: t, events: &events{}}
	var err error
	if r.ca, err = tlsutil.NewDevCA(); err != nil {
		t.Fatal(err)
	}
	if s.buffer == 0 {
		s.buffer = 1 << 18
	}
	if r.rec, err = audit.New(audit.Options{Sinks: append(s.sinks, audit.Writer("test", r.events)), Buffer: s.buffer}); err != nil {
		t.Fatal(err)
	}
	r.policy = compileWith(t, s.users, s.allow, s.source)
	if s.changeable {
		r.policy = compileFile(t, s.users)
	}
	listeners := []proxy.ListenerOptions{
		{Name: "gateway", Network: "tcp", Address: "127.0.0.1:0", TLS: r.serverTLS(), Backend: "main"},
		{Name: "plain", Network: "tcp", Address: "127.0.0.1:0", Backend: "main"},
	}
	if s.listen != nil {
		s.listen(r, listeners)
	}
	r.options = proxy.Options{
		Listeners: listeners, Auth: s.auth,
		Backends: map[string]backend.Options{"main": s.backend},
		Policy:   r.policy, Table: command.Newest(), Limits: s.limits, Recorder: r.rec, Logger: s.log, Workers: s.workers,
		ACLFile: s.aclFile, RefuseProbes: s.refuseProbes, EventsOn: s.eventsOn, Snapshots: s.snapshots,
	}
	maps.Copy(r.options.Backends, s.others)
	r.server, err = proxy.NewServer(r.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	if !s.down {
		eventually(t, 5*time.Second, "the backend is connected", func() bool { return r.server.Ready() == nil })
	}
	return r
}

// quick are the limits of tests that fail to log in often.
func quick() proxy.Limits {
	l := proxy.DefaultLimits()
	l.AuthFailureDelay = -1
	return l
}

// close ends the proxy and waits for its record.
func (r *rig) close() {
	r.stop.Do(func() {
		r.server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.rec.Close(ctx); err != nil {
			r.t.Error("closing the record:", err)
		}
	})
}

func compile(t testing.TB, users map[string]string, allow map[string][]string) *acl.Policy {
	t.Helper()
	return compileWith(t, users, allow, nil)
}

// compileWith compiles users and allow lists, and whatever change adds.
func compileWith(t testing.TB, users map[string]string, allow map[string][]string, change func(*acl.Source)) *acl.Policy {
	t.Helper()
	text := func(s string) acl.Text { return acl.Text{Value: s} }
	src := acl.Source{Table: command.Newest(), Hits: acl.NewHits()}
	for _, l := range []string{"gateway", "plain"} {
		ls := acl.ListenerSource{Name: text(l)}
		for _, a := range allow[l] {
			ls.Allow = append(ls.Allow, text(a))
		}
		src.Listeners = append(src.Listeners, ls)
	}
	for name, rules := range users {
		if !strings.Contains(rules, "nopass") {
			rules += " #" + acl.HashPassword([]byte(name+"-pw"))
		}
		src.Users = append(src.Users, acl.UserSource{Name: text(name), Rules: text(rules)})
	}
	if change != nil {
		change(&src)
	}
	p, problems := acl.Compile(src)
	if p == nil {
		t.Fatal(problems)
	}
	return p
}

// compileFile is compile with the users in an ACL file, where ACL SETUSER may
// change them.
func compileFile(t testing.TB, users map[string]string) *acl.Policy {
	t.Helper()
	text := func(s string) acl.Text { return acl.Text{Value: s} }
	src := acl.Source{Table: command.Newest(), Listeners: []acl.ListenerSource{{Name: text("gateway")}, {Name: text("plain")}}}
	for name, rules := range users {
		src.ACLFile = append(src.ACLFile, acl.UserSource{Name: text(name), Rules: text(rules + " #" + acl.HashPassword([]byte(name+"-pw")))})
	}
	p, problems := acl.Compile(src)
	if p == nil {
		t.Fatal(problems)
	}
	return p
}

func (r *rig) serverTLS() *tlsutil.Server {
	r.t.Helper()
	return r.serverTLSWith(func(*tlsutil.ServerOptions) {})
}

func (r *rig) serverTLSWith(change func(*tlsutil.ServerOptions)) *tlsutil.Server {
	r.t.Helper()
	pair, err := r.ca.Server()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.loadTLSWith(pair, r.ca, change)
}

// loadTLS is a listener with that certificate and clients of that CA.
func (r *rig) loadTLS(pair *tlsutil.Pair, clients *tlsutil.DevCA) *tlsutil.Server {
	r.t.Helper()
	return r.loadTLSWith(pair, clients, func(*tlsutil.ServerOptions) {})
}

func (r *rig) loadTLSWith(pair *tlsutil.Pair, clients *tlsutil.DevCA, change func(*tlsutil.ServerOptions)) *tlsutil.Server {
	r.t.Helper()
	dir := r.t.TempDir()
	for name, content := range map[string][]byte{"ca.crt": clients.CertPEM(), "server.crt": pair.CertPEM, "server.key": pair.KeyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	o := tlsutil.ServerOptions{
		CertificateFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"),
		ClientCAFile: filepath.Join(dir, "ca.crt"), ClientAuth: tlsutil.Require,
	}
	change(&o)
	s, err := tlsutil.LoadServer(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// clientTLS is a client of this CA with a certificate of that name.
func (r *rig) clientTLS(name string) *tls.Config {
	r.t.Helper()
	pair, err := r.ca.Client(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return &tls.Config{ServerName: "localhost", RootCAs: r.ca.Pool(), Certificates: []tls.Certificate{pair.Certificate}, MinVersion: tls.VersionTLS12}
}

func (r *rig) addr(listener string) string { return r.server.Addr(listener).String() }

// dial opens a connection; conf nil is plaintext.
func (r *rig) dial(listener string, conf *tls.Config) *redistest.Client {
	r.t.Helper()
	c, err := redistest.Dial("tcp", r.addr(listener), conf)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// login opens a plaintext connection as a user.
func (r *rig) login(user string) *redistest.Client {
	r.t.Helper()
	c := r.dial("plain", nil)
	r.want(c, "OK", "AUTH", user, user+"-pw")
	return c
}

// want sends a command and compares the printed reply.
func (r *rig) want(c *redistest.Client, want string, args ...string) {
	r.t.Helper()
	got, err := c.Do(args...)
	if err != nil {
		if got = err.Error(); strings.HasPrefix(err.Error(), want) && want != "" {
			return
		}
	}
	if g := fmt.Sprint(got); g != want {
		r.t.Fatalf("%.200s answered %.200q, want %q", strings.Join(args, " "), g, want)
	}
}

// events collects the record.
type events struct {
	mu    sync.Mutex
	lines []event
	more  chan struct{}
}

type event map[string]any

func (e event) is(kind string, fields ...string) bool {
	if e["event"] != kind {
		return false
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if fmt.Sprint(e[fields[i]]) != fields[i+1] {
			return false
		}
	}
	return true
}

func (e *events) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for line := range bytes.Lines(p) {
		var ev event
		if err := json.Unmarshal(line, &ev); err != nil {
			return 0, err
		}
		e.lines = append(e.lines, ev)
	}
	if e.more != nil {
		close(e.more)
		e.more = nil
	}
	return len(p), nil
}

func (e *events) all() []event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]event(nil), e.lines...)
}

// await waits for an event with the given fields.
func (r *rig) await(kind string, fields ...string) event {
	r.t.Helper()
	timeout := time.NewTimer(10 * time.Second)
	defer timeout.Stop()
	for {
		r.events.mu.Lock()
		for _, ev := range r.events.lines {
			if ev.is(kind, fields...) {
				r.events.mu.Unlock()
				return ev
			}
		}
		if r.events.more == nil {
			r.events.more = make(chan struct{})
		}
		more := r.events.more
		r.events.mu.Unlock()
		select {
		case <-more:
		case <-timeout.C:
			r.t.Fatalf("no event %s %v among %v", kind, fields, r.events.all())
		}
	}
}

// eventually waits until ok says yes.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}
