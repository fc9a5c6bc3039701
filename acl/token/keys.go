package token

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds on a key set: what is read, what is kept, and how many keys one token
// may be tried with.
const (
	maxKeyBytes = 1 << 20
	maxKeys     = 64
	maxTried    = 4
)

// keySet is an issuer's public keys. Immutable.
type keySet struct {
	keys   []publicKey
	loaded time.Time // when they could last be read
	digest [sha256.Size]byte
}

type publicKey struct {
	id        string // empty: it answers to every id
	algorithm string // empty: whatever its kind allows
	key       crypto.PublicKey
	print     [sha256.Size]byte // see printOf
}

// candidates gives the keys a token with this header can be signed with. found
// tells whether the id itself is known, be it for another algorithm.
func (s *keySet) candidates(id, algorithm string) (keys []publicKey, found bool) {
	for _, k := range s.keys {
		if id != "" && k.id != "" && k.id != id {
			continue
		}
		found = true
		if (k.algorithm == "" || k.algorithm == algorithm) && fits(algorithm, k.key) {
			keys = append(keys, k)
		}
	}
	return keys, found
}

// KeyInfo says what a file or URL of keys held.
type KeyInfo struct {
	Usable  int      // keys that can verify tokens
	Skipped []string // why others can't; no key material
}

// CheckKeys reads the text of a key file or of a URL's answer: a JSON Web Key
// Set, or PEM public keys and certificates. Keys it can't use are skipped, as
// issuers publish keys for other purposes beside those; none left is an error,
// and so is a private key, which must not be where public keys are read.
func CheckKeys(text []byte) (KeyInfo, error) {
	_, info, err := parseKeys(text)
	return info, err
}

func parseKeys(text []byte) (*keySet, KeyInfo, error) {
	var info KeyInfo
	var keys []publicKey
	var err error
	switch {
	case len(text) > maxKeyBytes:
		err = errors.New("longer than 1 MiB")
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")):
		keys, info.Skipped, err = parseJWKS(text)
	default:
		keys, info.Skipped, err = parsePEM(text)
	}
	if err != nil {
		return nil, info, err
	}
	if len(keys) > maxKeys {
		return nil, info, fmt.Errorf("%d keys are more than %d", len(keys), maxKeys)
	}
	if info.Usable = len(keys); info.Usable == 0 {
		if len(info.Skipped) > 0 {
			return nil, info, fmt.Errorf("there is no key that verifies tokens: %s", info.Skipped[0])
		}
		return nil, info, errors.New("there is no key")
	}
	return &keySet{keys: keys, digest: sha256.Sum256(text)}, info, nil
}

var errPrivateKey = errors.New("it holds a private key, where only public keys belong")

func parseJWKS(text []byte) (keys []publicKey, skipped []string, err error) {
	if err := scan(text, maxSetValues, nil); err != nil {
		return nil, nil, fmt.Errorf("its contents are %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, nil, errors.New("the key set has no array of keys")
	}
	skip := func(i int, why string) { skipped = append(skipped, fmt.Sprintf("keys[%d] is %s", i, why)) }
	for i, raw := range set.Keys {
		var k jwk
		if json.Unmarshal(raw, &k) != nil {
			skip(i, "no JSON Web Key")
			continue
		}
		if k.Kind != "oct" && (k.D != "" || k.P != "" || k.Q != "") {
			return nil, nil, errPrivateKey
		}
		key, why := k.verifier()
		if why != "" {
			skip(i, why)
			continue
		}
		keys = append(keys, publicKey{k.ID, k.Algorithm, key, printOf(key)})
	}
	return keys, skipped, nil
}

// verifier gives the key if it can verify tokens, or says why it can't.
func (k *jwk) verifier() (key crypto.PublicKey, why string) {
	switch {
	case k.Kind == "oct":
		return nil, "a shared secret, which verifies nothing"
	case k.Use != "" && k.Use != "sig":
		return nil, "not meant for signatures"
	case len(k.Operations) > 0 && !slices.Contains(k.Operations, "verify"):
		return nil, "not meant for verifying"
	case k.Algorithm != "" && !known(k.Algorithm):
		return nil, "for an algorithm that is not supported"
	}
	key, err := k.public()
	if err != nil {
		return nil, err.Error()
	}
	if fault := sound(key); fault != "" {
		return nil, fault
	}
	if k.Algorithm != "" && !fits(k.Algorithm, key) {
		return nil, "of another kind than its algorithm"
	}
	return key, ""
}

func parsePEM(text []byte) (keys []publicKey, skipped []string, err error) {
	for i := 0; ; i++ {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			if i == 0 {
				return nil, nil, errors.New("neither a JSON Web Key Set nor PEM")
			}
			return keys, skipped, nil
		}
		key, err := pemKey(block)
		if err == errPrivateKey {
			return nil, nil, err
		}
		fault := errKey.Error()
		if err == nil {
			fault = sound(key)
		}
		if fault != "" {
			skipped = append(skipped, fmt.Sprintf("PEM block %d is %s", i+1, fault))
			continue
		}
		keys = append(keys, publicKey{key: key, print: printOf(key)})
	}
}

func pemKey(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errPrivateKey
	}
	return nil, errors.New("unknown block")
}
