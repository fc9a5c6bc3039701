package tlsutil

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"
	"time"
)

// authority is a CA of a test's own making, with the certificates above it but
// for the root's.
type authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // what its clients send along
}

var serials = big.NewInt(1000)

func nextSerial() *big.Int {
	serials = new(big.Int).Add(serials, big.NewInt(1))
	return serials
}

// newRoot makes a root CA; mod may spoil its template.
func newRoot(t testing.TB, name string, mods ...func(*x509.Certificate)) *authority {
	t.Helper()
	return issueCA(t, nil, name, mods)
}

// sub makes a CA below.
func (a *authority) sub(t testing.TB, name string, mods ...func(*x509.Certificate)) *authority {
	t.Helper()
	return issueCA(t, a, name, mods)
}

func issueCA(t testing.TB, above *authority, name string, mods []func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	for _, mod := range mods {
		mod(template)
	}
	parent, signer := template, crypto.Signer(key)
	if above != nil {
		parent, signer = above.cert, above.key
	}
	public := any(key.Public())
	if template.PublicKey != nil {
		public = template.PublicKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	a := &authority{cert: cert, key: key}
	if above != nil {
		a.chain = append([][]byte{der}, above.chain...)
	}
	return a
}

// client issues a client certificate, sent with the chain above it.
func (a *authority) client(t testing.TB, mods ...func(*x509.Certificate)) *Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return a.clientWith(t, key.Public(), key, mods...)
}

func (a *authority) clientWith(t testing.TB, public crypto.PublicKey, key crypto.Signer, mods ...func(*x509.Certificate)) *Pair {
	t.Helper()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: "app"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, mod := range mods {
		mod(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	check(t, err)
	leaf, _ := x509.ParseCertificate(der) // nil for those Go itself does not take
	return &Pair{Certificate: tls.Certificate{Certificate: append([][]byte{der}, a.chain...), PrivateKey: key, Leaf: leaf}}
}

// pem gives the CA's certificate as a CA file has it.
func (a *authority) pem() []byte { return encodeCertificate(a.cert.Raw) }

// crl issues a list in DER, in force from an hour ago for a day unless mods say
// otherwise.
func (a *authority) crl(t testing.TB, revoked []*Pair, mods ...func(*x509.RevocationList)) []byte {
	t.Helper()
	now := time.Now()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(24 * time.Hour)}
	for _, p := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.Certificate.Leaf.SerialNumber, RevocationTime: now.Add(-time.Minute)})
	}
	for _, mod := range mods {
		mod(template)
	}
	issuer := *a.cert
	issuer.KeyUsage |= x509.KeyUsageCRLSign // a CA that may not sign lists may do it all the same
	der, err := x509.CreateRevocationList(rand.Reader, template, &issuer, a.key)
	check(t, err)
	return der
}

func crlPEM(lists ...[]byte) []byte {
	var out []byte
	for _, der := range lists {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})...)
	}
	return out
}

func revoking(pairs ...*Pair) []*Pair { return slices.Clone(pairs) }

// revokingCA lets a CA's certificate stand in a list.
func revokingCA(a *authority) *Pair { return &Pair{Certificate: tls.Certificate{Leaf: a.cert}} }

func valid(from, to time.Duration) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = time.Now().Add(from), time.Now().Add(to) }
}
