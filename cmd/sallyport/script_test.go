package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the command when a script runs it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sallyport": main, "enclosed": enclosedMain})
}

// TestScripts runs testdata/script: each is a promise about the command line.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Files:               scripts,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"redis":   startRedis,
			"asks":    asks,
			"holds":   holds,
			"http":    askAdmin,
			"port":    port,
			"signals": signals,
		},
	})
}

// exits CODE COMMAND ARG… runs a command and wants this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var failed *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &failed):
		got = failed.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// In process, without a terminal: the exit code of a command line.
func TestNothingToDoIsWrongUsage(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, args := range [][]string{nil, {"acl"}, {"cert"}, {"no-such-command"}, {"serve"}, {"check", "extra"}, {"version", "--bogus"}} {
		if got := run(context.Background(), args, streams{in: null, out: null, err: null}); got != exitUsage {
			t.Errorf("sallyport %q: exit code %d, want %d", args, got, exitUsage)
		}
	}
}
