package tlsutil

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Each case spoils one thing; the fault has to point at it and say what to do.
func TestLoadServer_refuses(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	shortKey := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	for _, c := range []struct {
		name    string
		spoil   func(t *testing.T, r *rig)
		setting string
		what    string
	}{
		{"no client CA where certificates are required", func(t *testing.T, r *rig) { r.opts.ClientCAFile = "" }, "client_ca", "no file is named"},
		{"no client CA where certificates are optional", func(t *testing.T, r *rig) { r.opts.ClientCAFile, r.opts.ClientAuth = "", Optional }, "client_ca", "no file is named"},
		{"an empty client CA", func(t *testing.T, r *rig) { write(t, r.opts.ClientCAFile, nil) }, "client_ca", "is empty"},
		{"an empty client CA where certificates are optional", func(t *testing.T, r *rig) {
			r.opts.ClientAuth = Optional
			write(t, r.opts.ClientCAFile, nil)
		}, "client_ca", "is empty"},
		{"a client CA of white space", func(t *testing.T, r *rig) { write(t, r.opts.ClientCAFile, []byte("\n \n")) }, "client_ca", "no PEM data"},
		{"a client CA of garbage", func(t *testing.T, r *rig) { write(t, r.opts.ClientCAFile, []byte("garbage")) }, "client_ca", "no PEM data"},
		{"a client CA in DER", func(t *testing.T, r *rig) { write(t, r.opts.ClientCAFile, r.ca.cert.Raw) }, "client_ca", "no PEM data"},
		{"a client CA with a damaged certificate", func(t *testing.T, r *rig) {
			write(t, r.opts.ClientCAFile, append(r.ca.CertPEM(), encodeCertificate([]byte("garbage"))...))
		}, "client_ca", "certificate 2 is damaged"},
		{"a client CA whose second certificate is half-written", func(t *testing.T, r *rig) {
			both := append(r.ca.CertPEM(), newCA(t).CertPEM()...)
			write(t, r.opts.ClientCAFile, both[:len(both)-40])
		}, "client_ca", "half-written"},
		{"a client CA that holds a key", func(t *testing.T, r *rig) {
			write(t, r.opts.ClientCAFile, append(r.ca.CertPEM(), r.serverPair(t).KeyPEM...))
		}, "client_ca", `holds a "PRIVATE KEY" block`},
		{"a missing client CA", func(t *testing.T, r *rig) { check(t, os.Remove(r.opts.ClientCAFile)) }, "client_ca", "does not exist"},
		{"a client CA that is a folder", func(t *testing.T, r *rig) { r.opts.ClientCAFile = r.dir }, "client_ca", "not a regular file"},
		{"a client CA that is a pipe", func(t *testing.T, r *rig) {
			r.opts.ClientCAFile = filepath.Join(r.dir, "pipe")
			check(t, syscall.Mkfifo(r.opts.ClientCAFile, 0o600))
		}, "client_ca", "not a regular file"},
		{"no certificate named", func(t *testing.T, r *rig) { r.opts.CertificateFile = "" }, "certificate", "no file is named"},
		{"no key named", func(t *testing.T, r *rig) { r.opts.KeyFile = "" }, "key", "no file is named"},
		{"a missing certificate", func(t *testing.T, r *rig) { check(t, os.Remove(r.opts.CertificateFile)) }, "certificate", "does not exist"},
		{"a missing key", func(t *testing.T, r *rig) { check(t, os.Remove(r.opts.KeyFile)) }, "key", "does not exist"},
		{"an empty certificate", func(t *testing.T, r *rig) { write(t, r.opts.CertificateFile, nil) }, "certificate", "is empty"},
		{"an empty key", func(t *testing.T, r *rig) { write(t, r.opts.KeyFile, nil) }, "key", "is empty"},
		{"a key of another certificate", func(t *testing.T, r *rig) { write(t, r.opts.KeyFile, r.serverPair(t).KeyPEM) }, "key", "does not belong"},
		{"a chain in the wrong order", func(t *testing.T, r *rig) {
			p := r.serverPair(t)
			r.install(t, &Pair{CertPEM: append(r.ca.CertPEM(), p.CertPEM...), KeyPEM: p.KeyPEM})
		}, "key", "belongs to certificate 2"},
		{"certificate and key interchanged", func(t *testing.T, r *rig) {
			r.opts.CertificateFile, r.opts.KeyFile = r.opts.KeyFile, r.opts.CertificateFile
		}, "certificate", "holds a private key but no certificate"},
		{"a locked key", func(t *testing.T, r *rig) {
			write(t, r.opts.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}))
		}, "key", "locked with a passphrase"},
		{"a damaged key", func(t *testing.T, r *rig) {
			write(t, r.opts.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))
		}, "key", "damaged private key"},
		{"two keys", func(t *testing.T, r *rig) {
			p := r.serverPair(t)
			r.install(t, &Pair{CertPEM: p.CertPEM, KeyPEM: append(p.KeyPEM, p.KeyPEM...)})
		}, "key", "more than one private key"},
		{"a short RSA key", func(t *testing.T, r *rig) { write(t, r.opts.KeyFile, shortKey) }, "key", "1024 bits"},
		{"an old version", func(t *testing.T, r *rig) { r.opts.MinVersion = tls.VersionTLS11 }, "min_version", "TLS 1.1"},
		{"a version from nowhere", func(t *testing.T, r *rig) { r.opts.MinVersion = 0x0505 }, "min_version", "can't be the lowest"},
		{"a client_auth from nowhere", func(t *testing.T, r *rig) { r.opts.ClientAuth = 9 }, "client_auth", "not known"},
		{"a file that is far too large", func(t *testing.T, r *rig) {
			write(t, r.opts.ClientCAFile, bytes.Repeat([]byte("#"), maxFileSize+1))
		}, "client_ca", "is larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			good := r.load(t)
			c.spoil(t, r)
			_, err := LoadServer(r.opts)
			if err == nil {
				t.Fatal("it was loaded")
			}
			faults := Faults(err)
			at := slices.IndexFunc(faults, func(f *Fault) bool { return f.Setting == c.setting && strings.Contains(f.What, c.what) })
			if at < 0 {
				t.Fatalf("no fault of %s says %q: %v", c.setting, c.what, err)
			}
			if f := faults[at]; f.Hint == "" && !strings.Contains(f.What, "certificate 2 is damaged") {
				t.Errorf("no hint: %v", f)
			} else if f.File != "" && !strings.Contains(err.Error(), f.File) {
				t.Errorf("the file is not named: %v", err)
			}
			if _, err := good.Prepare(r.opts); err == nil {
				t.Error("a reload would take it")
			}
			shake(t, good, r.client(r.clientPair(t, "app"))).accepted(t)
		})
	}
}

func TestLoadServer_names_every_fault_at_once(t *testing.T) {
	r := newRig(t)
	check(t, os.Remove(r.opts.CertificateFile))
	check(t, os.Remove(r.opts.KeyFile))
	check(t, os.Remove(r.opts.ClientCAFile))
	_, err := LoadServer(r.opts)
	if n := len(Faults(err)); n != 3 {
		t.Errorf("%d faults: %v", n, err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestLoadServer_never_says_anything_of_a_key(t *testing.T) {
	r := newRig(t)
	pair := r.serverPair(t)
	body := bytes.Split(pair.KeyPEM, []byte("\n"))[1]
	broken := bytes.Replace(pair.KeyPEM, body, body[:len(body)-4], 1)
	write(t, r.opts.KeyFile, broken)
	_, err := LoadServer(r.opts)
	if err == nil || strings.Contains(err.Error(), string(body[:12])) {
		t.Errorf("%v", err)
	}
}

func TestLoadServer_takes(t *testing.T) {
	t.Run("a pair in one file", func(t *testing.T) {
		r := newRig(t)
		p := r.serverPair(t)
		r.opts.KeyFile = r.opts.CertificateFile
		write(t, r.opts.CertificateFile, slices.Concat(p.KeyPEM, p.CertPEM))
		shake(t, r.load(t), r.client(r.clientPair(t, "app"))).accepted(t)
	})
	t.Run("comments around the blocks", func(t *testing.T) {
		r := newRig(t)
		write(t, r.opts.ClientCAFile, slices.Concat([]byte("# our CA\n"), r.ca.CertPEM(), []byte("# end\n")))
		r.load(t)
	})
	t.Run("a SEC 1 key after its parameters", func(t *testing.T) {
		r := newRig(t)
		p := r.serverPair(t)
		p.KeyPEM = sec1(t, p)
		r.install(t, p)
		r.load(t)
	})
	t.Run("an RSA pair", func(t *testing.T) {
		r := newRig(t)
		r.install(t, rsaServer(t, r.ca))
		shake(t, r.load(t), r.client(r.clientPair(t, "app"))).accepted(t)
	})
	t.Run("two client CAs", func(t *testing.T) {
		r := newRig(t)
		second := newCA(t)
		write(t, r.opts.ClientCAFile, slices.Concat(r.ca.CertPEM(), second.CertPEM()))
		s := r.load(t)
		shake(t, s, r.client(r.clientPair(t, "app"))).accepted(t)
		shake(t, s, r.client(issueClient(t, second, "app"))).accepted(t)
	})
}

func TestLoadServer_without_client_certificates_asks_for_none(t *testing.T) {
	r := newRig(t)
	r.opts.ClientAuth, r.opts.ClientCAFile = None, ""
	asked := false
	config := r.client()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		return &tls.Certificate{}, nil
	}
	o := shake(t, r.load(t), config)
	o.accepted(t)
	if asked || o.state.Identity != nil {
		t.Errorf("asked %v, identity %v", asked, o.state.Identity)
	}
}

func TestLoadServer_warns(t *testing.T) {
	serverUsage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	past := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, r *rig)
		want  string
	}{
		{"of an expired certificate", func(t *testing.T, r *rig) {
			issueServer(t, r, &x509.Certificate{NotBefore: past.Add(-time.Hour), NotAfter: past, DNSNames: []string{"x"}, ExtKeyUsage: serverUsage})
		}, "expired on"},
		{"of a certificate from the future", func(t *testing.T, r *rig) {
			issueServer(t, r, &x509.Certificate{NotBefore: time.Now().Add(time.Hour), DNSNames: []string{"x"}, ExtKeyUsage: serverUsage})
		}, "not valid before"},
		{"of a client's certificate", func(t *testing.T, r *rig) {
			issueServer(t, r, &x509.Certificate{DNSNames: []string{"x"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		}, "not meant for servers"},
		{"of a certificate without hosts", func(t *testing.T, r *rig) {
			issueServer(t, r, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, ExtKeyUsage: serverUsage})
		}, "names no host"},
		{"of a client CA that is none", func(t *testing.T, r *rig) { write(t, r.opts.ClientCAFile, r.clientPair(t, "app").CertPEM) }, "not a CA certificate"},
		{"of a client CA nobody asks for", func(t *testing.T, r *rig) { r.opts.ClientAuth = None }, "is not used"},
		{"of a client CA that expired", func(t *testing.T, r *rig) {
			at := time.Now().Add(devCALifetime + time.Hour)
			r.opts.now = func() time.Time { return at }
		}, "the CA certificate"},
		{"of a key everybody may read, in a folder nobody may enter", func(t *testing.T, r *rig) {
			check(t, os.Chmod(r.dir, 0o700))
			check(t, os.Chmod(r.opts.KeyFile, 0o644))
		}, "everybody may read it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			if got := r.load(t).Warnings(); len(got) != 0 {
				t.Fatalf("without cause: %v", got)
			}
			c.spoil(t, r)
			got := r.load(t).Warnings()
			if !slices.ContainsFunc(got, func(f Fault) bool { return strings.Contains(f.What, c.want) && f.Hint != "" }) {
				t.Errorf("%v", got)
			}
		})
	}
}

func issueServer(t *testing.T, r *rig, template *x509.Certificate) {
	t.Helper()
	p, err := r.ca.Issue(template)
	check(t, err)
	r.install(t, p)
}

func sec1(t *testing.T, p *Pair) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(p.Certificate.PrivateKey.(*ecdsa.PrivateKey))
	check(t, err)
	return slices.Concat(
		pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func TestKey_file_modes(t *testing.T) {
	open, shut := func() bool { return false }, func() bool { return true }
	for mode, want := range map[fs.FileMode]string{
		0o400: "", 0o600: "", 0o440: "", 0o640: "", 0o444: "read", 0o644: "read", 0o604: "read",
		0o660: "group may write", 0o620: "group may write", 0o666: "everybody may write", 0o602: "everybody may write", 0o777: "everybody may write",
	} {
		what, refused := judgeKeyMode(mode, open)
		if (want == "") != (what == "") || !strings.Contains(what, want) || refused != (want != "") {
			t.Errorf("%04o: %q, refused %v, want %q", mode, what, refused, want)
		}
		if _, refused := judgeKeyMode(mode, shut); refused {
			t.Errorf("%04o where others can't come: refused", mode)
		}
	}
}

func TestKey_files_others_can_not_reach_are_sheltered(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed", "in")
	check(t, os.MkdirAll(closed, 0o755))
	check(t, os.Chmod(filepath.Dir(closed), 0o750))
	volume := filepath.Join(dir, "volume", "..2026_01_02")
	check(t, os.MkdirAll(volume, 0o755))
	for _, file := range []string{filepath.Join(closed, "tls.key"), filepath.Join(volume, "tls.key")} {
		write(t, file, []byte("x"))
		if !sheltered(file) {
			t.Errorf("%s is not sheltered", file)
		}
	}
	link := filepath.Join(dir, "volume", "tls.key")
	check(t, os.Symlink(filepath.Join("..2026_01_02", "tls.key"), link))
	if !sheltered(link) {
		t.Error("a link into a Kubernetes volume is not sheltered")
	}
	if sheltered("/etc/passwd") {
		t.Error("/etc/passwd is sheltered")
	}
}

// A key in the certificate's file is as secret as one in its own.
func TestKey_modes_are_judged_wherever_a_key_is(t *testing.T) {
	r := newRig(t)
	p := r.serverPair(t)
	write(t, r.opts.CertificateFile, slices.Concat(p.CertPEM, p.KeyPEM))
	write(t, r.opts.KeyFile, p.KeyPEM)
	check(t, os.Chmod(r.opts.CertificateFile, 0o644))
	check(t, os.Chmod(r.dir, 0o700))
	got := r.load(t).Warnings()
	if len(got) != 1 || got[0].Setting != "certificate" || !strings.Contains(got[0].What, "everybody may read it") {
		t.Errorf("%v", got)
	}
}

func TestServer_tells_its_files_and_their_ends(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	if want := []string{r.opts.CertificateFile, r.opts.KeyFile, r.opts.ClientCAFile}; !slices.Equal(s.Files(), want) {
		t.Errorf("files: %q", s.Files())
	}
	ends := s.NotAfter()
	if len(ends) != 2 || !ends[r.opts.CertificateFile].Equal(s.Certificate().NotAfter) || !ends[r.opts.ClientCAFile].Equal(r.ca.cert.NotAfter) {
		t.Errorf("ends: %v", ends)
	}
	clear(ends)
	if len(s.NotAfter()) != 2 {
		t.Error("the caller's copy is not his own")
	}
}

func TestReload_keeps_the_old_pair_while_a_file_is_half_written(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	before := s.Certificate()
	client := r.client(r.clientPair(t, "app"))
	next := r.serverPair(t)
	for file, content := range map[string][]byte{
		r.opts.CertificateFile: next.CertPEM,
		r.opts.KeyFile:         next.KeyPEM,
		r.opts.ClientCAFile:    slices.Concat(r.ca.CertPEM(), newCA(t).CertPEM()),
	} {
		old, err := os.ReadFile(file)
		check(t, err)
		whole := len(bytes.TrimSpace(content))
		for at := 0; at < whole; at += step(at, whole) {
			if bytes.Equal(bytes.TrimSpace(content[:at]), bytes.TrimSpace(r.ca.CertPEM())) {
				continue // whole in itself: the file of one CA
			}
			write(t, file, content[:at])
			if changed, err := s.Reload(); err == nil {
				t.Fatalf("%s: %d of %d bytes were taken, changed: %v", filepath.Base(file), at, whole, changed)
			}
		}
		if !s.Certificate().Equal(before) || s.Generation() != 1 {
			t.Fatal("the old pair is gone")
		}
		shake(t, s, client).accepted(t)
		write(t, file, old)
	}
	r.install(t, next)
	if changed, err := s.Reload(); !changed || err != nil {
		t.Fatalf("the whole pair: %v, %v", changed, err)
	}
	o := shake(t, s, client)
	o.accepted(t)
	if !o.client.PeerCertificates[0].Equal(next.Certificate.Leaf) {
		t.Error("the new pair is not in use")
	}
}

// step is 1 near the ends of a block, where the difficult cuts are.
func step(at, whole int) int {
	if begin := at % (whole / 2); begin < 35 || begin > whole/2-35 || at > whole-35 {
		return 1
	}
	return 13
}

func TestReload_does_not_put_an_expired_certificate_in_the_place_of_a_good_one(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	past := time.Now().Add(-time.Hour)
	issueServer(t, r, &x509.Certificate{NotBefore: past.Add(-time.Hour), NotAfter: past, DNSNames: []string{"localhost"}})
	if changed, err := s.Reload(); changed || err == nil || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("%v, %v", changed, err)
	}
	// At the start there is nothing to lose.
	stale := r.load(t)
	r.install(t, r.serverPair(t))
	if changed, err := stale.Reload(); !changed || err != nil {
		t.Errorf("%v, %v", changed, err)
	}
}

func TestPrepare_changes_nothing_until_applied(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	client := r.client()
	opts := r.opts
	opts.ClientAuth = Optional
	u, err := s.Prepare(opts)
	check(t, err)
	if !u.Changed() {
		t.Error("other options are no change")
	}
	shake(t, s, client).refusedWith(t, ReasonNoCertificate)
	if !u.Apply() || u.Apply() {
		t.Error("Apply does not say what it changed")
	}
	shake(t, s, client).accepted(t)
	if s.Options().ClientAuth != Optional {
		t.Errorf("options: %+v", s.Options())
	}
}

// volume imitates how Kubernetes replaces a secret: files are links through
// "..data", a link that is renamed from one folder to the next.
type volume struct {
	dir string
	n   int
}

func (v *volume) put(t *testing.T, files map[string][]byte) {
	t.Helper()
	v.n++
	name := fmt.Sprintf("..v%d", v.n)
	check(t, os.Mkdir(filepath.Join(v.dir, name), 0o755))
	for file, content := range files {
		write(t, filepath.Join(v.dir, name, file), content)
		if link := filepath.Join(v.dir, file); !exists(link) {
			check(t, os.Symlink(filepath.Join("..data", file), link))
		}
	}
	tmp := filepath.Join(v.dir, "..data_tmp")
	check(t, os.Symlink(name, tmp))
	check(t, os.Rename(tmp, filepath.Join(v.dir, "..data")))
	if v.n > 1 {
		check(t, os.RemoveAll(filepath.Join(v.dir, fmt.Sprintf("..v%d", v.n-1))))
	}
}

func TestReload_under_handshakes_loses_none_in_50_swaps(t *testing.T) {
	r := newRig(t)
	v := &volume{dir: t.TempDir()}
	swap := func() *x509.Certificate {
		p := r.serverPair(t)
		v.put(t, map[string][]byte{"tls.crt": p.CertPEM, "tls.key": p.KeyPEM, "ca.crt": r.ca.CertPEM()})
		return p.Certificate.Leaf
	}
	swap()
	r.opts.CertificateFile, r.opts.KeyFile, r.opts.ClientCAFile = filepath.Join(v.dir, "tls.crt"), filepath.Join(v.dir, "tls.key"), filepath.Join(v.dir, "ca.crt")
	s := r.load(t)

	var stop atomic.Bool
	var shaken atomic.Int64
	var clients sync.WaitGroup
	for i := range 3 {
		config := r.client(r.clientPair(t, "app"))
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		clients.Go(func() {
			for !stop.Load() {
				if o := shake(t, s, config); o.err != nil || o.clientErr != nil {
					t.Errorf("server: %v, client: %v", o.err, o.clientErr)
					return
				}
				shaken.Add(1)
				if i == 0 { // a file watch beside the signal; in the middle of a swap it must leave things as they are
					s.Reload()
				}
			}
		})
	}
	probe := r.client(r.clientPair(t, "probe"))
	for i := range 50 {
		want := swap()
		if _, err := s.Reload(); err != nil {
			t.Errorf("swap %d: %v", i, err)
		}
		o := shake(t, s, probe)
		if o.err != nil || o.clientErr != nil {
			t.Errorf("swap %d: server: %v, client: %v", i, o.err, o.clientErr)
		} else if !o.client.PeerCertificates[0].Equal(want) {
			t.Errorf("swap %d: not the new certificate", i)
		}
	}
	stop.Store(true)
	clients.Wait()
	if shaken.Load() < 10 {
		t.Errorf("only %d handshakes beside the swaps", shaken.Load())
	}
}

func TestParse_takes_the_words_of_the_configuration_only(t *testing.T) {
	for word, want := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13, "1.1": 0, "1.0": 0, "": 0, "TLSv1.2": 0, "1.4": 0} {
		if v, err := ParseVersion(word); v != want || (err == nil) != (want != 0) {
			t.Errorf("version %q: %x, %v", word, v, err)
		}
	}
	for word, want := range map[string]ClientAuth{"require": Require, "optional": Optional, "off": None} {
		if a, err := ParseClientAuth(word); a != want || err != nil || a.String() != word {
			t.Errorf("client_auth %q: %v, %v", word, a, err)
		}
	}
	for _, word := range []string{"", "no", "yes", "Require", "none"} {
		if a, err := ParseClientAuth(word); err == nil || a != Require {
			t.Errorf("client_auth %q: %v, %v", word, a, err)
		}
	}
}

func TestFault_says_file_cause_and_remedy_on_one_line(t *testing.T) {
	f := &Fault{Setting: "key", File: "tls/server.key", What: "is empty", Hint: "fill it"}
	if got := f.Error(); got != "tls/server.key: is empty (hint: fill it)" {
		t.Error(got)
	}
	f = &Fault{Setting: "client_ca", What: "no file is named"}
	if got := f.Error(); got != "client_ca: no file is named" {
		t.Error(got)
	}
	if Faults(errors.New("x")) != nil || Faults(nil) != nil {
		t.Error("faults out of nowhere")
	}
	if got := Faults(fmt.Errorf("listener gateway: %w", errors.Join(f, f))); len(got) != 2 {
		t.Errorf("wrapped: %v", got)
	}
}

// Config is as strict as Handshake, which looks at the identity once more.
func TestConfig_refuses_what_Handshake_refuses(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	bad, err := r.ca.Issue(&x509.Certificate{Subject: pkix.Name{CommonName: "admin\x00"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	check(t, err)
	for want, config := range map[Reason]*tls.Config{
		ReasonNoCertificate: r.client(),
		ReasonUnknownCA:     r.client(issueClient(t, newCA(t), "app")),
		ReasonBadName:       r.client(bad),
	} {
		server, client := tcpPair(t)
		o := shakeOver(server, client, config, func(ctx context.Context, c net.Conn) (*tls.Conn, State, error) {
			tc := tls.Server(c, s.Config())
			return tc, State{}, tc.HandshakeContext(ctx)
		})
		if o.err == nil || reasonOf(o.err) != want {
			t.Errorf("%v, want %v", o.err, want)
		}
	}
}
