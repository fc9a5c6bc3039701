package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// methods are all algorithms there are for this package. Neither none nor any
// HS*, of which the library knows both, can be reached from here.
var methods = map[string]jwt.SigningMethod{
	"RS256": jwt.SigningMethodRS256, "RS384": jwt.SigningMethodRS384, "RS512": jwt.SigningMethodRS512,
	"PS256": jwt.SigningMethodPS256, "PS384": jwt.SigningMethodPS384, "PS512": jwt.SigningMethodPS512,
	"ES256": jwt.SigningMethodES256, "ES384": jwt.SigningMethodES384, "ES512": jwt.SigningMethodES512,
	"EdDSA": jwt.SigningMethodEdDSA,
}

// Algorithms lists every algorithm an issuer may use. The caller owns the slice.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// An RSA key outside these sizes is either weak or made to cost us time.
const minRSABits, maxRSABits = 2048, 8192

// fits tells whether a public key can be one of this algorithm: its type, and
// for ECDSA the one curve that RFC 7518 binds to the algorithm.
func fits(algorithm string, key crypto.PublicKey) bool {
	if algorithm == "" {
		return false
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		return algorithm[:2] == "RS" || algorithm[:2] == "PS"
	case *ecdsa.PublicKey:
		return algorithm == curveAlgorithm(k)
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

func curveAlgorithm(k *ecdsa.PublicKey) string {
	switch k.Curve.Params().BitSize {
	case 256:
		return "ES256"
	case 384:
		return "ES384"
	case 521:
		return "ES512"
	}
	return ""
}

// sound says what is wrong with a public key, or nothing.
func sound(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits < minRSABits:
			return "an RSA key shorter than 2048 bits"
		case bits > maxRSABits:
			return "an RSA key longer than 8192 bits"
		case k.E < 3 || k.E%2 == 0:
			return "an RSA key with an impossible exponent"
		}
	case *ecdsa.PublicKey:
		if curveAlgorithm(k) == "" {
			return "an elliptic curve key that no algorithm uses"
		}
		if _, err := k.ECDH(); err != nil {
			return "an elliptic curve key that is not on its curve"
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return "an Ed25519 key of the wrong length"
		}
	default:
		return "a key of a kind that signs no token"
	}
	return ""
}

func known(algorithm string) bool { return slices.Contains(Algorithms(), algorithm) }
