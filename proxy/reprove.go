package proxy

import (
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
)

// RejudgeTokens holds every open session that came by a JSON Web Token against
// the verifier in force and the keys it has now. It is for changes of keys that
// no reload brings; Reload does it by itself. It does not wait.
func (s *Server) RejudgeTokens() { s.each((*worker).reprove) }

// reprove judges the tokens of a loop's sessions once more. Reading claims is no
// work for a loop: a goroutine does it and sends back what has changed.
func (w *worker) reprove() {
	v := w.srv.tokens.Load()
	if v == nil {
		return // no issuer is left, which the policy says, too
	}
	type holder struct {
		session *session
		claims  *acl.TokenClaims
	}
	var holders []holder
	w.walk(func(sn *session) {
		if c := sn.who.TokenClaims(); c != nil && !sn.ended {
			holders = append(holders, holder{sn, c})
		}
	}, func() {
		now := w.now()
		w.besides(len(holders), func(n int) {
			h := &holders[n]
			if claims, err := v.Again(h.claims, now); err != nil || claims != h.claims {
				w.loop.Post(func() { h.session.reproved(h.claims, claims, err) })
			}
		})
	})
}

// besides calls f with 0 to n-1 in a goroutine, until the server closes.
func (w *worker) besides(n int, f func(int)) {
	if n == 0 || w.srv.proofs.ctx.Err() != nil {
		return
	}
	w.srv.proofs.out.Add(1)
	go func() {
		defer w.srv.proofs.out.Done()
		for i := 0; i < n && w.srv.proofs.ctx.Err() == nil; i++ {
			f(i)
		}
	}()
}

// reproved acts on what a session's token means now, unless the session has
// another one by now.
func (s *session) reproved(of, claims *acl.TokenClaims, err error) {
	s.fulfil()
	now := s.who.TokenClaims()
	if s.ended || now == nil || now.Proof != of.Proof {
		return
	}
	if err != nil || !s.claim(claims) {
		s.expire(audit.ClosePolicyChanged)
	}
}

// claim gives the session what its token means now. false: it may not go on.
func (s *session) claim(claims *acl.TokenClaims) bool {
	a := s.attempt()
	a.Token = claims
	pr, reason := s.w.policy.Renew(s.who, &a)
	if reason != acl.None {
		return false
	}
	s.speakFor(pr)
	return s.mayListen()
}

// stillTaken judges a token once more that was proved while the configuration or
// its issuer's keys may have changed.
func (s *Server) stillTaken(pr *acl.Principal, a *acl.Attempt) bool {
	of := pr.TokenClaims()
	if of == nil {
		return true
	}
	v := s.tokens.Load()
	if v == nil {
		return false
	}
	claims, err := v.Again(of, a.Now)
	if err != nil {
		return false
	}
	a.Token = claims
	return true
}
