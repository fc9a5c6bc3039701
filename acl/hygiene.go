package acl

import (
	"maps"
	"slices"
	"time"
)

// At gives the policy as it stands at a later time: entries of allow lists,
// users and roles whose until has passed do not work any more. It is the
// receiver itself if nothing has ended since it came into force. Whoever holds
// a policy for long asks again at NextEnd, and holds live sessions against what
// comes of it.
func (p *Policy) At(now time.Time) *Policy {
	end := p.NextEnd()
	if end.IsZero() || !now.After(end) {
		return p
	}
	next := *p
	next.now = now
	next.listeners = maps.Clone(p.listeners)
	for name, l := range p.listeners {
		if slices.ContainsFunc(l.entries, func(e allowEntry) bool { return e.note.ended(now) }) {
			c := &listener{entries: l.entries, anonymous: l.anonymous, methods: l.methods}
			c.fill(now)
			next.listeners[name] = c
		}
	}
	return &next
}

// NextEnd gives the first time after the policy came into force at which an
// until passes, zero if there is none.
func (p *Policy) NextEnd() time.Time {
	var first time.Time
	look := func(n *note) {
		if !n.until.IsZero() && !n.ended(p.now) && (first.IsZero() || n.until.Before(first)) {
			first = n.until
		}
	}
	for _, u := range p.users {
		look(&u.note)
	}
	for _, r := range p.roles {
		look(&r.note)
	}
	for _, is := range p.issuers {
		look(&is.note)
	}
	for _, l := range p.listeners {
		for i := range l.entries {
			look(&l.entries[i].note)
		}
	}
	for i := range p.expiry {
		look(&p.expiry[i].note)
	}
	return first
}

// warnWithoutEffect reports rules of policy.yaml that were written in vain:
// later ones, or broader ones, leave them nothing to say. The aclfile is left
// alone, since a server wrote it that way.
func (c *compiler) warnWithoutEffect(p *Policy) {
	for _, name := range p.roleNames {
		c.warnShadowed(p, "roles."+name+".rules", p.roles[name].selector)
	}
	for _, u := range sortedUsers(p.users) {
		if u.kind == inPolicy {
			for _, s := range u.selectors[:len(u.selectors)-len(u.roles)] {
				c.warnShadowed(p, "users."+u.name+".rules", s)
			}
		}
	}
}

func (c *compiler) warnShadowed(p *Policy, field string, s *selector) {
	vain := func(at Origin, rule string) {
		c.report(Problem{At: at, What: field + ": " + quoted("rule", rule) + " has no effect, other rules decide all it speaks of", Warning: true, Hint: "drop it, or move it behind them"})
	}
	decides := make([]bool, len(s.rules)+1)
	for _, i := range s.touched {
		decides[i] = true
	}
	for i, r := range s.rules {
		text := lowerASCII(r.Text)
		if !decides[i+1] && text != "-@all" && text != "nocommands" && !s.lifts(p, text) {
			vain(r.At, r.Text)
		}
	}
	for i := range s.firstArgs {
		if f := &s.firstArgs[i]; s.allowed.has(f.id) && p.attrs[f.id]&attrGuarded == 0 {
			vain(f.rule.At, f.rule.Text)
		}
	}
	for i := range s.keys {
		if s.keyShadowed(i) {
			vain(s.at, accessPrefix(s.keys[i])+s.keys[i].text)
		}
	}
}

// lifts says whether a rule that switches nothing any more still names a
// guarded command.
func (s *selector) lifts(p *Policy, rule string) bool {
	spec := p.lang.command(rule[1:])
	return rule[0] == '+' && spec != nil && s.named.has(spec.ID) && p.attrs[spec.ID]&attrGuarded != 0
}

// keyShadowed says whether another key pattern grants all that this one does.
func (s *selector) keyShadowed(i int) bool {
	for j := range s.keys {
		if j != i && s.keys[j].access&s.keys[i].access == s.keys[i].access && s.keys[j].coversGlob([]byte(s.keys[i].text)) {
			return true
		}
	}
	return false
}
