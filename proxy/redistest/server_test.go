package redistest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("REDISTEST_CRASH") == "1" {
		crashWithServer()
	}
	goleak.VerifyTestMain(m)
}

func dial(t *testing.T, s *Server) *Client {
	t.Helper()
	c, err := Dial(s.Network(), s.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func mustDo(t *testing.T, c interface{ Do(...string) (any, error) }, args ...string) any {
	t.Helper()
	reply, err := c.Do(args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return reply
}

func TestServer(t *testing.T) {
	t.Run("answers on its address", func(t *testing.T) {
		s := Start(t)
		mustDo(t, dial(t, s), "SET", "k", "v")
		if got := mustDo(t, s, "GET", "k"); got != "v" {
			t.Fatalf("GET over the rig's connection: %v", got)
		}
	})
	t.Run("listens on a unix socket alone when asked", func(t *testing.T) {
		s := Start(t, Unix())
		if s.Network() != "unix" || s.Port() != 0 {
			t.Fatalf("network %s, port %d", s.Network(), s.Port())
		}
		if got := mustDo(t, dial(t, s), "PING"); got != "PONG" {
			t.Fatalf("PING: %v", got)
		}
	})
	t.Run("keeps a password with any bytes", func(t *testing.T) {
		const password = "q\"uo\\te \x01é"
		s := Start(t, RequirePass(password))
		c := dial(t, s)
		if _, err := c.Do("GET", "k"); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
			t.Fatalf("before AUTH: %v", err)
		}
		mustDo(t, c, "AUTH", password)
		mustDo(t, c, "GET", "k")
	})
	t.Run("passes extra arguments on", func(t *testing.T) {
		s := Start(t, Args("--maxclients", "17"))
		if got := mustDo(t, s, "CONFIG", "GET", "maxclients"); !slices.Equal(got.([]any), []any{"maxclients", "17"}) {
			t.Fatalf("maxclients: %v", got)
		}
	})
	t.Run("says why it did not start", func(t *testing.T) {
		_, err := Open(t.Context(), Args("--no-such-setting", "1"))
		if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
			t.Fatalf("error: %v", err)
		}
	})
	t.Run("refuses a port in use", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		if _, err := Open(t.Context(), Port(l.Addr().(*net.TCPAddr).Port)); !errors.Is(err, errPortTaken) {
			t.Fatalf("error: %v", err)
		}
	})
	t.Run("names what to install when redis-server is missing", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if _, err := Open(t.Context()); !errors.Is(err, ErrNotInstalled) {
			t.Fatalf("error: %v", err)
		}
	})
}

func TestServerLife(t *testing.T) {
	t.Run("killed means gone, restarted means empty at the same address", func(t *testing.T) {
		s := Start(t)
		addr, pid := s.Addr(), s.Pid()
		mustDo(t, s, "SET", "k", "v")
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("the process is still there: %v", err)
		}
		if s.Pid() != 0 {
			t.Fatalf("pid %d after Kill", s.Pid())
		}
		if _, err := s.Do("PING"); !errors.Is(err, errNotRunning) {
			t.Fatalf("Do after Kill: %v", err)
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if s.Addr() != addr || s.Pid() == pid {
			t.Fatalf("address %s, pid %d", s.Addr(), s.Pid())
		}
		if got := mustDo(t, dial(t, s), "GET", "k"); got != nil {
			t.Fatalf("GET after restart: %v", got)
		}
	})
	t.Run("paused answers nothing until continued", func(t *testing.T) {
		s := Start(t)
		c := dial(t, s)
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		c.timeout = 100 * time.Millisecond
		var timeout net.Error
		if _, err := c.Do("PING"); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("PING while paused: %v", err)
		}
		if err := s.Continue(); err != nil {
			t.Fatal(err)
		}
		c.timeout = clientTimeout
		if got, err := c.Receive(); err != nil || got != "PONG" {
			t.Fatalf("after Continue: %v, %v", got, err)
		}
	})
	t.Run("a paused server can be stopped", func(t *testing.T) {
		s := Start(t)
		if err := errors.Join(s.Pause(), s.Stop()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("closed leaves no folder", func(t *testing.T) {
		s, err := Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(s.Dir()); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("folder: %v", err)
		}
	})
}

// crashWithServer is the child of the test below: it starts a server, says its pid and folder, and dies without
// cleaning up, as a panicking or killed test binary does.
func crashWithServer() {
	s, err := Open(context.Background(), Args("--loglevel", "warning"))
	if err != nil {
		os.Stdout.WriteString("error " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(strconv.Itoa(s.Pid()) + " " + s.Dir() + "\n")
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func TestServerDiesWithItsParent(t *testing.T) {
	var out bytes.Buffer
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "REDISTEST_CRASH=1")
	child.Stdout = &out
	if err := child.Run(); err == nil {
		t.Fatal("the child was to be killed")
	}
	text, dir, _ := strings.Cut(strings.TrimSpace(out.String()), " ")
	pid, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("child printed %q", out.String())
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-tick.C:
		case <-deadline:
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("redis-server outlived its parent by ten seconds")
		}
	}
}

// alive is false for a zombie too: who reaps orphans is the machine's affair.
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestInspect(t *testing.T) {
	s := Start(t)
	c := dial(t, s)
	processed := func() int64 {
		t.Helper()
		n, err := s.CommandsProcessed()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Run("the rig's own commands are not counted", func(t *testing.T) {
		before := processed()
		mustDo(t, s, "SET", "k", "v")
		if _, err := s.Do("INCR", "k"); err == nil {
			t.Fatal("INCR of a word")
		}
		if _, err := s.Do("NOSUCH"); err == nil {
			t.Fatal("NOSUCH")
		}
		if after := processed(); after != before {
			t.Fatalf("%d commands became %d", before, after)
		}
	})
	for _, args := range [][]string{{"GET", "k"}, {"INCR", "k"}, {"GET"}, {"NOSUCH", "k"}} {
		t.Run("counts once "+strings.Join(args, " "), func(t *testing.T) {
			before := processed()
			_, err := c.Do(args...)
			var refused Error
			if err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			if after := processed(); after != before+1 {
				t.Fatalf("%d commands became %d", before, after)
			}
		})
	}
	t.Run("CommandStats tells run, rejected and failed apart", func(t *testing.T) {
		stats, err := s.CommandStats()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := stats["get"], (CommandStat{Calls: 1, Rejected: 1}); got != want {
			t.Errorf("get: %+v", got)
		}
		if got, want := stats["incr"], (CommandStat{Calls: 2, Failed: 2}); got != want {
			t.Errorf("incr: %+v", got)
		}
	})
	t.Run("a reset starts the count at nothing", func(t *testing.T) {
		mustDo(t, s, "CONFIG", "RESETSTAT")
		if n := processed(); n != 0 {
			t.Fatalf("%d commands after the reset", n)
		}
	})
	t.Run("ClientList leaves the rig out", func(t *testing.T) {
		mustDo(t, c, "CLIENT", "SETNAME", "the-other-one")
		clients, err := s.ClientList()
		if err != nil {
			t.Fatal(err)
		}
		if len(clients) != 1 || clients[0]["name"] != "the-other-one" {
			t.Fatalf("clients: %v", clients)
		}
	})
}

func TestClientReadsEveryReplyType(t *testing.T) {
	s := Start(t)
	c := dial(t, s)
	hello, ok := mustDo(t, c, "HELLO", "3").(Map)
	if !ok || len(hello) == 0 {
		t.Fatalf("HELLO 3: %v", hello)
	}
	for kind, want := range map[string]any{"double": 3.141, "null": nil, "true": true, "integer": int64(12345), "verbatim": "This is a verbatim\nstring"} {
		if got := mustDo(t, c, "DEBUG", "PROTOCOL", kind); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
	if got := mustDo(t, c, "DEBUG", "PROTOCOL", "set"); len(got.(Set)) != 3 {
		t.Errorf("set: %v", got)
	}
	for _, bad := range []string{"$2\r\nabc\r\n", "?\r\n", "\r\n", "+OK\n", "$99999999999\r\n", strings.Repeat("*1\r\n", 100)} {
		if got, err := readReply(bufio.NewReader(strings.NewReader(bad)), 0); err == nil {
			t.Errorf("%q read as %v", bad, got)
		}
	}
}
