package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// selfSigned writes a certificate that is its own authority, for server and client, and returns a client's TLS setting.
func selfSigned(t *testing.T) (cert, key string, conf *tls.Config) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rig"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "rig.crt"), filepath.Join(dir, "rig.key")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for path, text := range map[string][]byte{cert: certPEM, key: keyPEM} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return cert, key, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

func TestServerTLS(t *testing.T) {
	cert, key, conf := selfSigned(t)
	s := Start(t, TLS(cert, key, cert), RequirePass("secret"))
	t.Run("speaks TLS to a client with a certificate", func(t *testing.T) {
		c, err := Dial("tcp", s.Addr(), conf)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		mustDo(t, c, "AUTH", "secret")
		mustDo(t, c, "SET", "k", "v")
		if got := mustDo(t, s, "GET", "k"); got != "v" {
			t.Fatalf("GET: %v", got)
		}
	})
	t.Run("speaks to nobody without one", func(t *testing.T) {
		bare := conf.Clone()
		bare.Certificates = nil
		if c, err := Dial("tcp", s.Addr(), bare); err == nil {
			defer func() { _ = c.Close() }()
			if got, err := c.Do("PING"); err == nil {
				t.Fatalf("PING without a certificate: %v", got)
			}
		}
	})
	t.Run("does not speak plaintext", func(t *testing.T) {
		if got, err := dial(t, s).Do("PING"); err == nil {
			t.Fatalf("PING in plaintext: %v", got)
		}
	})
}
