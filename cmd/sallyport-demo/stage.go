package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
)

// The demo's policy: an application that may read and write its own keys, and
// an operator who may do everything that the guard does not hold back.
const (
	appRules = "on ~app:* +@read +@write +@connection +acl|whoami"
	opsRules = "on ~* &* +@all"
)

// stage is everything the tour needs, up and running.
type stage struct {
	dir       string
	address   string
	redis     string
	embedded  *miniredis.Miniredis
	server    *proxy.Server
	recorder  *audit.Recorder
	events    *record
	passwords map[string]string
}

// raise puts the stage up: backend, CA, policy, proxy.
func raise(address, redis string, once bool) (st *stage, err error) {
	st = &stage{redis: redis, events: &record{}, passwords: map[string]string{}}
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	if st.dir, err = os.MkdirTemp("", "sallyport-demo-"); err != nil {
		return nil, err
	}
	if redis == "" {
		if st.embedded, err = miniredis.Run(); err != nil {
			return nil, err
		}
		st.redis = st.embedded.Addr()
	}
	tls, err := st.certificates()
	if err != nil {
		return nil, err
	}
	policy, err := st.policy()
	if err != nil {
		return nil, err
	}
	if st.recorder, err = audit.New(audit.Options{Sinks: []audit.Sink{audit.Writer("demo", st.events)}}); err != nil {
		return nil, err
	}
	open := func(address string) error {
		st.server, err = proxy.NewServer(proxy.Options{
			Listeners: []proxy.ListenerOptions{{Name: "gateway", Network: "tcp", Address: address, TLS: tls, Backend: "main"}},
			Backends:  map[string]backend.Options{"main": {Nodes: []backend.Endpoint{{Network: "tcp", Address: st.redis}}}},
			Policy:    policy, Table: command.Newest(), Recorder: st.recorder, Logger: zap.NewNop(), Version: version,
			Limits: proxy.DefaultLimits(),
		})
		if err != nil {
			return err
		}
		return st.server.Start()
	}
	if err = open(address); errors.Is(err, syscall.EADDRINUSE) && once {
		st.server.Close() // the tour alone does not care for the port
		err = open("127.0.0.1:0")
	}
	if err != nil {
		return nil, err
	}
	st.address = st.server.Addr("gateway").String()
	return st, st.awaitBackend()
}

// certificates makes the development CA, a server pair and a client pair in the stage's folder.
func (st *stage) certificates() (*tlsutil.Server, error) {
	if _, err := tlsutil.WriteDevDir(st.dir, tlsutil.DevOptions{Clients: []tlsutil.DevClient{{Name: "app"}}}); err != nil {
		return nil, err
	}
	return tlsutil.LoadServer(tlsutil.ServerOptions{
		CertificateFile: st.file("server.crt"), KeyFile: st.file("server.key"), ClientCAFile: st.file("ca.crt"),
		ClientAuth: tlsutil.Require,
	})
}

func (st *stage) file(name string) string { return filepath.Join(st.dir, name) }

// policy compiles the demo's users with passwords made on the spot.
func (st *stage) policy() (*acl.Policy, error) {
	at := func(line int, s string) acl.Text {
		return acl.Text{Value: s, At: acl.Origin{File: "policy.yaml", Line: line, Column: 12}}
	}
	src := acl.Source{Table: command.Newest(), Listeners: []acl.ListenerSource{{Name: at(0, "gateway")}}}
	for i, u := range []struct{ name, rules string }{{"app", appRules}, {"ops", opsRules}} {
		password, err := acl.GenPass(rand.Reader)
		if err != nil {
			return nil, err
		}
		st.passwords[u.name] = password
		src.Users = append(src.Users, acl.UserSource{
			Name:  at(2+2*i, u.name),
			Rules: at(3+2*i, u.rules+" #"+acl.HashPassword([]byte(password))),
		})
	}
	policy, problems := acl.Compile(src)
	if policy == nil {
		return nil, errors.New(problems[0].What)
	}
	return policy, nil
}

// awaitBackend waits until the proxy has a connection to its backend.
func (st *stage) awaitBackend() error {
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := st.server.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("%w at %s", err, st.redis)
		}
	}
}

// close takes the stage down and removes its keys.
func (st *stage) close() {
	if st.server != nil {
		st.server.Close()
	}
	if st.recorder != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		st.recorder.Close(ctx)
	}
	if st.embedded != nil {
		st.embedded.Close()
	}
	if st.dir != "" {
		os.RemoveAll(st.dir)
	}
}

// record keeps the events the proxy writes, for the tour to show.
type record struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

// Write implements io.Writer for the event sink: whole lines.
func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range bytes.Split(bytes.TrimSuffix(p, []byte("\n")), []byte("\n")) {
		r.lines = append(r.lines, string(line))
	}
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return len(p), nil
}

// await gives the first event that holds every part, waiting for it if need be.
func (r *record) await(ctx context.Context, parts ...string) (string, bool) {
	for {
		r.mu.Lock()
		for _, line := range r.lines {
			if containsAll(line, parts) {
				r.mu.Unlock()
				return line, true
			}
		}
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return "", false
		}
	}
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// port is the listener's port, for the lines that users copy.
func (st *stage) port() string {
	_, port, _ := net.SplitHostPort(st.address)
	return port
}
