package tlsutil

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DevOptions says what WriteDevDir is to make.
type DevOptions struct {
	Hosts   []string    // of the server; none: localhost, 127.0.0.1 and ::1
	Clients []DevClient // none: one named "client"
	Force   bool        // replace files that exist
}

// DevClient is a client certificate to be made: NAME.crt and NAME.key.
type DevClient struct {
	Name string   // the common name and the name of the files
	URIs []string // alternative names, such as a SPIFFE ID
}

// DevDir tells where WriteDevDir put things. Paths begin with the folder as it
// was given.
type DevDir struct {
	CA      string // ca.crt; give it to clients as --cacert
	Server  DevFiles
	Clients []DevFiles // in the order of the options
	Reused  bool       // the CA was there before
	Written []string   // files made or replaced now, in order
}

// DevFiles is a pair on disk.
type DevFiles struct{ Name, Certificate, Key string }

// WriteDevDir makes a development CA, a server pair and client pairs in dir,
// which is made if need be: ca.crt, ca.key, server.crt, server.key and
// NAME.crt, NAME.key for each client. Keys have mode 0600.
//
// A CA that is in dir already, with its key, issues the new certificates, so
// that those made before stay good. So does a server pair: it is left alone
// when new clients are asked for and no hosts are named. Any other file that is
// in the way is an error naming it, and nothing is written, unless Force is
// set; then pairs are replaced, and the CA too if it can't be used any more.
func WriteDevDir(dir string, opts DevOptions) (*DevDir, error) {
	if len(opts.Clients) == 0 {
		opts.Clients = []DevClient{{Name: "client"}}
	}
	if err := checkClientNames(opts.Clients); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("development certificates: %w", err)
	}
	d := &devWriter{dir: dir, force: opts.Force}
	ca, err := d.authority()
	if err != nil {
		return nil, err
	}
	if err := d.pairs(ca, opts); err != nil {
		return nil, err
	}
	if err := d.write(); err != nil {
		return nil, err
	}
	return &d.out, nil
}

// devWriter collects files first and writes them when all is known to be well.
type devWriter struct {
	dir   string
	force bool
	files []devFile
	out   DevDir
}

type devFile struct {
	path    string
	content []byte
	mode    fs.FileMode
}

// authority takes up the CA of the folder, or makes one.
func (d *devWriter) authority() (*DevCA, error) {
	d.out.CA = filepath.Join(d.dir, "ca.crt")
	keyFile := filepath.Join(d.dir, "ca.key")
	if exists(d.out.CA) || exists(keyFile) {
		ca, err := readDevCA(d.out.CA, keyFile)
		if err == nil {
			d.out.Reused = true
			return ca, nil
		}
		if !d.force {
			return nil, fmt.Errorf("the CA in %s can't be used: %w (hint: choose another folder, or --force for a new CA; what the old one issued is void then)", d.dir, err)
		}
	}
	ca, err := NewDevCA()
	if err != nil {
		return nil, err
	}
	keyPEM, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	d.files = append(d.files, devFile{keyFile, keyPEM, 0o600}, devFile{d.out.CA, ca.CertPEM(), 0o644})
	return ca, nil
}

func readDevCA(certFile, keyFile string) (*DevCA, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	ca, err := ParseDevCA(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	if now := time.Now(); !inDate(ca.cert, now) {
		return nil, fmt.Errorf("it is valid from %s to %s only", day(ca.cert.NotBefore), day(ca.cert.NotAfter))
	}
	return ca, nil
}

// pairs issues what is asked for and refuses what is in the way.
func (d *devWriter) pairs(ca *DevCA, opts DevOptions) error {
	var inTheWay []string
	d.out.Server = d.pathsOf("server")
	if !d.keepServer(ca, opts) {
		inTheWay = append(inTheWay, existing(d.out.Server)...)
		pair, err := ca.Server(opts.Hosts...)
		if err != nil {
			return err
		}
		d.add(d.out.Server, pair)
	}
	for _, c := range opts.Clients {
		paths := d.pathsOf(c.Name)
		inTheWay = append(inTheWay, existing(paths)...)
		pair, err := ca.Client(c.Name, c.URIs...)
		if err != nil {
			return err
		}
		d.add(paths, pair)
		d.out.Clients = append(d.out.Clients, paths)
	}
	if len(inTheWay) > 0 && !d.force {
		return fmt.Errorf("%s: exists already, nothing was written (hint: name other clients, choose another folder, or --force to replace)",
			strings.Join(inTheWay, ", "))
	}
	return nil
}

// keepServer reports whether the folder's server pair serves on: it is a pair
// of this CA, in date, and nobody asked for another one.
func (d *devWriter) keepServer(ca *DevCA, opts DevOptions) bool {
	if d.force || len(opts.Hosts) > 0 || !d.out.Reused {
		return false
	}
	pair, err := tls.LoadX509KeyPair(d.out.Server.Certificate, d.out.Server.Key)
	return err == nil && pair.Leaf.CheckSignatureFrom(ca.cert) == nil && inDate(pair.Leaf, time.Now())
}

func (d *devWriter) pathsOf(name string) DevFiles {
	return DevFiles{Name: name, Certificate: filepath.Join(d.dir, name+".crt"), Key: filepath.Join(d.dir, name+".key")}
}

// add puts the key first: a server that reloads in between refuses the pair and
// keeps the old one, whichever comes first.
func (d *devWriter) add(to DevFiles, pair *Pair) {
	d.files = append(d.files, devFile{to.Key, pair.KeyPEM, 0o600}, devFile{to.Certificate, pair.CertPEM, 0o644})
}

func (d *devWriter) write() error {
	for _, f := range d.files {
		if err := replaceFile(f); err != nil {
			return fmt.Errorf("development certificates: %w", err)
		}
		d.out.Written = append(d.out.Written, f.path)
	}
	return nil
}

// replaceFile writes under another name and renames, so that nobody ever sees
// half a file and an old file's laxer mode is not taken over.
func replaceFile(f devFile) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(f.path), ".sallyport-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(f.content)
	if err = errors.Join(err, tmp.Chmod(f.mode), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.path)
}

func existing(f DevFiles) []string {
	return slices.DeleteFunc([]string{f.Certificate, f.Key}, func(path string) bool { return !exists(path) })
}

// exists counts a dangling link too: it would be replaced.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkClientNames refuses names that are no plain file name, or that would
// collide with the other files, on file systems that fold case too.
func checkClientNames(clients []DevClient) error {
	taken := []string{"ca", "server"}
	for _, c := range clients {
		valid := c.Name != "" && len(c.Name) <= maxCommonName && c.Name[0] != '.' && c.Name[0] != '-'
		for _, r := range c.Name {
			valid = valid && (strings.ContainsRune("._-@", r) || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
		}
		if !valid {
			return fmt.Errorf("client name %.80q: letters, digits and . _ - @ are possible, %d at most, as it becomes a file name", c.Name, maxCommonName)
		}
		if slices.ContainsFunc(taken, func(t string) bool { return strings.EqualFold(t, c.Name) }) {
			return fmt.Errorf("client name %q: the file %s.crt is already spoken for", c.Name, c.Name)
		}
		taken = append(taken, c.Name)
	}
	return nil
}
