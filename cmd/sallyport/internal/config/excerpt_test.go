package config

import (
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v4"
)

// Whatever shape a file has, broken or not, its lines are shown without secrets.
func TestLinesAreShownWithoutSecrets(t *testing.T) {
	for name, text := range map[string]string{
		"plain":                    "password: hunter2\nuser: x\n",
		"in quotes":                "password: \"hunter2 hunter2\"\n",
		"on the next line":         "password:\n  hunter2\nuser: x\n",
		"a block":                  "password: |\n  hunter2\n\n  hunter2\nuser: x\n",
		"a list":                   "passwords:\n  - hunter2\n  - hunter2\n",
		"in braces":                "{user: x, password: hunter2, next: 1}\n",
		"in braces, quoted":        "{\"password\":\"hunter2\"}\n",
		"in braces, over lines":    "a: {password:\nhunter2, b: 1}\n",
		"quoted over lines":        "a: {password: \"hunter2\nhunter2\n\nhunter2\", b: 1}\n",
		"an entry of a list":       "- password: hunter2\n  user: x\n",
		"misspelt":                 "pasword: hunter2\npasswrod: hunter2\npwd: hunter2\nsecret: hunter2\nauth_token: hunter2\n",
		"upper case":               "PASSWORD: hunter2\n",
		"broken":                   "a: [\npassword: hunter2\n",
		"broken, on the next line": "a: [\npassword:\n  hunter2\n",
		"an anchor":                "password: &x hunter2\n",
		"in rules":                 "rules: \"on >hunter2 <hunter2 ~* #hunter2 !hunter2\"\n",
		"in rules in a list":       "[on, '>hunter2', \">hunter2\"]\n",
		"first of the rules":       "rules: '>hunter2 on'\n",
		"in a selector":            "rules: on (>hunter2)\n",
		"a blank behind the sign":  "rules: 'on > hunter2 +@read'\n",
		"with a space in rules":    "rules: 'on \">hunter2 hunter2\"'\n",
		"in folded rules":          "rules: >\n  on\n  >hunter2\n",
		"a token":                  "token: hunter2\n",
		"a list of tokens":         "tokens: [hunter2, hunter2]\n",
		"tokens on lines":          "tokens:\n  - hunter2\n  - hunter2\n",
		"a token below":            "token:\n  hunter2\n",
		"a hash of a token":        "tokens:\n  - hash: hunter2\n    expires: x\n",
		"hashes of tokens":         "tokens: [{ hash: hunter2, expires: x }]\n",
		"a password among rules":   "passwords: { mode: report, password: hunter2 }\n",
		"in a URL":                 "keys: { url: https://app:hunter2@login.example/keys }\n",
		"hashes":                   "password_hashes: [hunter2]\n",
		"hashes on lines":          "users:\n  a:\n    password_hashes:\n      - hunter2\n",
		"an entry in an entry":     "token:\n  token:\n    hunter2\n",
		"Windows line ends":        "password: hunter2\r\nuser: x\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			doc := &document{text: []byte(text), rows: strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")}
			var root yaml.Node
			if yaml.Load([]byte(text), &root) == nil {
				doc.root = root.Content[0]
			}
			if got := strings.Join(maskLines(doc), "\n"); strings.Contains(got, "hunter2") {
				t.Errorf("shown:\n%s", got)
			}
		})
	}
}

// What is no secret stays readable: an excerpt that hides everything helps nobody.
func TestOtherLinesAreShownAsTheyAre(t *testing.T) {
	for _, line := range []string{
		"password_file: secrets/backend",
		"    rules: \"on ~app:* &app:* +@read -@all %R~x\"",
		"address: 0.0.0.0:6380 # every address",
		"# a comment",
		"allow: [10.0.0.0/8, any]",
		"key: tls/server.key",
		"    token: { issuer: entra, subject: x }",
		"tokens: [{ name: entra, issuer: x }]",
		"  passwords: { mode: report, min_length: 14 }",
	} {
		doc := &document{text: []byte(line), rows: []string{line}}
		if got := maskLines(doc)[0]; got != line {
			t.Errorf("%q is shown as %q", line, got)
		}
	}
}

// The entries of tokens: are shown, what could be one in them is not.
func TestEntriesNamedLikeSecretsAreShown(t *testing.T) {
	text := "tokens:\n  - name: entra\n    issuer: x\n    keys: { file: a }\nusers: {}\n"
	doc := &document{text: []byte(text), rows: strings.Split(text, "\n")}
	var root yaml.Node
	if err := yaml.Load([]byte(text), &root); err != nil {
		t.Fatal(err)
	}
	doc.root = root.Content[0]
	if got := strings.Join(maskLines(doc), "\n"); got != text {
		t.Errorf("shown:\n%s", got)
	}
}

func TestAnExcerptFitsATerminal(t *testing.T) {
	long := strings.Repeat("x", 500)
	got := excerpt([]string{"a\x1b[31m\tb\u202e", long}, "a\x1b[31m\tb", 1, 9)
	for _, line := range strings.Split(got, "\n") {
		if len([]rune(line)) > 180 {
			t.Errorf("a line of %d characters", len([]rune(line)))
		}
	}
	if strings.ContainsAny(got, "\x1b\t\u202e") {
		t.Errorf("control characters get through: %q", got)
	}
	if excerpt([]string{"a"}, "a", 7, 1) != "" {
		t.Error("a line that is not there has no excerpt")
	}
}

func TestTheNearestKeyIsSuggested(t *testing.T) {
	known := []string{"name", "address", "allow", "tls", "unsafe_plaintext"}
	for written, want := range map[string]string{
		"adress": "address", "addres": "address", "Address": "address", "tsl": "tls", "alow": "allow",
		"unsafe-plaintext": "unsafe_plaintext", "colour": "", "": "", strings.Repeat("x", 1000): "",
	} {
		got := DidYouMean(written, known)
		if want != "" {
			want = "did you mean \"" + want + "\"?"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", written, got, want)
		}
	}
}
