package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// The unit's exposure, as systemd counts it, is at most 1.5; and systemd and
// logrotate understand the files.
func TestTheUnitIsHardened(t *testing.T) {
	unit := path(t, "deploy/systemd/sallyport.service")
	out := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", unit)
	m := regexp.MustCompile(`Overall exposure level for sallyport.service: ([0-9.]+)`).FindStringSubmatch(out)
	if len(m) != 2 {
		t.Fatalf("it said:\n%s", out)
	}
	if score, err := strconv.ParseFloat(m[1], 64); err != nil || score > 1.5 {
		t.Errorf("exposure %s", m[1])
	}
	t.Logf("exposure %s", m[1])
}

func TestSystemdUnderstandsTheUnits(t *testing.T) {
	// Programs and the account are those of a machine on which the package is installed.
	dir := t.TempDir()
	for _, name := range []string{"sallyport.service", "sallyport.socket"} {
		text := read(t, "deploy/systemd/"+name)
		text = regexp.MustCompile(`/usr/bin/sallyport|/bin/kill`).ReplaceAllString(text, "/bin/true")
		text = regexp.MustCompile(`(?m)^(Documentation|User|Group)=.*$`).ReplaceAllString(text, "")
		write(t, filepath.Join(dir, name), text, 0o644)
	}
	out, err := exec.Command("systemd-analyze", "verify", filepath.Join(dir, "sallyport.service"), filepath.Join(dir, "sallyport.socket")).CombinedOutput()
	if err != nil || regexp.MustCompile(`sallyport\.\w+:`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLogrotateUnderstandsItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport")
	text := regexp.MustCompile(`sallyport sallyport`).ReplaceAllString(read(t, "deploy/systemd/sallyport.logrotate"), "root root")
	must(t, os.WriteFile(file, []byte(text), 0o644))
	out := run(t, "/usr/sbin/logrotate", "--debug", file)
	if regexp.MustCompile(`(?m)^error:`).MatchString(out) {
		t.Errorf("it said:\n%s", out)
	}
}
