package config

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/tlsutil"
)

// documented is most of what can be said at once; besides has the other keys.
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
      tickets: false
    allow:
      - 10.0.0.0/8
      - { network: 192.168.1.7, why: the build server, owner: platform, until: 2099-12-31 }
    auth: [password, token, certificate]
    proxy_protocol: { from: [10.0.0.5/32, 10.0.0.6] }
    anonymous: false
    backend: main
  - name: local
    address: unix:run/redis.sock
    mode: "0600"
    proxy_protocol: { from: unix }
    backend: cache
backends:
  main:
    topology: standalone
    nodes: [redis.internal:6379]
    user: proxy
    password_file: secrets/backend
    connections: { pinned: 50, per_user: 5 }
    tls: { ca: tls/ca.crt, certificate: tls/client.crt, key: tls/client.key, server_name: redis.internal }
  cache:
    nodes: ["unix:/run/redis.sock"]
    password: "${REDIS_PASSWORD}"
    discover: true
policy:
  file: policy.yaml
  modes: { allow: enforce, guard: enforce, acl: enforce }
  probes: refuse
  commands: newest
  passwords: { mode: report, min_length: 14, common: true, reuse: 5, max_age: 365d }
  token_switch: true
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
  auth_failure_delay: 50ms
  auth_failures: { per_user: 5, per_user_refill: 10s, per_source: 50, per_source_refill: 2s, trust: 30m, entries: 2048 }
  auth_argument_bytes: 32KiB
  idle_timeout: 4s
  write_timeout: 3s
  command_timeout: 2s
  in_flight: 100
  request_bytes: 2MiB
  request_buffer: 1MiB
  request_args: 1000
  output_bytes: 1MiB
  memory: 25%
  user_connections: 2
  commands_per_second: 1000
  bytes_per_second: 1MiB
workers: 3
shutdown: { delay: 1s, timeout: 2s }
`

const documentedPolicy = `
roles:
  reader: "+@read ~shared:*"
  writer:
    rules: "+@write ~shared:*"
    from: [10.1.0.0/16]
    listeners: [gateway]
    why: the importer
    owner: shop
    until: 2099-12-31
users:
  app:
    rules: "on #cc383e25d9b9d37b563d97a1fbc568fcd49cd38b9f244750ea42e838162e9c58 ~app:* &app:* +@read +@write +info"
    roles: [reader]
    from: [10.1.0.0/16, unix]
    require: [certificate, password]
    certificate: { uri: spiffe://prod/ns/shop/sa/app }
    listeners: [gateway]
    why: the shop
    owner: shop
    until: 2099-12-31T18:00:00Z
    limits: { connections: 50, commands_per_second: 0 }
  batch:
    rules: "on ~jobs:* +@read"
    certificate:
      - { cn: batch.internal, fingerprint: "9f:86:d0:81:88:4c:7d:65:9a:2f:ea:a0:c5:5a:d0:15:a3:bf:4f:1b:2b:0b:82:2c:d1:5d:6c:15:b0:f0:0a:08" }
      - { dns: [batch-1.internal, batch-2.internal], email: batch@shop.example }
  robot:
    rules: "on ~robot:* +@read"
    token: { issuer: entra, subject: 4a5c }
    tokens:
      - { hash: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, expires: 2099-12-31 }
  person:
    rules: "on ~person:* +@read"
    password_hashes: ["$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo"]
tokens:
  - name: entra
    issuer: https://login.example/tenant/v2.0
    audience: [https://redis.azure.com/.default]
    other_audiences: elsewhere
    algorithms: [RS256]
    keys: { url: https://login.example/tenant/keys, ca: tls/ca.crt, bearer_file: secrets/bearer, max_age: 12h }
    user_claim: oid
    login: token
    leeway: 20s
    roles: { claim: roles, map: { redis-readers: [reader], redis-writers: writer } }
    listeners: [gateway]
aclfile: users.acl
acl_pubsub_default: resetchannels
expiry:
  - { keys: "pii:*", require: true, max: 30d, mode: refuse, why: data minimisation }
  - { keys: [cache:*, tmp:*], max: 1h, mode: report }
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
		"secrets/bearer":                       "x",
		"users.acl":                            "user legacy on #cc383e25d9b9d37b563d97a1fbc568fcd49cd38b9f244750ea42e838162e9c58 ~legacy:* +@read\n",
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
	for _, p := range problems {
		t.Errorf("%s: %s", p.At, p.What)
	}
	if cfg == nil {
		return
	}
	got := cfg.Options(Running{Version: "1.2.3"})
	want := proxy.Options{
		Listeners: []proxy.ListenerOptions{
			{Name: "gateway", Network: "tcp", Address: "0.0.0.0:6380", Mode: 0o660, Backend: "main",
				Proxy: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32"), netip.MustParsePrefix("10.0.0.6/32")}},
			{Name: "local", Network: "unix", Address: filepath.Join(dir, "run/redis.sock"), Mode: 0o600, Backend: "cache", ProxyUnix: true},
		},
		Backends: map[string]backend.Options{
			"main":  {Name: "main", User: "proxy", Connections: backend.Connections{Pinned: 50, PerUser: 5, Logins: 1000}, Nodes: []backend.Endpoint{{Network: "tcp", Address: "redis.internal:6379"}}},
			"cache": {Name: "cache", Discover: true, Nodes: []backend.Endpoint{{Network: "unix", Address: "/run/redis.sock"}}},
		},
		Limits: proxy.Limits{
			Connections: 9, ConnectionsPerSource: 8, Handshakes: 7,
			HandshakeTimeout: 6 * time.Second, AuthTimeout: 5 * time.Second, AuthFailureDelay: 50 * time.Millisecond, AuthArgumentBytes: 32 << 10, IdleTimeout: 4 * time.Second, WriteTimeout: 3 * time.Second,
			CommandTimeout: 2 * time.Second, InFlight: 100,
			RequestBytes: 2 << 20, RequestBuffer: 1 << 20, RequestArgs: 1000, OutputBytes: 1 << 20, Memory: 256 << 20,
			UserConnections: 2, CommandsPerSecond: 1000, BytesPerSecond: 1 << 20,
		},
		Auth: proxy.Auth{TokenSwitch: true, Throttle: acl.ThrottleOptions{
			PairFailures: 5, PairRefill: 10 * time.Second, SourceFailures: 50, SourceRefill: 2 * time.Second, Trust: 30 * time.Minute, Entries: 2048,
		}},
		RefuseProbes: true,
		Snapshots:    proxy.Snapshots{Every: 10 * time.Second},

		Workers:  3,
		Shutdown: proxy.Shutdown{Delay: time.Second, Timeout: 2 * time.Second},
		Version:  "1.2.3",

		PingEvery: time.Second,
	}
	ignored := cmp.Options{
		cmpopts.IgnoreFields(proxy.Options{}, "Policy", "Table", "Recorder", "Logger", "ACLFile"),
		cmpopts.IgnoreFields(proxy.ListenerOptions{}, "TLS"),
		cmpopts.IgnoreFields(backend.Options{}, "Password", "TLS", "Logger"),
		cmpopts.EquateComparable(netip.Prefix{}),
	}
	if d := cmp.Diff(want, got, ignored); d != "" {
		t.Errorf("options differ (-want +got):\n%s", d)
	}
	documentedIdentities(t, cfg, dir)
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
	if conf, err := got.Backends["main"].TLS("127.0.0.1"); err != nil || conf.ServerName != "redis.internal" || len(conf.Certificates) != 1 {
		t.Errorf("backend main: TLS configuration %+v, %v", conf, err)
	}
	if got.Backends["cache"].TLS != nil {
		t.Error("backend cache must speak plaintext")
	}
	wantSinks := []Sink{{Kind: "stdout"}, {Kind: "file", Path: filepath.Join(dir, "events.jsonl"), Mode: 0o640}}
	if d := cmp.Diff(wantSinks, cfg.Sinks, cmp.Comparer(Sink.same)); d != "" {
		t.Errorf("sinks differ:\n%s", d)
	}
	if cfg.Admin == nil || cfg.Admin.Network != "tcp" || cfg.Admin.Address != "127.0.0.1:9380" {
		t.Errorf("admin: %+v", cfg.Admin)
	}
}

// documentedIdentities wants each way in of the documented policy to have
// arrived where it is decided.
func documentedIdentities(t *testing.T, cfg *Config, dir string) {
	t.Helper()
	now, inside := time.Now(), netip.MustParseAddr("10.1.2.3")
	password := []byte("plover-lantern-42")
	for _, c := range []struct {
		name string
		a    acl.Attempt
		want acl.Reason
	}{
		{"app with both proofs", acl.Attempt{User: "app", Password: password, Cert: &acl.Certificate{URI: []string{"spiffe://prod/ns/shop/sa/app"}}}, acl.None},
		{"batch by its DNS name alone", acl.Attempt{Cert: &acl.Certificate{DNS: []string{"batch-2.internal"}, Email: []string{"batch@shop.example"}}}, acl.None},
		{"robot by its opaque token", acl.Attempt{User: "robot", Password: []byte("test")}, acl.None},
		{"robot by the issuer it names", acl.Attempt{User: "4a5c", Password: []byte("x"), Token: &acl.TokenClaims{Issuer: "entra", Subject: "4a5c", User: "4a5c", Expires: now.Add(time.Hour)}}, acl.None},
		{"a stranger with a token's role", acl.Attempt{User: "token", Password: []byte("x"), Token: &acl.TokenClaims{Issuer: "entra", Subject: "9", User: "9", Roles: []string{"reader"}, Expires: now.Add(time.Hour)}}, acl.None},
		{"a user of the ACL file", acl.Attempt{User: "legacy", Password: password}, acl.None},
		{"legacy with another password", acl.Attempt{User: "legacy", Password: []byte("x")}, acl.WrongPassword},
	} {
		c.a.Listener, c.a.Addr, c.a.Now = "gateway", inside, now
		var pr acl.Principal
		var got acl.Reason
		if c.a.User == "" {
			pr, got = cfg.Policy.Identify(&c.a)
		} else {
			pr, got = cfg.Policy.Authenticate(&c.a)
		}
		if got != c.want || (got == acl.None) != (pr.User != nil) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got, want := cfg.Policy.User("app").Limits(), (acl.Limits{Connections: 50, CommandsPerSecond: -1}); got != want {
		t.Errorf("limits of app %+v, want %+v", got, want)
	}
	issuers := cfg.Issuers()
	if len(issuers) != 1 {
		t.Fatalf("issuers: %+v", issuers)
	}
	want := token.Issuer{
		Name: "entra", Issuer: "https://login.example/tenant/v2.0", Audience: []string{"https://redis.azure.com/.default"},
		Others: []string{"elsewhere"}, Algorithms: []string{"RS256"}, UserClaim: "oid", Leeway: 20 * time.Second,
		Keys:  token.Keys{URL: "https://login.example/tenant/keys", BearerFile: filepath.Join(dir, "secrets/bearer"), MaxAge: 12 * time.Hour},
		Roles: token.Roles{Claim: "roles", Map: map[string][]string{"redis-readers": {"reader"}, "redis-writers": {"writer"}}},
	}
	if issuers[0].Keys.CA == nil {
		t.Error("the issuer's authority is not loaded")
	}
	issuers[0].Keys.CA = nil
	if d := cmp.Diff(want, issuers[0]); d != "" {
		t.Errorf("the issuer differs (-want +got):\n%s", d)
	}
	if got, want := cfg.Policy.PasswordRules(), (acl.PasswordRules{Mode: acl.Report, MinLength: 14, Common: true, Reuse: 5, MaxAge: 365 * 24 * time.Hour}); got != want {
		t.Errorf("password rules %+v, want %+v", got, want)
	}
}

func TestTheACLFileIsReadAndReplacedWhole(t *testing.T) {
	dir := folder(t)
	cfg, problems := load(filepath.Join(dir, "sallyport.yaml"), here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
	if cfg == nil {
		t.Fatal(problems)
	}
	real, link := filepath.Join(dir, "data.acl"), filepath.Join(dir, "users.acl")
	if err := os.Rename(link, real); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data.acl", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(real, 0o640); err != nil {
		t.Fatal(err)
	}
	var quiet []string
	file := cfg.Options(Running{Quietly: func(name string, change func() error) error { quiet = append(quiet, name); return change() }}).ACLFile
	if err := file.Write("user a off\n"); err != nil {
		t.Fatal(err)
	}
	got, err := file.Read()
	info, statErr := os.Stat(real)
	if err != nil || statErr != nil || got != "user a off\n" || info.Mode().Perm() != 0o640 || file.Name != "users.acl" {
		t.Errorf("%q, %v, %v, %v", got, err, statErr, info.Mode())
	}
	if to, err := os.Readlink(link); to != "data.acl" || err != nil {
		t.Error("the link was replaced instead of what it leads to")
	}
	if len(quiet) != 1 || quiet[0] != link {
		t.Errorf("the watch was told of %q", quiet)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*acl*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := os.RemoveAll(filepath.Dir(real)); err != nil {
		t.Fatal(err)
	}
	if err := file.Write("x"); err == nil {
		t.Error("a file in a folder that is gone was written")
	}
}

// A change of each of these may change the outcome, so each is watched.
func TestEveryFileThatIsReadIsNamed(t *testing.T) {
	dir := folder(t)
	r := newReader(here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
	if cfg, problems := r.load(filepath.Join(dir, "sallyport.yaml")); cfg == nil {
		t.Fatal(problems)
	}
	slices.Sort(r.named)
	var want []string
	for _, name := range []string{"policy.yaml", "sallyport.yaml", "secrets/backend", "secrets/bearer", "tls/ca.crt", "tls/client.crt", "tls/client.key", "tls/server.crt", "tls/server.key", "users.acl"} {
		want = append(want, filepath.Join(dir, name))
	}
	if d := cmp.Diff(want, r.named); d != "" {
		t.Errorf("named (-want +got):\n%s", d)
	}
	writeFile(t, filepath.Join(dir, "policy.yaml"), []byte("aclfile: not-yet.acl\n"))
	r = newReader(here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
	if cfg, _ := r.load(filepath.Join(dir, "sallyport.yaml")); cfg != nil || !slices.Contains(r.named, filepath.Join(dir, "not-yet.acl")) {
		t.Errorf("of a faulty configuration: %q", r.named)
	}
}

func TestRevocationListsAreRead(t *testing.T) {
	dir := folder(t)
	ca, err := tlsutil.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	lists := func(lasting time.Duration) {
		list, err := ca.CRL(lasting)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "tls/clients.crl"), list)
	}
	writeFile(t, filepath.Join(dir, "tls/clients.crt"), ca.CertPEM())
	lists(30 * 24 * time.Hour)
	text := strings.Replace(documented, "      tickets: false\n", "      crl: tls/clients.crl\n      crl_missing: refuse\n", 1)
	text = strings.Replace(text, "client_ca: tls/ca.crt", "client_ca: tls/clients.crt", 1)
	path := filepath.Join(dir, "sallyport.yaml")
	writeFile(t, path, []byte(text))
	loaded := func(fault bool) (*Config, Problems) {
		cfg, problems := load(path, here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
		if (cfg == nil) != fault {
			t.Fatal(problems)
		}
		return cfg, problems
	}
	was, problems := loaded(false)
	server := was.Options(Running{}).Listeners[0].TLS
	if len(problems) > 0 || len(server.CRLs()) != 1 || server.Options().CRLMissing != tlsutil.RefuseMissing || server.Options().NoTickets {
		t.Errorf("problems %v, options %+v", problems, server.Options())
	}
	before := server.CRLs()[0]
	lists(time.Hour - 50*time.Minute)
	if _, problems := loaded(false); len(problems) != 1 || !strings.HasPrefix(problems[0].What, "listeners[0].tls.crl: tls/clients.crl: goes stale at") {
		t.Errorf("problems: %v", problems)
	}
	writeFile(t, filepath.Join(dir, "tls/clients.crl"), []byte("x"))
	if _, problems := loaded(true); problems.Faults()[0].At.Line == 0 || !strings.Contains(problems.Error(), "tls.crl: tls/clients.crl: holds no revocation list") {
		t.Errorf("problems: %v", problems)
	}
	lists(-time.Minute)
	next, _ := loaded(false)
	if err := next.Succeeds(was); err == nil || !strings.Contains(err.Error(), "listener gateway: ") {
		t.Errorf("a stale list in the place of one until %v: %v", before.NextUpdate, err)
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
	if got.Auth != (proxy.Auth{Throttle: acl.ThrottleOptions{PairFailures: 10, PairRefill: 6 * time.Second, SourceFailures: 100, SourceRefill: time.Second, Trust: time.Hour, Entries: 1 << 16}}) {
		t.Errorf("auth %+v", got.Auth)
	}
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
		{base + "shutdown: {delay: 1s}\n", ""},
		{base + "limits: {connections: 5}\n", ""},
		{base + "limits: {memory: 30%}\n", ""},
		{base + "limits: {handshakes: 5}\n", "limits.handshakes"},
		{base + "limits: {write_timeout: 5s}\n", "limits.write_timeout"},
		{base + "limits: {auth_failure_delay: 5s}\n", "limits.auth_failure_delay"},
		{base + "limits: {auth_failures: {per_user: 5}}\n", "limits.auth_failures"},
		{base + "limits: {auth_failures: off}\n", "limits.auth_failures"},
		{strings.Replace(base, "p.yaml", "p.yaml, commands: redis-7.0.15", 1), "policy.commands"},
		{strings.Replace(base, "p.yaml", "p.yaml, token_switch: true", 1), "policy.token_switch"},
		{strings.Replace(base, "0600", "0660", 1), ""},
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

func TestSecretsThatOthersCanReachAreRefused(t *testing.T) {
	for _, c := range []struct {
		mode  os.FileMode
		wants string // of the finding; empty: none
	}{
		{0o400, ""}, {0o440, ""}, {0o600, ""}, {0o640, ""},
		{0o644, "everybody may read it (mode 0644)"}, {0o660, "its group may write it"}, {0o602, "everybody may write it"},
	} {
		dir := folder(t)
		if err := os.Chmod(filepath.Join(dir, "secrets/backend"), c.mode); err != nil {
			t.Fatal(err)
		}
		// A folder on the way that keeps others out makes it a finding; an open way, a fault.
		for _, open := range []bool{false, true} {
			for d := dir; d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
				mode := os.FileMode(0o700)
				if open {
					mode = 0o755
				}
				if err := os.Chmod(d, mode); err != nil {
					t.Fatal(err)
				}
			}
			_, problems := load(filepath.Join(dir, "sallyport.yaml"), here(dir, map[string]string{"REDIS_PASSWORD": "x"}))
			switch {
			case c.wants == "":
				if len(problems) != 0 {
					t.Errorf("%04o: %v", c.mode, problems)
				}
			case len(problems) != 1 || problems[0].Warning == open || !strings.Contains(problems[0].What, c.wants) || problems[0].Hint == "":
				t.Errorf("%04o, open %v: %v", c.mode, open, problems)
			}
		}
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

func TestSeveralNodesAreReadWithTheirSentinels(t *testing.T) {
	const text = `
listeners:
  - { name: gateway, address: "127.0.0.1:6380", backend: watched }
  - { name: other, address: "127.0.0.1:6381", backend: pair }
  - { name: third, address: "127.0.0.1:6382", backend: cluster }
  - { name: fourth, address: "127.0.0.1:6383", backend: shards }
backends:
  watched:
    topology: sentinel
    sentinel: { name: mymaster, nodes: ["127.0.0.1:26379", "127.0.0.2:26379", "localhost:26379"], user: watch, password: "${PW}" }
    nodes_allow: [127.0.0.0/8, localhost]
    wait: 0s
    control: { user: control, password: "${PW}" }
  pair:
    topology: replicated
    nodes: ["127.0.0.1:7001", "127.0.0.1:7002"]
    reads: nearest
    zone: eu-west-1b
    max_lag: 30s
  cluster: { topology: cluster, nodes: ["127.0.0.1:7001"], announce: "redis.internal:6380", split: false, wait: 3s }
  shards:
    topology: sharded
    nodes: ["127.0.0.1:7001", { address: "127.0.0.1:7002", name: b, weight: 2 }]
    distribution: modula
    hash: crc32a
    hash_tag: "{}"
policy: { file: policy.yaml }
`
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "sallyport.yaml"), []byte(text))
	writeFile(t, filepath.Join(dir, "policy.yaml"), []byte("users: {}\n"))
	cfg, problems := load(filepath.Join(dir, "sallyport.yaml"), surroundings{
		env: func(string) (string, bool) { return "hunter2", true }, machine: machine{root: "/"}, now: time.Now,
	})
	if cfg == nil {
		t.Fatal(problems)
	}
	got := cfg.Options(Running{}).Backends
	at := func(a string) backend.Endpoint { return backend.Endpoint{Network: "tcp", Address: a} }
	want := map[string]backend.Options{
		"watched": {Name: "watched", Routing: backend.Routing{
			Kind:      backend.Sentinel,
			Allow:     backend.Allowed{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Names: []string{"localhost"}},
			Sentinels: backend.Sentinels{Name: "mymaster", Nodes: []backend.Endpoint{at("127.0.0.1:26379"), at("127.0.0.2:26379"), at("localhost:26379")}, Login: backend.Login{User: "watch"}},
			Control:   &backend.Login{User: "control"},
		}},
		"pair": {Name: "pair", Nodes: []backend.Endpoint{at("127.0.0.1:7001"), at("127.0.0.1:7002")}, Routing: backend.Routing{
			Kind: backend.Replicated, Wait: 2 * time.Second, Reads: backend.ReadNearest, Zone: "eu-west-1b", MaxLag: 30 * time.Second,
		}},
		"cluster": {Name: "cluster", Nodes: []backend.Endpoint{at("127.0.0.1:7001")}, Routing: backend.Routing{
			Kind: backend.Cluster, Wait: 3 * time.Second, Whole: true, Announce: "redis.internal:6380",
		}},
		"shards": {Name: "shards", Nodes: []backend.Endpoint{at("127.0.0.1:7001"), at("127.0.0.1:7002")}, Routing: backend.Routing{
			Kind: backend.Sharded, Wait: 2 * time.Second,
		}},
	}
	spread, err := backend.NewDistribution("modula", "crc32a", "{}", []backend.Member{{Name: "127.0.0.1:7001", Weight: 1}, {Name: "b", Weight: 2}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		k := fmt.Appendf(nil, "key{%d}", i)
		if got := got["shards"].Routing.Distribution; got == nil || got.Of(k) != spread.Of(k) {
			t.Fatalf("%s is not where it belongs", k)
		}
	}
	ignored := cmp.Options{
		cmpopts.IgnoreFields(backend.Options{}, "Password", "TLS", "Logger"), cmpopts.IgnoreFields(backend.Login{}, "Password", "TLS"),
		cmpopts.IgnoreFields(backend.Routing{}, "Distribution"),
		cmpopts.EquateComparable(netip.Prefix{}),
	}
	if d := cmp.Diff(want, got, ignored); d != "" {
		t.Errorf("options differ (-want +got):\n%s", d)
	}
	for _, login := range []backend.Login{*got["watched"].Routing.Control, got["watched"].Routing.Sentinels.Login} {
		if p, err := login.Password(); err != nil || p != "hunter2" {
			t.Errorf("password of %d bytes, %v", len(p), err)
		}
	}
}
