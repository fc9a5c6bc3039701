//go:build clients

package proxy_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The cluster clients of other languages take the proxy for a cluster of one
// node. make test-clients installs what this needs.
func TestClientsForClustersOfOtherLanguages(t *testing.T) {
	_, r := overPinnedCluster(t, 0)
	modules, err := filepath.Abs(filepath.Join("..", "bin", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(r.addr("plain"))
	for name, command := range map[string][]string{
		"redis-py": {"/usr/bin/python3", "redis_py.py"},
		"ioredis":  {"node", "ioredis.mjs"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, command[0], filepath.Join("testdata", "clusterclients", command[1]))
			cmd.Env = append(os.Environ(), "MODULES="+modules, "HOST="+host, "PORT="+port, "USERNAME=root", "PASSWORD=root-pw")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Log(strings.TrimSpace(string(out)))
		})
	}
}
