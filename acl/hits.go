package acl

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Hits owns the counters of written rules. A policy is immutable and its rules
// only point here, so that what was counted outlives a reload. A rule is known
// by whom it belongs to and its text, not by its line: editing elsewhere in the
// file keeps its count, and two equal rules of one owner share one. Safe for
// concurrent use.
type Hits struct {
	mu       sync.Mutex
	counters map[hitKey]*atomic.Uint64
}

type hitKey struct{ owner, text string }

// NewHits gives an owner of counters without any.
func NewHits() *Hits { return &Hits{counters: make(map[hitKey]*atomic.Uint64)} }

// Hit counts a decision that rests on the rule. It does nothing on a nil rule,
// or one whose policy was compiled without counters.
func (r *Rule) Hit() {
	if r != nil && r.hits != nil {
		r.hits.Add(1)
	}
}

// HitN counts n decisions that rest on the rule, as Hit does one.
func (r *Rule) HitN(n uint64) {
	if r != nil && r.hits != nil {
		r.hits.Add(n)
	}
}

// Hits gives how many decisions were counted on the rule.
func (r *Rule) Hits() uint64 {
	if r == nil || r.hits == nil {
		return 0
	}
	return r.hits.Load()
}

// OwnedRule is a written rule and whose it is: user app, role reader, listener
// gateway, guard, expiry.
type OwnedRule struct {
	Owner string
	*Rule
}

// Rules lists what was written and still decides something: the rules of users
// and roles that switch commands, the allow lists, guard and expiry. A role's
// stand there once, under the role. The caller owns the slice.
func (p *Policy) Rules() []OwnedRule {
	var all []OwnedRule
	seen := make(map[*Rule]bool)
	p.eachRule(func(owner string, r *Rule) {
		if !seen[r] {
			seen[r] = true
			all = append(all, OwnedRule{owner, r})
		}
	})
	return all
}

// eachRule yields every rule and whose it is: those of a role under the role alone,
// though its users share them. One may come twice.
func (p *Policy) eachRule(yield func(owner string, r *Rule)) {
	ofRole := make(map[*selector]bool, len(p.roles))
	for _, name := range p.roleNames {
		owner := "role " + name
		ofRole[p.roles[name].selector] = true
		p.roles[name].selector.eachRule(func(r *Rule) { yield(owner, r) })
	}
	for _, name := range p.names {
		owner := "user " + name
		for _, s := range p.users[name].selectors {
			if !ofRole[s] {
				s.eachRule(func(r *Rule) { yield(owner, r) })
			}
		}
	}
	for _, l := range p.listenerNames {
		owner := "listener " + l
		for i := range p.listeners[l].entries {
			if r := p.listeners[l].entries[i].rule; r != nil {
				yield(owner, r)
			}
		}
	}
	for i := range p.guard.categories {
		if r := p.guard.categories[i].rule; r != nil {
			yield("guard", r)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.guard.never)) {
		if r := p.guard.never[id]; r != nil {
			yield("guard", r)
		}
	}
	for i := range p.expiry {
		if r := p.expiry[i].rule; r != nil {
			yield("expiry", r)
		}
	}
}

func (s *selector) eachRule(yield func(*Rule)) {
	for _, r := range s.rules {
		yield(r)
	}
	for i := range s.firstArgs {
		yield(s.firstArgs[i].rule)
	}
}

// lend gives every rule of a policy that may come into force its counter, and
// changes nothing for the one that is.
func (h *Hits) lend(p *Policy) { h.counted(p) }

// InForce says that the policy is in force from now on: counters of rules that
// it does not have are forgotten. A policy that never gets there, such as that of
// a reload that fails, costs no counter.
func (p *Policy) InForce() {
	if h := p.counters; h != nil {
		kept := h.counted(p)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.counters = kept
	}
}

// counted sees to it that every rule of the policy has its counter, and gives them all.
func (h *Hits) counted(p *Policy) map[hitKey]*atomic.Uint64 {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := make(map[hitKey]*atomic.Uint64, len(h.counters))
	p.eachRule(func(owner string, r *Rule) {
		key := hitKey{owner, r.Text}
		counter := kept[key]
		if counter == nil {
			if counter = r.hits; counter == nil {
				counter = h.counters[key]
			}
			if counter == nil {
				counter = new(atomic.Uint64)
			}
			kept[key] = counter
		}
		if r.hits == nil { // else it is in use already, by a policy this one came of
			r.hits = counter
		}
	})
	return kept
}
