package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sallyport/sallyport/acl"
)

func TestVerifyTakesEachAlgorithm(t *testing.T) {
	v := verifier(t, allKeys(t), entra(nil))
	for algorithm, key := range map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed",
	} {
		t.Run(algorithm, func(t *testing.T) {
			raw := sign(t, algorithm, key, nil, toJSON(t, claims(dict{"roles": []string{"ops", "unmapped", "readers"}})))
			got, err := v.Verify(raw, noon)
			if err != nil {
				t.Fatal(err)
			}
			want := &acl.TokenClaims{
				Issuer: "entra", Subject: "pairwise", User: "3f2c", Roles: []string{"operator", "reader"}, ID: "id-1",
				Expires: noon.Add(time.Hour),
			}
			got.Proof = nil // again_test.go is about it
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			// One bit more or less anywhere and it is refused.
			for _, at := range []int{5, len(raw) / 2, len(raw) - 5} {
				bad := bytes.Clone(raw)
				if bad[at]++; bytes.Equal(bad, raw) {
					t.Fatal("nothing was changed")
				}
				if _, err := v.Verify(bad, noon); err == nil {
					t.Errorf("taken with byte %d changed", at)
				}
			}
		})
	}
}

// Each case is a token that an attacker, a mistaken issuer or a careless
// operator brings about.
func TestVerifyRefuses(t *testing.T) {
	const secretPart = "c2VjcmV0LXBhcnQ"
	v := verifier(t, allKeys(t), entra(func(i *Issuer) { i.Others = []string{"account"} }))
	plainClaims := toJSON(t, claims(nil))
	hmacWith := func(header dict, secret []byte) []byte {
		text := encoding.EncodeToString(toJSON(t, header)) + "." + encoding.EncodeToString(plainClaims)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return []byte(text + "." + encoding.EncodeToString(mac.Sum(nil)))
	}
	der, err := x509.MarshalPKIXPublicKey(testKey("rsa").Public())
	if err != nil {
		t.Fatal(err)
	}
	withHeader := func(h dict) []byte { return sign(t, "ES256", "p256", h, plainClaims) }
	withText := func(payload string) []byte { return sign(t, "ES256", "p256", nil, []byte(payload)) }
	twice := func(name, first, second string) []byte {
		text := string(toJSON(t, claims(dict{name: nil})))
		return withText(fmt.Sprintf(`{%q:%s,%q:%s,%s`, name, first, name, second, text[1:]))
	}
	unsigned := func(algorithm string) []byte {
		return []byte(encoding.EncodeToString(toJSON(t, dict{"alg": algorithm})) + "." + encoding.EncodeToString(plainClaims) + ".")
	}
	attacker, err := json.Marshal(keyOf(t, "p256b", "p256", "ES256"))
	if err != nil {
		t.Fatal(err)
	}
	// The last of 86 characters stands for two bits; the other four must be zero.
	respelled := good(t, nil)
	respelled[len(respelled)-1]++
	cases := map[string]struct {
		raw  []byte
		want error
	}{
		"empty":                             {nil, ErrMalformed},
		"a_password":                        {[]byte("correct horse battery staple"), ErrMalformed},
		"a_password_with_two_dots":          {[]byte("a.b.c"), ErrMalformed},
		"64_KiB_and_a_byte":                 {bytes.Repeat([]byte("a"), MaxBytes+1), ErrTooLarge},
		"a_megabyte":                        {bytes.Repeat([]byte("eyJ."), 1<<18), ErrTooLarge},
		"encrypted":                         {[]byte("eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..aXY.Y2lwaGVy.dGFn"), ErrEncrypted},
		"encrypted_in_three_parts":          {withHeader(dict{"enc": "A128GCM"}), ErrEncrypted},
		"compressed":                        {withHeader(dict{"zip": "DEF"}), ErrEncrypted},
		"a_line_end_inside":                 {append(good(t, nil), '\n'), ErrMalformed},
		"a_signature_with_bits_behind":      {respelled, ErrMalformed},
		"padded_base64":                     {append(good(t, nil), '='), ErrMalformed},
		"an_extra_part":                     {append(good(t, nil), ".e30"...), ErrMalformed},
		"algorithm_none":                    {unsigned("none"), ErrAlgorithm},
		"algorithm_none_in_capitals":        {unsigned("nOnE"), ErrAlgorithm},
		"algorithm_none_with_a_signature":   {append(unsigned("none"), secretPart...), ErrAlgorithm},
		"algorithm_absent":                  {withHeader(dict{"alg": nil}), ErrAlgorithm},
		"algorithm_of_no_string":            {withHeader(dict{"alg": []string{"ES256"}}), ErrAlgorithm},
		"algorithm_in_small_letters":        {withHeader(dict{"alg": "es256"}), ErrAlgorithm},
		"signature_absent":                  {unsigned("ES256"), ErrMalformed},
		"confusion_HMAC_with_public_key":    {hmacWith(dict{"alg": "HS256", "kid": "rsa"}, der), ErrAlgorithm},
		"confusion_HMAC_with_public_PEM":    {hmacWith(dict{"alg": "HS256", "kid": "rsa"}, publicPEM(t, "rsa")), ErrAlgorithm},
		"confusion_HMAC_called_RS256":       {hmacWith(dict{"alg": "RS256", "kid": "rsa"}, der), ErrSignature},
		"confusion_RSA_key_for_ES256":       {sign(t, "ES256", "p256", dict{"kid": "rsa"}, plainClaims), ErrAlgorithm},
		"confusion_ES256_by_a_P384_key":     {withHeader(dict{"kid": "p384"}), ErrAlgorithm},
		"confusion_EdDSA_by_an_EC_key":      {sign(t, "EdDSA", "ed", dict{"kid": "p256"}, plainClaims), ErrAlgorithm},
		"signed_by_another_key":             {sign(t, "ES256", "p256b", dict{"kid": "p256"}, plainClaims), ErrSignature},
		"key_in_header_jwk":                 {signText(t, "ES256", "p256b", []byte(`{"alg":"ES256","jwk":`+string(attacker)+`}`), plainClaims), ErrHeader},
		"key_in_header_jku":                 {withHeader(dict{"jku": "https://evil.example/keys"}), ErrHeader},
		"key_in_header_x5u":                 {withHeader(dict{"x5u": "https://evil.example/cert"}), ErrHeader},
		"key_in_header_x5c":                 {withHeader(dict{"x5c": []string{"MIIB"}}), ErrHeader},
		"unknown_crit":                      {withHeader(dict{"crit": []string{"exp"}, "exp": 1}), ErrHeader},
		"empty_crit":                        {withHeader(dict{"crit": []string{}}), ErrHeader},
		"unencoded_payload":                 {withHeader(dict{"b64": false}), ErrHeader},
		"nested_token":                      {withHeader(dict{"cty": "JWT"}), ErrHeader},
		"type_of_another_use":               {withHeader(dict{"typ": "logout+jwt"}), ErrHeader},
		"type_of_no_string":                 {withHeader(dict{"typ": 1}), ErrHeader},
		"kid_of_no_string":                  {withHeader(dict{"kid": 7}), ErrHeader},
		"kid_null":                          {signText(t, "ES256", "p256", []byte(`{"alg":"ES256","kid":null}`), plainClaims), ErrHeader},
		"kid_empty":                         {withHeader(dict{"kid": ""}), ErrHeader},
		"kid_too_long":                      {withHeader(dict{"kid": strings.Repeat("k", 600)}), ErrHeader},
		"kid_as_a_path":                     {withHeader(dict{"kid": "../../dev/null"}), ErrUnknownKey},
		"header_twice_alg":                  {signText(t, "ES256", "p256", []byte(`{"alg":"ES256","alg":"ES256","kid":"p256"}`), plainClaims), ErrMalformed},
		"header_no_object":                  {signText(t, "ES256", "p256", []byte(`["alg"]`), plainClaims), ErrMalformed},
		"header_with_more_behind":           {signText(t, "ES256", "p256", []byte(`{"alg":"ES256","kid":"p256"}{}`), plainClaims), ErrMalformed},
		"audience_missing":                  {good(t, dict{"aud": nil}), ErrClaims},
		"audience_of_somebody_else":         {good(t, dict{"aud": "mail"}), ErrAudience},
		"audience_with_one_more":            {good(t, dict{"aud": []string{"redis", "mail"}}), ErrAudience},
		"audience_only_tolerated":           {good(t, dict{"aud": []string{"account"}}), ErrAudience},
		"audience_empty_list":               {good(t, dict{"aud": []string{}}), ErrAudience},
		"audience_with_a_number":            {good(t, dict{"aud": []any{"redis", 1}}), ErrClaims},
		"audience_as_object":                {good(t, dict{"aud": dict{"redis": true}}), ErrClaims},
		"audience_in_capitals":              {good(t, dict{"aud": "Redis"}), ErrAudience},
		"issuer_wrong":                      {good(t, dict{"iss": "https://evil.example"}), ErrIssuer},
		"issuer_missing":                    {good(t, dict{"iss": nil}), ErrIssuer},
		"issuer_with_a_slash_more":          {good(t, dict{"iss": testIssuer + "/"}), ErrIssuer},
		"issuer_as_list":                    {good(t, dict{"iss": []string{testIssuer}}), ErrIssuer},
		"issuer_nested":                     {good(t, dict{"iss": nil, "x": dict{"iss": testIssuer}}), ErrIssuer},
		"issuer_in_capitals":                {withText(strings.Replace(string(plainClaims), `"iss"`, `"ISS"`, 1)), ErrIssuer},
		"no_exp":                            {good(t, dict{"exp": nil}), ErrClaims},
		"exp_null":                          {withText(`{"exp":null,` + string(toJSON(t, claims(dict{"exp": nil})))[1:]), ErrClaims},
		"exp_as_string":                     {good(t, dict{"exp": "9999999999"}), ErrClaims},
		"exp_beyond_all_clocks":             {good(t, dict{"exp": json.Number("1e300")}), ErrClaims},
		"exp_negative":                      {good(t, dict{"exp": -1}), ErrClaims},
		"expired_this_second":               {good(t, dict{"exp": noon.Unix()}), ErrExpired},
		"expired_long_ago":                  {good(t, dict{"exp": noon.Add(-time.Hour).Unix()}), ErrExpired},
		"iat_in_the_far_future":             {good(t, dict{"iat": noon.Add(24 * time.Hour).Unix()}), ErrNotYet},
		"iat_just_beyond_the_leeway":        {good(t, dict{"iat": noon.Add(DefaultLeeway + time.Second).Unix()}), ErrNotYet},
		"iat_as_string":                     {good(t, dict{"iat": "now"}), ErrClaims},
		"nbf_in_the_future":                 {good(t, dict{"nbf": noon.Add(time.Hour).Unix()}), ErrNotYet},
		"nbf_as_bool":                       {good(t, dict{"nbf": true}), ErrClaims},
		"duplicate_claim_user":              {twice("oid", `"3f2c"`, `"admin"`), ErrMalformed},
		"duplicate_claim_same_value":        {twice("oid", `"3f2c"`, `"3f2c"`), ErrMalformed},
		"duplicate_claim_spelled_otherwise": {withText(`{"iss":"x","\u0069ss":"` + testIssuer + `"}`), ErrMalformed},
		"duplicate_claim_nested":            {withText(`{"iss":"` + testIssuer + `","x":[{"a":1,"a":2}]}`), ErrMalformed},
		"claims_no_object":                  {withText(`"claims"`), ErrMalformed},
		"claims_no_JSON":                    {withText(`{"iss":`), ErrMalformed},
		"claims_no_UTF8":                    {withText("{\"iss\":\"\xff\"}"), ErrMalformed},
		"claims_too_deep":                   {withText(`{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`), ErrMalformed},
		"claims_too_many":                   {withText(`{"x":[` + strings.Repeat("1,", 9000) + `1]}`), ErrMalformed},
		"user_missing":                      {good(t, dict{"oid": nil}), ErrClaims},
		"user_empty":                        {good(t, dict{"oid": ""}), ErrClaims},
		"user_as_list":                      {good(t, dict{"oid": []string{"3f2c"}}), ErrClaims},
		"user_as_number":                    {good(t, dict{"oid": 42}), ErrClaims},
		"user_as_object":                    {good(t, dict{"oid": dict{"name": "x"}}), ErrClaims},
		"user_with_NUL":                     {good(t, dict{"oid": "app\x00admin"}), ErrClaims},
		"user_with_line_end":                {good(t, dict{"oid": "app\nadmin"}), ErrClaims},
		"user_with_escape":                  {good(t, dict{"oid": "app\x1b[2J"}), ErrClaims},
		"user_with_a_space":                 {good(t, dict{"oid": "app admin"}), ErrClaims},
		"user_with_a_reversed_direction":    {good(t, dict{"oid": "app\u202enimda"}), ErrClaims},
		"user_with_half_a_character":        {withText(`{"oid":"\ud800",` + string(toJSON(t, claims(dict{"oid": nil})))[1:]), ErrClaims},
		"user_too_long":                     {good(t, dict{"oid": strings.Repeat("u", 300)}), ErrClaims},
		"roles_as_object":                   {good(t, dict{"roles": dict{"ops": true}}), ErrClaims},
		"roles_with_a_number":               {good(t, dict{"roles": []any{"ops", 1}}), ErrClaims},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := v.Verify(c.raw, noon)
			if got != nil || !errors.Is(err, c.want) {
				t.Fatalf("claims %v, error %v; want %v", got, err, c.want)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error is a %T", err)
			}
			if e.NeedsKeys() != (c.want == ErrUnknownKey) {
				t.Errorf("NeedsKeys is %v", e.NeedsKeys())
			}
			// Nothing a client chose is in the error.
			said := err.Error()
			if !strings.HasPrefix(e.TokenID, "sha256:") { // a digest's digits are nobody's words
				said += e.TokenID
			}
			for _, chosen := range []string{"evil", "mail", "admin", "dev/null", "3f2c", "pairwise", secretPart} {
				if strings.Contains(said, chosen) {
					t.Errorf("the error %q repeats the token", said)
				}
			}
			for part := range strings.SplitSeq(string(c.raw), ".") {
				if len(part) > 3 && strings.Contains(said, part) {
					t.Errorf("the error %q holds a part of the token", said)
				}
			}
		})
	}
}

// A password that only resembles a token leaves no trace, not even a hash.
func TestAPasswordIsNeverNamed(t *testing.T) {
	v := verifier(t, allKeys(t), entra(nil))
	for _, password := range []string{"hunter2", "hunter.2.x", "eyJhunter.2.x", strings.Repeat("x", 70000), "a.b.c.d.e"} {
		_, err := v.Verify([]byte(password), noon)
		var e *Error
		if !errors.As(err, &e) || e.TokenID != "" {
			t.Errorf("error %v, id %q", err, e.TokenID)
		}
	}
}

func TestVerifyTakesWhatIsHarmless(t *testing.T) {
	cases := map[string]struct {
		raw    []byte
		change func(*Issuer)
		want   func(*acl.TokenClaims)
	}{
		"an_audience_that_is_tolerated":  {raw: good(t, dict{"aud": []string{"account", "redis"}})},
		"two_audiences_of_ours":          {raw: good(t, dict{"aud": []string{"redis", "redis2"}}), change: func(i *Issuer) { i.Audience = []string{"redis", "redis2"} }},
		"no_iat_and_no_nbf":              {raw: good(t, dict{"iat": nil, "nbf": nil})},
		"iat_within_the_leeway":          {raw: good(t, dict{"iat": noon.Add(DefaultLeeway).Unix()})},
		"fractions_of_seconds":           {raw: good(t, dict{"exp": json.Number(fmt.Sprintf("%d.9", noon.Add(time.Hour).Unix()))})},
		"an_access_token_type":           {raw: sign(t, "ES256", "p256", dict{"typ": "application/at+JWT"}, toJSON(t, claims(nil)))},
		"no_type":                        {raw: sign(t, "ES256", "p256", dict{"typ": nil}, toJSON(t, claims(nil)))},
		"unknown_header_parameters":      {raw: sign(t, "ES256", "p256", dict{"x5t": "abc", "nonce": "n"}, toJSON(t, claims(nil)))},
		"no_kid_where_one_key_can_be":    {raw: sign(t, "EdDSA", "ed", dict{"kid": nil}, toJSON(t, claims(nil)))},
		"roles_null":                     {raw: good(t, dict{"roles": nil})},
		"one_role_as_string":             {raw: good(t, dict{"roles": "readers"}), want: func(c *acl.TokenClaims) { c.Roles = []string{"reader"} }},
		"a_role_of_spaces_is_no_list":    {raw: good(t, dict{"roles": "readers ops"})},
		"scopes_are_words":               {raw: good(t, dict{"scp": "x readers"}), change: func(i *Issuer) { i.Roles.Claim = "scp" }, want: func(c *acl.TokenClaims) { c.Roles = []string{"reader"} }},
		"roles_by_pointer":               {raw: good(t, dict{"realm_access": dict{"roles": []string{"readers"}}}), change: func(i *Issuer) { i.Roles.Claim = "/realm_access/roles" }, want: func(c *acl.TokenClaims) { c.Roles = []string{"reader"} }},
		"a_claim_named_like_a_URL":       {raw: good(t, dict{"https://x.example/r": "readers"}), change: func(i *Issuer) { i.Roles.Claim = "https://x.example/r" }, want: func(c *acl.TokenClaims) { c.Roles = []string{"reader"} }},
		"user_by_pointer_with_escapes":   {raw: good(t, dict{"kubernetes.io": dict{"a/b": "ns"}}), change: func(i *Issuer) { i.UserClaim = "/kubernetes.io/a~1b" }, want: func(c *acl.TokenClaims) { c.User = "ns" }},
		"a_subject_with_spaces":          {raw: good(t, dict{"sub": "CN=app, O=shop"}), want: func(c *acl.TokenClaims) { c.Subject = "CN=app, O=shop" }},
		"a_subject_that_is_none":         {raw: good(t, dict{"sub": "a\nb"}), want: func(c *acl.TokenClaims) { c.Subject = "" }},
		"a_name_beyond_ASCII":            {raw: good(t, dict{"oid": "jürgen"}), want: func(c *acl.TokenClaims) { c.User = "jürgen" }},
		"claims_that_differ_in_capitals": {raw: good(t, dict{"OID": "admin", "Exp": 1, "Aud": "mail"})},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := verifier(t, allKeys(t), entra(func(i *Issuer) {
				i.Others = []string{"account"}
				if c.change != nil {
					c.change(i)
				}
			})).Verify(c.raw, noon)
			if err != nil {
				t.Fatal(err)
			}
			want := &acl.TokenClaims{Issuer: "entra", Subject: "pairwise", User: "3f2c", ID: "id-1", Expires: noon.Add(time.Hour)}
			if c.want != nil {
				c.want(want)
			}
			got.Proof = nil // again_test.go is about it
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// The session's end is exp itself: a leeway must not let it live on.
func TestTheLeewayDoesNotExtendATokensLife(t *testing.T) {
	v := verifier(t, allKeys(t), entra(func(i *Issuer) { i.Leeway = MaxLeeway }))
	raw := good(t, nil)
	end := noon.Add(time.Hour)
	if c, err := v.Verify(raw, end.Add(-time.Millisecond)); err != nil || !c.Expires.Equal(end) {
		t.Errorf("a millisecond before its end: %v, %v", c, err)
	}
	if _, err := v.Verify(raw, end); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
}

func TestATokensIDNeverIsTheToken(t *testing.T) {
	v := verifier(t, allKeys(t), entra(nil))
	for name, jti := range map[string]any{"absent": nil, "a_number": 7, "with_a_line_end": "a\nb", "too_long": strings.Repeat("j", 200)} {
		t.Run(name, func(t *testing.T) {
			raw := good(t, dict{"jti": jti})
			c, err := v.Verify(raw, noon)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(c.ID, "sha256:") || len(c.ID) != len("sha256:")+16 {
				t.Errorf("id %q", c.ID)
			}
		})
	}
}

// A token of one issuer is worth nothing as another's, though both share a key.
func TestATokenBelongsToOneIssuer(t *testing.T) {
	other := entra(func(i *Issuer) {
		i.Name, i.Issuer, i.Audience, i.Algorithms = "kubernetes", "https://k8s.example", []string{"redis-k8s"}, []string{"RS256"}
	})
	v := verifier(t, allKeys(t), entra(nil), other)
	if c, err := v.Verify(good(t, nil), noon); err != nil || c.Issuer != "entra" {
		t.Errorf("%+v, %v", c, err)
	}
	for name, c := range map[string]struct {
		changes dict
		want    error
	}{
		"an_algorithm_the_other_allows": {dict{"iss": "https://k8s.example", "aud": "redis-k8s"}, ErrAlgorithm},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := v.Verify(good(t, c.changes), noon); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	crossed := sign(t, "RS256", "rsa", nil, toJSON(t, claims(dict{"iss": "https://k8s.example"})))
	if _, err := v.Verify(crossed, noon); !errors.Is(err, ErrAudience) {
		t.Errorf("the audience of another issuer: %v", err)
	}
}

// A key set says what a key is for; an algorithm beside that is refused.
func TestAKeyServesItsAlgorithmOnly(t *testing.T) {
	v := verifier(t, jwks(t, keyOf(t, "rsa", "rsa", "RS256")), entra(nil))
	for algorithm, want := range map[string]error{"RS256": nil, "RS512": ErrAlgorithm, "PS256": ErrAlgorithm} {
		if _, err := v.Verify(sign(t, algorithm, "rsa", nil, toJSON(t, claims(nil))), noon); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", algorithm, err, want)
		}
	}
}

// Keys without ids, as PEM files hold them, answer to every id; a token can't
// make us try many.
func TestKeysWithoutIDs(t *testing.T) {
	payload := toJSON(t, claims(nil))
	two := verifier(t, append(publicPEM(t, "p256b"), publicPEM(t, "p256")...), entra(nil))
	if _, err := two.Verify(sign(t, "ES256", "p256", dict{"kid": "whatever"}, payload), noon); err != nil {
		t.Errorf("the second of two keys: %v", err)
	}
	if _, err := two.Verify(sign(t, "RS256", "rsa", nil, payload), noon); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("an algorithm no key is for: %v", err)
	}
	var many []dict
	for n := range maxTried + 1 {
		many = append(many, keyOf(t, "p256", fmt.Sprint(n), ""))
	}
	set := verifier(t, jwks(t, many...), entra(nil))
	if _, err := set.Verify(sign(t, "ES256", "p256", dict{"kid": nil}, payload), noon); !errors.Is(err, ErrHeader) {
		t.Errorf("no id and many keys: %v", err)
	}
}

func TestKeysGrowTooOld(t *testing.T) {
	v := verifier(t, allKeys(t), entra(func(i *Issuer) { i.Keys.MaxAge = 30 * time.Minute }))
	raw := good(t, nil)
	if _, err := v.Verify(raw, noon.Add(30*time.Minute)); err != nil {
		t.Errorf("at the stated age: %v", err)
	}
	_, err := v.Verify(raw, noon.Add(30*time.Minute+time.Second))
	var e *Error
	if !errors.Is(err, ErrKeysUnavailable) || !errors.As(err, &e) || !e.NeedsKeys() {
		t.Errorf("beyond it: %v", err)
	}
}

// An attacker's claims are not even read before the signature is proved.
func TestNothingIsSaidOfAForgedTokensClaims(t *testing.T) {
	v := verifier(t, allKeys(t), entra(nil))
	raw := sign(t, "ES256", "p256b", dict{"kid": "p256"}, toJSON(t, claims(dict{"exp": 1, "aud": "mail", "oid": nil})))
	if _, err := v.Verify(raw, noon); !errors.Is(err, ErrSignature) {
		t.Errorf("%v", err)
	}
}

func TestLooksLike(t *testing.T) {
	for text, want := range map[string]bool{
		string(good(t, nil)): true, "eyJ.b.c": true, "eyJ.a.b.c.d": true,
		"": false, "secret": false, "a.b.c": false, "eyJ.b": false, "eyJ.b.c ": false, "eyJ" + strings.Repeat(".", 2) + strings.Repeat("a", MaxBytes): false,
	} {
		if got := LooksLike([]byte(text)); got != want {
			t.Errorf("LooksLike(%.20q) = %v", text, got)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v := verifier(b, allKeys(b), entra(nil))
	for _, c := range []struct{ algorithm, key string }{{"RS256", "rsa"}, {"ES256", "p256"}, {"ES512", "p521"}, {"EdDSA", "ed"}} {
		raw := sign(b, c.algorithm, c.key, nil, toJSON(b, claims(nil)))
		b.Run(c.algorithm, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(raw, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	bad := bytes.Repeat([]byte("1,"), MaxBytes/3)
	raw := []byte("eyJhbGciOiJFUzI1NiJ9." + encoding.EncodeToString([]byte(`{"x":[`+string(bad[:40000])+`1]}`)) + ".AA")
	b.Run("hostile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(raw, noon); err == nil {
				b.Fatal("taken")
			}
		}
	})
}
