package acl

import (
	"net/netip"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

// Explanation is a decision taken apart for the operator.
type Explanation struct {
	Decision
	Command   string // full name, container|sub
	Selectors []SelectorTrial
	Guard     GuardState
	Expiry    ExpiryState
}

// ExpiryState is what expiry: says of a call. It is empty where no entry covers
// a key that the call writes.
type ExpiryState struct {
	Rule *Rule  // the first entry that covers one
	Arg  int    // that key
	Says string // what the call's shape does to the key's expiry
}

// SelectorTrial is what one selector said. The selectors after the one that
// settles the call are not asked.
type SelectorTrial struct {
	Label  string // root, selector 1, role reader
	At     Origin
	ACL    Reason // None: command, keys and channels are allowed
	Guard  Reason // None: the guard agrees, or was not asked since ACL refuses
	Rule   *Rule  // the rule that switches the command on or off here, nil for none
	Arg    int    // the offending key or channel
	Option string // BY or GET of SORT
	Named  bool   // a rule names the command, which lifts the guard
	Decide bool   // this is the selector that settles the call
}

// GuardState is what the guard holds against the command whoever the user is.
type GuardState struct {
	Category     *Rule // the guarded category it is in, nil for none
	Never        *Rule // the entry of the never list, nil for none
	KeyspaceWide bool  // it needs ~*, or a pattern inside a readable prefix*
	Script       bool  // it needs ~* &* +@all, or a user with unsafe_scripts
	Floor        bool  // no mode lifts a refusal
	Mode         Mode
}

// Explain decides a call as Decide does, with the same code, and keeps what
// was asked on the way. It allocates; it is for people.
func (p *Policy) Explain(u *User, call *command.Call) Explanation {
	e := Explanation{Decision: p.Decide(u, call)}
	if e.Reason == UnknownCommand {
		return e
	}
	spec := call.Spec
	a := p.attrs[spec.ID]
	modes := p.modesFor(a)
	e.Command = spec.Name
	e.Guard = GuardState{
		Category:     p.guard.rule(spec),
		Never:        p.guard.never[spec.ID],
		KeyspaceWide: a&(attrWide|attrTracking) != 0,
		Script:       a&attrScript != 0,
		Floor:        a&(attrFloor|attrNever|attrScript|attrRefused) != 0,
		Mode:         modes.Guard,
	}
	if u == nil || a&(attrNoAuth|attrRefused) != 0 || u.table != p.lang.table {
		return e
	}
	e.Expiry = p.expiryState(call)
	for _, s := range u.selectors {
		var t trial
		p.judge(&t, u, s, call, a, modes)
		reason, _ := t.refusal(modes)
		guard := t.guard
		if t.script {
			guard = ScriptConfined
		}
		e.Selectors = append(e.Selectors, SelectorTrial{
			Label: s.label, At: s.at, ACL: t.acl, Guard: guard, Rule: t.rule, Arg: t.arg, Option: t.option,
			Named: s.names(call), Decide: reason == None && e.Guard.Never == nil,
		})
		if reason == None {
			break
		}
	}
	return e
}

// LoginExplanation is whether and how somebody may speak for a user from
// somewhere, whatever password or certificate he has.
type LoginExplanation struct {
	// User is the user as it would be there, with the roles that hold; nil if
	// Reason says why nobody may enter.
	User     *User
	Reason   Reason
	From     *Rule    // the entry of from: that holds the address, nil for none
	Methods  []Method // those the user has and the listener takes
	Requires Factors  // the proofs needed together; none: any one
	Roles    []RoleTrial
}

// RoleTrial is whether a role holds there.
type RoleTrial struct {
	Name   string
	At     Origin
	Reason Reason // None: it holds
}

// ExplainLogin says who may enter as a user of the policy at a listener. An
// invalid address stands for a unix socket's. It allocates; it is for people.
func (p *Policy) ExplainLogin(user, listener string, addr netip.Addr, now time.Time) LoginExplanation {
	u, l := p.users[user], p.listeners[listener]
	switch {
	case l == nil:
		return LoginExplanation{Reason: MethodRefused}
	case u == nil:
		return LoginExplanation{Reason: NoSuchUser}
	}
	e := LoginExplanation{Requires: u.require, From: u.from.rule(addr)}
	for _, m := range []Method{MethodPassword, MethodToken, MethodCertificate} {
		if l.methods&m.factor() != 0 && u.has(m) {
			e.Methods = append(e.Methods, m)
		}
	}
	for _, name := range u.roles {
		e.Roles = append(e.Roles, p.roles[name].trial(listener, addr, now))
	}
	if e.Reason = u.mayEnter(&Attempt{Listener: listener, Addr: addr, Now: now}); e.Reason != None {
		return e
	}
	if len(e.Methods) == 0 && p.Anonymous(listener) != u {
		e.Reason = MethodRefused
		return e
	}
	e.User = p.inRole(u, listener, addr, now, nil)
	return e
}

// has says whether a method can prove the user at all.
func (u *User) has(m Method) bool {
	switch m {
	case MethodPassword:
		return len(u.hashes) > 0 || len(u.argon) > 0 || u.opens()
	case MethodToken:
		return len(u.tokens) > 0 || u.binding != nil
	case MethodCertificate:
		return len(u.certificates) > 0 && u.require&^(FactorCertificate|FactorNetwork) == 0
	}
	return false
}

func (r *role) trial(listener string, addr netip.Addr, now time.Time) RoleTrial {
	t := RoleTrial{Name: r.name, At: r.at}
	switch {
	case r.note.ended(now):
		t.Reason = UserExpired
	case !r.scope.holds(listener):
		t.Reason = ListenerNotAllowed
	case !r.from.holds(addr):
		t.Reason = SourceNotAllowed
	}
	return t
}
