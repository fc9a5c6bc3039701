package audit

import (
	"regexp"
	"testing"

	"github.com/sallyport/sallyport/acl"
)

// The words are what queries are written for: each code has one, and no two
// codes share one.
func TestEveryCodeHasAWordOfItsOwn(t *testing.T) {
	lists := map[string][]string{
		"event":  kindNames[1:],
		"method": methodNames[1:],
		"status": statusNames[1:],
		"close":  closeNames[1:],
	}
	snake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for list, words := range lists {
		seen := map[string]bool{}
		for i, w := range words {
			if !snake.MatchString(w) {
				t.Errorf("%s code %d has the word %q", list, i+1, w)
			}
			if seen[w] {
				t.Errorf("%s: %q twice", list, w)
			}
			seen[w] = true
		}
	}
}

// Both lists end up in the reason field, so a word in both must mean the same.
func TestReasonsOfClosingAndRefusingDoNotCollide(t *testing.T) {
	same := map[string]bool{
		"protocol_error": true, "cross_protocol": true, "memory_limit": true, "certificate_revoked": true, "token_expired": true,
		"user_connections": true,
	}
	closing := map[string]bool{}
	for _, w := range closeNames[1:] {
		closing[w] = true
	}
	for _, r := range acl.Reasons() {
		if closing[r.String()] && !same[r.String()] {
			t.Errorf("%q is both a reason to refuse and a reason to close", r)
		}
	}
}

func TestCodesOutsideTheListsReadUnknown(t *testing.T) {
	for _, got := range []string{Kind(200).String(), Method(200).String(), Status(200).String(), CloseReason(200).String()} {
		if got != "unknown" {
			t.Errorf("got %q, want unknown", got)
		}
	}
}

func TestZeroCodesLeaveTheirFieldOut(t *testing.T) {
	if got := Method(0).String() + Status(0).String() + CloseReason(0).String(); got != "" {
		t.Errorf("zero codes read %q, want nothing", got)
	}
}
