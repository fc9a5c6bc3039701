package proxy

import (
	"testing"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
)

func TestTwoIssuersPrincipalsOfOneNameDoNotSeeEachOther(t *testing.T) {
	st := newStage(t, 4, 1)
	stranger := *st.w.policy.User("u") // a principal the policy has no user for
	named := func(i int, u *acl.User, issuer string) *session {
		s := st.sessions[i].s
		s.user, s.who, s.facts.id = u, acl.Principal{User: u, Issuer: issuer}, uint64(i+1)
		return s
	}
	a, b := named(0, &stranger, "a"), named(1, &stranger, "b")
	local, byToken := named(2, st.w.policy.User("u"), ""), named(3, st.w.policy.User("u"), "a")
	for _, c := range []struct {
		who, whom *session
		sees      bool
	}{{a, a, true}, {local, byToken, true}, {byToken, local, true}} {
		if f := c.who.clientFilter(true); f.picks(c.whom) != c.sees {
			t.Errorf("session %d sees %d: %v", c.who.facts.id, c.whom.facts.id, !c.sees)
		}
	}
	st.w.policy = emptyPolicy(t)
	if f := a.clientFilter(true); f.picks(b) || !f.picks(a) {
		t.Error("one issuer's principal sees another's")
	}
}

// emptyPolicy has no users at all.
func emptyPolicy(t *testing.T) *acl.Policy {
	t.Helper()
	p, problems := acl.Compile(acl.Source{Table: command.Newest()})
	if p == nil {
		t.Fatal(problems)
	}
	return p
}
