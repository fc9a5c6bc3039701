package token

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// reading reads keys once, from wherever k says.
func reading(t *testing.T, k Keys) error {
	t.Helper()
	_, err := k.read(t.Context(), nil)
	return err
}

func tlsServer(t *testing.T, h http.HandlerFunc) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s, pool
}

func TestKeysOverTLS(t *testing.T) {
	keys := allKeys(t)
	var bearer string
	s, pool := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		bearer = r.Header.Get("Authorization")
		_, _ = w.Write(keys)
	})
	i := entra(func(i *Issuer) {
		i.Keys = Keys{URL: s.URL, CA: pool, BearerFile: writeFile(t, "token", []byte("abc\n"))}
	})
	v, err := New([]Issuer{i}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bearer != "Bearer abc" {
		t.Errorf("sent the credential %q", bearer)
	}
	if _, err := v.Verify(good(t, nil), noon); err != nil {
		t.Error(err)
	}
}

func TestAServerThatIsNotTrustedGivesNoKeys(t *testing.T) {
	s, _ := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(allKeys(t)) })
	for name, pool := range map[string]*x509.CertPool{"by_the_system": nil, "by_an_empty_pool": x509.NewCertPool()} {
		t.Run(name, func(t *testing.T) {
			if err := reading(t, Keys{URL: s.URL, CA: pool}); err == nil || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestWhatAServerMayNotAnswer(t *testing.T) {
	other, _ := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a credential went to another host")
		}
		_, _ = w.Write(allKeys(t))
	})
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(allKeys(t)) }))
	t.Cleanup(plain.Close)
	redirects := 0
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"an_error":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, "answers 403"},
		"nothing":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "answers 204"},
		"another_host": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, "another host"},
		"plain_HTTP":   {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }, "another host"},
		"redirects_for_ever": {func(w http.ResponseWriter, r *http.Request) {
			redirects++
			http.Redirect(w, r, "/again", http.StatusFound)
		}, "too many"},
		"more_than_a_mebibyte": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, maxKeyBytes+1))
		}, "1024 KiB"},
		"headers_without_end": {func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				w.Header().Add("X-Filler", strings.Repeat("x", 4096))
			}
		}, "header"},
	} {
		t.Run(name, func(t *testing.T) {
			s, pool := tlsServer(t, c.handler)
			err := reading(t, Keys{URL: s.URL, CA: pool, BearerFile: writeFile(t, "token", []byte("abc"))})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if redirects != maxRedirects+1 {
		t.Errorf("asked %d times", redirects)
	}
}

func TestARedirectOnTheSameHostIsFollowed(t *testing.T) {
	s, pool := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys" {
			http.Redirect(w, r, "/keys", http.StatusFound)
			return
		}
		_, _ = w.Write(allKeys(t))
	})
	if err := reading(t, Keys{URL: s.URL, CA: pool}); err != nil {
		t.Error(err)
	}
}

// A name in a URL of plain HTTP may come to mean another machine.
func TestPlainHTTPStaysOnThisMachine(t *testing.T) {
	if err := onlyLoopback("tcp", "192.0.2.1:80", nil); err == nil {
		t.Error("dials another machine")
	}
	for _, a := range []string{"127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"} {
		if err := onlyLoopback("tcp", a, nil); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestKeysFromFiles(t *testing.T) {
	path := writeFile(t, "jwks.json", jwks(t, keyOf(t, "p256", "p256", "")))
	v, err := New([]Issuer{entra(func(i *Issuer) { i.Keys = Keys{File: path} })}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(good(t, nil), noon); err != nil {
		t.Errorf("a token under the file's key: %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"missing":            filepath.Join(t.TempDir(), "none"),
		"a_folder":           t.TempDir(),
		"a_device":           "/dev/zero",
		"a_pipe":             pipe,
		"no_keys":            writeFile(t, "x", []byte("hello")),
		"more_than_a_MiB":    writeFile(t, "y", make([]byte, maxKeyBytes+1)),
		"a_link_to_no_where": func() string { p := filepath.Join(t.TempDir(), "l"); _ = os.Symlink("nowhere", p); return p }(),
	} {
		t.Run(name, func(t *testing.T) {
			if info, err := ReadKeyFile(path); err == nil || info.Usable != 0 || path == pipe && !strings.Contains(err.Error(), "regular") {
				t.Errorf("%+v, %v", info, err)
			}
		})
	}
	if info, err := ReadKeyFile(path); err != nil || info.Usable != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// Who takes a key out of a file and reloads expects it to be out at once.
func TestAReloadReadsFilesAgain(t *testing.T) {
	path := writeFile(t, "jwks.json", jwks(t, keyOf(t, "p256", "p256", "")))
	load := func(old *Verifier) (*Verifier, error) {
		v, err := New([]Issuer{entra(func(i *Issuer) { i.Keys = Keys{File: path} })}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		v.Inherit(old)
		return v, v.Load(t.Context())
	}
	first, err := load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, jwks(t, keyOf(t, "p256b", "p256b", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := load(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Verify(good(t, nil), noon); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("the key that was taken out: %v", err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	third, err := load(second)
	if err == nil || third.Status()[0].Keys != 1 {
		t.Errorf("a damaged file: %v, %+v", err, third.Status())
	}
}

// One issuer that fails takes no other down with it.
func TestIssuersFailAlone(t *testing.T) {
	good := entra(func(i *Issuer) { i.Keys = Keys{File: writeFile(t, "jwks.json", allKeys(t))} })
	bad := entra(func(i *Issuer) {
		i.Name, i.Issuer = "bad", "https://bad.example"
		i.Keys = Keys{File: filepath.Join(t.TempDir(), "none")}
	})
	v, err := New([]Issuer{bad, good}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Load(context.Background()); err == nil || !strings.Contains(err.Error(), "keys of bad") || strings.Contains(err.Error(), "keys of entra") {
		t.Errorf("%v", err)
	}
	st := v.Status()
	if st[0].Issuer != "bad" || st[0].Err == nil || st[0].Keys != 0 || st[1].Err != nil || st[1].Keys != 5 {
		t.Errorf("%+v", st)
	}
}

func TestKeysFromCertificates(t *testing.T) {
	s, _ := tlsServer(t, nil)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if info, err := CheckKeys(text); err != nil || info.Usable != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}
