package proxy

import (
	"slices"

	"github.com/sallyport/sallyport/acl/command"
)

// mayStay reports whether the user may still have what the session asked for
// before its rights changed and goes on hearing of: the call that blocks, whose
// reply would bring what comes to a key from now on, and everything below the
// prefixes that are tracked.
func (s *session) mayStay() bool {
	a := s.apart
	if a == nil {
		return true
	}
	if s.blocked() && !s.stillMay(a.turn.args) {
		return false
	}
	return a.why&whyTracking == 0 || !slices.Contains(a.track.flags, "bcast") || s.stillMay(a.track.call())
}

// call is the CLIENT TRACKING that leads to what is tracked.
func (t *track) call() [][]byte {
	call := [][]byte{[]byte("CLIENT"), []byte("TRACKING"), []byte("ON")}
	for _, f := range t.flags {
		call = append(call, []byte(f))
	}
	for _, p := range t.prefixes {
		call = append(call, []byte("PREFIX"), p)
	}
	return call
}

// stillMay judges a call that was let pass under another policy. One too long to
// have been kept may not.
func (s *session) stillMay(args [][]byte) bool {
	var call command.Call
	return len(args) > 0 && s.w.table.Parse(args, &call) == nil && s.w.policy.Decide(s.user, &call).Allowed
}
