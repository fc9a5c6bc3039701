package redistest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ErrNotInstalled means that there is no redis-server on PATH.
var ErrNotInstalled = errors.New("redis-server not found on PATH; install it, for example: apt-get install redis-server")

// Server is a running redis-server of the rig's own. Its methods are safe for concurrent use.
type Server struct {
	settings settings
	binary   string
	dir      string
	socket   string
	port     int
	bus      int // 0: none

	mu      sync.Mutex // guards all below
	proc    *Process
	control *Client
	own     int64 // commands the rig itself has run since this process started
	ownID   int64 // CLIENT ID of control
}

const (
	startTimeout = 15 * time.Second
	stopGrace    = 5 * time.Second
	portTries    = 20
)

// Start runs a redis-server for a test: in memory only, on a free loopback port, in a folder of its own. It answers
// when Start returns and is gone, folder and all, when the test has ended. Anything that goes wrong fails the test.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, err := Open(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("redis-server did not end cleanly: %v", err)
		}
	})
	return s
}

// Open is Start for programs: ctx bounds the start only, and the caller must Close the server.
func Open(ctx context.Context, opts ...Option) (*Server, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNotInstalled
	}
	// Not the test's own temp folder: its name can exceed what a unix socket's path may have (104 bytes).
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, err
	}
	s := &Server{binary: binary, dir: dir, socket: filepath.Join(dir, "redis.sock")}
	for _, o := range opts {
		o(&s.settings)
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	var err error
	given := s.settings.unix || s.settings.port != 0
	for range portTries {
		if s.port = s.settings.port; !given {
			if s.port, err = freePort(); err != nil {
				return err
			}
		}
		if s.settings.bus {
			if s.bus, err = freePort(); err != nil {
				return err
			}
		}
		if err = s.launch(ctx); given || !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// freePort finds a port nobody listens on. It stays below the range the kernel hands to outgoing connections, so that
// the port is still free when a killed server comes back.
func freePort() (int, error) {
	var err error
	for range portTries {
		port := 11000 + rand.IntN(20000)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port: %w", err)
}

var errPortTaken = errors.New("port taken")

// launch starts the process and returns when it answers. The caller holds mu, or nobody else knows s yet.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conf := filepath.Join(s.dir, "redis.conf")
	if err := os.WriteFile(conf, []byte(s.settings.config(s.dir, s.socket, s.port)), 0o600); err != nil {
		return err
	}
	_ = os.Remove(s.socket) // left behind by a killed server; it would answer "connection refused"
	_ = os.Remove(s.logPath())
	args := append([]string{conf}, s.settings.args...)
	if s.bus != 0 {
		args = append(args, "--cluster-port", strconv.Itoa(s.bus))
	}
	if s.settings.watch != nil {
		args = append(args, "--sentinel")
	}
	proc, err := StartProcess(s.binary, args, s.logPath())
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-proc.done:
			return s.diagnose(proc.err)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("redis-server did not answer: %w", ctx.Err()), proc.Kill())
		case <-tick.C:
		}
		client, id, err := s.connect()
		if err == nil {
			s.proc, s.control, s.ownID = proc, client, id
			return nil
		}
		var refused Error
		if errors.As(err, &refused) && !strings.HasPrefix(string(refused), "LOADING") {
			return errors.Join(fmt.Errorf("redis-server answers the rig with %w", err), proc.Kill())
		}
	}
}

// connect opens the rig's own connection and counts what it costs.
func (s *Server) connect() (*Client, int64, error) {
	client, err := Dial("unix", s.socket, nil)
	if err != nil {
		return nil, 0, err
	}
	s.own = 0
	if s.settings.password != "" {
		s.own++
		if _, err := client.Do("AUTH", s.settings.password); err != nil {
			return nil, 0, errors.Join(err, client.Close())
		}
	}
	s.own++
	id, err := client.Do("CLIENT", "ID")
	if err != nil {
		return nil, 0, errors.Join(err, client.Close())
	}
	n, ok := id.(int64)
	if !ok {
		return nil, 0, errors.Join(fmt.Errorf("CLIENT ID answered %v", id), client.Close())
	}
	return client, n, nil
}

// diagnose turns a server's early end into an error a reader can act on.
func (s *Server) diagnose(ended error) error {
	log := s.Log()
	if strings.Contains(log, "Address already in use") {
		return fmt.Errorf("redis-server on port %d: %w", s.port, errPortTaken)
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return fmt.Errorf("redis-server ended at once (%v): %s", ended, strings.Join(lines[max(0, len(lines)-4):], " | "))
}

// Network is what to dial: "tcp" or "unix".
func (s *Server) Network() string {
	if s.settings.unix {
		return "unix"
	}
	return "tcp"
}

// Addr is where the server listens: 127.0.0.1:port, or the socket's path.
func (s *Server) Addr() string {
	if s.settings.unix {
		return s.socket
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// Port is the TCP port, 0 on a unix socket. It stays the same over Restart.
func (s *Server) Port() int { return s.port }

// Dir is the server's working folder, removed by Close.
func (s *Server) Dir() string { return s.dir }

// Pid is the running process's id, 0 while none runs.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || !s.proc.running() {
		return 0
	}
	return s.proc.pid
}

func (s *Server) logPath() string { return filepath.Join(s.dir, "redis.log") }

// Log is what the present or last process printed.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.logPath())
	if err != nil {
		return ""
	}
	return string(text)
}

// Kill ends the process by SIGKILL, as a crash would, and returns when it is gone. Restart brings it back, empty.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end((*Process).Kill)
}

// Stop ends the process as an operator would (SIGTERM) and returns when it is gone. Restart brings it back, empty.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(func(p *Process) error { return p.End(stopGrace) })
}

func (s *Server) end(how func(*Process) error) error {
	if s.control != nil {
		_ = s.control.Close() // the process goes away; there is nothing to lose on this connection
		s.control = nil
	}
	if s.proc == nil {
		return nil
	}
	err := how(s.proc)
	s.proc = nil
	return err
}

// Restart stops the server if it runs and starts it anew: same address, same options, empty. It returns when the
// server answers.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.end(func(p *Process) error { return p.End(stopGrace) }); err != nil {
		return err
	}
	return s.launch(context.Background())
}

// Pause freezes the process (SIGSTOP): its port accepts, nothing answers. Continue undoes it.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Continue wakes a paused process.
func (s *Server) Continue() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errNotRunning
	}
	return s.proc.Signal(sig)
}

var errNotRunning = errors.New("redis-server is not running")

// Close stops the server and removes its folder. A second Close does nothing.
func (s *Server) Close() error {
	return errors.Join(s.Stop(), os.RemoveAll(s.dir))
}
