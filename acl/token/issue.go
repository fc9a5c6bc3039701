package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Signer issues tokens for development and tests. A proxy never has one.
type Signer struct {
	key       crypto.Signer
	algorithm string
	public    *jwk
}

// NewSigner makes a key for an algorithm and its PEM text (PKCS #8), which is
// secret. Empty means ES256.
func NewSigner(algorithm string) (*Signer, []byte, error) {
	if algorithm == "" {
		algorithm = "ES256"
	}
	key, err := newKey(algorithm)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	s, err := signer(key, algorithm)
	return s, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func newKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	if !known(algorithm) {
		return nil, errAlgorithm(algorithm)
	}
	return rsa.GenerateKey(rand.Reader, minRSABits)
}

func errAlgorithm(name string) error {
	return fmt.Errorf("%q is no algorithm of public keys: %q", name, Algorithms())
}

// ParseSigner reads a private key from PEM (PKCS #8, PKCS #1, SEC 1). With an
// empty algorithm the key's usual one is taken: RS256, ES256, ES384, ES512, EdDSA.
func ParseSigner(text []byte, algorithm string) (*Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it holds no PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errors.New("it holds no private key")
	}
	private, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("its private key is damaged or of an unknown kind")
	}
	if algorithm == "" {
		switch k := private.(type) {
		case *rsa.PrivateKey:
			algorithm = "RS256"
		case *ecdsa.PrivateKey:
			algorithm = curveAlgorithm(&k.PublicKey)
		case ed25519.PrivateKey:
			algorithm = "EdDSA"
		}
	}
	return signer(private, algorithm)
}

func signer(key crypto.Signer, algorithm string) (*Signer, error) {
	if fault := sound(key.Public()); fault != "" {
		return nil, fmt.Errorf("it holds %s", fault)
	}
	if !known(algorithm) {
		return nil, errAlgorithm(algorithm)
	}
	if !fits(algorithm, key.Public()) {
		return nil, fmt.Errorf("its key can't sign with %s", algorithm)
	}
	public, err := newJWK(key.Public(), algorithm)
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, algorithm: algorithm, public: public}, nil
}

// KeyID gives the id that the tokens' headers carry.
func (s *Signer) KeyID() string { return s.public.ID }

// Algorithm gives the algorithm of its signatures.
func (s *Signer) Algorithm() string { return s.algorithm }

// KeySet gives the JSON Web Key Set with its public key, for Keys.File.
func (s *Signer) KeySet() ([]byte, error) {
	text, err := json.MarshalIndent(map[string]any{"keys": []any{s.public}}, "", "  ")
	return append(text, '\n'), err
}

// Sign issues a token with these claims, whatever they are.
func (s *Signer) Sign(claims map[string]any) (string, error) {
	t := jwt.NewWithClaims(methods[s.algorithm], jwt.MapClaims(claims))
	t.Header["kid"] = s.public.ID
	text, err := t.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	return text, nil
}
