package proxy

import "github.com/sallyport/sallyport/acl"

// Hold keeps every loop from its work until release is called.
func (s *Server) Hold() (release func()) {
	held := make(chan struct{})
	s.each(func(*worker) { <-held })
	return func() { close(held) }
}

// Lingering is how many sockets are open without a session.
func (s *Server) Lingering() int { return s.lingering() }

// SetUser does what ACL SETUSER does, without a session.
func (s *Server) SetUser(name string, rules ...string) error {
	return s.change(func(now *acl.Policy) (*acl.Policy, error) { return now.WithUser(name, rules) })
}

// Learn does what an answer of a backend to COMMAND does.
func (s *Server) Learn(backend string, commands ...string) error { return s.learn(backend, commands) }

// Deleted is how many deleted users are remembered.
func (s *Server) Deleted() int {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	return len(s.changes.deleted)
}

// HoldHashes takes every place in which slow hashes are computed until release is called.
func (s *Server) HoldHashes() (release func()) {
	for range cap(s.proofs.hashes) {
		s.proofs.hashes <- struct{}{}
	}
	return func() {
		for range cap(s.proofs.hashes) {
			<-s.proofs.hashes
		}
	}
}
