package acl

import (
	"strings"
	"testing"
	"time"
)

func TestHoldersAreKnownByCertificateOrToken(t *testing.T) {
	h, problems := CompileHolders("admin.users", []HolderSource{
		{Name: Text{Value: "ann"}, Certificates: []CertificateSource{{CN: textsOf("ann")}}},
		{Name: Text{Value: "bob"}, Certificates: []CertificateSource{{URI: textsOf("spiffe://ops/bob")}, {CN: textsOf("ann"), DNS: textsOf("two")}},
			Tokens: []OpaqueTokenSource{{Hash: Text{Value: hashOf("token")}, Expires: Text{Value: "2026-12-31"}}}},
	})
	if h == nil {
		t.Fatal(problems)
	}
	for _, c := range []struct {
		cert Certificate
		want string
	}{
		{Certificate{CommonNames: []string{"ann"}}, "ann"},
		{Certificate{CommonNames: []string{"Ann"}}, ""},
		{Certificate{URI: []string{"spiffe://ops/bob"}}, "bob"},
		{Certificate{CommonNames: []string{"ann"}, DNS: []string{"two"}}, ""}, // could be either
		{Certificate{CommonNames: []string{"ann"}, Ambiguous: true}, ""},
		{Certificate{}, ""},
	} {
		if got := h.ByCertificate(&c.cert); got != c.want {
			t.Errorf("%+v is %q, want %q", c.cert, got, c.want)
		}
	}
	day := func(d string) time.Time { at, _ := time.Parse(time.DateOnly, d); return at }
	for token, want := range map[string]string{"token": "bob", "tokens": "", "": ""} {
		if got := h.ByToken([]byte(token), day("2026-12-30")); got != want {
			t.Errorf("%q is %q, want %q", token, got, want)
		}
	}
	if got := h.ByToken([]byte("token"), day("2027-01-02")); got != "" {
		t.Errorf("a token that has ended is %q", got)
	}
}

func TestFaultyHoldersAreRefused(t *testing.T) {
	for want, list := range map[string][]HolderSource{
		"admin.users.a.certificate: names nothing":          {{Name: Text{Value: "a"}, Certificates: []CertificateSource{{}}}},
		"admin.users.a.tokens: a token's hash is 64":        {{Name: Text{Value: "a"}, Tokens: []OpaqueTokenSource{{Hash: Text{Value: "secret"}}}}},
		"admin.users.b.tokens: the same token as that of a": {{Name: Text{Value: "a"}, Tokens: []OpaqueTokenSource{{Hash: Text{Value: hashOf("t")}}}}, {Name: Text{Value: "b"}, Tokens: []OpaqueTokenSource{{Hash: Text{Value: hashOf("t")}}}}},
		`admin.users.a.certificate.cn: no wildcards: "*"`:   {{Name: Text{Value: "a"}, Certificates: []CertificateSource{{CN: textsOf("*")}}}},
	} {
		h, problems := CompileHolders("admin.users", list)
		if h != nil || len(problems) == 0 || !strings.Contains(problems[len(problems)-1].What, want) {
			t.Errorf("%v, want %s", problems, want)
		}
	}
}
