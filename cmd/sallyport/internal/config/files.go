package config

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/sallyport/sallyport/tlsutil"
)

// named is a path that the configuration names.
type named struct {
	value
	written string // as in the file
	path    string // absolute; empty: absent, or there was a fault
}

// named reads v as the path of a file; whoever loads the file judges it.
func (v value) named() named {
	t := v.nonempty()
	if t.Value == "" {
		return named{value: v}
	}
	path := v.doc.path(t.Value)
	v.r.names(path)
	return named{value: v, written: t.Value, path: path}
}

// maxPassword bounds a password file; Redis takes no longer argument anyway.
const maxPassword = 64 << 10

// passwordFile reads v as the path of a file with a password in one line, and
// makes sure that it is one now.
func (v value) passwordFile() named {
	n := v.named()
	if n.path == "" {
		return n
	}
	if _, err := readPassword(n.path); err != nil {
		v.fault("can't take the password from %s: %s", quoted(n.written), reasonOf(err))
		return n
	}
	v.secretMode(n.path, n.written)
	return n
}

// readPassword gives the password that a file holds in its only line. Errors
// tell nothing of the content.
func readPassword(path string) (string, error) {
	data, err := readBounded(path, maxPassword)
	if err != nil {
		return "", err
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case password == "":
		return "", errors.New("it is empty")
	case strings.ContainsAny(password, "\r\n"):
		return "", errors.New("it holds more than one line")
	case strings.ContainsRune(password, 0):
		return "", errors.New("it holds a NUL byte")
	}
	return password, nil
}

// secretMode refuses a file with a secret in it that others may read or change.
func (v value) secretMode(path, shown string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	what, refused := tlsutil.JudgeSecret(path, info.Mode())
	switch {
	case refused:
		v.faultHint("chmod 0600 "+shown, "%s %s", quoted(shown), what)
	case what != "":
		v.warn("chmod 0600; in Kubernetes set defaultMode: 0440 on the volume", "%s %s", quoted(shown), what)
	}
}

// warnReadable reports a secret that other users of the machine can read.
func (v value) warnReadable(path, shown string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if info.Mode().Perm()&0o004 != 0 {
		v.warn("chmod o= "+shown, "%s can be read by everyone on this machine (mode %#o)", quoted(shown), info.Mode().Perm())
	}
}

// folderExists tells whether a file could be created at path.
func folderExists(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: fs.ErrInvalid}
	}
	return nil
}
