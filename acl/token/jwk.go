package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
)

// jwk is a JSON Web Key (RFC 7517, 7518, 8037) of the kinds that verify tokens.
//
// It is read here rather than by a library: the one at hand panics where a
// coordinate is longer than its curve, and a server of keys could end the
// process with that.
type jwk struct {
	Kind       string   `json:"kty"`
	ID         string   `json:"kid,omitempty"`
	Use        string   `json:"use,omitempty"`
	Operations []string `json:"key_ops,omitempty"`
	Algorithm  string   `json:"alg,omitempty"`
	Curve      string   `json:"crv,omitempty"`
	N          string   `json:"n,omitempty"`
	E          string   `json:"e,omitempty"`
	X          string   `json:"x,omitempty"`
	Y          string   `json:"y,omitempty"`

	// Private parts, which must not be there.
	D string `json:"d,omitempty"`
	P string `json:"p,omitempty"`
	Q string `json:"q,omitempty"`
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

var errKey = errors.New("damaged or of an unknown kind")

// public gives the key itself. Whether it is a good one is for sound to say.
func (k *jwk) public() (crypto.PublicKey, error) {
	switch k.Kind {
	case "RSA":
		n, e := number(k.N), number(k.E)
		if n == nil || e == nil || n.Sign() == 0 || e.BitLen() > 31 {
			return nil, errKey
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	case "EC":
		curve := curves[k.Curve]
		x, y := number(k.X), number(k.Y)
		if curve == nil || x == nil || y == nil {
			return nil, errKey
		}
		bits := curve.Params().BitSize
		if x.BitLen() > bits || y.BitLen() > bits {
			return nil, errKey
		}
		size := (bits + 7) / 8
		point := make([]byte, 1+2*size)
		point[0] = 4 // uncompressed
		x.FillBytes(point[1 : 1+size])
		y.FillBytes(point[1+size:])
		key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil {
			return nil, errors.New("not a point of its curve")
		}
		return key, nil
	case "OKP":
		x, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.X, "="))
		if k.Curve != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errKey
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, errKey
}

// number reads a number as keys write them. Padding, which some issuers send
// against the standard, is let pass.
func number(text string) *big.Int {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(b) == 0 {
		return nil
	}
	return new(big.Int).SetBytes(b)
}

// newJWK describes a public key, with the thumbprint of RFC 7638 for an id.
func newJWK(key crypto.PublicKey, algorithm string) (*jwk, error) {
	text := base64.RawURLEncoding.EncodeToString
	k := &jwk{Use: "sig", Algorithm: algorithm}
	switch p := key.(type) {
	case *rsa.PublicKey:
		k.Kind, k.N, k.E = "RSA", text(p.N.Bytes()), text(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			return nil, err
		}
		size := len(point) / 2
		k.Kind, k.Curve = "EC", p.Curve.Params().Name
		k.X, k.Y = text(point[1:1+size]), text(point[1+size:])
	case ed25519.PublicKey:
		k.Kind, k.Curve, k.X = "OKP", "Ed25519", text(p)
	default:
		return nil, errKey
	}
	k.ID = k.thumbprint()
	return k, nil
}

// thumbprint is the hash of the members that make the key, in the order of
// their names.
func (k *jwk) thumbprint() string {
	members := map[string]string{"kty": k.Kind}
	for name, value := range map[string]string{"crv": k.Curve, "e": k.E, "n": k.N, "x": k.X, "y": k.Y} {
		if value != "" {
			members[name] = value
		}
	}
	canonical, err := json.Marshal(members)
	if err != nil {
		return "" // strings can be marshalled always
	}
	sum := sha256.Sum256(canonical)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
