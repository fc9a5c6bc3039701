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

// introduceAs has later calls go over connections of another login: by the same
// door as after a connection that takes no more calls, behind which a session
// waits until every reply that it is owed has arrived. What binds it to a connection
// can't follow: it ends.
func (s *session) introduceAs(id backend.Identity) {
	if s.as == id {
		return
	}
	if s.apart != nil && s.apart.why != 0 && (s.routes == nil || s.routes.own == s.routes.now) {
		s.expire(audit.ClosePolicyChanged)
		return
	}
	s.as, s.generation = id, ^uint64(0)
	if s.pipe = nil; s.router == nil { // else the generation says that it has to wait
		s.pipe = backend.Departed()
	}
}

// fixed reports a session that can't speak for a principal with another login
// now: it is bound to a connection which has the one that it has.
func (s *session) fixed(pr *acl.Principal) bool {
	if s.apart == nil || s.apart.why == 0 {
		return false
	}
	name, as := s.facts.backend, s.as
	if x := s.routes; x != nil {
		name, as = x.sides[x.own].name, s.asAt(x.own)
	}
	return s.w.identityOf(name, pr.User) != as
}

// reintroduce looks once more who has a login of its own, after that was changed.
func (w *worker) reintroduce() {
	for s := w.sessions; s != nil; {
		next := s.next
		s.introduce(s.user)
		s = next
	}
}
