package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// host is the machine as far as a reader of figures needs it: no name, no address, no path.
type host struct {
	System   string            `json:"system"` // kernel and architecture
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	Versions map[string]string `json:"versions"`
}

func describeHost(ctx context.Context) host {
	return host{
		System: systemName(ctx), CPU: cpuModel(), Cores: runtime.NumCPU(),
		Versions: map[string]string{
			"go":              runtime.Version(),
			"redis":           versionOf(ctx, "redis-server", []string{"--version"}),
			"redis-benchmark": versionOf(ctx, "redis-benchmark", []string{"--version"}),
		},
	}
}

// systemName is "Linux 6.12 amd64": the part of a kernel's release behind the numbers can name a host's owner.
func systemName(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "uname", "-sr").Output()
	if err != nil {
		return runtime.GOOS + " " + runtime.GOARCH
	}
	short := regexp.MustCompile(`^\S+ \d+\.\d+`).Find(out)
	return string(short) + " " + runtime.GOARCH
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range bytes.Lines(text) {
		if name, value, found := strings.Cut(string(line), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

var versionNumber = regexp.MustCompile(`v?\d+\.\d+[-.\w]*`)

// versionOf is the first thing that looks like a version in what the program prints, or "unknown".
func versionOf(ctx context.Context, binary string, args []string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// Some print their version and exit non-zero; what counts is what they print.
	out, _ := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	if found := versionNumber.Find(out); found != nil {
		return string(found)
	}
	return "unknown"
}

// moduleVersion is the version of the module a Go program was built from, or "unknown".
func moduleVersion(binary string) string {
	info, err := buildinfo.ReadFile(binary)
	if err != nil || !strings.HasPrefix(info.Main.Version, "v") {
		return "unknown"
	}
	return info.Main.Version
}

// moduleRoot is the folder of the module the benchmark is run in.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	path := strings.TrimSpace(string(out))
	if err != nil || path == "" || path == os.DevNull {
		return "", errors.New("run the benchmark inside the module: make bench, or go run ./bench")
	}
	return filepath.Dir(path), nil
}

// shortHash names the commit measured, with "-dirty" when the tree differs from it.
func shortHash(ctx context.Context, root string) string {
	git := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	hash := git("rev-parse", "--short", "HEAD")
	if hash == "" {
		return "unknown"
	}
	if git("status", "--porcelain", "--untracked-files=no") != "" {
		hash += "-dirty"
	}
	return hash
}
