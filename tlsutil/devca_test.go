package tlsutil

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDevCA_issues_what_verifies(t *testing.T) {
	ca := newCA(t)
	server, err := ca.Server("redis.internal", "10.0.0.1", "*.example")
	check(t, err)
	for _, host := range []string{"redis.internal", "10.0.0.1", "a.example"} {
		_, err := server.Certificate.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		check(t, err)
	}
	client, err := ca.Client("app", "spiffe://prod/app")
	check(t, err)
	_, err = client.Certificate.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	check(t, err)
	for _, p := range []*Pair{server, client} {
		leaf := p.Certificate.Leaf
		if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("key: %T", leaf.PublicKey)
		}
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 398*24*time.Hour || leaf.IsCA {
			t.Errorf("lives for %v, CA: %v", life, leaf.IsCA)
		}
		_, err := tls.X509KeyPair(p.CertPEM, p.KeyPEM)
		check(t, err)
	}
	if server.Certificate.Leaf.SerialNumber.Cmp(client.Certificate.Leaf.SerialNumber) == 0 {
		t.Error("one serial number for two")
	}
	if other := newCA(t); other.cert.Subject.String() == ca.cert.Subject.String() {
		t.Error("two CAs of one name")
	}
}

func TestDevCA_serves_this_machine_by_default(t *testing.T) {
	p, err := newCA(t).Server()
	check(t, err)
	leaf := p.Certificate.Leaf
	if !slices.Equal(leaf.DNSNames, []string{"localhost"}) || len(leaf.IPAddresses) != 2 ||
		!leaf.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) || !leaf.IPAddresses[1].Equal(net.IPv6loopback) {
		t.Errorf("%v %v", leaf.DNSNames, leaf.IPAddresses)
	}
}

func TestDevCA_refuses_names_no_certificate_can_hold(t *testing.T) {
	ca := newCA(t)
	for _, host := range []string{"", "a b", "a..b", ".a", "a.", "*", "*.", "a/b", "größe", "a:6379", "a\x00b", strings.Repeat("a", 300)} {
		if _, err := ca.Server(host); err == nil {
			t.Errorf("host %q was taken", host)
		}
	}
	for _, uri := range []string{"", "no uri", "spiffe:", "app", "%"} {
		if _, err := ca.Client("app", uri); err == nil {
			t.Errorf("URI %q was taken", uri)
		}
	}
	for _, name := range []string{"", strings.Repeat("a", 65)} {
		if _, err := ca.Client(name); err == nil {
			t.Errorf("client %q was taken", name)
		}
	}
}

func TestWriteDevDir_makes_what_a_server_and_its_clients_need(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "tls")
	d, err := WriteDevDir(dir, DevOptions{Clients: []DevClient{{Name: "app", URIs: []string{"spiffe://prod/app"}}, {Name: "batch.internal"}}})
	check(t, err)
	if d.Reused || len(d.Clients) != 2 || len(d.Written) != 8 {
		t.Errorf("%+v", d)
	}
	for _, path := range d.Written {
		info, err := os.Stat(path)
		check(t, err)
		want := fs.FileMode(0o644)
		if strings.HasSuffix(path, ".key") {
			want = 0o600
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	s, err := LoadServer(ServerOptions{CertificateFile: d.Server.Certificate, KeyFile: d.Server.Key, ClientCAFile: d.CA})
	check(t, err)
	if len(s.Warnings()) != 0 {
		t.Errorf("%v", s.Warnings())
	}
	c, err := LoadClient(ClientOptions{CAFile: d.CA, CertificateFile: d.Clients[0].Certificate, KeyFile: d.Clients[0].Key})
	check(t, err)
	config, err := c.Config("127.0.0.1")
	check(t, err)
	o := shake(t, s, config)
	o.accepted(t)
	if id := o.state.Identity; id.Subject != "CN=app" || !slices.Equal(id.URI, []string{"spiffe://prod/app"}) {
		t.Errorf("%+v", id)
	}
}

func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	check(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		check(t, err)
		all[filepath.Base(f)] = string(data)
	}
	return all
}

// changed lists the files that differ, are new or are gone.
func changed(before, after map[string]string) []string {
	var list []string
	for f, c := range after {
		if before[f] != c {
			list = append(list, f)
		}
	}
	for f := range before {
		if _, ok := after[f]; !ok {
			list = append(list, f)
		}
	}
	slices.Sort(list)
	return list
}

func TestWriteDevDir_a_second_time(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(t *testing.T, dir string)
		opts    DevOptions
		want    []string // what changes; nil for an error that says refusal
		refusal string
	}{
		{"refuses to replace a client", nil, DevOptions{}, nil, "client.crt"},
		{"refuses to replace a client beside a new one", nil, DevOptions{Clients: []DevClient{{Name: "new"}, {Name: "client"}}}, nil, "client.key"},
		{"refuses to replace the server", nil, DevOptions{Hosts: []string{"x"}, Clients: []DevClient{{Name: "new"}}}, nil, "server.crt"},
		{"adds a client and leaves the rest", nil, DevOptions{Clients: []DevClient{{Name: "new"}}}, []string{"new.crt", "new.key"}, ""},
		{"makes a server that is gone", func(t *testing.T, dir string) {
			check(t, os.Remove(filepath.Join(dir, "server.crt")))
			check(t, os.Remove(filepath.Join(dir, "server.key")))
		}, DevOptions{Clients: []DevClient{{Name: "new"}}}, []string{"new.crt", "new.key", "server.crt", "server.key"}, ""},
		{"refuses to replace half a server", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, "server.key"))) },
			DevOptions{Clients: []DevClient{{Name: "new"}}}, nil, "server.crt"},
		{"replaces pairs by force, never the CA", nil, DevOptions{Force: true}, []string{"client.crt", "client.key", "server.crt", "server.key"}, ""},
		{"refuses a CA without its key", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, "ca.key"))) },
			DevOptions{Clients: []DevClient{{Name: "new"}}}, nil, "the CA in"},
		{"refuses a CA with the key of another", func(t *testing.T, dir string) {
			key, err := newCA(t).KeyPEM()
			check(t, err)
			write(t, filepath.Join(dir, "ca.key"), key)
		}, DevOptions{Clients: []DevClient{{Name: "new"}}}, nil, "does not belong"},
		{"replaces an unusable CA by force", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, "ca.key"))) },
			DevOptions{Force: true}, []string{"ca.crt", "ca.key", "client.crt", "client.key", "server.crt", "server.key"}, ""},
		{"refuses a client named like a file of its own", nil, DevOptions{Clients: []DevClient{{Name: "Server"}}}, nil, "already spoken for"},
		{"refuses two clients of one name", nil, DevOptions{Clients: []DevClient{{Name: "a"}, {Name: "A"}}}, nil, "already spoken for"},
		{"refuses a client outside the folder", nil, DevOptions{Clients: []DevClient{{Name: "../x"}}}, nil, "file name"},
		{"refuses a hidden client", nil, DevOptions{Clients: []DevClient{{Name: ".x"}}}, nil, "file name"},
		{"refuses a client without name", nil, DevOptions{Clients: []DevClient{{}}}, nil, "file name"},
		{"refuses a bad host", nil, DevOptions{Hosts: []string{"a b"}, Force: true}, nil, "neither a DNS name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := WriteDevDir(dir, DevOptions{})
			check(t, err)
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			before := content(t, dir)
			d, err := WriteDevDir(dir, c.opts)
			got := changed(before, content(t, dir))
			if c.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), c.refusal) || len(got) != 0 {
					t.Errorf("%v, changed: %q", err, got)
				}
				return
			}
			check(t, err)
			if !slices.Equal(got, c.want) || len(d.Written) != len(c.want) {
				t.Errorf("changed: %q, written: %q", got, d.Written)
			}
			s, err := LoadServer(ServerOptions{CertificateFile: d.Server.Certificate, KeyFile: d.Server.Key, ClientCAFile: d.CA})
			check(t, err)
			l, err := LoadClient(ClientOptions{CAFile: d.CA, CertificateFile: d.Clients[0].Certificate, KeyFile: d.Clients[0].Key})
			check(t, err)
			config, err := l.Config("localhost")
			check(t, err)
			shake(t, s, config).accepted(t)
		})
	}
}

// A key file that is replaced does not keep the mode somebody gave it.
func TestWriteDevDir_by_force_leaves_no_key_open(t *testing.T) {
	dir := t.TempDir()
	d, err := WriteDevDir(dir, DevOptions{})
	check(t, err)
	check(t, os.Chmod(d.Server.Key, 0o666))
	_, err = WriteDevDir(dir, DevOptions{Force: true})
	check(t, err)
	info, err := os.Stat(d.Server.Key)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o", info.Mode().Perm())
	}
}
