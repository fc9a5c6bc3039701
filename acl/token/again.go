package token

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"slices"
	"time"

	"github.com/sallyport/sallyport/acl"
)

// maxKept bounds the claims that are kept of a token for another judgement. A
// session of a longer one ends when what its issuer's tokens are judged by changes.
const maxKept = 8 << 10

// proof is what is left of a token that was taken: enough to hold it against
// another configuration, too little to log in with. Immutable.
type proof struct {
	issuer    string            // the claim iss
	demands   [sha256.Size]byte // what was asked of it
	algorithm string
	keyID     string
	key       [sha256.Size]byte // the print of the key that proved it
	id        string            // of the token, for the record
	claims    []byte            // nil: longer than maxKept
}

// String keeps claims out of whatever prints a proof.
func (*proof) String() string { return "proof of a token" }

// GoString does so for %#v.
func (p *proof) GoString() string { return p.String() }

// Again judges a token that was taken before, by the claims that Verify gave for
// it, as Verify would judge it now: its issuer, algorithm, audience, the claims
// that name user and roles, and whether the key that proved it is still among
// the issuer's. Keys that can't be read just now take no key away. It gives the
// same claims where nothing has changed, new ones where they mean something
// else now, and an *Error where the token would not be taken any more. It costs
// no signature check; where nothing has changed it looks at no claim.
func (v *Verifier) Again(taken *acl.TokenClaims, now time.Time) (*acl.TokenClaims, error) {
	p, ok := taken.Proof.(*proof)
	if !ok {
		return nil, &Error{Err: ErrClaims, Detail: "nothing of them is kept", Issuer: taken.Issuer}
	}
	i := v.names[taken.Issuer]
	if i == nil || i.Issuer.Issuer != p.issuer {
		return nil, &Error{Err: ErrIssuer, TokenID: p.id}
	}
	claims, fault := i.again(taken, p, now)
	if fault != nil {
		fault.Issuer, fault.TokenID = i.Name, p.id
		return nil, fault
	}
	return claims, nil
}

func (i *issuer) again(taken *acl.TokenClaims, p *proof, now time.Time) (*acl.TokenClaims, *Error) {
	if !slices.Contains(i.Algorithms, p.algorithm) {
		return nil, refuse(ErrAlgorithm, "")
	}
	if set := i.keys.Load(); set != nil && now.Sub(set.loaded) <= i.Keys.MaxAge {
		keys, _ := set.candidates(p.keyID, p.algorithm)
		if !slices.ContainsFunc(keys, func(k publicKey) bool { return k.print == p.key }) {
			return nil, refuse(ErrUnknownKey, "")
		}
	}
	if i.demands == p.demands {
		return taken, nil
	}
	if p.claims == nil {
		return nil, refuse(ErrClaims, "they are too long to be kept for another judgement")
	}
	claims, fault := i.judge(&parsed{payload: p.claims, id: p.id}, now)
	if fault != nil {
		return nil, fault
	}
	next := *p
	next.demands = i.demands
	claims.Proof = &next
	return claims, nil
}

// keep gives the proof of a token that this issuer's key has proved.
func (i *issuer) keep(p *parsed, key [sha256.Size]byte) *proof {
	kept := &proof{issuer: p.issuer, demands: i.demands, algorithm: p.algorithm, keyID: p.keyID, key: key, id: p.id}
	if len(p.payload) <= maxKept {
		kept.claims = bytes.Clone(p.payload)
	}
	return kept
}

// demanded is a digest of what an issuer's tokens are judged by beside keys,
// algorithms and the time.
func demanded(i Issuer) [sha256.Size]byte {
	text, err := json.Marshal([]any{i.Issuer, i.Audience, i.Others, i.UserClaim, i.Roles.Claim, i.Roles.Map})
	if err != nil {
		return [sha256.Size]byte{} // strings, lists and maps of them can be written
	}
	return sha256.Sum256(text)
}

// printOf tells keys apart: the SHA-256 of their PKIX form.
func printOf(key crypto.PublicKey) [sha256.Size]byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [sha256.Size]byte{} // of no kind that sound lets pass
	}
	return sha256.Sum256(der)
}
