package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// printed runs a command line in process and gives what it printed.
func printed(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	in := filepath.Join(t.TempDir(), "stdin")
	put(t, in, stdin)
	file, err := os.Open(in)
	must(t, err)
	defer file.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	must(t, err)
	defer null.Close()
	var out strings.Builder
	if code := run(context.Background(), args, streams{in: file, out: &out, err: null}); code != exitOK {
		t.Fatalf("sallyport %q: exit code %d", args, code)
	}
	return strings.TrimSpace(out.String())
}

// The printed line makes a user at a real server whom scripts get no further
// than clients get past the guard's never list, and whom ordinary traffic and
// the proxy's own commands pass.
func TestTheBackendUserIsDeniedWhatTheGuardDenies(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"sallyport.yaml": "listeners: [{ name: gateway, address: 127.0.0.1:6380 }]\nbackends: { main: { nodes: [127.0.0.1:6379] } }\npolicy: { file: policy.yaml }\n",
		"policy.yaml":    "guard: { never: [flushall, flushdb, swapdb, debug, config|set, \"@admin\"] }\nusers: { app: { rules: \"on ~* &* +@all +eval +keys +script|load\" } }\n",
	} {
		put(t, filepath.Join(dir, name), text)
	}
	server := redistest.Start(t)
	admin, err := redistest.Dial(server.Network(), server.Addr(), nil)
	must(t, err)
	defer admin.Close()
	const password = "plover-lantern-42"
	for _, tight := range []bool{false, true} {
		args := []string{"acl", "backend-user", "--config", filepath.Join(dir, "sallyport.yaml"), "--server", "redis-7.0.15", "--password-stdin"}
		if tight {
			args = append(args, "--unnamed")
		}
		line := printed(t, password+"\n", args...)
		if strings.Contains(line, password) {
			t.Fatal("the password is printed")
		}
		if _, err := admin.Do(strings.Fields(line)...); err != nil {
			t.Fatalf("%s\n%v", line, err)
		}
		c, err := redistest.Dial(server.Network(), server.Addr(), nil)
		must(t, err)
		defer c.Close()
		if _, err := c.Do("HELLO", "2", "AUTH", "sallyport", password); err != nil {
			t.Fatal(err)
		}
		for _, denied := range [][]string{
			{"FLUSHALL"}, {"FLUSHDB"}, {"SWAPDB", "0", "1"}, {"DEBUG", "SLEEP", "0"}, {"CONFIG", "SET", "maxmemory", "0"}, {"BGSAVE"}, {"SLOWLOG", "GET"},
		} {
			script := "return redis.call('" + strings.Join(denied, "','") + "')"
			for _, call := range [][]string{denied, {"EVAL", script, "0"}} {
				if _, err := c.Do(call...); err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "can't run this command") && !strings.Contains(err.Error(), "not allowed from script") {
					t.Errorf("unnamed %v: %q is not denied: %v", tight, call, err)
				}
			}
		}
		for _, passes := range [][]string{
			{"SET", "k", "v"}, {"GET", "k"}, {"EVAL", "return redis.call('GET', 'k')", "0"}, {"SCRIPT", "LOAD", "return 1"}, {"KEYS", "*"}, {"PUBLISH", "c", "m"},
			{"MULTI"}, {"INCR", "n"}, {"EXEC"},
			{"PING"}, {"SELECT", "1"}, {"CLIENT", "SETNAME", "proxy"}, {"CLIENT", "LIST"}, {"COMMAND", "COUNT"}, {"INFO", "server"}, {"ROLE"}, {"READONLY"},
		} {
			if _, err := c.Do(passes...); err != nil && !strings.Contains(err.Error(), "cluster support disabled") {
				t.Errorf("unnamed %v: %q: %v", tight, passes, err)
			}
		}
		if _, err := c.Do("EVAL", "return redis.call('SORT', 'list')", "0"); (err != nil) != tight {
			t.Errorf("unnamed %v: SORT, which nobody names, in a script: %v", tight, err)
		}
	}
}
