package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/redistest"
	"golang.org/x/sys/unix"
)

// limitFiles bounds how large a file another process may write: beyond it, it
// gets an error, as from a full disk.
func limitFiles(pid int, bytes uint64) error {
	return unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil)
}

// With on_full: refuse and a file that can't grow, logins stop when the record
// does: as many as were granted are on record.
func TestAFullDiskLetsNobodyInUnrecorded(t *testing.T) {
	redis := redistest.Start(t)
	address, dir := "127.0.0.1:"+freePort(t), t.TempDir()
	put(t, filepath.Join(dir, "policy.yaml"), "users: { app: { rules: 'on #"+acl.HashPassword([]byte("pw"))+" ~app:* +@read' } }\n")
	conf := strings.Replace(processConfig(address, redis.Addr(), ""), "path: events.jsonl", "path: events.jsonl, on_full: refuse", 1)
	conf = strings.Replace(conf, ", anonymous: true", "", 1)
	s := runs(t, dir, conf, nil)
	s.says(`"msg":"started"`)
	room := uint64(64 << 10)
	must(t, limitFiles(s.cmd.Process.Pid, room))
	granted, refused := 0, 0
	for refused < 5 {
		c, err := redistest.Dial("tcp", address, nil)
		must(t, err)
		got, err := c.Do("AUTH", "app", "pw")
		c.Close()
		if err == nil && got == "OK" {
			granted++
		} else {
			refused++
		}
		if granted > 5000 {
			t.Fatal("the disk is never full")
		}
	}
	must(t, limitFiles(s.cmd.Process.Pid, 1<<40)) // there is room again
	s.signal(syscall.SIGTERM)
	if code := s.ends(2 * patience); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	must(t, err)
	written := 0
	for line := range strings.Lines(string(text)) {
		var e struct{ Event, User, Status string }
		must(t, json.Unmarshal([]byte(line), &e))
		if e.Event == "auth" && e.User == "app" && e.Status == "ok" {
			written++
		}
	}
	if granted == 0 || written != granted {
		t.Errorf("%d logins were granted, %d are on record", granted, written)
	}
	t.Log(granted, " logins were granted before the disk was full")
}
