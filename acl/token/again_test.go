package token

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
)

// A token that was taken is judged by the configuration that is in force now,
// without the token itself.
func TestATokenThatWasTakenIsJudgedByWhatIsConfiguredNow(t *testing.T) {
	raw := good(t, dict{"roles": []string{"ops"}, "aud": []string{"redis", "account"}, "email": "a@example"})
	before := func(i *Issuer) { i.Others = []string{"account"} }
	allBut := jwks(t, keyOf(t, "rsa", "rsa", ""))
	for name, c := range map[string]struct {
		change func(*Issuer)
		keys   []byte // absent: the same
		at     time.Duration
		user   string // absent: the same
		roles  []string
		err    error
	}{
		"nothing_changed":             {roles: []string{"operator", "reader"}},
		"another_map_of_roles":        {change: func(i *Issuer) { i.Roles.Map = map[string][]string{"ops": {"auditor"}} }, roles: []string{"auditor"}},
		"a_role_taken_out_of_the_map": {change: func(i *Issuer) { i.Roles.Map = map[string][]string{"readers": {"reader"}} }},
		"no_roles_at_all":             {change: func(i *Issuer) { i.Roles = Roles{} }},
		"another_roles_claim":         {change: func(i *Issuer) { i.Roles.Claim = "groups" }},
		"another_user_claim":          {change: func(i *Issuer) { i.UserClaim = "email" }, user: "a@example", roles: []string{"operator", "reader"}},
		"a_user_claim_it_lacks":       {change: func(i *Issuer) { i.UserClaim = "upn" }, err: ErrClaims},
		"another_audience":            {change: func(i *Issuer) { i.Audience = []string{"other"} }, err: ErrAudience},
		"an_audience_beside_ours":     {change: func(i *Issuer) { i.Others = nil }, err: ErrAudience},
		"its_algorithm_taken_out":     {change: func(i *Issuer) { i.Algorithms = []string{"RS256"} }, err: ErrAlgorithm},
		"another_issuer_of_the_name":  {change: func(i *Issuer) { i.Issuer = "https://other.example" }, err: ErrIssuer},
		"no_issuer_of_the_name":       {change: func(i *Issuer) { i.Name = "other" }, err: ErrIssuer},
		"its_key_withdrawn":           {keys: allBut, err: ErrUnknownKey},
		"another_key_under_its_id":    {keys: jwks(t, keyOf(t, "p256b", "p256", "ES256")), err: ErrUnknownKey},
		"its_key_for_another_use":     {keys: jwks(t, dict{"kty": "oct", "k": "AAAA", "kid": "p256"}, keyOf(t, "rsa", "rsa", "")), err: ErrUnknownKey},
		"its_key_under_another_id":    {keys: jwks(t, keyOf(t, "p256", "new", "ES256")), err: ErrUnknownKey},
		"keys_of_yesterday":           {at: 25 * time.Hour, roles: []string{"operator", "reader"}},
		"another_leeway":              {change: func(i *Issuer) { i.Leeway = time.Second }, roles: []string{"operator", "reader"}},
	} {
		t.Run(name, func(t *testing.T) {
			taken, err := verifier(t, allKeys(t), entra(before)).Verify(raw, noon)
			if err != nil {
				t.Fatal(err)
			}
			keys := c.keys
			if keys == nil {
				keys = allKeys(t)
			}
			v := verifier(t, keys, entra(func(i *Issuer) {
				before(i)
				if c.change != nil {
					c.change(i)
				}
			}))
			got, err := v.Again(taken, noon.Add(c.at))
			if !errors.Is(err, c.err) || err == nil && c.err != nil {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err != nil {
				return
			}
			user := c.user
			if user == "" {
				user = taken.User
			}
			if got.User != user || !slices.Equal(got.Roles, c.roles) || got.ID != taken.ID || !got.Expires.Equal(taken.Expires) {
				t.Errorf("%+v", got)
			}
			if same, err := v.Again(got, noon.Add(c.at)); err != nil || same != got {
				t.Errorf("judged once more it is another: %v", err)
			}
		})
	}
}

// What is kept can't log anybody in, is bounded, and is not printed.
func TestWhatIsKeptOfATokenIsNoToken(t *testing.T) {
	v := verifier(t, allKeys(t), entra(nil))
	raw := good(t, dict{"secret": "do-not-print-me"})
	taken, err := v.Verify(raw, noon)
	if err != nil {
		t.Fatal(err)
	}
	kept := taken.Proof.(*proof)
	if bytes.Contains(kept.claims, raw[bytes.LastIndexByte(raw, '.')+1:]) || len(kept.claims) >= len(raw) {
		t.Error("the signature is kept")
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(form, taken.Proof), "do-not-print-me") {
			t.Error("printed with", form)
		}
	}
	long, err := v.Verify(good(t, dict{"padding": strings.Repeat("x", maxKept)}), noon)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(long.Proof.(*proof).claims); n != 0 {
		t.Errorf("%d bytes are kept of a long one", n)
	}
	if same, err := v.Again(long, noon); err != nil || same != long {
		t.Error("a long one does not outlast a reload that changes nothing:", err)
	}
	if _, err := verifier(t, allKeys(t), entra(func(i *Issuer) { i.Roles.Map = nil })).Again(long, noon); !errors.Is(err, ErrClaims) {
		t.Error("a long one that can't be judged is", err)
	}
	if _, err := v.Again(&acl.TokenClaims{Issuer: "entra"}, noon); err == nil {
		t.Error("one of which nothing is kept is taken")
	}
}
