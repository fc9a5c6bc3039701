package proxy

import (
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

// introduce has later calls go over connections of the login that a user has, at
// each backend there is.
func (s *session) introduce(u *acl.User) {
	s.introduceAs(s.w.identityOf(s.facts.backend, u))
	if s.routes != nil && !s.ended {
		s.introduceElsewhere(u)
	}
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

// introduceAs has later calls go over connections of another login. What binds the
// session to a connection can't follow: it ends.
func (s *session) introduceAs(id backend.Identity) {
	if s.as == id {
		return
	}
	if s.apart != nil && s.apart.why != 0 && (s.routes == nil || s.routes.own == s.routes.now) {
		s.expire(audit.ClosePolicyChanged)
		return
	}
	s.as = id
	s.moveOn()
}

// fixed reports a session that can't speak for a principal with another login
// now: it is bound to a connection which has the one that it has.
func (s *session) fixed(pr *acl.Principal) bool {
	if s.apart == nil || s.apart.why == 0 {
		return false
	}
	as := s.as
	if s.routes != nil {
		as = s.asAt(s.routes.own)
	}
	return s.w.identityOf(s.ownAt(), pr.User) != as
}

// reintroduce looks once more who has a login of its own, after that was changed.
func (w *worker) reintroduce() {
	w.oblige(func(s *session) { s.introduce(s.user) })
}
