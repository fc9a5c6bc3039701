package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildSallyport compiles the product into bin/ of the module at root and returns the binary's path.
func buildSallyport(ctx context.Context, root string) (string, error) {
	binary := filepath.Join(root, "bin", "sallyport")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/sallyport")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sallyport: %w\n%s", err, out)
	}
	return binary, nil
}

// startSallyport runs one sallyport with an mTLS and two plaintext listeners and returns it as three targets over the same
// process: as a user who may do everything, as one with a twenty-rule ACL, and before four shards. Only the first owns the process.
func startSallyport(ctx context.Context, r *rig, binary string) ([]*target, error) {
	dir := filepath.Join(r.dir, own)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	password := rand.Text()
	digest := sha256.Sum256([]byte(password))
	if err := write(filepath.Join(dir, "policy.yaml"), benchPolicy(hex.EncodeToString(digest[:]))); err != nil {
		return nil, err
	}
	addresses := map[string]string{}
	for _, listener := range []string{"mtls", "plain", "sharded"} {
		address, _, err := freeAddress()
		if err != nil {
			return nil, err
		}
		addresses[listener] = address
	}
	conf := filepath.Join(dir, "sallyport.yaml")
	if err := write(conf, benchConfig(r, addresses)+"limits:\n  connections: 12000\n"); err != nil {
		return nil, err
	}
	everything := &target{
		name: own, version: ownVersion(ctx, binary), address: addresses,
		user: "bench", password: password, redis: r.plain,
	}
	if err := everything.launch(ctx, dir, binary, []string{"serve", "--allow-root", "--config", conf}); err != nil {
		return nil, err
	}
	ruled := &target{
		name: ownACL, version: everything.version, address: addresses,
		user: "ruled", password: password, pid: everything.pid, redis: r.plain, logPath: everything.logPath,
	}
	spread := &target{
		name: ownShards, version: everything.version, address: addresses,
		user: "bench", password: password, pid: everything.pid, redis: r.shards[0], beside: r.shards[1:], logPath: everything.logPath,
	}
	return []*target{everything, ruled, spread}, nil
}

// ownVersion is the second word of what sallyport version prints: "dev" has no digits to find it by.
func ownVersion(ctx context.Context, binary string) string {
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if words := strings.Fields(string(out)); err == nil && len(words) > 1 {
		return words[1]
	}
	return "unknown"
}

// benchConfig is what a careful operator would run: mutual TLS required, events on record.
func benchConfig(r *rig, addresses map[string]string) string {
	return `listeners:
  - name: mtls
    address: ` + addresses["mtls"] + `
    tls:
      certificate: ` + r.pki.serverCert + `
      key: ` + r.pki.serverKey + `
      client_ca: ` + r.pki.ca + `
      client_auth: require
      min_version: "1.2"
    backend: main
  - name: plain
    address: ` + addresses["plain"] + `
    backend: main
` + shardsListener(r, addresses) + `backends:
  main:
    topology: standalone
    nodes: [` + r.plain.Addr() + `]
` + shardsConfig(r) + `policy:
  file: policy.yaml
events:
  - sink: stdout
`
}

// benchPolicy has two users with one password: one who may do everything the guard leaves, and one with twenty rules,
// whose key matches only the last of ten patterns.
func benchPolicy(hash string) string {
	return `users:
  bench:
    rules: "on #` + hash + ` ~* &* +@all"
  ruled:
    rules: "on #` + hash + ` ~app:* ~cache:* ~session:* %R~shared:* %R~config:* ~jobs:*:queue ~user:[0-9]*:cart %RW~lock:* ~tmp:?? ~key:* &app:* &news.* +@read +@write +@connection -@dangerous -@scripting +info -sort +config|get"
`
}
