package tlsutil

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// maxFileSize bounds what is read of one PEM file. The largest public CA
// bundles have some 250 KiB.
const maxFileSize = 4 << 20

// loader reads the files of one generation and collects what is wrong with them.
type loader struct {
	now      time.Time
	parsed   *Parsed   // what an earlier load made of files; nil: nothing is known
	again    bool      // what was seen does not fit: it may have changed
	sum      hash.Hash // over everything read, in order
	notAfter map[string]time.Time
	warnings []Fault
	faults   []error
}

func newLoader(now time.Time, parsed *Parsed) *loader {
	return &loader{now: now, parsed: parsed, sum: sha256.New(), notAfter: make(map[string]time.Time)}
}

func (l *loader) err() error { return errors.Join(l.faults...) }

func (l *loader) digest() (d [sha256.Size]byte) {
	l.sum.Sum(d[:0])
	return d
}

func (l *loader) fault(setting, file, what, hint string, cause error) {
	l.faults = append(l.faults, &Fault{Setting: setting, File: file, What: what, Hint: hint, Err: cause})
}

func (l *loader) warn(setting, file, what, hint string) {
	l.warnings = append(l.warnings, Fault{Setting: setting, File: file, What: what, Hint: hint})
}

// pair loads a certificate chain and its key; ok is false when faults were noted.
func (l *loader) pair(certificateFile, keyFile string) (pair tls.Certificate, ok bool) {
	certPEM, certOK := l.read("certificate", certificateFile, false)
	keyPEM, keyOK := l.read("key", keyFile, true)
	if !certOK || !keyOK {
		return pair, false
	}
	chain, f := once(l.parsed, "chain", certPEM, parseChain)
	if f != nil {
		l.fault("certificate", certificateFile, f.What, f.Hint, f.Err)
	}
	key, f := once(l.parsed, "key", keyPEM, parseKey)
	if f != nil {
		l.fault("key", keyFile, f.What, f.Hint, f.Err)
	}
	if len(chain) == 0 || key == nil {
		return pair, false
	}
	if at := positionOf(key, chain); at != 0 {
		what, hint := "does not belong to the certificate in "+certificateFile,
			"give the key the certificate was issued for; if the pair is being replaced, replace both files and reload again"
		if at > 0 {
			what = fmt.Sprintf("belongs to certificate %d of %s, not to the first", at+1, certificateFile)
			hint = "put the server's own certificate first in the file, the intermediate ones after it"
		}
		l.fault("key", keyFile, what, hint, nil)
		return pair, false
	}
	pair.PrivateKey, pair.Leaf = key, chain[0]
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	l.noteExpiry(certificateFile, chain)
	return pair, true
}

// authorities loads the certificates that are to be trusted. It never gives an
// empty pool: that would be "trust the machine's roots" to crypto/tls.
func (l *loader) authorities(setting, file string) (pool *x509.CertPool, list []*x509.Certificate) {
	data, ok := l.read(setting, file, false)
	if !ok {
		return nil, nil
	}
	trusted, f := once(l.parsed, "authorities", data, poolOf)
	if f != nil {
		l.fault(setting, file, f.What, f.Hint, f.Err)
		return nil, nil
	}
	pool, list = trusted.pool, trusted.list
	for _, c := range list {
		if !c.IsCA {
			l.warn(setting, file, fmt.Sprintf("%q is not a CA certificate: only that very certificate is trusted through it", c.Subject),
				"name the certificate of the CA that issues the others")
		}
		if l.now.After(c.NotAfter) {
			l.warn(setting, file, fmt.Sprintf("the CA certificate %q expired on %s: what it issued is refused",
				c.Subject, day(c.NotAfter)), "take it out of the file")
		}
	}
	l.noteExpiry(file, list)
	return pool, list
}

// authorities are the certificates of a CA file, which nothing changes any more.
type authorities struct {
	pool *x509.CertPool
	list []*x509.Certificate
}

func poolOf(data []byte) (authorities, *Fault) {
	list, f := parseAuthorities(data)
	if f != nil {
		return authorities{}, f
	}
	pool := x509.NewCertPool()
	for _, c := range list {
		pool.AddCert(c)
	}
	return authorities{pool, list}, nil
}

// noteExpiry keeps the earliest end of a file's certificates: a chain is worth
// no more than its shortest-lived part.
func (l *loader) noteExpiry(file string, list []*x509.Certificate) {
	for _, c := range list {
		if end, known := l.notAfter[file]; !known || c.NotAfter.Before(end) {
			l.notAfter[file] = c.NotAfter
		}
	}
}

// read gives the content of a regular file and judges its mode by the opened
// descriptor, so that what was judged is what was read.
func (l *loader) read(setting, file string, secret bool) (fileData, bool) {
	return l.readAtMost(setting, file, secret, maxFileSize)
}

func (l *loader) readAtMost(setting, file string, secret bool, most int64) (c fileData, ok bool) {
	if file == "" {
		l.fault(setting, "", "no file is named", "name a PEM file", nil)
		return c, false
	}
	text, mode, seen := l.parsed.seen(file)
	if !seen || l.again {
		if text, mode, ok = l.open(setting, file, most); !ok {
			return c, false
		}
	}
	c = fileData{data: text, sum: sha256.Sum256(text)}
	fmt.Fprintf(l.sum, "%s %d\n", setting, len(c.data))
	l.sum.Write(c.sum[:])
	switch {
	case len(c.data) == 0:
		l.fault(setting, file, "is empty", "write the file under another name and rename it into place", nil)
		return c, false
	case int64(len(c.data)) > most:
		l.fault(setting, file, fmt.Sprintf("is larger than %d bytes", most), "is this the right file?", nil)
		return c, false
	}
	if secret || holdsKey(c.data) {
		return c, l.keyMode(setting, file, mode)
	}
	return c, true
}

// open reads a regular file, one byte more than most of it if it has them.
func (l *loader) open(setting, file string, most int64) (text []byte, mode fs.FileMode, ok bool) {
	// Looked at before opening it: opening a named pipe would wait for a writer.
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		l.fault(setting, file, "is not a regular file", "name a PEM file", nil)
		return nil, 0, false
	}
	if err != nil {
		return nil, 0, l.unreadable(setting, file, err)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, l.unreadable(setting, file, err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, 0, l.unreadable(setting, file, err)
	}
	data := bytes.NewBuffer(make([]byte, 0, min(max(info.Size(), 0), most)+bytes.MinRead))
	if _, err := data.ReadFrom(io.LimitReader(f, most+1)); err != nil {
		return nil, 0, l.unreadable(setting, file, err)
	}
	return data.Bytes(), info.Mode(), true
}

// unreadable notes the fault and is always false.
func (l *loader) unreadable(setting, file string, err error) bool {
	what, hint := "can't be read", ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		what, hint = "does not exist", "check the path; `sallyport cert dev DIR` makes certificates for development"
	case errors.Is(err, fs.ErrPermission):
		what = "can't be read: permission denied"
		hint = fmt.Sprintf("let user id %d, which sallyport runs as, read it", os.Geteuid())
	default:
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			what += ": " + pathErr.Err.Error() // without the path, which the fault names already
		}
	}
	l.fault(setting, file, what, hint, err)
	return false
}

// keyMode says whether a file with this mode may hold a private key.
func (l *loader) keyMode(setting, file string, mode fs.FileMode) bool {
	if runtime.GOOS == "windows" {
		return true // its mode bits say nothing about who may read
	}
	what, refused := judgeKeyMode(mode, func() bool { return sheltered(file) })
	if what == "" {
		return true
	}
	if refused {
		l.fault(setting, file, what, "chmod 0600 "+file, nil)
		return false
	}
	l.warn(setting, file, what, "chmod 0600; in Kubernetes set defaultMode: 0440 on the volume")
	return true
}

// JudgeSecret gives what is wrong with the mode of a file that holds a secret,
// empty if nothing is, and whether that is a fault: it is only a finding where
// a folder on the way keeps others out, or in a Kubernetes volume.
func JudgeSecret(file string, mode fs.FileMode) (what string, refused bool) {
	perm := mode.Perm()
	switch {
	case runtime.GOOS == "windows" || perm&0o026 == 0:
		return "", false
	case perm&0o002 != 0:
		what = "everybody may write it"
	case perm&0o020 != 0:
		what = "its group may write it"
	default:
		what = "everybody may read it"
	}
	return fmt.Sprintf("holds a secret and %s (mode %04o)", what, perm), !sheltered(file)
}

// judgeKeyMode gives what is wrong with a private key's mode, if anything, and
// whether it is refused for it. isSheltered is asked only when it matters.
func judgeKeyMode(mode fs.FileMode, isSheltered func() bool) (what string, refused bool) {
	switch perm := mode.Perm(); {
	case perm&0o002 != 0:
		return fmt.Sprintf("holds a private key and everybody may write it (mode %04o)", perm), !isSheltered()
	case perm&0o020 != 0:
		return fmt.Sprintf("holds a private key and its group may write it (mode %04o)", perm), !isSheltered()
	case perm&0o004 != 0:
		return fmt.Sprintf("holds a private key and everybody may read it (mode %04o)", perm), !isSheltered()
	}
	return "", false
}

// sheltered reports whether the file's mode alone does not decide who gets at
// it: a folder on its way keeps others out, or it lies in a Kubernetes volume,
// whose files are links into a folder named "..TIMESTAMP".
func sheltered(file string) bool {
	path, err := filepath.Abs(file)
	if err != nil {
		return false
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return false
	}
	dir := filepath.Dir(path)
	if strings.HasPrefix(filepath.Base(dir), "..") {
		return true
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		if info.Mode().Perm()&0o001 == 0 {
			return true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false
		}
		dir = parent
	}
}

// positionOf gives which certificate of the chain the key belongs to, or -1.
func positionOf(key crypto.Signer, chain []*x509.Certificate) int {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return -1
	}
	for i, c := range chain {
		if public.Equal(c.PublicKey) {
			return i
		}
	}
	return -1
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
