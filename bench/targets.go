package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// target is something load can be sent through. It runs until stop.
type target struct {
	name           string
	version        string
	address        map[string]string   // by kind of listener
	user, password string              // what redis-benchmark logs in with; empty: not at all
	pid            int                 // the proxy's; 0: there is no proxy, Redis itself is the target
	redis          *redistest.Server   // behind the proxy, or the target itself
	beside         []*redistest.Server // the other nodes, where keys are spread over several
	process        *redistest.Process
	logPath        string

	dir, binary string // how it was launched, for restart
	args        []string
}

// stop ends the target's process, if it has one of its own.
func (t *target) stop() error {
	if t.process == nil {
		return nil
	}
	return t.process.End(3 * time.Second)
}

// alive is an error once the target's process has ended, with the end of what it printed.
func (t *target) alive() error {
	if t.process == nil {
		return nil
	}
	select {
	case <-t.process.Done():
		return fmt.Errorf("%s ended (%v): %s", t.name, t.process.Err(), logTail(t.logPath))
	default:
		return nil
	}
}

// rig is what all targets share.
type rig struct {
	dir     string // everything the benchmark writes but its results
	pki     credentials
	plain   *redistest.Server   // behind every proxy
	tls     *redistest.Server   // native TLS, for reference
	shards  []*redistest.Server // that keys are spread over
	threads int                 // haproxy's nbthread
}

// peer is a program measured for comparison.
type peer struct {
	name     string
	listener string   // the kind it offers
	binaries []string // names to look for on PATH, in this order
	version  []string // arguments that print the version; nil: a Go program, which carries it
	// prepare writes what the peer needs and returns its arguments.
	prepare func(r *rig, dir, listen string) ([]string, error)
}

var peers = []peer{
	{name: "haproxy", listener: "mtls", binaries: []string{"haproxy"}, version: []string{"-v"}, prepare: prepareHAProxy},
	{name: "stunnel", listener: "mtls", binaries: []string{"stunnel4", "stunnel"}, version: []string{"-version"}, prepare: prepareStunnel},
	{name: "ghostunnel", listener: "mtls", binaries: []string{"ghostunnel"}, prepare: prepareGhostunnel},
	{name: "nutcracker", listener: "plain", binaries: []string{"nutcracker"}, version: []string{"-V"}, prepare: prepareNutcracker},
	{name: peerShards, listener: "sharded", binaries: []string{"nutcracker"}, version: []string{"-V"}, prepare: prepareShardedNutcracker},
	{name: "predixy", listener: "plain", binaries: []string{"predixy"}, version: []string{"--version"}, prepare: preparePredixy},
}

func prepareHAProxy(r *rig, dir, listen string) ([]string, error) {
	path := filepath.Join(dir, "haproxy.cfg")
	return []string{"-db", "-f", path}, write(path, `
global
    nbthread `+strconv.Itoa(r.threads)+`
    maxconn 9000
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
frontend in
    bind `+listen+` ssl crt `+r.pki.serverBoth+` ca-file `+r.pki.ca+` verify required
    default_backend redis
backend redis
    server redis `+r.plain.Addr()+`
`)
}

func prepareStunnel(r *rig, dir, listen string) ([]string, error) {
	path := filepath.Join(dir, "stunnel.conf")
	return []string{path}, write(path, `
foreground = yes
pid =
debug = err
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[redis]
accept = `+listen+`
connect = `+r.plain.Addr()+`
cert = `+r.pki.serverCert+`
key = `+r.pki.serverKey+`
CAfile = `+r.pki.ca+`
verifyChain = yes
requireCert = yes
sslVersionMin = TLSv1.2
`)
}

func prepareGhostunnel(r *rig, _, listen string) ([]string, error) {
	return []string{"server", "--listen", listen, "--target", r.plain.Addr(), "--cert", r.pki.serverCert,
		"--key", r.pki.serverKey, "--cacert", r.pki.ca, "--allow-all", "--quiet", "all"}, nil
}

func prepareNutcracker(r *rig, dir, listen string) ([]string, error) {
	path := filepath.Join(dir, "nutcracker.yml")
	_, stats, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return []string{"-c", path, "-a", "127.0.0.1", "-s", stats, "-v", "0", "-p", filepath.Join(dir, "nutcracker.pid")}, write(path, `
bench:
  listen: `+listen+`
  hash: fnv1a_64
  distribution: ketama
  redis: true
  preconnect: true
  server_connections: 1
  servers:
    - `+r.plain.Addr()+`:1
`)
}

func preparePredixy(r *rig, dir, listen string) ([]string, error) {
	path := filepath.Join(dir, "predixy.conf")
	return []string{path}, write(path, `
Name bench
Bind `+listen+`
WorkerThreads 1
ClientTimeout 0
Authority {
    Auth {
        Mode write
    }
}
StandaloneServerPool {
    RefreshMethod fixed
    Databases 1
    Hash crc16
    HashTag "{}"
    Distribution modula
    Group one {
        + `+r.plain.Addr()+`
    }
}
`)
}

// errNotFound means that a peer is not on this machine, which is no fault.
var errNotFound = errors.New("not found on PATH")

// start runs the peer in front of the plain Redis. path replaces the search on PATH when it is not empty.
func (p peer) start(ctx context.Context, r *rig, path string) (*target, error) {
	binary, err := find(path, p.binaries)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(r.dir, p.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	listen, _, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args, err := p.prepare(r, dir, listen)
	if err != nil {
		return nil, err
	}
	version := moduleVersion(binary)
	if p.version != nil {
		version = versionOf(ctx, binary, p.version)
	}
	t := &target{name: p.name, version: version, address: map[string]string{p.listener: listen}, redis: r.plain}
	if p.listener == "sharded" {
		t.redis, t.beside = r.shards[0], r.shards[1:]
	}
	return t, t.launch(ctx, dir, binary, args)
}

// find returns the program's path: the one given, or the first of names on PATH.
func find(path string, names []string) (string, error) {
	if path != "" {
		return exec.LookPath(path)
	}
	for _, name := range names {
		if found, err := exec.LookPath(name); err == nil {
			return found, nil
		}
	}
	return "", errNotFound
}

// launch starts the target's process and returns when all its addresses accept connections. On an error nothing runs.
func (t *target) launch(ctx context.Context, dir, binary string, args []string) error {
	t.logPath = filepath.Join(dir, "log")
	t.dir, t.binary, t.args = dir, binary, args
	var err error
	if t.process, err = redistest.StartProcess(binary, args, t.logPath); err != nil {
		return err
	}
	t.pid = t.process.Pid()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for _, address := range t.address {
		if err := t.await(ctx, address); err != nil {
			return errors.Join(err, t.stop())
		}
	}
	return nil
}

func (t *target) await(ctx context.Context, address string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-t.process.Done():
			return t.alive()
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %s", t.name, logTail(t.logPath))
		}
	}
}

// freeAddress is a loopback address nobody listens on, whole and its port alone.
func freeAddress() (address, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	address = l.Addr().String()
	_, port, err = net.SplitHostPort(address)
	return address, port, errors.Join(err, l.Close())
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

// logTail is the end of what a process printed, on one line.
func logTail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-6):], " | ")
}

// raiseFiles lifts the soft limit of open files to the hard one: five hundred clients cost a proxy a thousand. Children
// inherit it.
func raiseFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// openFiles is how many files a process may have open.
func openFiles() (int, error) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return int(min(limit.Cur, 1<<30)), err
}
