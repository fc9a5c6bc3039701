//go:build clients

package acl

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// redis-py plays the client side of the comparison with a real server, over the
// committed cases and over fresh ones. make test-clients installs what this needs.
func TestClientsPlayTheCases(t *testing.T) {
	server := startServer(t)
	fresh := filepath.Join(t.TempDir(), "cases")
	f, err := os.Create(fresh)
	if err != nil {
		t.Fatal(err)
	}
	writeCases(t, f, 120, 4711)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"testdata/cases.jsonl", fresh} {
		var verdicts, said bytes.Buffer
		play := exec.Command("/usr/bin/python3", "testdata/verdicts.py", server.conn.RemoteAddr().String())
		play.Stdin, play.Stdout, play.Stderr = opened(t, path), &verdicts, &said
		if err := play.Run(); err != nil {
			t.Fatalf("%v: %s", err, said.Bytes())
		}
		judgeVerdicts(t, readLines[aCase](t, opened(t, path)), readLines[aVerdict](t, &verdicts))
	}
}
