package acl

import "github.com/sallyport/sallyport/acl/command"

// Explanation is a decision taken apart for the operator.
type Explanation struct {
	Decision
	Command   string // full name, container|sub
	Selectors []SelectorTrial
	Guard     GuardState
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
