package acl

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

// Policy is everything that says yes or no. Immutable, safe for concurrent use.
type Policy struct {
	lang      *language
	specs     []*command.Spec // by ID
	attrs     []attr          // by ID: what Decide must know beside the rules
	guard     *guard
	users     map[string]*User
	names     []string // of users, sorted bytewise
	listeners map[string]*listener
	modes     Modes
	now       time.Time // when it came into force

	roles         map[string]*role
	roleNames     []string // sorted
	listenerNames []string // sorted
	issuers       map[string]*issuer
	bound         map[tokenBinding]*User // users whom tokens may enter
	byName        map[nameKey][]*User    // users whom certificates name
	bare          *selector              // the root of a principal who is no user
	expiry        []expiryRule
	passwords     PasswordRules

	counters *Hits  // nil: nothing is counted
	source   Source // for WithTable

	mostHashes int // of any user; every authentication compares as many
	mostTokens int // the same of opaque tokens
}

// Decision is a verdict and its grounds.
type Decision struct {
	Allowed bool
	// Reported is set when the call passes only because a layer is in report
	// mode; Reason, Rule and Arg then say what would have refused it.
	Reported bool
	// Lifted is set when the call is in a guarded category and passes because
	// the user's rules name it (an access event).
	Lifted bool
	Reason Reason
	Rule   *Rule // the deciding rule, nil where no rule decides
	Arg    int   // index into Call.Args of the offending key, channel or option value, 0 otherwise
	// Option is BY or GET when SORT is refused because that option reads keys
	// it does not name; Redis has words of its own for it.
	Option string
}

// Rule is one written rule, kept for explain and the record. It never holds a
// password. Immutable.
type Rule struct {
	Text string // "+@read", "~app:*", "never: shutdown"
	At   Origin

	hits *atomic.Uint64 // of Hits; nil: not counted
}

// User finds a user by name, nil if there is none (used to re-judge live
// sessions after a reload).
func (p *Policy) User(name string) *User { return p.users[name] }

// Users lists the users ordered bytewise by name, as ACL LIST does. The caller
// owns the slice.
func (p *Policy) Users() []*User {
	users := make([]*User, len(p.names))
	for i, name := range p.names {
		users[i] = p.users[name]
	}
	return users
}

// Modes gives the modes the policy was compiled with.
func (p *Policy) Modes() Modes { return p.modes }

// Table gives the command table the policy was compiled against. Calls judged
// by the policy must come from it; a call of another table is refused.
func (p *Policy) Table() *command.Table { return p.lang.table }

// CheckRules reads the arguments of an ACL SETUSER without changing anything.
func (p *Policy) CheckRules(name string, rules []string) error {
	_, err := p.WithUser(name, rules)
	return err
}

// WithUser gives a policy in which the rules have been applied in order to the
// named user, who is created (off, nothing allowed) if there is none: the
// effect of ACL SETUSER. The receiver is unchanged. At the first bad rule
// nothing is applied and the error is a *RuleError in Redis's words. A user of
// policy.yaml is not changed: the error is a *DefinedError.
func (p *Policy) WithUser(name string, rules []string) (*Policy, error) {
	if name == "" || hasSpaceOrNUL(name) {
		return nil, ErrUserName
	}
	if old := p.users[name]; old != nil && old.kind == inPolicy {
		return nil, &DefinedError{name}
	}
	words, f := joinArgs(rules)
	if f != nil {
		return nil, f.redis()
	}
	u := newUser(p.lang, name, Origin{})
	if old := p.users[name]; old != nil {
		u = old.clone()
		u.written = nil
	}
	// At run time every unknown name is an error, whatever a file may get away with.
	lang := *p.lang
	lang.discovery = false
	for _, w := range words {
		if f := u.apply(&lang, w); f != nil {
			return nil, f.redis()
		}
	}
	if u.name == defaultUser && u.enabled && u.nopass && !p.allAnonymous() {
		return nil, ErrOpenDefault
	}
	u.kind = atRunTime
	return p.with(u, name), nil
}

// WithoutUser gives a policy without the named user: the effect of ACL DELUSER.
// The receiver is unchanged; it is returned as it is if there is no such user.
// User default is never deleted (ErrDefaultUser), nor one of policy.yaml
// (*DefinedError).
func (p *Policy) WithoutUser(name string) (*Policy, error) {
	u := p.users[name]
	switch {
	case name == defaultUser:
		return nil, ErrDefaultUser
	case u == nil:
		return p, nil
	case u.kind == inPolicy:
		return nil, &DefinedError{name}
	}
	return p.with(nil, name), nil
}

func (p *Policy) with(u *User, name string) *Policy {
	next := *p
	next.users = maps.Clone(p.users)
	delete(next.users, name)
	if u != nil {
		next.users[name] = u
	}
	next.index()
	next.counters.lend(&next)
	return &next
}

// index fills what is derived from the users.
func (p *Policy) index() {
	p.names, p.mostHashes, p.mostTokens = p.names[:0:0], 1, 0
	for name, u := range p.users {
		p.names = append(p.names, name)
		p.mostHashes = max(p.mostHashes, len(u.hashes))
		p.mostTokens = max(p.mostTokens, len(u.tokens))
	}
	slices.Sort(p.names)
}

func sortedUsers(users map[string]*User) []*User {
	list := slices.Collect(maps.Values(users))
	slices.SortFunc(list, func(a, b *User) int { return strings.Compare(a.name, b.name) })
	return list
}

// eachRole yields the names of the roles.
func (p *Policy) eachRole(yield func(string) bool) {
	for name := range p.roles {
		if !yield(name) {
			return
		}
	}
}

func (p *Policy) allAnonymous() bool {
	for _, l := range p.listeners {
		if !l.anonymous {
			return false
		}
	}
	return true
}
