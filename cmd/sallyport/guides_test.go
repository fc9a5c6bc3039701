package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// Every guide does what it says: its files are written, its shell blocks run in
// order, and what it shows is printed.
func TestGuides(t *testing.T) {
	guides, err := filepath.Glob(filepath.Join(projectRoot, "deploy/guides/*.md"))
	if err != nil || len(guides) < 9 {
		t.Fatalf("%d guides: %v", len(guides), err)
	}
	for _, guide := range guides {
		t.Run(strings.TrimSuffix(filepath.Base(guide), ".md"), func(t *testing.T) {
			text, err := os.ReadFile(guide)
			must(t, err)
			follow(t, string(text))
		})
	}
}

func follow(t *testing.T, text string) {
	shell, shown := fencesOf(text, "sh"), strings.Join(fencesOf(text, "text"), "")
	if len(shell) == 0 {
		if len(fencesOf(text, "yaml")) > 0 {
			t.Error("it shows files and runs nothing")
		}
		return
	}
	if shown == "" {
		t.Error("it runs something and shows nothing of it")
	}
	redis := redistest.Start(t)
	host, port, _ := strings.Cut(redis.Addr(), ":")
	fit := strings.NewReplacer(append(several(t, text),
		"127.0.0.1:6379", redis.Addr(), "6380", freePort(t), "redis-cli ACL", "redis-cli -h "+host+" -p "+port+" ACL")...)
	dir := shortDir(t)
	linkBinary(t, dir)
	for _, file := range fencesOf(text, "yaml") {
		name, _, _ := strings.Cut(strings.TrimPrefix(file, "# "), "\n")
		if !strings.HasPrefix(file, "# ") || filepath.Ext(name) != ".yaml" && filepath.Ext(name) != ".yml" {
			t.Fatalf("a file has no name: %.40q", file)
		}
		put(t, filepath.Join(dir, name), fit.Replace(file))
	}
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	var printed strings.Builder
	for _, block := range shell {
		block = fit.Replace(block)
		lines := strings.Split(strings.TrimSpace(block), "\n")
		if strings.HasPrefix(lines[len(lines)-1], "sallyport serve ") {
			startScript(t, dir, strings.Replace(block, "sallyport serve ", "sallyport serve --allow-root ", 1))
			continue
		}
		printed.WriteString("\n" + insistently(t, dir, block))
	}
	for line := range strings.Lines(shown) {
		if !strings.Contains(printed.String(), strings.TrimSpace(line)) {
			t.Errorf("it does not print %q but:\n%s", line, &printed)
		}
	}
}

// several starts the three servers that a guide has on ports 7001 to 7003, a cluster if it
// speaks of one, and gives their addresses for those of the guide.
func several(t *testing.T, text string) (pairs []string) {
	if !strings.Contains(text, "127.0.0.1:7001") {
		return nil
	}
	var at []string
	if strings.Contains(text, "topology: cluster\n") {
		at = redistest.StartCluster(t, 3, 0).Addrs()
	} else {
		for range 3 {
			at = append(at, redistest.Start(t).Addr())
		}
	}
	for i, addr := range at {
		pairs = append(pairs, fmt.Sprint("127.0.0.1:", 7001+i), addr)
	}
	return pairs
}

// insistently runs a block until it ends well: what it speaks to may be about to start.
func insistently(t *testing.T, dir, block string) (printed string) {
	t.Helper()
	eventually(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, err := shellIn(ctx, dir, block).CombinedOutput()
		printed = string(out)
		if err == nil && strings.Contains(printed, "Could not connect") {
			err = errors.New("not there yet")
		}
		if err != nil {
			err = fmt.Errorf("%w:\n%s", err, out)
		}
		return err
	})
	return printed
}
