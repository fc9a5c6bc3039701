package token

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever comes in the place of a token: no panic, no claims that were not
// signed, and an error that repeats nothing of it.
func FuzzVerify(f *testing.F) {
	v := verifier(f, allKeys(f), entra(nil))
	valid := [][]byte{good(f, nil), sign(f, "EdDSA", "ed", nil, toJSON(f, claims(dict{"roles": []string{"ops"}})))}
	for _, raw := range valid {
		f.Add(raw)
	}
	f.Add([]byte("eyJhbGciOiJub25lIn0.e30."))
	f.Add([]byte("eyJhbGciOiJFUzI1NiIsImtpZCI6InAyNTYifQ.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUvdGVuYW50In0.AAAA"))
	f.Add([]byte("a.b.c.d.e"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		c, err := v.Verify(raw, noon)
		if !bytes.Equal(before, raw) {
			t.Fatal("the token was changed")
		}
		if (c == nil) == (err == nil) {
			t.Fatalf("claims %v and error %v", c, err)
		}
		if c != nil && !bytes.Equal(raw, valid[0]) && !bytes.Equal(raw, valid[1]) {
			t.Fatalf("a token was taken that nobody signed: %q", raw)
		}
		if err != nil && len(raw) > 40 && bytes.Contains([]byte(err.Error()), raw[:40]) {
			t.Fatal("the error repeats the token")
		}
		if _, err := Inspect(raw); err == nil && bytes.Count(raw, []byte(".")) != 2 {
			t.Fatal("Inspect reads what has no three parts")
		}
	})
}

// The claims of a token of ours, as an issuer could write them: what Verify takes
// out of them is what an ordinary JSON parser sees.
func FuzzClaims(f *testing.F) {
	f.Add(toJSON(f, claims(nil)))
	f.Add(toJSON(f, claims(dict{"roles": []string{"ops", "readers"}, "aud": []string{"redis"}})))
	f.Add([]byte(`{"iss":"x","\u0069ss":"y"}`))
	f.Add([]byte(`{"a":{"b":[1,{"c":"\ud800\"}"}]},"exp":1e5}`))
	v := verifier(f, allKeys(f), entra(nil))
	f.Fuzz(func(t *testing.T, payload []byte) {
		scanned := map[string]string{}
		if err := scan(payload, maxTokenValues, func(name, value string) { scanned[name] = value }); err == nil {
			plain, err := decode(payload)
			if err != nil {
				t.Fatalf("taken, and yet no JSON: %v", err)
			}
			want := map[string]string{}
			for name, value := range plain {
				if name == "" {
					continue
				}
				want[name] = notAString
				if s, ok := value.(string); ok {
					want[name] = s
				}
			}
			if d := cmp.Diff(want, scanned); d != "" {
				t.Fatal(d)
			}
		}
		if len(payload) > maxHeader {
			return
		}
		c, err := v.Verify(sign(t, "EdDSA", "ed", nil, payload), noon)
		if err != nil {
			return
		}
		var plain dict
		if json.Unmarshal(payload, &plain) == nil && plain["oid"] != c.User {
			t.Fatalf("user %q, the claims say %q", c.User, plain["oid"])
		}
		if !c.Expires.After(noon) || c.ID == "" || c.Issuer != "entra" {
			t.Fatalf("%+v", c)
		}
	})
}

// Keys come from servers that may be anybody's one day.
func FuzzKeys(f *testing.F) {
	f.Add(allKeys(f))
	f.Add(publicPEM(f, "rsa"))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"},{"kty":"RSA","n":"AQ","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":"AQ"},{"kty":"oct","k":"AQ"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","x5c":["AAAA"]}]}`))
	payload := toJSON(f, claims(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, info, err := parseKeys(text)
		if (set == nil) == (err == nil) {
			t.Fatalf("set %v and error %v", set, err)
		}
		if err != nil {
			return
		}
		if info.Usable == 0 || info.Usable > maxKeys || info.Usable != len(set.keys) {
			t.Fatalf("%d usable keys of %d", info.Usable, len(set.keys))
		}
		// Whatever was taken can be used without harm.
		for _, k := range set.keys {
			for _, algorithm := range Algorithms() {
				if fits(algorithm, k.key) {
					_ = methods[algorithm].Verify(string(payload), payload[:64], k.key)
				}
			}
		}
	})
}
