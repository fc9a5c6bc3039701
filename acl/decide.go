package acl

import "github.com/sallyport/sallyport/acl/command"

// Decide judges one call of a user. It is a pure function, allocates nothing
// and is safe for concurrent use.
//
// One single selector must allow the command, all its keys and all its
// channels; the guard asks that same selector to name a guarded command, to
// hold ~* for a keyspace-wide one, ~* &* for one of which only the name is known,
// and ~* &* +@all for a script. AUTH, HELLO,
// QUIT and RESET pass regardless of rules; a nil user may do nothing else. A
// user or call of another command table than the policy's is refused.
func (p *Policy) Decide(u *User, call *command.Call) Decision {
	spec := call.Spec
	if spec == nil || int(spec.ID) >= len(p.specs) || p.specs[spec.ID] != spec {
		return Decision{Reason: UnknownCommand}
	}
	a := p.attrs[spec.ID]
	switch {
	case a&attrRefused != 0 || call.Class == command.Refused:
		return Decision{Reason: CommandRefused}
	case a&attrNoAuth != 0:
		return Decision{Allowed: true}
	case u == nil || u.table != p.lang.table:
		return Decision{Reason: NotAuthenticated}
	case a&attrNever != 0:
		return Decision{Reason: Never, Rule: p.guard.never[spec.ID]}
	}
	modes := p.modesFor(a)
	var t trial
	var out outcome
	for _, s := range u.selectors {
		p.judge(&t, u, s, call, a, modes)
		reason, hard := t.refusal(modes)
		if reason == None {
			if a&attrExpiry != 0 {
				return p.judgeExpiry(t.allowed(modes), call)
			}
			return t.allowed(modes)
		}
		out.take(&t, reason, hard)
	}
	if d := out.decision(p.guard, spec); !d.Allowed || a&attrExpiry == 0 {
		return d
	}
	return p.judgeExpiry(out.decision(p.guard, spec), call)
}

// Passes is Decide in short, for the calls that are most: where it says yes, Decide would answer with
// Allowed and the same Rule, and nothing else. Where it says no, ask Decide.
func (p *Policy) Passes(u *User, call *command.Call) (rule *Rule, ok bool) {
	spec := call.Spec
	if spec == nil || int(spec.ID) >= len(p.specs) || p.specs[spec.ID] != spec || p.attrs[spec.ID] != 0 || call.Class == command.Refused ||
		u == nil || u.table != p.lang.table || len(u.selectors) == 0 {
		return nil, false
	}
	s := u.selectors[0]
	return s.rule(spec.ID), s.allows(call)
}

// modesFor gives the modes that apply to a command: below the floor, none does.
func (p *Policy) modesFor(a attr) Modes {
	if a&attrFloor != 0 {
		return Modes{Allow: p.modes.Allow}
	}
	return p.modes
}

// trial is what one selector says to a call.
type trial struct {
	acl    Reason // None: it allows command, keys and channels
	script bool   // it would let a script out of its confines
	guard  Reason // None: the guard agrees too, or was not asked
	lifted bool   // the guard agrees because a rule names the command
	rule   *Rule  // the rule that switched the command on or off
	arg    int    // with acl: the offending key or channel
	option string
}

// judge asks one selector. The guard is not asked about what the rules refuse,
// unless their refusal is only for show.
func (p *Policy) judge(t *trial, u *User, s *selector, call *command.Call, a attr, modes Modes) {
	*t = trial{}
	s.check(t, call)
	if a&attrUserRules == 0 || t.acl != None && modes.ACL == Enforce {
		return
	}
	t.script = a&attrScript != 0 && !u.unsafeScripts && !s.unrestricted()
	switch {
	case a&attrGuarded != 0 && !s.names(call):
		t.guard = Guarded
	case a&attrDiscovered != 0 && !(s.allKeys && s.allChannels):
		t.guard = KeyspaceWide
	case a&(attrWide|attrTracking) != 0 && !s.wideReach(a, call):
		t.guard = KeyspaceWide
	default:
		t.lifted = a&attrGuarded != 0
	}
}

// allows reports a call without channels and pattern options that the rules allow,
// the command whatever its first argument. Where it says no, check has the last word.
func (s *selector) allows(call *command.Call) bool {
	if !s.allowed.has(call.Spec.ID) || len(call.Channels) > 0 || call.PatternArg != 0 {
		return false
	}
	if s.allKeys {
		return true
	}
	for i := range call.Keys {
		k := &call.Keys[i]
		if int(k.Arg) >= len(call.Args) || !s.allowsKey(call.Args[k.Arg], k.Access) {
			return false
		}
	}
	return true
}

// check asks the rules alone: command, then keys, then channels, as Redis does.
func (s *selector) check(t *trial, call *command.Call) {
	id := call.Spec.ID
	t.rule = s.rule(id)
	if !s.allowed.has(id) {
		r := s.firstArgRule(call)
		if r == nil {
			t.acl = CommandNotAllowed
			return
		}
		t.rule = r
	}
	if !s.allKeys {
		for i := range call.Keys {
			k := &call.Keys[i]
			if int(k.Arg) >= len(call.Args) || !s.allowsKey(call.Args[k.Arg], k.Access) {
				t.acl, t.arg, t.rule = KeyNotAllowed, int(k.Arg), nil
				return
			}
		}
	}
	if !s.allChannels {
		for i := range call.Channels {
			c := &call.Channels[i]
			if int(c.Arg) >= len(call.Args) || !s.allowsChannel(call.Args[c.Arg], c.Pattern) {
				t.acl, t.arg, t.rule = ChannelNotAllowed, int(c.Arg), nil
				return
			}
		}
	}
	if call.PatternArg != 0 && !s.readsAll() {
		t.acl, t.arg, t.rule = KeyNotAllowed, int(call.PatternArg)+1, nil
		t.option = patternOption(call)
	}
}

// patternOption names the option of SORT that reads keys it does not name.
func patternOption(call *command.Call) string {
	if word := call.Args[call.PatternArg]; len(word) > 0 && lowerByte(word[0]) == 'b' {
		return "BY"
	}
	return "GET"
}

// names says whether a rule of this selector names the command itself, or the
// command with this first argument.
func (s *selector) names(call *command.Call) bool {
	return s.named.has(call.Spec.ID) || s.firstArgRule(call) != nil
}

// refusal gives the first reason this selector has against the call, in the
// order of the layers. hard means that no mode lets it pass.
func (t *trial) refusal(modes Modes) (r Reason, hard bool) {
	switch {
	case t.acl != None && modes.ACL == Enforce:
		return t.acl, true
	case t.script:
		return ScriptConfined, true
	case t.guard != None && modes.Guard == Enforce:
		return t.guard, true
	case t.acl != None && modes.ACL == Report:
		return t.acl, false
	case t.guard != None && modes.Guard == Report:
		return t.guard, false
	}
	return None, false
}

// allowed is the decision when a selector has nothing against the call.
func (t *trial) allowed(modes Modes) Decision {
	d := Decision{Allowed: true, Lifted: t.lifted && modes.Guard != Off}
	if t.acl == None {
		d.Rule = t.rule
	}
	return d
}

// outcome gathers what the selectors have against a call when none agrees: one
// that would let it pass for the time being goes before one that would not,
// then the refusal that got furthest.
type outcome struct {
	best   trial
	reason Reason
	soft   bool
}

func (o *outcome) take(t *trial, r Reason, hard bool) {
	soft := !hard
	switch {
	case o.reason == None, soft && !o.soft:
	case soft != o.soft:
		return
	case distance(r) < distance(o.reason):
		return
	case distance(r) == distance(o.reason) && t.arg <= o.best.arg && (o.best.rule != nil || t.rule == nil):
		return
	}
	o.best, o.reason, o.soft = *t, r, soft
}

// distance orders refusals by how far the call got before it. Among several
// selectors the furthest is told, as Redis does, the guard coming last.
func distance(r Reason) int {
	switch r {
	case CommandNotAllowed:
		return 1
	case KeyNotAllowed:
		return 2
	case ChannelNotAllowed:
		return 3
	case Guarded:
		return 4
	case KeyspaceWide:
		return 5
	case ScriptConfined:
		return 6
	}
	return 0
}

func (o *outcome) decision(g *guard, spec *command.Spec) Decision {
	d := Decision{Allowed: o.soft, Reported: o.soft, Reason: o.reason}
	switch o.reason {
	case None:
		d.Reason = CommandNotAllowed // no selector at all: cannot be, and is refused
	case Guarded:
		d.Rule = g.rule(spec)
	case KeyspaceWide:
		if d.Rule = wideRule; spec.Discovered() {
			d.Rule = discoveredReachRule
		}
	case ScriptConfined:
		d.Rule = scriptRule
	default:
		d.Rule, d.Arg, d.Option = o.best.rule, o.best.arg, o.best.option
	}
	return d
}
