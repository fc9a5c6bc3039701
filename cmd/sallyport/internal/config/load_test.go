package config

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/tlsutil"
)

// documented is every key that this version knows.
const documented = `
listeners:
  - name: gateway
    address: 0.0.0.0:6380
    tls:
      certificate: tls/server.crt
      key: tls/server.key
      client_ca: tls/ca.crt
      client_auth: require
      min_version: "1.2"
    allow: [10.0.0.0/8, 192.168.1.7]
    anonymous: false
    backend: main
  - name: local
    address: unix:run/redis.sock
    mode: "0600"
    backend: cache
backends:
  main:
    topology: standalone
    nodes: [redis.internal:6379]
    user: proxy
    password_file: secrets/backend
    tls: { ca: tls/ca.crt, certificate: tls/client.crt, key: tls/client.key, server_name: redis.internal }
  cache:
    nodes: ["unix:/run/redis.sock"]
    password: "${REDIS_PASSWORD}"
policy:
  file: policy.yaml
  modes: { allow: enforce, guard: enforce, acl: enforce }
events:
  - sink: stdout
  - { sink: file, path: events.jsonl, mode: "0640" }
admin:
  address: 127.0.0.1:9380
limits:
  connections: 9
  connections_per_source: 8
  handshakes: 7
  handshake_timeout: 6s
  auth_timeout: 5s
  idle_timeout: 4s
  write_timeout: 3s
  request_bytes: 2MiB
  request_args: 1000
  output_bytes: 1MiB
  memory: 25%
workers: 3
shutdown: { delay: 1s, timeout: 2s }
`

const documentedPolicy = `
roles:
  reader: "+@read ~shared:*"
users:
  app:
    rules: "on #5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 ~app:* &app:* +@read +@write +info"
    roles: [reader]
guard:
  categories: [admin, dangerous, scripting]
  never: [shutdown, debug, "@admin", config|set]
`

// folder makes a folder with the documented configuration and its files.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := tlsutil.WriteDevDir(filepath.Join(dir, "tls"), tlsutil.DevOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"sallyport.yaml":                       documented,
		"policy.yaml":                          documentedPolicy,
		"secrets/backend":                      "from-a-file\n",
		"run/keep":                             "",
		"machine/proc/self/cgroup":             "0::/pod\n",
		"machine/sys/fs/cgroup/pod/memory.max": "1073741824\n",
		"machine/proc/meminfo":                 "MemTotal: 8388608 kB\n",
	} {
		writeFile(t, filepath.Join(dir, name), []byte(text))
	}
	return dir
}

func here(dir string, env map[string]string) surroundings {
	return surroundings{
		env:     func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		machine: machine{root: filepath.Join(dir, "machine")},
		now:     time.Now,
	}
}

func TestTheDocumentedConfigurationBecomesTheOptionsItSays(t *testing.T) {
	dir := folder(t)
	cfg, problems := load(filepath.Join(dir, "sallyport.yaml"), here(dir, map[string]string{"REDIS_PASSWORD": "from-the-environment"}))
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	got := cfg.Options(Running{Version: "1.2.3"})
	want := proxy.Options{
		Listeners: []proxy.ListenerOptions{
			{Name: "gateway", Network: "tcp", Address: "0.0.0.0:6380", Mode: 0o660, Backend: "main"},
			{Name: "local", Network: "unix", Address: filepath.Join(dir, "run/redis.sock"), Mode: 0o600, Backend: "cache"},
		},
		Backends: map[string]backend.Options{
			"main":  {Name: "main", User: "proxy", Nodes: []backend.Endpoint{{Network: "tcp", Address: "redis.internal:6379"}}},
			"cache": {Name: "cache", Nodes: []backend.Endpoint{{Network: "unix", Address: "/run/redis.sock"}}},
		},
		Limits: proxy.Limits{
			Connections: 9, ConnectionsPerSource: 8, Handshakes: 7,
			HandshakeTimeout: 6 * time.Second, AuthTimeout: 5 * time.Second, IdleTimeout: 4 * time.Second, WriteTimeout: 3 * time.Second,
			RequestBytes: 2 << 20, RequestArgs: 1000, OutputBytes: 1 << 20, Memory: 256 << 20,
		},
		Workers:  3,
		Shutdown: proxy.Shutdown{Delay: time.Second, Timeout: 2 * time.Second},
		Version:  "1.2.3",
	}
	ignored := cmp.Options{
		cmpopts.IgnoreFields(proxy.Options{}, "Policy", "Table", "Recorder", "Logger"),
		cmpopts.IgnoreFields(proxy.ListenerOptions{}, "TLS"),
		cmpopts.IgnoreFields(backend.Options{}, "Password", "TLS", "Logger"),
		cmpopts.EquateComparable(),
	}
	if d := cmp.Diff(want, got, ignored); d != "" {
		t.Errorf("options differ (-want +got):\n%s", d)
	}
	if got.Listeners[0].TLS == nil || got.Listeners[1].TLS != nil {
		t.Error("exactly the first listener must speak TLS")
	}
	if got.Policy == nil || got.Policy.User("app") == nil || got.Policy.Table() != got.Table {
		t.Error("the policy is not the file's, or speaks of another command table")
	}
	for name, want := range map[string]string{"main": "from-a-file", "cache": "from-the-environment"} {
		if password, err := got.Backends[name].Password(); err != nil || password != want {
			t.Errorf("backend %s: password of %d bytes, %v", name, len(password), err)
		}
	}
	if conf, err := got.Backends["main"].TLS(); err != nil || conf.ServerName != "redis.internal" || len(conf.Certificates) != 1 {
		t.Errorf("backend main: TLS configuration %+v, %v", conf, err)
	}
	if got.Backends["cache"].TLS != nil {
		t.Error("backend cache must speak plaintext")
	}
	wantSinks := []Sink{{Kind: "stdout"}, {Kind: "file", Path: filepath.Join(dir, "events.jsonl"), Mode: 0o640}}
	if d := cmp.Diff(wantSinks, cfg.Sinks); d != "" {
		t.Errorf("sinks differ:\n%s", d)
	}
	if cfg.Admin == nil || cfg.Admin.Network != "tcp" || cfg.Admin.Address != "127.0.0.1:9380" {
		t.Errorf("admin: %+v", cfg.Admin)
	}
}

func TestAPasswordFileIsReadAtEachDial(t *testing.T) {
	dir := folder(t)
	cfg, problems := load(filepath.Join(dir, "sallyport.yaml"), here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
	if cfg == nil {
		t.Fatal(problems)
	}
	password := cfg.Options(Running{}).Backends["main"].Password
	file := filepath.Join(dir, "secrets/backend")
	writeFile(t, file, []byte("rotated\r\n"))
	if got, err := password(); got != "rotated" || err != nil {
		t.Errorf("after a rotation: %d bytes, %v", len(got), err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := password(); err == nil {
		t.Error("a missing file must be an error, not an empty password")
	}
}

func TestDefaultsAreThoseOfTheProxy(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "sallyport.yaml"), []byte("listeners: [{name: a, address: '127.0.0.1:1'}]\nbackends: {b: {nodes: ['127.0.0.1:2']}}\npolicy: {file: p.yaml}\n"))
	writeFile(t, filepath.Join(dir, "p.yaml"), []byte("users: {}\n"))
	writeFile(t, filepath.Join(dir, "machine/proc/meminfo"), []byte("MemTotal: 8388608 kB\n"))
	cfg, problems := load(filepath.Join(dir, "sallyport.yaml"), here(dir, nil))
	if cfg == nil {
		t.Fatal(problems)
	}
	got := cfg.Options(Running{})
	want := proxy.DefaultLimits()
	want.Memory = 2 << 30
	if d := cmp.Diff(want, got.Limits); d != "" {
		t.Errorf("limits differ:\n%s", d)
	}
	if got.Workers != 0 || got.Shutdown != (proxy.Shutdown{Timeout: 30 * time.Second}) {
		t.Errorf("workers %d, shutdown %+v", got.Workers, got.Shutdown)
	}
	if len(cfg.Sinks) != 1 || cfg.Sinks[0].Kind != "stdout" || cfg.Admin != nil {
		t.Errorf("sinks %+v, admin %+v", cfg.Sinks, cfg.Admin)
	}
	if got.Backends["b"].Password != nil {
		t.Error("without a password there is none to ask for")
	}
}

func TestWhatNeedsARestartIsNamed(t *testing.T) {
	base := "listeners: [{name: a, address: 'unix:a', mode: '0600'}]\nbackends: {b: {nodes: ['127.0.0.1:2']}}\npolicy: {file: p.yaml}\n"
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "p.yaml"), []byte("users: {}\n"))
	total := "8388608"
	loaded := func(extra string) *Config {
		writeFile(t, filepath.Join(dir, "machine/proc/meminfo"), []byte("MemTotal: "+total+" kB\n"))
		writeFile(t, filepath.Join(dir, "sallyport.yaml"), []byte(extra))
		cfg, problems := load(filepath.Join(dir, "sallyport.yaml"), here(dir, nil))
		if cfg == nil {
			t.Fatal(problems)
		}
		return cfg
	}
	now := loaded(base)
	total = "4194304" // a limit that was lowered under the process is no change of the file
	for _, c := range []struct{ yaml, want string }{
		{base, ""},
		{base + "events: [{sink: stdout}]\n", ""},
		{base + "limits: {memory: 25%}\n", ""},
		{base + "events: [{sink: stderr}]\n", "events"},
		{base + "admin: {address: '127.0.0.1:3'}\n", "admin.address"},
		{base + "workers: 2\n", "workers"},
		{base + "shutdown: {delay: 1s}\n", "shutdown"},
		{base + "limits: {connections: 5}\n", "limits"},
		{base + "limits: {memory: 30%}\n", "limits"},
		{strings.Replace(base, "0600", "0660", 1), "listeners: mode of a"},
	} {
		if got := strings.Join(now.NeedsRestart(loaded(c.yaml)), ", "); got != c.want {
			t.Errorf("%s\nneeds a restart for %q, want %q", c.yaml, got, c.want)
		}
	}
}

func TestCertificatesNearTheirEndAreAFinding(t *testing.T) {
	ca, err := tlsutil.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		left  time.Duration
		wants string // in the problems; empty: none
		fault bool
	}{
		{"far", 31 * 24 * time.Hour, "", false},
		{"near", 29*24*time.Hour + time.Hour, "expires on", false},
		{"over", -time.Minute, "expired on", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			pair, err := ca.Issue(&x509.Certificate{
				DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(c.left),
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "tls/server.crt"), pair.CertPEM)
			writeFile(t, filepath.Join(dir, "tls/server.key"), pair.KeyPEM)
			_, problems := load(filepath.Join(dir, "sallyport.yaml"), here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
			var about []string
			for _, p := range problems {
				if strings.HasPrefix(p.What, "listeners[0].tls.certificate: tls/server.crt: ") {
					about = append(about, p.What)
				}
			}
			switch {
			case c.wants == "" && len(problems) > 0:
				t.Errorf("problems: %v", problems)
			case c.wants != "" && (len(about) != 1 || !strings.Contains(about[0], c.wants)):
				t.Errorf("said of the certificate: %q", about)
			}
		})
	}
}

func TestSecretsThatOthersCanReadAreAFinding(t *testing.T) {
	dir := folder(t)
	if err := os.Chmod(filepath.Join(dir, "secrets/backend"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, problems := load(filepath.Join(dir, "sallyport.yaml"), here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
	if len(problems) != 1 || !problems[0].Warning || !strings.Contains(problems[0].What, "can be read by everyone") {
		t.Errorf("problems: %v", problems)
	}
}

func TestStrangeFilesAreRefusedAndNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge.yaml")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, maxFile+1); err != nil {
		t.Fatal(err)
	}
	latin := filepath.Join(dir, "latin.yaml")
	writeFile(t, latin, []byte("listeners:\n  - name: caf\xe9\n"))
	deep := filepath.Join(dir, "deep.yaml")
	writeFile(t, deep, bytes.Repeat([]byte("["), 20000))
	bomb := filepath.Join(dir, "bomb.yaml")
	writeFile(t, bomb, []byte("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nlisteners: [*c, *c]\n"))
	hidden := filepath.Join(dir, "hidden.yaml")
	writeFile(t, hidden, []byte("listeners: []\n# a comment\u2028colour: red\n"))
	for path, want := range map[string]string{
		hidden: "hidden.yaml:2:12: a line end that is neither LF nor CRLF",
		pipe:   "is not a regular file",
		huge:   "larger than",
		latin:  "latin.yaml:2:1: not UTF-8 text",
		deep:   "deep.yaml:1:",
		bomb:   "wants a mapping",
	} {
		cfg, problems := Load(path)
		if cfg != nil || !strings.Contains(problems.Error(), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(path), problems, want)
		}
	}
}

func TestWindowsFilesLoad(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "sallyport.yaml")
	writeFile(t, path, []byte("\ufeff"+strings.ReplaceAll(documented, "\n", "\r\n")))
	if cfg, problems := load(path, here(dir, map[string]string{"REDIS_PASSWORD": "x"})); cfg == nil || len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	writeFile(t, path, []byte("\ufeff"+strings.ReplaceAll("colour: red\n"+documented, "\n", "\r\n")))
	if _, problems := load(path, here(dir, map[string]string{"REDIS_PASSWORD": "x"})); len(problems) != 1 || problems[0].At.Column != 1 || problems[0].Excerpt != "  1 | colour: red\n    | ^\n  2 |\n" {
		t.Errorf("problems: %+v", problems)
	}
}

func TestMemoryIsTheLeastLimitOnTheWayUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no limit", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 8 << 30},
		{"own limit", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1073741824\n"}, 1 << 30},
		{"limit above", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1073741824\n", "sys/fs/cgroup/a/memory.max": "536870912\n"}, 512 << 20},
		{"limit at the top of a container's view", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n"}, 256 << 20},
		{"version 1", map[string]string{"proc/self/cgroup": "5:cpu:/x\n4:memory:/d\n0::/\n", "sys/fs/cgroup/memory/d/memory.limit_in_bytes": "134217728\n"}, 128 << 20},
		{"version 1 without a limit", map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8 << 30},
		{"a limit above the RAM", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "99999999999\n"}, 8 << 30},
		{"no groups", nil, 8 << 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "proc/meminfo"), []byte("MemTotal:        8388608 kB\nMemFree: 1 kB\n"))
			for name, text := range c.files {
				writeFile(t, filepath.Join(dir, name), []byte(text))
			}
			if got, err := (machine{root: dir}).memory(); got != c.want || err != nil {
				t.Errorf("%d, %v; want %d", got, err, c.want)
			}
		})
	}
	if _, err := (machine{root: t.TempDir()}).memory(); err == nil {
		t.Error("a machine that does not say must be an error")
	}
}
