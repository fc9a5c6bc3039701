package acl

import (
	"crypto/sha256"
	"crypto/subtle"
	"time"
)

// HolderSource is somebody known by certificate or by opaque token.
type HolderSource struct {
	Name         Text
	Certificates []CertificateSource
	Tokens       []OpaqueTokenSource
}

// Holders knows people by the same rules as users of the policy are known,
// without any of them being one: those who use the admin endpoints. It is
// immutable and safe for concurrent use.
type Holders struct{ people []*User }

// CompileHolders reads who is known; nil if one of the problems is a fault. field
// is where they stand, for the problems.
func CompileHolders(field string, list []HolderSource) (*Holders, []Problem) {
	c := &compiler{}
	h := &Holders{}
	for i := range list {
		src := &list[i]
		u := &User{name: src.Name.Value}
		c.compileCertificates(u, field+"."+u.name, src.Certificates)
		c.compileOpaque(u, field+"."+u.name, src.Tokens)
		for _, t := range u.tokens {
			for _, other := range h.people {
				for _, o := range other.tokens {
					if o.hash == t.hash {
						c.fail(src.Name.At, field+"."+u.name+".tokens: the same token as that of "+other.name, "")
					}
				}
			}
		}
		h.people = append(h.people, u)
	}
	if c.failed {
		return nil, c.problems
	}
	return h, c.problems
}

// ByCertificate names whose a verified certificate is, empty if it is nobody's or
// could be several people's.
func (h *Holders) ByCertificate(cert *Certificate) string {
	found := ""
	for _, u := range h.people {
		if !u.heldBy(cert) {
			continue
		}
		if found != "" {
			return ""
		}
		found = u.name
	}
	return found
}

// ByToken names whose an opaque token is, empty if it is nobody's or has ended.
// Its time tells nothing of the tokens there are.
func (h *Holders) ByToken(token []byte, now time.Time) string {
	given := sha256.Sum256(token)
	found := ""
	for _, u := range h.people {
		for i := range u.tokens {
			t := &u.tokens[i]
			if subtle.ConstantTimeCompare(t.hash[:], given[:]) == 1 && !t.ended(now) {
				found = u.name
			}
		}
	}
	return found
}
