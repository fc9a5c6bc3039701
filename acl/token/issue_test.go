package token

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

// What issue makes, Verify takes: key, key set and token belong together.
func TestIssuedTokensAreTaken(t *testing.T) {
	for _, algorithm := range append(Algorithms(), "") {
		t.Run("algorithm_"+algorithm, func(t *testing.T) {
			if strings.HasSuffix(algorithm, "384") || strings.HasSuffix(algorithm, "512") {
				if algorithm[0] != 'E' {
					return // the same key as 256, and slow to make
				}
			}
			made, secret, err := NewSigner(algorithm)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseSigner(secret, made.Algorithm())
			if err != nil || again.KeyID() != made.KeyID() {
				t.Fatalf("%v: %q and %q", err, again.KeyID(), made.KeyID())
			}
			keys, err := made.KeySet()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(keys), `"d"`) {
				t.Fatal("the key set holds the private key")
			}
			raw, err := again.Sign(claims(nil))
			if err != nil {
				t.Fatal(err)
			}
			if c, err := verifier(t, keys, entra(nil)).Verify([]byte(raw), noon); err != nil || c.User != "3f2c" {
				t.Fatalf("%+v, %v", c, err)
			}
		})
	}
}

func TestParseSigner(t *testing.T) {
	p8, err := x509.MarshalPKCS8PrivateKey(testKey("p384"))
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p8})
	if s, err := ParseSigner(text, ""); err != nil || s.Algorithm() != "ES384" {
		t.Errorf("%v, %v", s, err)
	}
	for name, c := range map[string]struct {
		text      []byte
		algorithm string
		want      string
	}{
		"no_PEM":                     {[]byte("hello"), "", "no PEM"},
		"a_public_key":               {publicPEM(t, "rsa"), "", "no private key"},
		"damaged":                    {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p8[:20]}), "", "damaged"},
		"an_algorithm_of_other_keys": {text, "RS256", "can't sign"},
		"an_algorithm_of_none":       {text, "none", "no algorithm"},
		"HMAC":                       {text, "HS256", "no algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseSigner(c.text, c.algorithm); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, _, err := NewSigner("HS256"); err == nil {
		t.Error("makes a shared secret")
	}
}

// The example of RFC 7638, section 3.1.
func TestThumbprint(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W" +
		"-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt" +
		"-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	if got, want := (&jwk{Kind: "RSA", N: n, E: "AQAB"}).thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestInspect(t *testing.T) {
	raw := good(t, dict{"name": "a\u202eb\x7f\U000e0001"})
	c, err := Inspect(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.Header, `"alg": "ES256"`) || !strings.Contains(c.Claims, `"oid": "3f2c"`) {
		t.Errorf("%+v", c)
	}
	if strings.ContainsAny(c.Claims, "\u202e\x7f\U000e0001") {
		t.Errorf("it can steer a terminal: %q", c.Claims)
	}
	signature := string(raw[strings.LastIndexByte(string(raw), '.')+1:])
	if strings.Contains(c.Header+c.Claims, signature) {
		t.Error("the signature is shown")
	}
	for text, want := range map[string]error{
		"": ErrMalformed, "a.b.c": ErrMalformed, "a.b.c.d.e": ErrEncrypted, strings.Repeat("a", MaxBytes+1): ErrTooLarge,
	} {
		if _, err := Inspect([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%.10q: %v, want %v", text, err, want)
		}
	}
}
