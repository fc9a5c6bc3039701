package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/tlsutil"
)

// identityExample is one of the examples whose clients log in with tokens.
type identityExample struct {
	folder string
	cut    [][2]string    // what a test puts in the place of the outside world
	iss    string         // the example's issuer
	claims map[string]any // of a token as that issuer makes them
	logins []exampleLogin
}

type exampleLogin struct {
	what    string
	changes map[string]any // to the claims
	user    string         // the name given
	as      string         // who it is then; empty: refused
	may     string         // a command this session may run
	mayNot  string
}

func identityExamples(dir string) []identityExample {
	const oid = "0b5e7a10-8f0c-4c6e-9d0e-2f1f7f6f0001"
	keys := "keys: { file: " + filepath.Join(dir, "keys.json") + " }\n"
	return []identityExample{{
		folder: "deploy/examples/entra",
		cut:    [][2]string{{`keys: { url: "https://login.microsoftonline.com/${AZURE_TENANT_ID}/discovery/v2.0/keys", max_age: 24h }` + "\n", keys}},
		iss:    "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
		claims: map[string]any{
			"aud": "99999999-8888-7777-6666-555555555555", "azp": "client", "azpacr": "1", "idtyp": "app", "oid": "0b5e7a10-8f0c-4c6e-9d0e-2f1f7f6f0002",
			"rh": "0.AX", "sub": "pairwise", "tid": "11111111-2222-3333-4444-555555555555", "uti": "x", "ver": "2.0", "roles": []string{"redis-readers"},
		},
		logins: []exampleLogin{
			{what: "by a role", user: "0b5e7a10-8f0c-4c6e-9d0e-2f1f7f6f0002", as: "0b5e7a10-8f0c-4c6e-9d0e-2f1f7f6f0002", may: "GET shared:x", mayNot: "SET app:x 1"},
			{what: "without a role", changes: map[string]any{"roles": []string{}}, user: "0b5e7a10-8f0c-4c6e-9d0e-2f1f7f6f0002"},
			{what: "under another's name", user: "shop"},
			{what: "of the managed identity", changes: map[string]any{"oid": oid, "roles": []string{}}, user: oid, as: "shop", may: "SET shop:x 1", mayNot: "GET app:x"},
			{what: "of another tenant", changes: map[string]any{"iss": "https://login.microsoftonline.com/other/v2.0"}, user: oid},
			{what: "for another application", changes: map[string]any{"aud": "https://graph.microsoft.com"}, user: oid},
		},
	}, {
		folder: "deploy/examples/kubernetes",
		cut: [][2]string{
			{"keys:\n      url: https://kubernetes.default.svc/openid/v1/jwks\n", keys},
			{"      ca: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt\n", ""},
			{"      bearer_file: /var/run/secrets/kubernetes.io/serviceaccount/token\n      max_age: 12h\n", ""},
		},
		iss: "https://kubernetes.default.svc.cluster.local",
		claims: map[string]any{
			"aud": []string{"redis"}, "sub": "system:serviceaccount:shop:worker",
			"kubernetes.io": map[string]any{"namespace": "shop", "pod": map[string]any{"name": "p", "uid": "u"}, "serviceaccount": map[string]any{"name": "worker", "uid": "v"}},
		},
		logins: []exampleLogin{
			{what: "by its namespace", user: "serviceaccount", as: "system:serviceaccount:shop:worker", may: "GET shared:x", mayNot: "SET shop:x 1"},
			{what: "by its claim", user: "system:serviceaccount:shop:worker", as: "system:serviceaccount:shop:worker", may: "GET shared:x", mayNot: "SET shop:x 1"},
			{what: "of an account with rules of its own", changes: map[string]any{"sub": "system:serviceaccount:shop:api"}, user: "serviceaccount", as: "shop-api", may: "SET shop:x 1", mayNot: "SET shared:x 1"},
			{what: "of a namespace that is not named", changes: map[string]any{"kubernetes.io": map[string]any{"namespace": "default"}}, user: "serviceaccount"},
			{what: "for the API server", changes: map[string]any{"aud": []string{"https://kubernetes.default.svc"}}, user: "serviceaccount"},
			{what: "for both", changes: map[string]any{"aud": []string{"redis", "https://kubernetes.default.svc"}}, user: "serviceaccount"},
		},
	}}
}

// The examples can be served, and tokens as those issuers make them do what the
// examples say.
func TestExamplesOfIssuers(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555")
	t.Setenv("APP_ID", "99999999-8888-7777-6666-555555555555")
	t.Setenv("SHOP_OBJECT_ID", "0b5e7a10-8f0c-4c6e-9d0e-2f1f7f6f0001")
	signer, _, err := token.NewSigner("RS256")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signer.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	for n := range identityExamples("") {
		dir := t.TempDir()
		ex := identityExamples(dir)[n]
		t.Run(filepath.Base(ex.folder), func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "keys.json"), keys, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg := ex.load(t, dir)
			for _, l := range ex.logins {
				t.Run(strings.ReplaceAll(l.what, " ", "_"), func(t *testing.T) { ex.try(t, cfg, signer, l) })
			}
		})
	}
}

// load reads the example as it lies there, but for its outside world.
func (ex *identityExample) load(t *testing.T, dir string) *config.Config {
	t.Helper()
	served, err := tlsutil.WriteDevDir(filepath.Join(dir, "tls"), tlsutil.DevOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sallyport.yaml", "policy.yaml"} {
		text := readText(t, ex.folder+"/"+name)
		for _, c := range ex.cut {
			if name == "policy.yaml" && !strings.Contains(text, c[0]) {
				t.Fatalf("%s/%s has no %q", ex.folder, name, c[0])
			}
			text = strings.ReplaceAll(text, c[0], c[1])
		}
		text = strings.NewReplacer("tls/tls.crt", served.Server.Certificate, "tls/tls.key", served.Server.Key).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, problems := config.Load(filepath.Join(dir, "sallyport.yaml"))
	for _, p := range problems {
		t.Errorf("%s (%s)", p.What, p.Hint)
	}
	if cfg == nil {
		t.FailNow()
	}
	return cfg
}

func (ex *identityExample) try(t *testing.T, cfg *config.Config, signer *token.Signer, l exampleLogin) {
	t.Helper()
	now := time.Now()
	claims := maps.Clone(ex.claims)
	claims["iss"], claims["iat"], claims["nbf"], claims["exp"] = ex.iss, now.Unix(), now.Unix(), now.Add(10*time.Minute).Unix()
	maps.Copy(claims, l.changes)
	raw, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	v, err := inspect(t.Context(), cfg, []byte(raw), acl.Attempt{User: l.user}, now)
	if err != nil {
		t.Fatal(err)
	}
	if v.Taken != (l.as != "") {
		t.Fatalf("taken: %v, why: %s, %+v", v.Taken, v.Why, v.Logins)
	}
	if !v.Taken {
		return
	}
	if v.Logins[0].User != l.as {
		t.Errorf("logs in as %q, want %q", v.Logins[0].User, l.as)
	}
	verified, err := verified(t.Context(), cfg.Issuers(), []byte(raw), now)
	if err != nil {
		t.Fatal(err)
	}
	pr, reason := cfg.Policy.Authenticate(&acl.Attempt{
		Listener: v.Logins[0].Listener, User: l.user, Password: []byte(raw), Token: verified, Now: now,
	})
	if reason != acl.None {
		t.Fatal(reason)
	}
	for line, want := range map[string]bool{l.may: true, l.mayNot: false} {
		if got := mayRun(t, cfg, pr.User, line); got != want {
			t.Errorf("%s as %s: %v, want %v", line, l.as, got, want)
		}
	}
}

// mayRun judges a command line.
func mayRun(t *testing.T, cfg *config.Config, u *acl.User, line string) bool {
	t.Helper()
	var args [][]byte
	for word := range strings.FieldsSeq(line) {
		args = append(args, []byte(word))
	}
	var call command.Call
	if err := cfg.Table.Parse(args, &call); err != nil {
		t.Fatal(err)
	}
	return cfg.Policy.Decide(u, &call).Allowed
}
