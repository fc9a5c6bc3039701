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

// warnWithoutEffect reports what was written in vain.
func (c *compiler) warnWithoutEffect(p *Policy) {}
