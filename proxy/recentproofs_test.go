package proxy

import (
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
)

// What was proved is known for a minute, to its own name and password alone, and
// takes no more room than it may.
func TestWhatWasProvedIsRememberedForAMinute(t *testing.T) {
	var r recentProofs
	r.init()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := func(user, password string, after time.Duration) *acl.Attempt {
		return &acl.Attempt{User: user, Password: []byte(password), Now: now.Add(after)}
	}
	r.keep(at("human", "pw", 0), "hash")
	r.keep(at("nobody", "pw", 0), "") // no slow hash was needed
	for _, c := range []struct {
		user, password string
		after          time.Duration
		want           string
	}{
		{"human", "pw", 0, "hash"},
		{"human", "pw", proofRemembered - 1, "hash"},
		{"human", "pw", proofRemembered, ""},
		{"human", "pw ", 0, ""},
		{"human", "", 0, ""},
		{"humanp", "w", 0, ""}, // the same bytes, cut elsewhere
		{"nobody", "pw", 0, ""},
	} {
		if got := r.find(at(c.user, c.password, c.after)); got != c.want {
			t.Errorf("%q %q after %v: %q, want %q", c.user, c.password, c.after, got, c.want)
		}
	}
	r.forget(now.Add(proofRemembered - 1))
	if len(r.known) != 1 {
		t.Error("forgotten too early")
	}
	r.forget(now.Add(proofRemembered))
	if len(r.known) != 0 {
		t.Error("not forgotten")
	}
	for i := range 2 * proofsMost {
		r.keep(at("human", strconv.Itoa(i), 0), "hash")
	}
	if len(r.known) != proofsMost {
		t.Errorf("%d are kept", len(r.known))
	}
	r.forget(now.Add(-time.Hour)) // the clock went back
	if len(r.known) != 0 {
		t.Error("a clock that goes back prolongs what is known")
	}
	var other recentProofs
	other.init()
	if a := at("human", "pw", 0); other.of(a) == r.of(a) {
		t.Error("two processes remember alike")
	}
}
