package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// credentials are the PEM files all targets share: ECDSA P-256, one authority, one server pair, one client pair.
type credentials struct {
	ca                    string
	serverCert, serverKey string
	serverBoth            string // certificate and key in one file, as haproxy wants it
	clientCert, clientKey string
}

// makeCredentials writes a throw-away authority and its two pairs into dir. The authority's key is never written.
func makeCredentials(dir string) (credentials, error) {
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return credentials{}, err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, authority.Public(), authority)
	if err != nil {
		return credentials{}, err
	}
	if root, err = x509.ParseCertificate(rootDER); err != nil {
		return credentials{}, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	c := credentials{
		ca: file("ca.crt"), serverCert: file("server.crt"), serverKey: file("server.key"), serverBoth: file("server.pem"),
		clientCert: file("client.crt"), clientKey: file("client.key"),
	}
	serverCert, serverKey, err := issue(root, authority, "localhost", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return credentials{}, err
	}
	clientCert, clientKey, err := issue(root, authority, "bench-client", x509.ExtKeyUsageClientAuth)
	if err != nil {
		return credentials{}, err
	}
	for path, text := range map[string][]byte{
		c.ca:         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}),
		c.serverCert: serverCert, c.serverKey: serverKey, c.serverBoth: slices.Concat(serverCert, serverKey),
		c.clientCert: clientCert, c.clientKey: clientKey,
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return credentials{}, err
		}
	}
	return c, nil
}

// issue signs a pair for one use and returns it as PEM.
func issue(root *x509.Certificate, authority *ecdsa.PrivateKey, name string, use x509.ExtKeyUsage) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use}, BasicConstraintsValid: true,
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root, private.Public(), authority)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate for %s: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
