package proxy

import (
	"fmt"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
)

// A user of the policy may be somebody of its own at the backend, and not the
// proxy's user. Its calls then travel over connections that were logged in so. A
// session whose user changes goes on over others, once it is owed no reply.

const errLoginBound = "ERR this connection is bound to the backend as another user, by what it watches, tracks or listens to"

// key is where the session's calls go now.
func (s *session) key() backend.Key {
	return backend.Key{DB: s.db, Proto: s.proto, As: s.as}
}

// identityOf gives the login of its own that a principal has at a backend. It is
// for users of the policy: a name that only a token claims is nobody's there.
func (w *worker) identityOf(name string, u *acl.User) backend.Identity {
	if u == nil || w.identity == nil || w.policy.User(u.Name()) == nil {
		return 0
	}
	return w.identity(name, u.Name())
}

// moveOn has later calls go over other connections, and wait until every reply that
// is owed now has arrived: by the doors through which a session leaves a connection
// that takes no more calls, and one whose topology has changed.
func (s *session) moveOn() {
	s.pipe, s.generation = nil, ^uint64(0)
	if s.router == nil {
		s.pipe = backend.Departed()
	}
}

// home gives the backend for a user's calls: its own, or the listener's.
func (s *session) home(u *acl.User) string {
	switch {
	case u != nil && u.Backend() != "":
		return u.Backend()
	case s.facts.in != nil:
		return s.facts.in.opts.Backend
	}
	return s.facts.backend
}

// relocate has later calls go where those of a user go, and over connections of
// its login there. To another backend a session goes only while it is owed no
// reply, and begins there at database 0. What binds it to a connection can't follow:
// it ends.
func (s *session) relocate(u *acl.User) {
	if s.routes != nil {
		s.relocateSides(u)
		return
	}
	name := s.home(u)
	id := s.w.identityOf(name, u)
	moves := name != s.facts.backend
	switch {
	case !moves && id == s.as:
		return
	case s.apart != nil && s.apart.why != 0, moves && s.w.srv.backend(name) == nil:
		s.expire(audit.ClosePolicyChanged)
		return
	}
	if moves {
		s.leaveOwn() // it rests, and is of the backend that was
		pool := s.w.pool(name)
		s.facts.backend, s.router, s.db, s.wrote = name, pool.Router(), 0, 0
		s.seatAt(pool)
	}
	s.as = id
	s.moveOn()
}

// fixed reports a session that can't speak for a principal of another backend or
// login now: it is bound to a connection which has those that it has.
func (s *session) fixed(pr *acl.Principal) bool {
	if s.apart == nil || s.apart.why == 0 {
		return false
	}
	name := s.home(pr.User)
	if x := s.routes; x != nil {
		return name != x.sides[0].name || s.w.identityOf(s.ownAt(), pr.User) != s.asAt(x.own)
	}
	return name != s.facts.backend || s.w.identityOf(name, pr.User) != s.as
}

// reintroduce looks once more who has a login of its own, after that was changed.
func (w *worker) reintroduce() {
	w.oblige(func(s *session) { s.relocate(s.user) })
}

// housed reports a user of a policy whose backend there is not.
func housed(p *acl.Policy, known func(name string) bool) error {
	for _, u := range p.Users() {
		if name := u.Backend(); name != "" && !known(name) {
			return fmt.Errorf("user %s: no backend %q", u.Name(), name)
		}
	}
	return nil
}
