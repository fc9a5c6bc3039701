package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asked is "sallyport admin ARGS": its exit code and all that it said.
func asked(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	must(t, err)
	defer stderr.Close()
	var stdout bytes.Buffer
	code = run(t.Context(), append([]string{"admin", "--timeout", patience.String()}, args...), streams{in: os.Stdin, out: &stdout, err: stderr})
	text, err := os.ReadFile(stderr.Name())
	must(t, err)
	for _, secret := range secrets {
		if strings.Contains(string(text), secret) || strings.Contains(stdout.String(), secret) {
			t.Error("it tells a secret")
		}
	}
	return code, stdout.String() + string(text)
}

// clientFiles writes the certificate of somebody and gives the flags that show it.
func (o *office) clientFiles(name string) []string {
	o.t.Helper()
	pair, err := o.ca.Client(name)
	must(o.t, err)
	o.put(name+".crt", string(pair.CertPEM))
	o.put(name+".key", string(pair.KeyPEM))
	return []string{"--cert", filepath.Join(o.dir, name+".crt"), "--key", filepath.Join(o.dir, name+".key")}
}

func TestAdminAsksOverTLSAndSaysWhoAsks(t *testing.T) {
	o := openOffice(t)
	eventuallyReady(t, o.d)
	o.put("token", "canary-admin-token\n")
	o.put("wrong", "another-token\n")
	for _, name := range []string{"token", "wrong"} {
		must(t, os.Chmod(filepath.Join(o.dir, name), 0o600))
	}
	_, port, err := net.SplitHostPort(o.d.adminAt.String())
	must(t, err)
	ca := []string{"--address", "127.0.0.1:" + port, "--ca", filepath.Join(o.dir, "ca.crt")}
	ann, bob := o.clientFiles("ann"), o.clientFiles("bob")
	token := func(name string) []string { return []string{"--token-file", filepath.Join(o.dir, name)} }
	for name, c := range map[string]struct {
		what string
		with [][]string
		code int
		says string
	}{
		"anybody sees that it runs":              {"livez", [][]string{ca}, 0, `"status":"ok"`},
		"nobody sees the rules":                  {"rules", [][]string{ca}, 1, "401"},
		"a viewer looks":                         {"rules", [][]string{ca, ann}, 0, "app"},
		"a viewer does not steer":                {"reload", [][]string{ca, ann}, 1, "403"},
		"a member steers":                        {"reload", [][]string{ca, bob}, 0, "reloaded"},
		"a token looks":                          {"rules", [][]string{ca, token("token")}, 0, "app"},
		"a token that is none":                   {"rules", [][]string{ca, token("wrong")}, 1, "401"},
		"the certificate's name":                 {"rules", [][]string{ca, ann, {"--server-name", "localhost"}}, 0, "app"},
		"another name than the certificate's":    {"rules", [][]string{ca, ann, {"--server-name", "redis.example"}}, 1, "redis.example"},
		"an authority that did not sign":         {"livez", [][]string{{"--address", "127.0.0.1:" + port, "--server-name", "localhost"}}, 1, "certificate"},
		"plain HTTP":                             {"livez", [][]string{{"--address", "127.0.0.1:" + port}}, 1, "400"},
		"a certificate without its key":          {"livez", [][]string{ca, ann[:2]}, 2, "key"},
		"an authority's file that is not there":  {"livez", [][]string{{"--ca", filepath.Join(o.dir, "none.crt")}}, 2, "none.crt"},
		"a token's file that is not there":       {"livez", [][]string{ca, token("none")}, 2, "none"},
		"an address without a port":              {"livez", [][]string{{"--address", "127.0.0.1"}}, 2, "host:port"},
		"a token over an unencrypted connection": {"livez", [][]string{{"--address", "192.0.2.1:9380"}, token("token")}, 2, "unencrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{c.what}
			for _, w := range c.with {
				args = append(args, w...)
			}
			if code, said := asked(t, args...); code != c.code || !strings.Contains(said, c.says) {
				t.Errorf("exit %d, want %d and %q:\n%s", code, c.code, c.says, said)
			}
		})
	}
	if code, said := asked(t, append([]string{"drain"}, append(ca, token("token")...)...)...); code != 0 {
		t.Errorf("an owner may not drain: exit %d\n%s", code, said)
	}
}

// A token is read from one line of a file that its owner keeps.
func TestATokensFileIsKeptAndHoldsOneToken(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	file := filepath.Join(dir, "token")
	for text, want := range map[string]string{
		"": "empty", "\n": "empty", "canary-admin-token\nmore\n": "one line", "canary-admin-token two": "neither spaces",
		"canary-admin-token\x07": "neither spaces", strings.Repeat("x", maxKeyFile+1): "one line",
	} {
		put(t, file, text)
		must(t, os.Chmod(file, 0o600))
		if code, said := asked(t, "livez", "--token-file", file); code != exitUsage || !strings.Contains(said, want) {
			t.Errorf("exit %d, want %q:\n%s", code, want, said)
		}
	}
	put(t, file, "canary-admin-token\r\n")
	if got, err := tokenIn(file); err != nil || got != "canary-admin-token" {
		t.Errorf("token %q: %v", got, err)
	}
	must(t, os.Chmod(file, 0o622))
	if code, said := asked(t, "livez", "--token-file", file); code != exitUsage || !strings.Contains(said, "chmod 0600") {
		t.Errorf("exit %d:\n%s", code, said)
	}
}
