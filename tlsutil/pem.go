package tlsutil

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// minRSABits is the shortest RSA key taken for a server or a client of ours:
// what NIST SP 800-131A and OpenSSL's default security level ask for.
const minRSABits = 2048

const (
	halfWritten     = "is half-written or damaged: a PEM block has no proper end"
	halfWrittenHint = "write the file under another name and rename it into place, then reload"
)

// pemBlocks decodes every block of a PEM file. pem.Decode passes over a block
// it can't read, and so would take the first half of a file still being
// written for the whole; here each BEGIN line has to become a block. Text
// outside the blocks is comment.
func pemBlocks(data []byte) ([]*pem.Block, *Fault) {
	const begin = "-----BEGIN "
	begun := 0
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte(begin)) || strings.HasPrefix(begin, string(line)) {
			begun++ // the last line, without its end, may be the beginning of one
		}
	}
	var blocks []*pem.Block
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	switch {
	case begun == 0:
		return nil, &Fault{What: "holds no PEM data", Hint: "convert it: openssl x509 -inform der -in FILE, or openssl pkey -inform der -in FILE"}
	case len(blocks) != begun:
		return nil, &Fault{What: halfWritten, Hint: halfWrittenHint}
	}
	return blocks, nil
}

func isKeyBlock(b *pem.Block) bool { return strings.HasSuffix(b.Type, "PRIVATE KEY") }

// holdsKey reports whether a PEM file contains a private key, whatever it is
// supposed to contain.
func holdsKey(data []byte) bool {
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte("-----BEGIN ")) && bytes.Contains(line, []byte("PRIVATE KEY-----")) {
			return true
		}
	}
	return false
}

// parseChain reads a leaf and the intermediates after it. Keys and parameters
// in the same file are passed over, as in the one-file pairs HAProxy uses.
func parseChain(data []byte) ([]*x509.Certificate, *Fault) {
	blocks, f := pemBlocks(data)
	if f != nil {
		return nil, f
	}
	var chain []*x509.Certificate
	keys := 0
	for _, b := range blocks {
		if isKeyBlock(b) {
			keys++
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, &Fault{What: fmt.Sprintf("certificate %d is damaged: %v", len(chain)+1, err), Err: err}
		}
		chain = append(chain, c)
	}
	switch {
	case len(chain) == 0 && keys > 0:
		return nil, &Fault{What: "holds a private key but no certificate", Hint: "are certificate and key interchanged?"}
	case len(chain) == 0:
		return nil, &Fault{What: "holds no certificate", Hint: `a PEM file with a "BEGIN CERTIFICATE" line is expected`}
	}
	return chain, nil
}

// parseAuthorities reads a CA file: certificates and nothing else.
func parseAuthorities(data []byte) ([]*x509.Certificate, *Fault) {
	blocks, f := pemBlocks(data)
	if f != nil {
		return nil, f
	}
	var list []*x509.Certificate
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			return nil, &Fault{
				What: fmt.Sprintf("holds a %q block", b.Type),
				Hint: "a CA file holds certificates only; keep private keys out of it",
			}
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, &Fault{What: fmt.Sprintf("certificate %d is damaged: %v", len(list)+1, err), Err: err}
		}
		list = append(list, c)
	}
	return list, nil
}

// parseKey reads the one private key of a file (PKCS #8, PKCS #1 or SEC 1).
// Its errors never carry a byte of the key.
func parseKey(data []byte) (crypto.Signer, *Fault) {
	blocks, f := pemBlocks(data)
	if f != nil {
		return nil, f
	}
	var found *pem.Block
	certificates := 0
	for _, b := range blocks {
		if b.Type == "CERTIFICATE" {
			certificates++
		}
		if !isKeyBlock(b) {
			continue
		}
		if found != nil {
			return nil, &Fault{What: "holds more than one private key", Hint: "leave the one that belongs to the certificate"}
		}
		found = b
	}
	switch {
	case found == nil && certificates > 0:
		return nil, &Fault{What: "holds a certificate but no private key", Hint: "are certificate and key interchanged?"}
	case found == nil:
		return nil, &Fault{What: "holds no private key", Hint: `a PEM file with a "BEGIN PRIVATE KEY" line is expected`}
	case found.Type == "ENCRYPTED PRIVATE KEY" || found.Headers["DEK-Info"] != "":
		return nil, &Fault{
			What: "holds a private key locked with a passphrase",
			Hint: "unlock it: openssl pkey -in FILE -out NEWFILE, mode 0600",
		}
	}
	key := decodeKey(found.Bytes)
	if key == nil {
		return nil, &Fault{What: "holds a damaged private key, or one of an unknown kind", Hint: halfWrittenHint}
	}
	return key, judgeKey(key)
}

func decodeKey(der []byte) crypto.Signer {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := k.(crypto.Signer)
		return signer
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k
	}
	return nil
}

// judgeKey refuses keys that TLS 1.3 can't sign with, and short ones.
func judgeKey(key crypto.Signer) *Fault {
	const hint = "use ECDSA P-256, or RSA with 2048 bits or more"
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if n := k.N.BitLen(); n < minRSABits {
			return &Fault{What: fmt.Sprintf("holds an RSA key of %d bits, which is too short", n), Hint: hint}
		}
		return nil
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
	case ed25519.PrivateKey:
		return nil
	}
	return &Fault{What: "holds a private key of a kind TLS 1.3 has no use for", Hint: hint}
}

// weakKey says of a client's public key what judgeKey says of our own.
func weakKey(public any) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() < minRSABits
	case *ecdsa.PublicKey:
		return k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521()
	case ed25519.PublicKey:
		return false
	}
	return true
}
