package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, file, content string) {
	t.Helper()
	must(t, os.WriteFile(file, []byte(content), 0o600))
}

// replaced puts content in a file's place as careful programs do.
func replaced(t testing.TB, file, content string) {
	t.Helper()
	put(t, file+".new", content)
	must(t, os.Rename(file+".new", file))
}

// watched is a watch over files whose reloads a test sees and answers.
type watched struct {
	*watch
	files   []string
	reloads chan error // what the next reload gives; a reload waits for it
	count   atomic.Int32
}

// hasty is a watch whose tests don't take long.
func hasty(poll time.Duration) *watch {
	w := newWatch(zap.NewNop())
	w.settle, w.pollEvery = 5*time.Millisecond, poll
	return w
}

func startWatch(t *testing.T, poll time.Duration, files ...string) *watched {
	t.Helper()
	w := &watched{watch: hasty(poll), files: files, reloads: make(chan error)}
	w.tried(nil, time.Now(), files)
	ctx, cancel := context.WithCancel(t.Context())
	w.reload = func() error {
		began, before := time.Now(), w.before()
		w.count.Add(1)
		var err error
		select {
		case err = <-w.reloads:
		case <-ctx.Done():
		}
		w.tried(before, began, w.files)
		return err
	}
	ended := make(chan struct{})
	go func() { defer close(ended); w.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		goleak.VerifyNone(t)
	})
	return w
}

// reloads waits for a reload, which gives err.
func (w *watched) reloaded(t *testing.T, err error) {
	t.Helper()
	select {
	case w.reloads <- err:
	case <-time.After(patience):
		t.Fatal("no reload")
	}
}

// quiet wants no reload for as long as several looks take, and none beyond those counted.
func (w *watched) quiet(t *testing.T, so int32) {
	t.Helper()
	select {
	case w.reloads <- nil:
		t.Fatal("a reload without a cause")
	case <-time.After(20 * w.settle):
	}
	if n := w.count.Load(); n != so {
		t.Fatalf("%d reloads, want %d", n, so)
	}
}

func TestWatch(t *testing.T) {
	const never = time.Hour
	t.Run("a changed file reloads once", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "a")
		put(t, file, "one")
		w := startWatch(t, never, file)
		w.quiet(t, 0)
		replaced(t, file, "two")
		w.reloaded(t, nil)
		w.quiet(t, 1)
		replaced(t, file, "three")
		w.reloaded(t, nil)
		w.quiet(t, 2)
	})
	t.Run("the same content written again does not", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "a")
		put(t, file, "one")
		w := startWatch(t, never, file)
		replaced(t, file, "one")
		w.quiet(t, 0)
	})
	t.Run("neither does another file of the folder", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "a")
		put(t, file, "one")
		w := startWatch(t, never, file)
		put(t, filepath.Join(dir, "b"), "x")
		w.quiet(t, 0)
	})
	t.Run("a changed mode does: keys are judged by it", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "a")
		put(t, file, "one")
		w := startWatch(t, never, file)
		must(t, os.Chmod(file, 0o400))
		w.reloaded(t, nil)
	})
	t.Run("a failed reload is tried again when something changes", func(t *testing.T) {
		dir := t.TempDir()
		crt, key := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
		put(t, crt, "one")
		put(t, key, "one")
		w := startWatch(t, never, crt, key)
		replaced(t, crt, "two")
		w.reloaded(t, errors.New("the pair does not fit"))
		w.quiet(t, 1)
		replaced(t, key, "two")
		w.reloaded(t, nil)
		w.quiet(t, 2)
	})
	t.Run("a change during a reload is another one", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "a")
		put(t, file, "one")
		w := startWatch(t, never, file)
		replaced(t, file, "two")
		for deadline := time.After(patience); w.count.Load() == 0; {
			select {
			case <-deadline:
				t.Fatal("no reload")
			case <-time.After(time.Millisecond):
			}
		}
		replaced(t, file, "three") // after the files were read, and before the reload ends
		w.reloaded(t, nil)
		w.reloaded(t, nil)
		w.quiet(t, 2)
	})
	t.Run("a file that vanishes and comes back counts", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "a")
		put(t, file, "one")
		w := startWatch(t, never, file)
		must(t, os.Remove(file))
		w.reloaded(t, errors.New("it is not there"))
		put(t, file, "one")
		w.reloaded(t, nil)
	})
	t.Run("a folder that is not there yet is found by the clock", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "later", "a")
		w := startWatch(t, 10*time.Millisecond, file)
		must(t, os.Mkdir(filepath.Dir(file), 0o700))
		put(t, file, "one")
		w.reloaded(t, nil)
		replaced(t, file, "two")
		w.reloaded(t, nil)
	})
	t.Run("a link on the way that leads elsewhere counts", func(t *testing.T) {
		dir := t.TempDir()
		for _, v := range []string{"1", "2"} {
			must(t, os.Mkdir(filepath.Join(dir, v), 0o700))
			put(t, filepath.Join(dir, v, "a"), v)
		}
		must(t, os.Symlink("1", filepath.Join(dir, "now")))
		w := startWatch(t, never, filepath.Join(dir, "now", "a"))
		must(t, os.Symlink("2", filepath.Join(dir, "next")))
		must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "now")))
		w.reloaded(t, nil)
		replaced(t, filepath.Join(dir, "2", "a"), "3")
		w.reloaded(t, nil)
	})
	t.Run("links in a circle end", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.Symlink("b", filepath.Join(dir, "a")))
		must(t, os.Symlink("a", filepath.Join(dir, "b")))
		w := startWatch(t, never, filepath.Join(dir, "a"))
		must(t, os.Remove(filepath.Join(dir, "a")))
		put(t, filepath.Join(dir, "a"), "one")
		w.reloaded(t, nil)
	})
	t.Run("what we write ourselves is no reason", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "users.acl")
		put(t, file, "one")
		w := startWatch(t, never, file)
		must(t, w.quietly(file, func() error { replaced(t, file, "two"); return nil }))
		w.quiet(t, 0)
		replaced(t, file, "three")
		w.reloaded(t, nil)
	})
	t.Run("unless a reload is about to put the older state in force", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "users.acl")
		put(t, file, "one")
		w := newWatch(zap.NewNop())
		w.tried(nil, time.Now(), []string{file})
		w.tried(w.before(), time.Now(), []string{file})
		must(t, w.quietly(file, func() error { replaced(t, file, "two"); return nil }))
		w.done()
		if _, differs := w.changed(); !differs {
			t.Error("what was saved during a reload is not read again")
		}
		w.tried(w.before(), time.Now(), []string{file})
		w.done()
		must(t, w.quietly(file, func() error { replaced(t, file, "three"); return nil }))
		if _, differs := w.changed(); differs {
			t.Error("what was saved after it is")
		}
	})
	t.Run("unless somebody else wrote before", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "users.acl")
		put(t, file, "one")
		w := hasty(never)
		w.tried(nil, time.Now(), []string{file})
		put(t, file, "theirs")
		must(t, w.quietly(file, func() error { return nil }))
		if _, differs := w.changed(); !differs {
			t.Error("a change that nobody has read is taken for known")
		}
	})
	t.Run("a file named for the first time and changed meanwhile counts", func(t *testing.T) {
		dir := t.TempDir()
		old, young := filepath.Join(dir, "old"), filepath.Join(dir, "young")
		put(t, old, "x")
		put(t, young, "x")
		began := time.Now()
		must(t, os.Chtimes(old, began, began.Add(-time.Minute)))
		must(t, os.Chtimes(young, began, began.Add(time.Millisecond)))
		w := hasty(never)
		w.tried(nil, began, []string{old})
		if _, differs := w.changed(); differs {
			t.Error("a file from before counts as changed")
		}
		w.tried(nil, began, []string{old, young})
		if _, differs := w.changed(); !differs {
			t.Error("a file that may have changed since it was read counts as known")
		}
	})
}

// volume is a folder as Kubernetes mounts a secret: each file is a link through
// ..data into a folder of one version, and ..data is swapped.
type volume struct {
	dir     string
	version int
}

func (v *volume) swap(t testing.TB, files map[string][]byte) {
	t.Helper()
	v.version++
	name := fmt.Sprintf("..2026_11_21_%06d", v.version)
	must(t, os.Mkdir(filepath.Join(v.dir, name), 0o755))
	for file, content := range files {
		must(t, os.WriteFile(filepath.Join(v.dir, name, file), content, 0o600))
		link := filepath.Join(v.dir, file)
		if _, err := os.Lstat(link); err != nil {
			must(t, os.Symlink(filepath.Join("..data", file), link))
		}
	}
	must(t, os.Symlink(name, filepath.Join(v.dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data")))
	must(t, os.RemoveAll(filepath.Join(v.dir, fmt.Sprintf("..2026_11_21_%06d", v.version-1))))
}

// serving runs the configuration in a folder, watched, until the test ends.
func serving(t *testing.T, dir string) *daemon {
	t.Helper()
	d := unwatched(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}

// unwatched serves the configuration in a folder until the test ends. It reloads
// only when the test has it do so.
func unwatched(t testing.TB, dir string) *daemon {
	t.Helper()
	w := hasty(watchPoll)
	path := filepath.Join(dir, "sallyport.yaml")
	began := time.Now()
	cfg, problems, named := config.LoadNaming(path, config.Keep{Hits: w.hits})
	if cfg == nil {
		t.Fatal(problems)
	}
	w.tried(nil, began, named)
	w.taken()
	d, err := start(cfg, path, zap.NewNop(), w)
	must(t, err)
	t.Cleanup(d.close)
	return d
}

// A list that is replaced ends the sessions of whom it names, and of nobody
// else; they do not come back, with a ticket or without.
func TestRevokedHoldersAreOutWithinSeconds(t *testing.T) {
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	dir := t.TempDir()
	server, err := ca.Server()
	must(t, err)
	gone, err := ca.Client("gone")
	must(t, err)
	kept, err := ca.Client("kept")
	must(t, err)
	list, err := ca.CRL(time.Hour)
	must(t, err)
	put(t, filepath.Join(dir, "tls.crt"), string(server.CertPEM))
	put(t, filepath.Join(dir, "tls.key"), string(server.KeyPEM))
	put(t, filepath.Join(dir, "ca.crt"), string(ca.CertPEM()))
	put(t, filepath.Join(dir, "ca.crl"), string(list))
	put(t, filepath.Join(dir, "sallyport.yaml"), `
listeners:
  - name: gateway
    address: 127.0.0.1:0
    tls: { certificate: tls.crt, key: tls.key, client_ca: ca.crt, client_auth: require, crl: ca.crl }
backends: { main: { nodes: ["127.0.0.1:1"] } }
policy: { file: policy.yaml }
events: [{ sink: file, path: events.jsonl }]
`)
	put(t, filepath.Join(dir, "policy.yaml"), "users: { gone: { rules: on, certificate: { cn: gone } }, kept: { rules: on, certificate: { cn: kept } } }\n")
	d := serving(t, dir)
	dial := func(p *tlsutil.Pair, cache tls.ClientSessionCache) (*tls.Conn, error) {
		conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{p.Certificate}, ClientSessionCache: cache}
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", d.server.Addr("gateway").String(), conf)
		if err != nil {
			return nil, err
		}
		c.SetDeadline(time.Now().Add(patience))
		return c, ping(c)
	}
	tickets := tls.NewLRUClientSessionCache(1)
	first, err := dial(gone, tickets)
	must(t, err)
	defer first.Close()
	stays, err := dial(kept, nil)
	must(t, err)
	defer stays.Close()

	list, err = ca.CRL(time.Hour, gone.Certificate.Leaf)
	must(t, err)
	began := time.Now()
	replaced(t, filepath.Join(dir, "ca.crl"), string(list))
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the revoked holder got an answer nobody asked for")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the revoked holder was out after %v", took)
	}
	must(t, ping(stays))
	for _, cache := range []tls.ClientSessionCache{tickets, nil} {
		if c, err := dial(gone, cache); err == nil {
			c.Close()
			t.Error("the revoked holder came back")
		}
	}
	again, err := dial(kept, nil)
	must(t, err)
	again.Close()
	for _, want := range []string{`"event":"close_conn"`, `"reason":"certificate_revoked"`} {
		waitFor(t, filepath.Join(dir, "events.jsonl"), want)
	}
}

// ping has the proxy answer a command.
func ping(c net.Conn) error {
	if _, err := io.WriteString(c, "*1\r\n$4\r\nPING\r\n"); err != nil {
		return err
	}
	got := make([]byte, 1)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	for got[0] != '\n' {
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
	}
	return nil
}

// waitFor waits until a file holds text.
func waitFor(t *testing.T, file, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		data, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(data), text) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s does not hold %s:\n%s", file, text, data)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Clients shake hands all the time while the secret is swapped two hundred
// times; each new pair is served within five seconds.
func TestKubernetesSwapsCostNoHandshake(t *testing.T) {
	const swaps, clients = 200, 3
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	client, err := ca.Client("app")
	must(t, err)
	dir := t.TempDir()
	v := &volume{dir: filepath.Join(dir, "secret")}
	must(t, os.Mkdir(v.dir, 0o755))
	pair := func() (*tlsutil.Pair, map[string][]byte) {
		p, err := ca.Server()
		must(t, err)
		return p, map[string][]byte{"tls.crt": p.CertPEM, "tls.key": p.KeyPEM, "ca.crt": ca.CertPEM()}
	}
	_, files := pair()
	v.swap(t, files)
	put(t, filepath.Join(dir, "sallyport.yaml"), `
listeners:
  - name: gateway
    address: 127.0.0.1:0
    tls: { certificate: secret/tls.crt, key: secret/tls.key, client_ca: secret/ca.crt, client_auth: require }
backends: { main: { nodes: ["127.0.0.1:1"] } }
policy: { file: policy.yaml }
events: [{ sink: file, path: events.jsonl }]
`)
	put(t, filepath.Join(dir, "policy.yaml"), "users: { app: { rules: off } }\n")

	d := serving(t, dir)
	address := d.server.Addr("gateway").String()
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{client.Certificate}}
	shake := func() (*x509.Certificate, error) {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, conf)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		// The client's word is not enough: a command has to come back.
		if err := ping(c); err != nil {
			return nil, err
		}
		return c.ConnectionState().PeerCertificates[0], nil
	}
	var stop atomic.Bool
	var load sync.WaitGroup
	var done, failed atomic.Int64
	for range clients {
		load.Go(func() {
			for !stop.Load() {
				if _, err := shake(); err != nil {
					failed.Add(1)
					t.Errorf("a handshake failed: %v", err)
					return
				}
				done.Add(1)
			}
		})
	}
	slowest := time.Duration(0)
	for i := range swaps {
		p, files := pair()
		began := time.Now()
		v.swap(t, files)
		for {
			got, err := shake()
			if err != nil {
				t.Errorf("swap %d: %v", i, err)
				break
			}
			if took := time.Since(began); got.Equal(p.Certificate.Leaf) {
				slowest = max(slowest, took)
				break
			} else if took > 5*time.Second {
				t.Fatalf("swap %d: the new pair is not served after %v", i, took)
			}
		}
		if failed.Load() > 0 {
			break
		}
	}
	stop.Store(true)
	load.Wait()
	t.Logf("%d swaps, %d handshakes besides, the slowest swap was served after %v", swaps, done.Load(), slowest)
	if done.Load() < swaps {
		t.Errorf("only %d handshakes were made meanwhile", done.Load())
	}
}
