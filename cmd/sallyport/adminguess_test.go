package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/admin"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A source that has failed too often is not judged, whatever it shows, until it
// has earned another try; others are, and so is who was taken from there lately.
func TestGuessersOfAdminTokensAreNotJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, said := observer.New(zap.WarnLevel)
		var g guesses
		g.begin(&acl.ThrottleOptions{SourceFailures: 5}, zap.New(core))
		judged := 0
		holder := func(token string) func(time.Time) string {
			return func(time.Time) string {
				judged++
				return map[string]string{"right": "eve", "never used": "bob"}[token]
			}
		}
		try := func(from, token string) string {
			addr, _ := netip.ParseAddr(from) // none: a unix socket
			return g.judge(admin.Proof{Token: token, From: addr}, holder(token))
		}
		for _, from := range []string{"192.0.2.1", ""} {
			if try(from, "right") != "eve" {
				t.Fatal("the right token is not taken")
			}
			judged = 0
			for i := range 100 {
				if try(from, fmt.Sprint("guess ", i)) != "" {
					t.Fatal("a guess was taken")
				}
			}
			if judged != 5 {
				t.Errorf("%d guesses of 100 from %q were judged, not 5", judged, from)
			}
			if try(from, "never used") != "" {
				t.Errorf("a guess is judged on from %q, as this one was right", from)
			}
			if try(from, "right") != "eve" {
				t.Errorf("who was taken from %q before is locked out", from)
			}
			if try("198.51.100.9", "right") != "eve" {
				t.Error("somebody elsewhere is locked out")
			}
			time.Sleep(time.Second) // of the bubble
			if try(from, "never used") != "bob" {
				t.Errorf("no try is earned from %q in a second", from)
			}
		}
		if n := said.Len(); n < 2 || n > 4 {
			t.Errorf("%d lines about 200 guesses in two seconds", n)
		}
		g = guesses{}
		g.begin(nil, zap.NewNop())
		judged = 0
		for range 100 {
			try("192.0.2.1", "guess")
		}
		if judged != 100 || try("192.0.2.1", "right") != "eve" {
			t.Error("failures count that are not to")
		}
	})
}

// Over the wire: guesses are slow and soon not judged; who is known by a
// certificate, or by a token that was taken before, goes on as ever.
func TestGuessingAdminTokensIsSlowAndHarmsNobodyElse(t *testing.T) {
	o := openOffice(t)
	bearing := func(token string) *visitor {
		v := o.as("")
		v.token = token
		return v
	}
	eve := bearing("canary-admin-token")
	if status, _, text := eve.ask("GET", "/version", ""); status != http.StatusOK {
		t.Fatal(status, text)
	}
	began := time.Now()
	for i := range 3 {
		if status, _, _ := bearing(fmt.Sprint("guess", i)).ask("GET", "/version", ""); status != http.StatusUnauthorized {
			t.Fatal("a guess was answered", status)
		}
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("three guesses took %v", took)
	}
	if status, _, text := o.as("ann").ask("GET", "/version", ""); status != http.StatusOK {
		t.Fatal(status, text)
	}
	for i := range 200 {
		o.d.access.identify(admin.Proof{Token: fmt.Sprint("another ", i), From: netip.MustParseAddr("127.0.0.1")})
	}
	if status, _, text := eve.ask("GET", "/version", ""); status != http.StatusOK {
		t.Error("who was let in before is locked out:", status, text)
	}
	if status, _, text := o.as("ann").ask("GET", "/version", ""); status != http.StatusOK {
		t.Error("who has a certificate is locked out:", status, text)
	}
}
