package main

import (
	"strings"
	"testing"
)

// A token may be good and the name in it made to be read as something else.
func TestANameInATokenForgesNoVerdict(t *testing.T) {
	var b strings.Builder
	v := inspection{User: "ann\x1b[2J\nverdict   taken", Logins: []loginSaid{{Listener: "l", Decision: allowed, User: "ann\r\nverdict   taken"}}, Why: "the policy lets nobody in by it"}
	if err := v.print(&b); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.ContainsAny(got, "\x1b\r") || strings.Count(got, "\n") != 3 || !strings.HasSuffix(got, "\nverdict   refused: the policy lets nobody in by it\n") {
		t.Errorf("printed %q", got)
	}
}
