package conformance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// binary builds the product once for all tests that kill it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sallyport")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sallyport")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/sallyport").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// forget removes what binary built, if it did.
var built bool

func forget() {
	if built {
		if path, err := binary(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
	}
}

// process is the proxy as users run it: a process of its own, on a port that
// it comes back to.
type process struct {
	t       testing.TB
	path    string
	dir     string
	address string

	mu  sync.Mutex
	now *redistest.Process
}

func startProcess(t testing.TB, node string) *process {
	t.Helper()
	built = true
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, path: path, dir: t.TempDir(), address: freeAddress(t)}
	for name, text := range map[string]string{
		"sallyport.yaml": "listeners:\n  - { name: plain, address: '" + p.address + "', anonymous: true, backend: main }\n" +
			"backends:\n  main: { nodes: ['" + node + "'] }\n" +
			"policy: { file: policy.yaml, modes: { guard: off } }\n" +
			"events: [{ sink: file, path: events.jsonl }]\n",
		"policy.yaml": "users:\n  default: { rules: 'on nopass ~* &* +@all' }\nguard: { never: [] }\n",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := p.kill(); err != nil {
			t.Error(err)
		}
	})
	p.start()
	return p
}

// freeAddress is a loopback port below those that the kernel gives to outgoing
// connections, so that it is still free when the proxy comes back.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 11000+rand.IntN(20000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// start starts the process and returns when its commands reach the backend.
func (p *process) start() {
	p.t.Helper()
	log := filepath.Join(p.dir, "log")
	args := []string{"serve", "--config", filepath.Join(p.dir, "sallyport.yaml")}
	if os.Geteuid() == 0 {
		args = append(args, "--allow-root")
	}
	now, err := redistest.StartProcess(p.path, args, log)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.now = now
	p.mu.Unlock()
	limit := time.NewTimer(3 * patience)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(p.address) {
			return
		}
		select {
		case <-tick.C:
		case <-now.Done():
			text, _ := os.ReadFile(log)
			p.t.Fatalf("the proxy ended: %v\n%s", now.Err(), text[max(0, len(text)-2000):])
		case <-limit.C:
			p.t.Fatal("the proxy does not answer")
		}
	}
}

// answers reports whether a command comes back from the node at address.
func answers(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(redistest.Encode("EXISTS", "k")); err != nil {
		return false
	}
	got := make([]byte, 64)
	n, err := c.Read(got)
	return err == nil && bytes.HasPrefix(got[:n], []byte(":"))
}

// kill ends the process by SIGKILL, as a crash or a machine's end would.
func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil {
		return nil
	}
	now := p.now
	p.now = nil
	return now.Kill()
}

// process to be frozen and thawed.
func (p *process) running() *redistest.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}
