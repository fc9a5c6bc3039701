package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

func TestCheckKeys(t *testing.T) {
	rsaJWK := keyOf(t, "rsa", "rsa", "RS256")
	with := func(changes dict) dict { return merged(rsaJWK, changes) }
	private := func() []byte {
		der, err := x509.MarshalPKCS8PrivateKey(testKey("p256"))
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	huge := new(big.Int).Lsh(big.NewInt(1), 9000)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224der, err := x509.MarshalPKIXPublicKey(p224.Public())
	if err != nil {
		t.Fatal(err)
	}
	many := make([]dict, maxKeys+1)
	for i := range many {
		many[i] = keyOf(t, "ed", fmt.Sprint(i), "")
	}
	const good = `{"kty":"OKP","crv":"Ed25519","kid":"ok","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	for name, c := range map[string]struct {
		text    []byte
		usable  int
		skipped string // in one of the reasons
		err     string
	}{
		"a_key_set":                            {text: allKeys(t), usable: 5},
		"PEM_keys":                             {text: append(publicPEM(t, "rsa"), publicPEM(t, "ed")...), usable: 2},
		"white_space_before":                   {text: append([]byte("\n\t "), allKeys(t)...), usable: 5},
		"a_key_for_encryption":                 {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"use": "enc"})), usable: 1, skipped: "keys[1] is not meant for signatures"},
		"a_key_for_signing_only":               {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"key_ops": []string{"sign"}})), usable: 1, skipped: "not meant for verifying"},
		"a_key_to_verify_with":                 {text: jwks(t, with(dict{"key_ops": []string{"verify"}})), usable: 1},
		"a_shared_secret":                      {text: jwks(t, keyOf(t, "ed", "ed", ""), dict{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}), usable: 1, skipped: "shared secret"},
		"a_key_of_an_unknown_kind":             {text: []byte(`{"keys":[{"kty":"AKP","kid":"x"},` + good + `]}`), usable: 1, skipped: "unknown kind"},
		"a_key_for_HMAC_by_its_algorithm":      {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"alg": "HS256"})), usable: 1, skipped: "not supported"},
		"a_key_of_another_kind":                {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"alg": "ES256"})), usable: 1, skipped: "another kind than its algorithm"},
		"a_key_that_is_no_object":              {text: []byte(`{"keys":[7,` + good + `]}`), usable: 1, skipped: "no JSON Web Key"},
		"a_short_RSA_key":                      {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"n": number(weak.N)})), usable: 1, skipped: "shorter than 2048"},
		"a_huge_RSA_key":                       {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"n": number(huge)})), usable: 1, skipped: "longer than 8192"},
		"an_RSA_key_of_exponent_1":             {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"e": "AQ"})), usable: 1, skipped: "exponent"},
		"an_RSA_key_of_a_huge_exponent":        {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"e": number(huge)})), usable: 1, skipped: "keys[1]"},
		"an_RSA_key_of_an_exponent_of_33_bits": {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"e": "AQABAAE"})), usable: 1, skipped: "keys[1]"},
		"an_RSA_key_without_modulus":           {text: jwks(t, keyOf(t, "ed", "ed", ""), with(dict{"n": nil})), usable: 1, skipped: "keys[1]"},
		"a_point_off_its_curve":                {text: []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"},` + good + `]}`), usable: 1, skipped: "keys[0]"},
		"a_curve_that_no_algorithm_uses":       {text: append(publicPEM(t, "ed"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p224der})...), usable: 1, skipped: "no algorithm"},
		"a_coordinate_longer_than_its_curve":   {text: []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("_", 60) + `","y":"AQ"},` + good + `]}`), usable: 1, skipped: "keys[0]"},
		"a_coordinate_of_521_bits_and_more":    {text: []byte(`{"keys":[{"kty":"EC","crv":"P-521","x":"AQ","y":"` + strings.Repeat("_", 88) + `"},` + good + `]}`), usable: 1, skipped: "keys[0]"},
		"padded_numbers":                       {text: jwks(t, with(dict{"e": "AQAB=="})), usable: 1},
		"an_Ed25519_key_too_short":             {text: []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQID"},` + good + `]}`), usable: 1, skipped: "keys[0]"},
		"a_private_key_in_a_set":               {text: jwks(t, with(dict{"d": "AQAB"})), err: "private key"},
		"a_private_key_in_PEM":                 {text: append(publicPEM(t, "rsa"), private()...), err: "private key"},
		"only_a_shared_secret":                 {text: jwks(t, dict{"kty": "oct", "k": "c2VjcmV0"}), err: "no key that verifies", skipped: "shared secret"},
		"an_empty_set":                         {text: []byte(`{"keys":[]}`), err: "there is no key"},
		"an_object_of_something_else":          {text: []byte(`{"issuer":"x"}`), err: "there is no key"},
		"keys_that_are_no_array":               {text: []byte(`{"keys":{}}`), err: "no array"},
		"nothing":                              {err: "neither"},
		"something_else":                       {text: []byte("hello"), err: "neither"},
		"a_set_twice":                          {text: []byte(`{"keys":[` + good + `],"keys":[]}`), err: "twice"},
		"a_key_with_a_member_twice":            {text: []byte(`{"keys":[{"kty":"OKP","kty":"OKP"}]}`), err: "twice"},
		"more_keys_than_anybody_has":           {text: jwks(t, many...), err: "more than 64"},
		"more_than_a_mebibyte":                 {text: bytes.Repeat([]byte(" "), maxKeyBytes+1), err: "1 MiB"},
		"a_certificate_that_is_damaged":        {text: append(publicPEM(t, "ed"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...), usable: 1, skipped: "damaged"},
		"a_set_that_points_to_another_host":    {text: []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x5u":"https://evil.example/x","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`), usable: 1},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := CheckKeys(c.text)
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if info.Usable != c.usable {
				t.Errorf("%d usable keys, want %d; skipped %q", info.Usable, c.usable, info.Skipped)
			}
			if all := strings.Join(info.Skipped, "; "); !strings.Contains(all, c.skipped) || c.skipped == "" && all != "" {
				t.Errorf("skipped %q, want %q", info.Skipped, c.skipped)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Issuer)
		want   string
	}{
		"good":                         {nil, ""},
		"a_file":                       {func(i *Issuer) { i.Keys = Keys{File: "jwks.json"} }, ""},
		"plain_HTTP_to_127.0.0.1":      {func(i *Issuer) { i.Keys.URL = "http://127.0.0.1:8001/keys" }, ""},
		"plain_HTTP_to_localhost":      {func(i *Issuer) { i.Keys.URL = "http://localhost/keys" }, ""},
		"plain_HTTP_to_::1":            {func(i *Issuer) { i.Keys.URL = "http://[::1]/keys" }, ""},
		"no_name":                      {func(i *Issuer) { i.Name = "" }, "name: is missing"},
		"a_name_with_a_line_end":       {func(i *Issuer) { i.Name = "a\nb" }, "name: holds"},
		"no_issuer":                    {func(i *Issuer) { i.Issuer = "" }, "issuer: is missing"},
		"no_audience":                  {func(i *Issuer) { i.Audience = nil }, "audience: is missing"},
		"an_empty_audience":            {func(i *Issuer) { i.Audience = []string{""} }, "audience: is empty"},
		"no_algorithm":                 {func(i *Issuer) { i.Algorithms = nil }, "algorithms: is missing"},
		"algorithm_none":               {func(i *Issuer) { i.Algorithms = []string{"RS256", "none"} }, `"none" is none of`},
		"algorithm_HS256":              {func(i *Issuer) { i.Algorithms = []string{"HS256"} }, `"HS256" is none of`},
		"algorithm_empty":              {func(i *Issuer) { i.Algorithms = []string{""} }, `"" is none of`},
		"no_keys":                      {func(i *Issuer) { i.Keys = Keys{} }, "neither file nor url"},
		"two_places":                   {func(i *Issuer) { i.Keys.File = "jwks.json" }, "both given"},
		"a_file_with_a_CA":             {func(i *Issuer) { i.Keys = Keys{File: "x", CA: x509.NewCertPool()} }, "neither ca nor"},
		"plain_HTTP":                   {func(i *Issuer) { i.Keys.URL = "http://login.example/keys" }, "must begin with https"},
		"plain_HTTP_to_a_look_alike":   {func(i *Issuer) { i.Keys.URL = "http://127.0.0.1.evil.example/keys" }, "must begin with https"},
		"another_scheme":               {func(i *Issuer) { i.Keys.URL = "file:///etc/passwd" }, "no host"},
		"a_URL_with_a_password":        {func(i *Issuer) { i.Keys.URL = "https://u:hunter2@login.example/" }, "bearer_file"},
		"no_URL":                       {func(i *Issuer) { i.Keys.URL = "https://hunter2\x00" }, "no URL"},
		"an_age_too_short":             {func(i *Issuer) { i.Keys.MaxAge = 1 }, "max_age"},
		"an_age_too_long":              {func(i *Issuer) { i.Keys.MaxAge = LongestMaxAge + 1 }, "max_age"},
		"a_negative_leeway":            {func(i *Issuer) { i.Leeway = -1 }, "leeway"},
		"a_leeway_too_long":            {func(i *Issuer) { i.Leeway = MaxLeeway + 1 }, "leeway"},
		"roles_of_no_claim":            {func(i *Issuer) { i.Roles.Claim = "" }, "roles.claim: is missing"},
		"a_pointer_with_an_empty_part": {func(i *Issuer) { i.Roles.Claim = "/a//b" }, "empty part"},
		"a_pointer_with_a_bare_tilde":  {func(i *Issuer) { i.UserClaim = "/a~2" }, "user_claim"},
	} {
		t.Run(name, func(t *testing.T) {
			err := entra(c.change).Validate()
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds a secret: %v", err)
			}
			if _, newErr := New([]Issuer{entra(c.change)}, Options{}); (newErr != nil) != (err != nil) {
				t.Errorf("New says %v", newErr)
			}
		})
	}
}

// Exactly one issuer answers for a token.
func TestIssuersDiffer(t *testing.T) {
	for name, change := range map[string]func(*Issuer){
		"the_same_name":   func(i *Issuer) { i.Issuer = "https://other.example" },
		"the_same_issuer": func(i *Issuer) { i.Name = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New([]Issuer{entra(nil), entra(change)}, Options{}); err == nil {
				t.Error("taken")
			}
		})
	}
}
