package redistest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// StartNutcracker runs a twemproxy for a test and gives the address it listens on. pool is what stands below the pool's
// name in its file, a line each, without listen and servers; servers are written as it wants them: host:port:weight
// [name].
func StartNutcracker(t testing.TB, pool []string, servers []string) string {
	t.Helper()
	binary, err := exec.LookPath("nutcracker")
	if err != nil {
		t.Fatal("nutcracker not found on PATH; install it, for example: apt-get install nutcracker")
	}
	for range portTries {
		addr, ended, err := openNutcracker(t, binary, pool, servers)
		if err == nil {
			return addr
		}
		if !ended {
			t.Fatal(err)
		}
	}
	t.Fatal("nutcracker finds no port of its own")
	return ""
}

// openNutcracker makes one attempt; ended means that the process did not stay.
func openNutcracker(t testing.TB, binary string, pool, servers []string) (addr string, ended bool, err error) {
	port, err := freePort()
	if err != nil {
		return "", false, err
	}
	stats, err := freePort()
	if err != nil {
		return "", false, err
	}
	addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	text := "pool:\n  listen: " + addr + "\n"
	for _, l := range pool {
		text += "  " + l + "\n"
	}
	text += "  servers:\n   - " + strings.Join(servers, "\n   - ") + "\n"
	dir := t.TempDir()
	conf, log := filepath.Join(dir, "nutcracker.yml"), filepath.Join(dir, "log")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return "", false, err
	}
	p, err := StartProcess(binary, []string{"-c", conf, "-s", strconv.Itoa(stats), "-a", "127.0.0.1"}, log)
	if err != nil {
		return "", false, err
	}
	deadline := time.After(startTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			t.Cleanup(func() { _ = p.Kill() })
			return addr, false, nil
		}
		select {
		case <-p.Done():
			said, _ := os.ReadFile(log)
			return "", true, fmt.Errorf("nutcracker ended at once: %s", said)
		case <-deadline:
			return "", false, errors.Join(errors.New("nutcracker does not listen"), p.Kill())
		case <-tick.C:
		}
	}
}
