package main

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// What make abuse asks in full is asked here of tens and hundreds of clients: what has to hold on any machine, however
// busy it is with something else.
func TestClientsThatMisbehaveHarmNobodyElse(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sallyport")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/sallyport/sallyport/cmd/sallyport")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := runtime.GOMAXPROCS(manyProcs)
	defer runtime.GOMAXPROCS(before)
	if err := raiseFiles(); err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if c.name == "value" {
			continue // full size only: what it holds to says nothing of a value that fits into memory anyway
		}
		if testing.Short() && c.name == "readers" {
			continue // the proxy is a process of its own, of which a detector in this one sees nothing but its slowness
		}
		t.Run(c.name, func(t *testing.T) {
			var progress strings.Builder
			s := &stage{binary: binary, size: quickAbuse, seed: 1, progress: &progress}
			if err := c.play(t.Context(), s); err != nil {
				t.Fatalf("%v\n%s", err, progress.String())
			}
			for _, f := range s.findings {
				if !f.quiet && f.result() == "MISS" {
					t.Errorf("%s: %v %s, at most %v\n%s", f.figure, f.value, f.unit, f.must, progress.String())
				}
			}
		})
	}
}

func TestFindings(t *testing.T) {
	for want, f := range map[string]finding{
		"MISS": {value: 3, must: 2, aim: 1},
		"PASS": {value: 2, must: 2, aim: 1},
		"AIM":  {value: 1, must: 2, aim: 1},
	} {
		if got := f.result(); got != want {
			t.Errorf("%+v: %s", f, got)
		}
	}
	s := &stage{progress: &strings.Builder{}}
	s.require("yes", true)
	s.require("no", false)
	if got := s.missed(); got != 1 {
		t.Errorf("missed: %d", got)
	}
}

func TestParseStatus(t *testing.T) {
	const text = "Name:\ta\nVmPeak:\t  900 kB\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\nThreads:\t3\n"
	got, err := parseStatus([]byte(text))
	if want := (memory{rss: 200 << 10, peak: 300 << 10}); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, bad := range map[string]string{
		"empty":        "",
		"half of it":   "VmRSS:\t200 kB\n",
		"not a number": "VmRSS:\tx kB\nVmHWM:\t1 kB\n",
	} {
		if got, err := parseStatus([]byte(bad)); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}
