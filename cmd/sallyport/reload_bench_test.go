package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/tlsutil"
)

// BenchmarkReload says what one reload costs, by what has changed since the one
// before: what is allocated, and by a profile what is worked. The time holds the
// rests. Nobody is connected, whose share comes on top.
func BenchmarkReload(b *testing.B) {
	const states = 64
	for _, of := range []struct {
		name  string
		write func(f *reloadFiles, n int)
	}{
		{"nothing", func(f *reloadFiles, _ int) { f.write(0, false) }},
		{"policy", func(f *reloadFiles, n int) { f.write(n, false) }},
		{"listener", func(f *reloadFiles, n int) { f.write(0, n%2 == 1) }},
		{"certificate", func(f *reloadFiles, _ int) { f.rotate(); f.write(0, false) }},
	} {
		b.Run(of.name, func(b *testing.B) {
			f := newReloadFiles(b)
			for n := range states {
				f.state = n
				of.write(f, n)
			}
			f.put(0)
			d := unwatched(b, f.dir)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				f.put(n % states)
				must(b, d.reload(audit.MethodSignal))
			}
		})
	}
}

// reloadFiles is a configuration that changes from reload to reload: two
// listeners, one with TLS, one user. Each of its states is a folder, and a link
// says which one is in place.
type reloadFiles struct {
	t    testing.TB
	root string
	dir  string // the link
	node string
	ca   *tlsutil.DevCA
	pair []byte // certificate and key

	state int // that is being written
}

func newReloadFiles(t testing.TB) *reloadFiles {
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	f := &reloadFiles{t: t, root: memoryFolder(t), ca: ca, node: "127.0.0.1:1"}
	f.dir = filepath.Join(f.root, "now")
	f.rotate()
	return f
}

// prepare writes the states from first to last: each has another policy, each
// second one a listener more, each tenth begins with another certificate.
func (f *reloadFiles) prepare(first, last int) {
	for n := first; n <= last; n++ {
		if n%10 == 0 {
			f.rotate()
		}
		f.state = n
		f.write(n, n%2 == 1)
	}
}

func (f *reloadFiles) folder(n int) string { return filepath.Join(f.root, strconv.Itoa(n)) }

// put puts a state in place.
func (f *reloadFiles) put(n int) {
	next := filepath.Join(f.root, "next")
	must(f.t, os.Symlink(f.folder(n), next))
	must(f.t, os.Rename(next, f.dir))
}

func (f *reloadFiles) rotate() {
	server, err := f.ca.Server()
	must(f.t, err)
	f.pair = append(server.CertPEM, server.KeyPEM...)
}

// write writes the state at hand.
func (f *reloadFiles) write(policy int, withExtra bool) {
	dir := f.folder(f.state)
	must(f.t, os.MkdirAll(dir, 0o700))
	extra := ""
	if withExtra {
		extra = "\n  - { name: extra, address: 127.0.0.1:0 }"
	}
	put(f.t, filepath.Join(dir, "both.pem"), string(f.pair))
	put(f.t, filepath.Join(dir, "sallyport.yaml"), `
listeners:
  - { name: plain, address: 127.0.0.1:0 }
  - { name: secure, address: 127.0.0.1:0, tls: { certificate: both.pem, key: both.pem } }`+extra+`
backends: { main: { nodes: ["`+f.node+`"] } }
policy: { file: policy.yaml }
events: [{ sink: file, path: `+filepath.Join(f.root, "events.jsonl")+` }]
`)
	put(f.t, filepath.Join(dir, "policy.yaml"), fmt.Sprintf("users: { app: { rules: 'on #%s ~app:* ~n%d:* +@read +@write +@connection' } }\n", acl.HashPassword([]byte("pw")), policy))
}

// memoryFolder is a folder without a disk below it where the machine has such: how
// long an editor's disk takes is not to be measured.
func memoryFolder(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "sallyport-reload-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
