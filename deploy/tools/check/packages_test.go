package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// dist builds the archives and packages of this machine's kind, as of a fixed time.
func dist(t *testing.T, from, variants string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(filepath.Join(from, "deploy/packages/dist.sh"), "0.1.0", dir)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1790000000", "ARCHES=amd64", "VARIANTS="+variants)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// Two builds, the second one of a copy in another folder, are the same bytes.
func TestTheReleaseIsReproducible(t *testing.T) {
	first := dist(t, path(t, "."), "plain")
	copied := t.TempDir()
	cmd := exec.Command("sh", "-c", `git ls-files -co --exclude-standard -z | tar --null -T - -cf - | tar -C "$0" -xf - && mkdir -p "$0/bin/tools" && cp bin/tools/nfpm "$0/bin/tools/"`, copied)
	cmd.Dir = path(t, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	second := dist(t, copied, "plain")
	sums := func(dir string) string {
		text, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
		must(t, err)
		return string(text)
	}
	if a, b := sums(first), sums(second); a != b || strings.Count(a, "\n") != 4 {
		t.Errorf("first:\n%ssecond:\n%s", a, b)
	}
	bom, err := os.ReadFile(filepath.Join(first, "sallyport-0.1.0-linux-amd64.cdx.json"))
	must(t, err)
	if err := contains(string(bom), `"bomFormat": "CycloneDX"`, "pkg:golang/github.com/spf13/cobra@v1.10.2", "SHA-256"); err != nil {
		t.Error(err)
	}

	t.Run("the rpm holds what the deb holds", func(t *testing.T) {
		deb := run(t, "dpkg-deb", "--contents", filepath.Join(first, "sallyport-0.1.0-linux-amd64.deb"))
		rpm := run(t, "rpm", "-qlp", filepath.Join(first, "sallyport-0.1.0-linux-amd64.rpm"))
		for _, want := range []string{
			"/usr/bin/sallyport", "/usr/lib/systemd/system/sallyport.service", "/usr/lib/sysusers.d/sallyport.conf", "/etc/sallyport/policy.yaml",
			"/etc/logrotate.d/sallyport", "/usr/share/man/man1/sallyport-serve.1.gz", "/usr/share/bash-completion/completions/sallyport",
		} {
			if !strings.Contains(deb, "."+want+"\n") || !strings.Contains(rpm, want+"\n") {
				t.Errorf("%s is not in both", want)
			}
		}
	})
	t.Run("the deb installs on Debian and its check runs", func(t *testing.T) {
		installs(t, filepath.Join(first, "sallyport-0.1.0-linux-amd64.deb"))
	})
}

// installs puts a package into a fresh Debian and looks at what is there.
func installs(t *testing.T, deb string) {
	debian, err := os.MkdirTemp("", "debian")
	must(t, err)
	defer os.RemoveAll(debian)
	run(t, "/usr/sbin/debootstrap", "--variant=minbase", "bookworm", debian)
	text, err := os.ReadFile(deb)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(debian, "tmp/sallyport.deb"), text, 0o644))
	in := func(args ...string) string { return run(t, "/usr/sbin/chroot", append([]string{debian}, args...)...) }
	in("dpkg", "--install", "/tmp/sallyport.deb")
	if out := in("sallyport", "check", "--config", "/etc/sallyport/sallyport.yaml"); strings.Contains(out, "fault") {
		t.Errorf("check said:\n%s", out)
	}
	for file, want := range map[string]string{
		"/etc/sallyport": "750 root:sallyport", "/etc/sallyport/policy.yaml": "640 root:sallyport",
		"/var/log/sallyport": "750 sallyport:sallyport", "/usr/bin/sallyport": "755 root:root",
	} {
		if got := strings.TrimSpace(in("stat", "-c", "%a %U:%G", file)); got != want {
			t.Errorf("%s is %s, want %s", file, got, want)
		}
	}
	if out := in("sallyport", "version"); !regexp.MustCompile(`^sallyport 0\.1\.0 go`).MatchString(out) {
		t.Errorf("version said %s", out)
	}
	in("dpkg", "--remove", "sallyport")
}
