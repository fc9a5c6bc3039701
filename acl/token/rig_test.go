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
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is the time at which the tests verify.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const testIssuer = "https://login.example/tenant"

// testKeys are made once: RSA keys take their time.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	ec := func(c elliptic.Curve) crypto.Signer {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			panic(err)
		}
		return k
	}
	rsaKey := func() crypto.Signer {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{
		"rsa": rsaKey(), "rsa2": rsaKey(), "p256": ec(elliptic.P256()), "p256b": ec(elliptic.P256()),
		"p384": ec(elliptic.P384()), "p521": ec(elliptic.P521()), "ed": ed,
	}
})

func testKey(name string) crypto.Signer { return testKeys()[name] }

// keyOf gives the public key as a member of a key set.
func keyOf(t testing.TB, name, id, algorithm string) dict {
	t.Helper()
	k, err := newJWK(testKey(name).Public(), algorithm)
	if err != nil {
		t.Fatal(err)
	}
	k.ID = id
	return object(t, k)
}

func object(t testing.TB, v any) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(toJSON(t, v), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func toJSON(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// jwks gives the text of a key set.
func jwks(t testing.TB, keys ...map[string]any) []byte {
	t.Helper()
	if keys == nil {
		keys = []map[string]any{}
	}
	return toJSON(t, map[string]any{"keys": keys})
}

func publicPEM(t testing.TB, name string) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(testKey(name).Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// allKeys is a key set with every test key, each under its own name.
func allKeys(t testing.TB) []byte {
	return jwks(t, keyOf(t, "rsa", "rsa", ""), keyOf(t, "p256", "p256", "ES256"), keyOf(t, "p384", "p384", ""),
		keyOf(t, "p521", "p521", ""), keyOf(t, "ed", "ed", "EdDSA"))
}

// entra is an issuer of the usual form; change adapts it.
func entra(change func(*Issuer)) Issuer {
	i := Issuer{
		Name: "entra", Issuer: testIssuer, Audience: []string{"redis"}, Algorithms: Algorithms(),
		Keys:      Keys{URL: "https://login.example/keys"},
		UserClaim: "oid",
		Roles:     Roles{Claim: "roles", Map: map[string][]string{"readers": {"reader"}, "ops": {"operator", "reader"}}},
	}
	if change != nil {
		change(&i)
	}
	return i
}

// verifier makes one with these issuers, whose keys were read from text at noon.
func verifier(t testing.TB, text []byte, issuers ...Issuer) *Verifier {
	t.Helper()
	v, err := New(issuers, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range v.order {
		set, _, err := parseKeys(text)
		if err != nil {
			t.Fatal(err)
		}
		set.loaded = noon
		i.keys.Store(set)
	}
	return v
}

type dict = map[string]any

// claims are those of a good token, with changes; a nil value takes one out.
func claims(changes dict) dict {
	return merged(dict{
		"iss": testIssuer, "aud": "redis", "sub": "pairwise", "oid": "3f2c", "jti": "id-1",
		"iat": noon.Add(-time.Minute).Unix(), "nbf": noon.Add(-time.Minute).Unix(), "exp": noon.Add(time.Hour).Unix(),
	}, changes)
}

func merged(m, changes dict) dict {
	m = maps.Clone(m)
	for name, value := range changes {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	return m
}

// sign makes a token with this header and payload.
func sign(t testing.TB, algorithm, key string, header dict, payload []byte) []byte {
	t.Helper()
	h := toJSON(t, merged(dict{"typ": "JWT", "alg": algorithm, "kid": key}, header))
	return signText(t, algorithm, key, h, payload)
}

func signText(t testing.TB, algorithm, key string, header, payload []byte) []byte {
	t.Helper()
	text := encoding.EncodeToString(header) + "." + encoding.EncodeToString(payload)
	signature, err := methods[algorithm].Sign(text, testKey(key))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(text + "." + encoding.EncodeToString(signature))
}

// good makes a token that is taken, but for the changes to its claims.
func good(t testing.TB, changes dict) []byte {
	t.Helper()
	return sign(t, "ES256", "p256", nil, toJSON(t, claims(changes)))
}

func writeFile(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
