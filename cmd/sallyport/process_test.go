package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
	"go.uber.org/zap"
)

const processPolicy = "users:\n  default:\n    rules: \"on nopass ~* +@all\"\n"

// served is a sallyport of its own process.
type served struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	said  *lockedBuffer
	ended chan struct{}
}

// lockedBuffer is written by a process and read by a test.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// runs writes the files and starts a process; how may change the command.
func runs(t *testing.T, dir, conf string, how func(*exec.Cmd)) *served {
	t.Helper()
	put(t, filepath.Join(dir, "sallyport.yaml"), conf)
	if _, err := os.Stat(filepath.Join(dir, "policy.yaml")); errors.Is(err, os.ErrNotExist) {
		put(t, filepath.Join(dir, "policy.yaml"), processPolicy)
	}
	s := &served{t: t, dir: dir, said: &lockedBuffer{}, ended: make(chan struct{})}
	s.cmd = exec.Command("sallyport", "serve", "--allow-root", "--config", "sallyport.yaml", "--log-format", "json")
	s.cmd.Dir, s.cmd.Stderr, s.cmd.Stdout = dir, s.said, io.Discard
	s.cmd.Env = os.Environ()
	if how != nil {
		how(s.cmd)
	}
	must(t, s.cmd.Start())
	go func() {
		_ = s.cmd.Wait() // how it ended is told by the state
		close(s.ended)
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.ended
		if t.Failed() {
			t.Logf("it said:\n%s", s.said)
		}
	})
	return s
}

// says waits until the log holds text.
func (s *served) says(text string) {
	s.t.Helper()
	eventually(s.t, func() error {
		if !strings.Contains(s.said.String(), text) {
			return fmt.Errorf("the log does not hold %q", text)
		}
		return nil
	})
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.After(2 * patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

// ends waits for the end and gives the exit code.
func (s *served) ends(within time.Duration) int {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(within):
		s.t.Fatalf("still running after %v", within)
	}
	return s.cmd.ProcessState.ExitCode()
}

func (s *served) signal(sig syscall.Signal) {
	s.t.Helper()
	must(s.t, s.cmd.Process.Signal(sig))
}

func processConfig(address, redis, more string) string {
	return "listeners:\n  - { name: gateway, address: \"" + address + "\", anonymous: true" + more + " }\n" +
		"backends:\n  main: { nodes: [\"" + redis + "\"] }\npolicy: { file: policy.yaml, modes: { guard: off } }\n" +
		"events:\n  - { sink: file, path: events.jsonl }\nadmin: { address: \"unix:admin.sock\" }\nshutdown: { delay: 100ms, timeout: 20s }\n"
}

// pings waits until somebody answers at an address.
func pings(t *testing.T, address string) {
	t.Helper()
	eventually(t, func() error {
		c, err := redistest.Dial("tcp", address, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Do("PING")
		return err
	})
}

func TestRootNeedsAWord(t *testing.T) {
	for _, c := range []struct {
		how     process
		uid     int
		refused bool
	}{{process{}, 0, true}, {process{allowRoot: true}, 0, false}, {process{}, 1000, false}, {process{allowRoot: true}, 1000, false}} {
		err := c.how.user(c.uid)
		if (err != nil) != c.refused {
			t.Errorf("uid %d, allowed %v: %v", c.uid, c.how.allowRoot, err)
		}
		var e *exit
		if c.refused && (!errors.As(err, &e) || e.code != exitUsage || !strings.Contains(err.Error(), "--allow-root")) {
			t.Errorf("the refusal does not say what to do: %v", err)
		}
	}
}

// TERM under load: what a client has as an answer is in Redis, and no answer ends in its middle.
func TestTermUnderLoadLosesNothingThatWasAcknowledged(t *testing.T) {
	redis := redistest.Start(t)
	direct, err := redistest.Dial("tcp", redis.Addr(), nil)
	must(t, err)
	defer direct.Close()
	value := strings.Repeat("0123456789abcdef", 8<<10) // 128 KiB
	_, err = direct.Do("SET", "large", value)
	must(t, err)
	whole := []byte("$" + strconv.Itoa(len(value)) + "\r\n" + value + "\r\n")

	for round := range 3 {
		address := "127.0.0.1:" + freePort(t)
		s := runs(t, t.TempDir(), processConfig(address, redis.Addr(), ""), nil)
		pings(t, address)
		const counters, readers, pipeline = 24, 6, 16
		var replies atomic.Int64
		var clients sync.WaitGroup
		for i := range counters {
			clients.Go(func() {
				key := fmt.Sprintf("counter:%d:%d", round, i)
				got, sent := hammer(t, address, bytes.Repeat(redistest.Encode("INCR", key), pipeline), pipeline, &replies)
				lines := strings.Split(string(got), "\r\n")
				if lines[len(lines)-1] != "" {
					t.Errorf("a reply was cut: %q", lines[len(lines)-1])
				}
				acknowledged := len(lines) - 1
				for n, line := range lines[:acknowledged] {
					if line != ":"+strconv.Itoa(n+1) {
						t.Errorf("reply %d is %q", n+1, line)
						return
					}
				}
				c, err := redistest.Dial("tcp", redis.Addr(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				v, err := c.Do("GET", key)
				if err != nil {
					t.Error(err)
					return
				}
				ran, _ := strconv.Atoi(fmt.Sprint(v))
				if ran < acknowledged || ran > sent {
					t.Errorf("%d of %d sent were acknowledged, Redis holds %d", acknowledged, sent, ran)
				}
			})
		}
		for range readers {
			clients.Go(func() {
				got, _ := hammer(t, address, redistest.Encode("GET", "large"), 1, &replies)
				if len(got)%len(whole) != 0 || len(got) == 0 {
					t.Errorf("%d bytes of replies are no multiple of %d", len(got), len(whole))
				}
				for ; len(got) >= len(whole); got = got[len(whole):] {
					if !bytes.Equal(got[:len(whole)], whole) {
						t.Error("a reply is another one's")
						return
					}
				}
			})
		}
		eventually(t, func() error {
			if n := replies.Load(); n < 5000 {
				return fmt.Errorf("%d replies", n)
			}
			return nil
		})
		s.signal(syscall.SIGTERM)
		if code := s.ends(25 * time.Second); code != exitOK {
			t.Errorf("exit code %d", code)
		}
		clients.Wait()
		if strings.Contains(s.said.String(), "the drain took too long") {
			t.Error("the drain ran into its time limit")
		}
	}
}

// hammer sends batches and reads what comes until the connection ends. It gives
// all that came and how many calls were sent.
func hammer(t *testing.T, address string, batch []byte, calls int, replies *atomic.Int64) (got []byte, sent int) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return nil, 0
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(4 * patience))
	room := make(chan struct{}, 1)
	var written atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range room {
			if _, err := c.Write(batch); err != nil {
				return
			}
			written.Add(1)
		}
	}()
	room <- struct{}{}
	seen := 0
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		got = append(got, buf[:n]...)
		news := bytes.Count(buf[:n], []byte("\r\n"))
		seen += news
		replies.Add(int64(news))
		select {
		case room <- struct{}{}: // not before something came, so that writes do not pile up
		default:
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("a client was not let go in order: %v", err)
			}
			break
		}
	}
	close(room)
	c.Close()
	<-done
	return got, int(written.Load()+1) * calls
}

// The supervisor hears of start, well-being, reload and end, in this order.
func TestTheSupervisorIsTold(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	inbox, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	must(t, err)
	defer inbox.Close()
	redis := redistest.Start(t)
	s := runs(t, t.TempDir(), processConfig("127.0.0.1:0", redis.Addr(), ""), func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+filepath.Join(dir, "n"), "WATCHDOG_USEC=400000")
	})
	hears := func(wants ...string) string {
		t.Helper()
		inbox.SetReadDeadline(time.Now().Add(2 * patience))
		buf := make([]byte, 4096)
		for {
			n, err := inbox.Read(buf)
			if err != nil {
				t.Fatalf("never told of %q: %v", wants, err)
			}
			for _, want := range wants {
				if message := "\n" + string(buf[:n]); strings.Contains(message, "\n"+want) {
					return message
				}
			}
		}
	}
	hears("READY=1")
	hears("WATCHDOG=1")
	hears("WATCHDOG=1")
	s.signal(syscall.SIGHUP)
	if m := hears("RELOADING=1"); !strings.Contains(m, "\nMONOTONIC_USEC=") {
		t.Errorf("the reload has no time: %q", m)
	}
	hears("READY=1")
	put(t, filepath.Join(s.dir, "policy.yaml"), "users: [")
	s.signal(syscall.SIGHUP)
	hears("RELOADING=1")
	hears("READY=1") // a reload that failed is over as well
	s.signal(syscall.SIGTERM)
	if m := hears("STOPPING=1"); !strings.Contains(m, "\nEXTEND_TIMEOUT_USEC=35100000") {
		t.Errorf("the end is not given its time: %q", m)
	}
	if code := s.ends(2 * patience); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// A loop that hangs is not called alive.
func TestTheWatchdogIsNotFedWhenALoopHangs(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	inbox, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	must(t, err)
	defer inbox.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "n"))
	t.Setenv("WATCHDOG_USEC", "40000")
	ctx, cancel := context.WithCancel(t.Context())
	ended, asked := make(chan struct{}), make(chan struct{}, 16)
	go func() {
		defer close(ended)
		supervisor{zap.NewNop()}.watchdog(ctx, func(ctx context.Context) error {
			select {
			case asked <- struct{}{}:
			default:
			}
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	for range 3 {
		<-asked
	}
	cancel()
	<-ended
	must(t, inbox.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	if n, err := inbox.Read(make([]byte, 4096)); err == nil {
		t.Errorf("told %d bytes", n)
	}
}

// passing starts a process that finds listening sockets at its descriptors from 3 on.
func passing(listeners ...net.Listener) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		for _, ln := range listeners {
			f, err := ln.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				panic(err)
			}
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
		line := fmt.Sprintf("LISTEN_PID=$$ LISTEN_FDS=%d exec %s", len(listeners), strings.Join(cmd.Args, " "))
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", line}
	}
}

func TestSocketsThatWerePassedAreServed(t *testing.T) {
	redis := redistest.Start(t)
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	sockets, err := os.MkdirTemp("", "passed")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(sockets) })
	admin, err := net.Listen("unix", filepath.Join(sockets, "admin"))
	must(t, err)
	defer admin.Close()
	conf := strings.Replace(processConfig(ln.Addr().String(), redis.Addr(), ""), "unix:admin.sock", "unix:"+filepath.Join(sockets, "admin"), 1)

	c, err := redistest.Dial("tcp", ln.Addr().String(), nil) // before anybody serves it
	must(t, err)
	defer c.Close()
	s := runs(t, dir, conf, passing(ln, admin))
	if got, err := c.Do("PING"); err != nil || got != "PONG" {
		t.Errorf("PING: %v, %v", got, err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(sockets, "admin"))
	}}}
	eventually(t, func() error {
		r, err := client.Get("http://localhost/readyz")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return errors.New(r.Status)
		}
		return nil
	})
	s.signal(syscall.SIGTERM)
	if code := s.ends(2 * patience); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(sockets, "admin")); err != nil {
		t.Errorf("the supervisor's socket was removed: %v", err)
	}
}

func TestAPassedSocketThatNobodyServesEndsTheStart(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	s := runs(t, t.TempDir(), processConfig("127.0.0.1:0", "127.0.0.1:1", ""), passing(ln))
	if code := s.ends(2 * patience); code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	s.says("passed a socket on " + ln.Addr().String() + ", which is no listener's address")
}

// Two processes share a port, so that one replaces the other without a gap.
func TestAProcessIsReplacedOnItsPort(t *testing.T) {
	redis := redistest.Start(t)
	address := "127.0.0.1:" + freePort(t)
	shared := processConfig(address, redis.Addr(), ", reuse_port: true")
	old := runs(t, t.TempDir(), shared, nil)
	pings(t, address)
	alone := runs(t, t.TempDir(), processConfig(address, redis.Addr(), ""), nil)
	if code := alone.ends(2 * patience); code != exitFailure {
		t.Errorf("without the word it exits with %d", code)
	}
	alone.says("address already in use")
	next := runs(t, t.TempDir(), shared, nil)
	next.says(`"msg":"started"`)
	old.signal(syscall.SIGTERM)
	if code := old.ends(2 * patience); code != exitOK {
		t.Errorf("the old process exits with %d", code)
	}
	for range 20 {
		pings(t, address)
	}
	next.signal(syscall.SIGTERM)
	if code := next.ends(2 * patience); code != exitOK {
		t.Errorf("the new process exits with %d", code)
	}
}

func TestCollectorIsBoundedUnlessSomebodySaidSo(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	t.Setenv("GOMEMLIMIT", "off")
	boundMemory(zap.NewNop())
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("GOMEMLIMIT is set and the limit changed from %d to %d", before, got)
	}
	if got := collectorLimit(1 << 30); got != 966367642 {
		t.Errorf("of 1 GiB the collector gets %d", got)
	}
}

// A scrape says from the first one on whether nodes answer, and how fast.
func TestASingleNodeIsAskedWhetherItAnswers(t *testing.T) {
	redis := redistest.Start(t)
	dir := shortDir(t)
	s := runs(t, dir, processConfig("127.0.0.1:0", redis.Addr(), ""), nil)
	s.says(`"msg":"started"`)
	var text bytes.Buffer
	q := inquiry{address: "unix:" + filepath.Join(dir, "admin.sock")}
	must(t, q.ask(t.Context(), &text, http.MethodGet, "/metrics"))
	if !strings.Contains(text.String(), `sallyport_backend_up{backend="main",node="`+redis.Addr()+`"}`) {
		t.Error("the first scrape does not name the node")
	}
	pinged := `sallyport_backend_ping_seconds_count{backend="main",node="` + redis.Addr() + `"} `
	eventually(t, func() error {
		text.Reset()
		if err := q.ask(t.Context(), &text, http.MethodGet, "/metrics"); err != nil {
			return err
		}
		if _, count, _ := strings.Cut(text.String(), pinged); !strings.HasPrefix(count, "2\n") {
			return fmt.Errorf("not asked twice: %.20q", count)
		}
		return nil
	})
}
