package tlsutil

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is one case's PKI and what the listener is told of it.
type world struct {
	*rig
	root *authority
	cas  [][]byte // client_ca
	crls [][]byte // one file each
}

// certificateCases are what clients come with, each with the one right answer:
// "" is being let in.
var certificateCases = []struct {
	name string
	want Reason
	make func(t *testing.T, w *world) *Pair
}{
	// Who issued it.
	{"a certificate of the trusted CA", "", func(t *testing.T, w *world) *Pair { return w.root.client(t) }},
	{"a certificate of an intermediate that is sent along", "", func(t *testing.T, w *world) *Pair { return w.root.sub(t, "sub").client(t) }},
	{"a certificate whose intermediate is missing", ReasonUnknownCA, func(t *testing.T, w *world) *Pair {
		p := w.root.sub(t, "sub").client(t)
		p.Certificate.Certificate = p.Certificate.Certificate[:1]
		return p
	}},
	{"a certificate two intermediates down", "", func(t *testing.T, w *world) *Pair { return w.root.sub(t, "a").sub(t, "b").client(t) }},
	{"a chain sent in the wrong order", "", func(t *testing.T, w *world) *Pair {
		p := w.root.sub(t, "a").sub(t, "b").client(t)
		c := p.Certificate.Certificate
		c[1], c[2] = c[2], c[1]
		return p
	}},
	{"a certificate of an unknown CA", ReasonUnknownCA, func(t *testing.T, w *world) *Pair { return newRoot(t, "other").client(t) }},
	{"a certificate of an unknown CA with the trusted one's name", ReasonUnknownCA, func(t *testing.T, w *world) *Pair { return newRoot(t, "root").client(t) }},
	{"a certificate of a CA that was rotated out", ReasonUnknownCA, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		w.cas = [][]byte{newRoot(t, "root").pem()}
		return p
	}},
	{"a certificate of the old CA while both are trusted", "", func(t *testing.T, w *world) *Pair {
		w.cas = append(w.cas, newRoot(t, "root").pem())
		return w.root.client(t)
	}},
	{"a certificate of an intermediate that is trusted by itself", "", func(t *testing.T, w *world) *Pair {
		sub := newRoot(t, "elsewhere").sub(t, "sub")
		w.cas = [][]byte{sub.pem()}
		return sub.client(t)
	}},
	{"a certificate of a sibling of the intermediate that is trusted", ReasonUnknownCA, func(t *testing.T, w *world) *Pair {
		root := newRoot(t, "elsewhere")
		w.cas = [][]byte{root.sub(t, "sub").pem()}
		return root.sub(t, "sibling").client(t)
	}},
	{"a certificate issued with a client's certificate", ReasonUnknownCA, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		forger := &authority{cert: p.Certificate.Leaf, key: p.Certificate.PrivateKey.(crypto.Signer), chain: [][]byte{p.Certificate.Leaf.Raw}}
		return forger.client(t)
	}},
	{"a self-signed certificate", ReasonUnknownCA, func(t *testing.T, w *world) *Pair {
		self := newRoot(t, "self", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})
		return &Pair{Certificate: tls.Certificate{Certificate: [][]byte{self.cert.Raw}, PrivateKey: self.key, Leaf: self.cert}}
	}},
	{"a certificate whose signature was changed", ReasonUnknownCA, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		der := slices.Clone(p.Certificate.Certificate[0])
		der[len(der)-1] ^= 1
		p.Certificate.Certificate[0] = der
		return p
	}},
	{"a certificate shown without its key", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		p.Certificate.PrivateKey = w.root.client(t).Certificate.PrivateKey
		return p
	}},
	{"bytes that are no certificate", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		p.Certificate.Certificate = [][]byte{[]byte("no DER")}
		return p
	}},
	{"bytes that are no certificate as the second", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		p.Certificate.Certificate = append(p.Certificate.Certificate, []byte("no DER"))
		return p
	}},

	// When and for what.
	{"an expired certificate", ReasonExpiredCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.client(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	}},
	{"a certificate from the future", ReasonNotYetValid, func(t *testing.T, w *world) *Pair {
		return w.root.client(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	}},
	{"a certificate of an expired CA", ReasonExpiredCertificate, func(t *testing.T, w *world) *Pair {
		w.root = newRoot(t, "root", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		w.cas = [][]byte{w.root.pem()}
		return w.root.client(t)
	}},
	{"a certificate of an expired intermediate", ReasonExpiredCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).client(t)
	}},
	{"a server's certificate", ReasonWrongUsage, func(t *testing.T, w *world) *Pair { return w.root.client(t, useFor(x509.ExtKeyUsageServerAuth)) }},
	{"a code signing certificate", ReasonWrongUsage, func(t *testing.T, w *world) *Pair { return w.root.client(t, useFor(x509.ExtKeyUsageCodeSigning)) }},
	{"a certificate for servers and clients", "", func(t *testing.T, w *world) *Pair {
		return w.root.client(t, useFor(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth))
	}},
	{"a certificate for any use", "", func(t *testing.T, w *world) *Pair { return w.root.client(t, useFor(x509.ExtKeyUsageAny)) }},
	{"a certificate that names no use", "", func(t *testing.T, w *world) *Pair { return w.root.client(t, useFor()) }},
	{"a client's certificate of an intermediate for servers only", ReasonWrongUsage, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", useFor(x509.ExtKeyUsageServerAuth)).client(t)
	}},
	{"a certificate of an intermediate that is no CA", ReasonUnknownCA, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }).client(t)
	}},
	{"a certificate deeper than its CA allows", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "a", func(c *x509.Certificate) { c.MaxPathLenZero = true }).sub(t, "b").client(t)
	}},
	{"a certificate with an unknown critical extension", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.client(t, extra(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, []byte{5, 0}, true))
	}},
	{"a certificate with an unknown extension that is not critical", "", func(t *testing.T, w *world) *Pair {
		return w.root.client(t, extra(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, []byte{5, 0}, false))
	}},

	// Name constraints of a CA.
	{"a DNS name within the CA's constraint", "", func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", permittedDNS("shop.internal")).client(t, withDNS("app.shop.internal"))
	}},
	{"a DNS name outside the CA's constraint", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", permittedDNS("shop.internal")).client(t, withDNS("app.bank.internal"))
	}},
	{"a DNS name that only ends like the constraint", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", permittedDNS("shop.internal")).client(t, withDNS("workshop.internal"))
	}},
	{"a DNS name the CA is forbidden to issue", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", func(c *x509.Certificate) {
			c.ExcludedDNSDomains, c.PermittedDNSDomainsCritical = []string{"bank.internal"}, true
		}).client(t, withDNS("app.bank.internal"))
	}},
	{"a URI within the CA's constraint", "", func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", permittedURI("shop.internal")).client(t, withURI("spiffe://shop.internal/app"))
	}},
	{"a URI outside the CA's constraint", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", permittedURI("shop.internal")).client(t, withURI("spiffe://bank.internal/app"))
	}},
	{"an e-mail address outside the CA's constraint", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.sub(t, "sub", func(c *x509.Certificate) {
			c.PermittedEmailAddresses, c.PermittedDNSDomainsCritical = []string{"shop.example"}, true
		}).client(t, func(c *x509.Certificate) { c.EmailAddresses = []string{"app@bank.example"} })
	}},

	// Names. What they mean for identity is judged in identity_test.go.
	{"a NUL in the CN", ReasonBadName, func(t *testing.T, w *world) *Pair { return w.root.client(t, named("admin\x00.evil")) }},
	{"a line end in the CN", ReasonBadName, func(t *testing.T, w *world) *Pair { return w.root.client(t, named("admin\nok")) }},
	{"a terminal's escape in the CN", ReasonBadName, func(t *testing.T, w *world) *Pair { return w.root.client(t, named("\x1b[2Jadmin")) }},
	{"a NUL in a URI", ReasonBadCertificate, func(t *testing.T, w *world) *Pair { return w.root.client(t, rawName(6, "spiffe://prod/a\x00b")) }},
	{"a NUL in a DNS name", ReasonBadName, func(t *testing.T, w *world) *Pair { return w.root.client(t, rawName(2, "a\x00.evil")) }},
	{"a control byte in an e-mail address", ReasonBadName, func(t *testing.T, w *world) *Pair { return w.root.client(t, rawName(1, "a\x07@b.example")) }},
	{"a space at the end of a DNS name", ReasonBadName, func(t *testing.T, w *world) *Pair { return w.root.client(t, rawName(2, "app ")) }},
	{"a CN that is not UTF-8", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		return w.root.client(t, rawCN(asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte("app\xff")}))
	}},
	{"an empty CN", "", func(t *testing.T, w *world) *Pair { return w.root.client(t, named("")) }},
	{"no subject at all", "", func(t *testing.T, w *world) *Pair {
		return w.root.client(t, func(c *x509.Certificate) { c.Subject = pkix.Name{} })
	}},
	{"two CNs", "", func(t *testing.T, w *world) *Pair {
		return w.root.client(t, func(c *x509.Certificate) {
			c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidCN, Value: "app"}, {Type: oidCN, Value: "admin"}}}
		})
	}},
	{"several URIs", "", func(t *testing.T, w *world) *Pair {
		return w.root.client(t, withURI("spiffe://prod/a"), withURI("spiffe://prod/b"), withURI("https://prod/c"))
	}},

	// Size.
	{"a chain of 100 certificates", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		a := w.root
		for i := range 99 {
			a = a.sub(t, fmt.Sprint("sub ", i))
		}
		return a.client(t)
	}},
	{"a certificate with 99 others that have nothing to do with it", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		for range 99 {
			p.Certificate.Certificate = append(p.Certificate.Certificate, w.root.cert.Raw)
		}
		return p
	}},
	{"an RSA key of 16 Kbit", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		huge := newPretender(t, 16<<10)
		return w.root.clientWith(t, huge.Public(), huge)
	}},
	{"an RSA key of 2 Kbit", "", func(t *testing.T, w *world) *Pair {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		check(t, err)
		return w.root.clientWith(t, key.Public(), key)
	}},
	{"an RSA key of 1 Kbit", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		check(t, err)
		return w.root.clientWith(t, key.Public(), key)
	}},
	{"an intermediate with an RSA key of 1 Kbit", ReasonBadCertificate, func(t *testing.T, w *world) *Pair {
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		check(t, err)
		sub := w.root.sub(t, "sub", func(c *x509.Certificate) { c.PublicKey = key.Public() })
		sub.key = key
		return sub.client(t)
	}},
	{"an Ed25519 key", "", func(t *testing.T, w *world) *Pair {
		public, key, err := ed25519.GenerateKey(rand.Reader)
		check(t, err)
		return w.root.clientWith(t, public, key)
	}},
	{"a thousand alternative names", "", func(t *testing.T, w *world) *Pair {
		return w.root.client(t, func(c *x509.Certificate) {
			for i := range 1000 {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("app-%d.internal", i))
			}
		})
	}},

	// Revocation.
	{"a certificate no list names", "", func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{crlPEM(w.root.crl(t, revoking(w.root.client(t))))}
		return w.root.client(t)
	}},
	{"a revoked certificate", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		w.crls = [][]byte{crlPEM(w.root.crl(t, revoking(p)))}
		return p
	}},
	{"a certificate revoked in a list in DER", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		w.crls = [][]byte{w.root.crl(t, revoking(p))}
		return p
	}},
	{"a certificate revoked in the second list of a file", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		p, other := w.root.client(t), newRoot(t, "other")
		w.cas = append(w.cas, other.pem())
		w.crls = [][]byte{crlPEM(other.crl(t, nil), w.root.crl(t, revoking(p)))}
		return p
	}},
	{"a certificate revoked in the second file", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		p, other := w.root.client(t), newRoot(t, "other")
		w.cas = append(w.cas, other.pem())
		w.crls = [][]byte{other.crl(t, nil), w.root.crl(t, revoking(p))}
		return p
	}},
	{"a certificate on hold", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		w.crls = [][]byte{w.root.crl(t, revoking(p), func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = 6 })}
		return p
	}},
	{"a certificate whose serial another CA revoked", "", func(t *testing.T, w *world) *Pair {
		other := newRoot(t, "other")
		p := w.root.client(t)
		w.cas = append(w.cas, other.pem())
		w.crls = [][]byte{other.crl(t, revoking(p)), w.root.crl(t, nil)}
		return p
	}},
	{"a certificate revoked in a list that went stale", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		p := w.root.client(t)
		w.crls = [][]byte{w.root.crl(t, revoking(p), valid(-2*time.Hour, -time.Hour))}
		return p
	}},
	{"a certificate whose CA's list went stale", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{w.root.crl(t, nil, valid(-2*time.Hour, -time.Hour))}
		return w.root.client(t)
	}},
	{"a certificate whose CA's list went stale, where that is allowed", "", func(t *testing.T, w *world) *Pair {
		w.opts.CRLMissing = AllowMissing
		w.crls = [][]byte{w.root.crl(t, nil, valid(-2*time.Hour, -time.Hour))}
		return w.root.client(t)
	}},
	{"a certificate revoked in a stale list, where staleness is allowed", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		w.opts.CRLMissing = AllowMissing
		p := w.root.client(t)
		w.crls = [][]byte{w.root.crl(t, revoking(p), valid(-2*time.Hour, -time.Hour))}
		return p
	}},
	{"a certificate whose CA's list is from the future", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{w.root.crl(t, nil, valid(time.Hour, 2*time.Hour))}
		return w.root.client(t)
	}},
	{"a certificate whose CA has no list", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		other := newRoot(t, "other")
		w.cas = append(w.cas, other.pem())
		w.crls = [][]byte{other.crl(t, nil)}
		return w.root.client(t)
	}},
	{"a certificate whose CA has no list, where that is allowed", "", func(t *testing.T, w *world) *Pair {
		other := newRoot(t, "other")
		w.opts.CRLMissing = AllowMissing
		w.cas = append(w.cas, other.pem())
		w.crls = [][]byte{other.crl(t, nil)}
		return w.root.client(t)
	}},
	{"a list of a CA nobody knows", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{newRoot(t, "stranger").crl(t, nil)}
		return w.root.client(t)
	}},
	{"a list of the other of two CAs of one name", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		twin := newRoot(t, "root")
		w.cas = append(w.cas, twin.pem())
		w.crls = [][]byte{twin.crl(t, nil)}
		return w.root.client(t)
	}},
	{"two CAs of one name with a list each", "", func(t *testing.T, w *world) *Pair {
		twin := newRoot(t, "root")
		p := w.root.client(t)
		w.cas = append(w.cas, twin.pem())
		w.crls = [][]byte{twin.crl(t, revoking(p)), w.root.crl(t, nil)}
		return p
	}},
	{"a list in force next to a stale one", "", func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{w.root.crl(t, nil, valid(-2*time.Hour, -time.Hour)), w.root.crl(t, nil)}
		return w.root.client(t)
	}},
	{"a certificate of a revoked intermediate", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		sub := w.root.sub(t, "sub")
		w.crls = [][]byte{w.root.crl(t, revoking(revokingCA(sub))), sub.crl(t, nil)}
		return sub.client(t)
	}},
	{"a certificate an intermediate revoked", ReasonRevoked, func(t *testing.T, w *world) *Pair {
		sub := w.root.sub(t, "sub")
		p := sub.client(t)
		w.crls = [][]byte{w.root.crl(t, nil), sub.crl(t, revoking(p))}
		return p
	}},
	{"an intermediate without a list of its own", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{w.root.crl(t, nil)}
		return w.root.sub(t, "sub").client(t)
	}},
	{"lists of the root and of the intermediate", "", func(t *testing.T, w *world) *Pair {
		sub := w.root.sub(t, "sub")
		w.crls = [][]byte{w.root.crl(t, nil), sub.crl(t, nil)}
		return sub.client(t)
	}},
	{"an intermediate's list forged by another of its name", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		sub := w.root.sub(t, "sub")
		w.crls = [][]byte{w.root.crl(t, nil), newRoot(t, "sub").crl(t, nil)}
		return sub.client(t)
	}},
	{"a list for users, and a user's certificate", "", func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{w.root.crl(t, nil, issuedFor(issuingPoint{OnlyUsers: true}))}
		return w.root.client(t)
	}},
	{"a list for CAs, and a user's certificate", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{w.root.crl(t, nil, issuedFor(issuingPoint{OnlyCAs: true}))}
		return w.root.client(t)
	}},
	{"a list of the certificate's distribution point", "", func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{w.root.crl(t, nil, issuedFor(pointAt("http://ca/1.crl")))}
		return w.root.client(t, atPoint("http://ca/1.crl"))
	}},
	{"a list of another distribution point", ReasonRevocationUnknown, func(t *testing.T, w *world) *Pair {
		w.crls = [][]byte{w.root.crl(t, nil, issuedFor(pointAt("http://ca/2.crl")))}
		return w.root.client(t, atPoint("http://ca/1.crl"))
	}},
	{"a certificate that is trusted itself needs no list", "", func(t *testing.T, w *world) *Pair {
		p := newRoot(t, "elsewhere").client(t)
		w.cas = append(w.cas, encodeCertificate(p.Certificate.Leaf.Raw))
		w.crls = [][]byte{w.root.crl(t, nil)}
		return p
	}},
}

func TestClientCertificates(t *testing.T) {
	if len(certificateCases) < 60 {
		t.Errorf("only %d cases are left", len(certificateCases))
	}
	for _, c := range certificateCases {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			w := newWorld(t)
			pair := c.make(t, w)
			w.install(t)
			for _, auth := range []ClientAuth{Require, Optional} {
				w.opts.ClientAuth = auth
				s := w.load(t)
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					config := w.client(pair)
					config.MinVersion, config.MaxVersion = version, version
					o := shake(t, s, config)
					if c.want == "" {
						o.accepted(t)
						if err := s.Trusts(o.server); err != nil {
							t.Errorf("%v, %s: let in, and then not trusted: %v", auth, versionName(version), err)
						}
						continue
					}
					// Go's client keeps some of the bad ones to itself in TLS 1.2.
					if version == tls.VersionTLS12 && o.reason() == ReasonClientClosed || o.reason() == ReasonClientRefused {
						t.Errorf("%v, %s: the client did not show it: %v", auth, versionName(version), o.clientErr)
					}
					o.refusedWith(t, c.want)
				}
			}
		})
	}
}

func newWorld(t testing.TB) *world {
	w := &world{rig: newRig(t), root: newRoot(t, "root")}
	w.cas = [][]byte{w.root.pem()}
	return w
}

// install writes the files of the world.
func (w *world) install(t testing.TB) {
	t.Helper()
	write(t, w.opts.ClientCAFile, slices.Concat(w.cas...))
	w.opts.CRLFiles = nil
	for i, list := range w.crls {
		file := filepath.Join(w.dir, fmt.Sprintf("%d.crl", i))
		write(t, file, list)
		w.opts.CRLFiles = append(w.opts.CRLFiles, file)
	}
}

func useFor(list ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = list }
}

func named(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: name} }
}

func rawCN(v asn1.RawValue) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		der, _ := asn1.Marshal([]rawNameSET{{{Type: oidCN, Value: v}}})
		c.RawSubject = der
	}
}

func withDNS(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, name) }
}

func withURI(text string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(text)
		if err == nil {
			c.URIs = append(c.URIs, u)
		}
	}
}

// altName is a subject alternative name of any bytes.
func rawName(tag int, name string) func(*x509.Certificate) {
	der, _ := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(name)}})
	return extra(asn1.ObjectIdentifier{2, 5, 29, 17}, der, false)
}

func extra(id asn1.ObjectIdentifier, value []byte, critical bool) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: value, Critical: critical})
	}
}

func permittedDNS(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{name}, true
	}
}

func permittedURI(host string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{host}, true
	}
}

func atPoint(at string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.CRLDistributionPoints = []string{at} }
}

func issuedFor(p issuingPoint) func(*x509.RevocationList) {
	der, err := asn1.Marshal(p)
	return func(l *x509.RevocationList) {
		if err != nil {
			panic(err)
		}
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: oidIssuingPoint, Critical: true, Value: der})
	}
}

func pointAt(at string) issuingPoint {
	full := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(at)}
	der, _ := asn1.Marshal(full)
	names, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der})
	return issuingPoint{Point: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: names}}
}

// A key on a curve that TLS 1.3 has no use for: a client can show it in TLS 1.2 only.
func TestClientCertificates_on_other_curves_are_refused(t *testing.T) {
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	check(t, err)
	w.install(t)
	config := w.client(w.root.clientWith(t, key.Public(), key))
	config.MaxVersion = tls.VersionTLS12
	shake(t, w.load(t), config).refusedWith(t, ReasonBadCertificate)
}

// pretender has a public key of a size that takes minutes to make, and no
// private one. Its signatures are noise: a server that gets so far as to check
// one has done the work it should have refused.
type pretender struct{ public *rsa.PublicKey }

func newPretender(t testing.TB, bits int) pretender {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
	check(t, err)
	n.SetBit(n, bits-1, 1).SetBit(n, 0, 1)
	return pretender{&rsa.PublicKey{N: n, E: 65537}}
}

func (p pretender) Public() crypto.PublicKey { return p.public }

func (p pretender) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	noise := make([]byte, p.public.Size())
	rand.Read(noise)
	noise[0] = 0
	return noise, nil
}
