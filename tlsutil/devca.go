package tlsutil

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"time"
)

// Lifetimes of what a DevCA issues. Long enough not to interrupt a project,
// short enough to be forgotten.
const (
	devCALifetime   = 5 * 365 * 24 * time.Hour
	devLeafLifetime = 365 * 24 * time.Hour
	devBackdating   = time.Hour // for containers and virtual machines with a slow clock
)

// DevCA is a throw-away certificate authority for development and tests, with
// ECDSA P-256 keys. It is safe for concurrent use. It is no PKI: it keeps no
// record of what it issued; whoever revokes says what.
type DevCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pair is a certificate with its private key, in the forms tests and files need.
type Pair struct {
	Certificate tls.Certificate // Leaf is set
	CertPEM     []byte
	KeyPEM      []byte // PKCS #8; secret
}

// NewDevCA makes a CA with a new key. It can fail only for want of randomness.
func NewDevCA() (*DevCA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	var tag [4]byte
	rand.Read(tag[:])
	now := time.Now().UTC().Truncate(time.Second)
	template := &x509.Certificate{
		// Two CAs of one name are a puzzle in every error message.
		Subject:               pkix.Name{CommonName: "Sallyport development CA " + hex.EncodeToString(tag[:])},
		NotBefore:             now.Add(-devBackdating),
		NotAfter:              now.Add(devCALifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	return &DevCA{cert: cert, key: key}, nil
}

// Server issues a server certificate for hosts, which are DNS names or IP
// addresses; without any, for localhost, 127.0.0.1 and ::1.
func (ca *DevCA) Server(hosts ...string) (*Pair, error) {
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		if err := checkHost(h); err != nil {
			return nil, err
		}
		template.DNSNames = append(template.DNSNames, h)
	}
	if len(hosts[0]) > maxCommonName {
		template.Subject = pkix.Name{Organization: []string{"Sallyport development"}}
	}
	return ca.Issue(template)
}

// Client issues a client certificate with the common name and, if given, the
// URIs (spiffe://…) as alternative names.
func (ca *DevCA) Client(name string, uris ...string) (*Pair, error) {
	if name == "" || len(name) > maxCommonName {
		return nil, fmt.Errorf("client name %.80q: 1 to %d bytes are possible", name, maxCommonName)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, raw := range uris {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme == "" || u.Host == "" {
			return nil, fmt.Errorf("client %q: %.200q is not a URI with a scheme and a host", name, raw)
		}
		template.URIs = append(template.URIs, u)
	}
	return ca.Issue(template)
}

// maxCommonName is ub-common-name of RFC 5280.
const maxCommonName = 64

// checkHost takes what a certificate can say of a host: letters, digits, dots
// and hyphens, with "*" as the first label.
func checkHost(h string) error {
	name := strings.TrimPrefix(h, "*.")
	valid := name != "" && len(h) <= 253 && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".") && !strings.Contains(name, "..")
	for _, c := range name {
		valid = valid && (c == '.' || c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	if !valid {
		return fmt.Errorf("host %.80q is neither a DNS name nor an IP address", h)
	}
	return nil
}

// Issue signs a certificate after a template of the caller's, for tests that
// need a strange one. A serial number, dates (a year from now) and the key
// usage for signatures are filled in where they are zero. The template is not
// changed.
func (ca *DevCA) Issue(template *x509.Certificate) (*Pair, error) {
	t := *template
	now := time.Now().UTC().Truncate(time.Second)
	if t.NotBefore.IsZero() {
		t.NotBefore = now.Add(-devBackdating)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = now.Add(devLeafLifetime)
	}
	if t.NotAfter.After(ca.cert.NotAfter) {
		t.NotAfter = ca.cert.NotAfter
	}
	if t.KeyUsage == 0 {
		t.KeyUsage = x509.KeyUsageDigitalSignature
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("development certificate: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("development certificate: %w", err)
	}
	return newPair(der, key)
}

func newPair(der []byte, key crypto.Signer) (*Pair, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("development certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return &Pair{
		Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		CertPEM:     encodeCertificate(der),
		KeyPEM:      keyPEM,
	}, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("development key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Certificate gives the CA's own certificate. It must not be changed.
func (ca *DevCA) Certificate() *x509.Certificate { return ca.cert }

// CertPEM gives the CA's own certificate as the content of a ca.crt.
func (ca *DevCA) CertPEM() []byte { return encodeCertificate(ca.cert.Raw) }

// KeyPEM gives the CA's private key, with which anybody could issue certificates.
func (ca *DevCA) KeyPEM() ([]byte, error) { return encodeKey(ca.key) }

// Pool gives a new pool that trusts this CA alone.
func (ca *DevCA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// ParseDevCA takes up a CA made before, from its PEM files.
func ParseDevCA(certPEM, keyPEM []byte) (*DevCA, error) {
	chain, f := parseChain(certPEM)
	if f != nil {
		return nil, fmt.Errorf("CA certificate %s", f.What)
	}
	signer, f := parseKey(keyPEM)
	if f != nil {
		return nil, fmt.Errorf("CA key file %s", f.What)
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	switch {
	case !ok || positionOf(key, chain) != 0:
		return nil, errors.New("the CA key does not belong to the CA certificate")
	case len(chain) != 1 || !chain[0].IsCA:
		return nil, errors.New("it is not a CA made by sallyport cert dev")
	}
	return &DevCA{cert: chain[0], key: key}, nil
}

// CRL issues a revocation list in PEM that names the certificates, in force
// from an hour ago for the time given. The number grows from list to list.
func (ca *DevCA) CRL(lasting time.Duration, revoked ...*x509.Certificate) ([]byte, error) {
	now := time.Now().UTC().Truncate(time.Second)
	template := &x509.RevocationList{
		Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: now.Add(-devBackdating), NextUpdate: now.Add(lasting),
	}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: now})
	}
	return ca.signCRL(template)
}

func (ca *DevCA) signCRL(template *x509.RevocationList) ([]byte, error) {
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.cert, ca.key)
	if err != nil {
		return nil, fmt.Errorf("development CA: revocation list: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), nil
}
