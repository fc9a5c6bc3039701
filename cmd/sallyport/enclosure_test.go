package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// enclosedMain is a program of the tests: it shuts itself in to reading one
// folder and writing another, and says what each of the other paths gives.
func enclosedMain() {
	enforced, err := restrictPaths([]string{os.Args[1]}, []string{os.Args[2]})
	fmt.Println("enforced", enforced, err)
	for _, path := range os.Args[3:] {
		what, path, _ := strings.Cut(path, ":")
		var err error
		switch what {
		case "read":
			_, err = os.ReadFile(path)
		case "write":
			err = os.WriteFile(path, []byte("x"), 0o600)
		case "replace":
			if err = os.WriteFile(path+".new", nil, 0o600); err == nil {
				err = os.Rename(path+".new", path)
			}
		case "run":
			err = exec.Command(path).Run()
		}
		switch {
		case err == nil:
			fmt.Println("done")
		case errors.Is(err, fs.ErrPermission):
			fmt.Println("denied")
		default:
			fmt.Println(err)
		}
	}
}

func TestTheEnclosureHolds(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"in/a", "out/b", "log/c"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		put(t, filepath.Join(dir, name), "text")
	}
	in, out, log := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "log")
	tries := []struct{ try, want string }{
		{"read:" + in + "/a", "done"}, {"write:" + in + "/a", "denied"}, {"write:" + in + "/new", "denied"},
		{"read:" + out + "/b", "denied"}, {"write:" + out + "/b", "denied"},
		{"write:" + log + "/c", "done"}, {"write:" + log + "/new", "done"}, {"replace:" + log + "/c", "done"},
		{"read:/etc/hosts", "done"}, {"read:/proc/self/stat", "done"}, {"read:/proc/stat", "done"}, {"run:/bin/true", "denied"},
	}
	args := []string{in, log}
	for _, try := range tries {
		args = append(args, try.try)
	}
	said, err := exec.Command("enclosed", args...).CombinedOutput()
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if len(lines) != len(tries)+1 {
		t.Fatalf("it said:\n%s", said)
	}
	switch lines[0] {
	case "enforced true <nil>":
		for i, try := range tries {
			if got := lines[i+1]; got != try.want {
				t.Errorf("%s: %s, want %s", try.try, got, try.want)
			}
		}
	case "enforced false <nil>": // this kernel can't: then nothing is denied
		if slices.Contains(lines, "denied") {
			t.Errorf("it said:\n%s", said)
		}
	default:
		t.Errorf("it said:\n%s", said)
	}
}

// A file in a folder that was not there at the start is not met with "permission denied".
func TestAReloadBeyondTheEnclosureSaysThatARestartIsNeeded(t *testing.T) {
	redis := redistest.Start(t)
	dir, elsewhere := t.TempDir(), t.TempDir()
	s := runs(t, dir, processConfig("127.0.0.1:0", redis.Addr(), ""), nil)
	s.says(`"msg":"started"`)
	eventually(t, func() error {
		if said := s.said.String(); !strings.Contains(said, "kept to folders") && !strings.Contains(said, "the kernel has no Landlock") {
			return errors.New("nothing is said about Landlock")
		}
		return nil
	})
	put(t, filepath.Join(elsewhere, "users.acl"), "user other on nopass ~* +get\n")
	put(t, filepath.Join(dir, "policy.yaml"), processPolicy+"aclfile: "+filepath.Join(elsewhere, "users.acl")+"\n")
	s.signal(syscall.SIGHUP)
	if strings.Contains(s.said.String(), "the kernel has no Landlock") {
		s.says(`"msg":"reloaded"`)
		return
	}
	s.says(filepath.Join(elsewhere, "users.acl") + ": outside the folders that were named at the start")
	s.says("restart to add a folder")

	// What lies in the folders may come and go, and is replaced by renaming.
	put(t, filepath.Join(dir, "users.acl"), "user other on nopass ~* +get\n")
	put(t, filepath.Join(dir, "policy.yaml"), processPolicy+"aclfile: users.acl\n")
	s.signal(syscall.SIGHUP)
	eventually(t, func() error {
		if !strings.Contains(s.said.String(), `"msg":"reloaded"`) {
			return errors.New("not reloaded")
		}
		return nil
	})
}
