package token

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl"
)

// Options are a Verifier's choices beside its issuers.
type Options struct {
	// Report hears of changed keys and of failures to read them; nil means
	// nobody does. It is called from the goroutines of Load and Run, one call
	// at a time for an issuer, and must not block.
	Report func(Report)
}

// Verifier checks tokens of some issuers. Its configuration never changes; the
// key sets are swapped by Load and Run. Safe for concurrent use.
type Verifier struct {
	issuers map[string]*issuer // by the claim iss
	names   map[string]*issuer
	order   []*issuer
}

// issuer is an Issuer ready for use.
type issuer struct {
	Issuer
	user, roles []string // paths
	demands     [sha256.Size]byte
	*source
}

// New makes a Verifier without keys: until Load or Run has read them, every
// token is refused. Issuers must be valid and different in name and iss.
func New(issuers []Issuer, opts Options) (*Verifier, error) {
	v := &Verifier{issuers: make(map[string]*issuer), names: make(map[string]*issuer)}
	var errs []error
	for _, i := range issuers {
		if err := i.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("tokens %q: %w", i.Name, err))
			continue
		}
		i = i.withDefaults()
		if v.names[i.Name] != nil {
			errs = append(errs, fmt.Errorf("tokens %q: there are two of this name", i.Name))
		}
		if v.issuers[i.Issuer] != nil {
			errs = append(errs, fmt.Errorf("tokens %q: %q has the same issuer", i.Name, v.issuers[i.Issuer].Name))
		}
		one := &issuer{Issuer: i, source: newSource(i.Name, i.Keys, opts.Report)}
		one.demands = demanded(i)
		one.user, _ = claimPath(i.UserClaim)
		one.roles, _ = claimPath(i.Roles.Claim)
		v.issuers[i.Issuer], v.names[i.Name] = one, one
		v.order = append(v.order, one)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return v, nil
}

// Verify proves a token at the given time. On success the claims are the
// caller's own; on failure the error is an *Error. It does no input or output,
// keeps of raw what Again needs, which is no token any more, and costs one signature check, at most four where keys
// have no ids.
//
// Nothing of the claims but iss is looked at before the signature is proved.
func (v *Verifier) Verify(raw []byte, now time.Time) (*acl.TokenClaims, error) {
	p, err := parse(raw)
	if err != nil {
		return nil, err
	}
	i := v.issuers[p.issuer]
	if i == nil {
		return nil, &Error{Err: ErrIssuer, TokenID: p.id}
	}
	key, err := i.prove(p, now)
	if err != nil {
		err.Issuer, err.TokenID = i.Name, p.id
		return nil, err
	}
	claims, err := i.judge(p, now)
	if err != nil {
		err.Issuer, err.TokenID = i.Name, p.id
		return nil, err
	}
	claims.Proof = i.keep(p, key)
	return claims, nil
}

// prove checks the signature and gives the print of the key that fits.
func (i *issuer) prove(p *parsed, now time.Time) (print [sha256.Size]byte, _ *Error) {
	if !slices.Contains(i.Algorithms, p.algorithm) {
		return print, refuse(ErrAlgorithm, "")
	}
	set := i.keys.Load()
	if set == nil {
		return print, refuse(ErrKeysUnavailable, "they could not be read yet")
	}
	if now.Sub(set.loaded) > i.Keys.MaxAge {
		return print, refuse(ErrKeysUnavailable, "they could not be read for "+i.Keys.MaxAge.String())
	}
	keys, found := set.candidates(p.keyID, p.algorithm)
	switch {
	case !found:
		return print, refuse(ErrUnknownKey, "")
	case len(keys) == 0:
		return print, refuse(ErrAlgorithm, "no key of this id is for it")
	case len(keys) > maxTried:
		return print, refuse(ErrHeader, "kid is missing, and too many keys could be meant")
	}
	method, signed := methods[p.algorithm], string(p.signed)
	for _, k := range keys {
		if method.Verify(signed, p.signature, k.key) == nil {
			return k.print, nil
		}
	}
	return print, refuse(ErrSignature, "")
}

// judge reads the claims of an authentic token.
func (i *issuer) judge(p *parsed, now time.Time) (*acl.TokenClaims, *Error) {
	claims, err := decode(p.payload)
	if err != nil {
		return nil, refuse(ErrMalformed, "")
	}
	expires, fault := i.times(claims, now)
	if fault != nil {
		return nil, fault
	}
	if fault := i.audience(claims); fault != nil {
		return nil, fault
	}
	user, ok := name(claims, i.user, false)
	if !ok {
		return nil, refuse(ErrClaims, i.UserClaim+" is not one plain name")
	}
	subject, ok := name(claims, []string{"sub"}, true)
	if !ok {
		subject = "" // it is for the record only
	}
	roles, fault := i.mapped(claims)
	if fault != nil {
		return nil, fault
	}
	id, ok := claims["jti"].(string)
	if !ok || len(id) > maxID || !plain(id, false) {
		id = p.id
	}
	return &acl.TokenClaims{Issuer: i.Name, Subject: subject, User: user, Roles: roles, ID: id, Expires: expires}, nil
}

const (
	maxName  = 256
	maxID    = 128
	maxRoles = 64
)

// times checks exp, nbf and iat.
func (i *issuer) times(claims map[string]any, now time.Time) (expires time.Time, _ *Error) {
	expires, there, ok := moment(claims["exp"])
	switch {
	case !there:
		return expires, refuse(ErrClaims, "exp is missing")
	case !ok:
		return expires, refuse(ErrClaims, "exp is no time")
	case !now.Before(expires):
		return expires, refuse(ErrExpired, "")
	}
	for _, claim := range []string{"nbf", "iat"} {
		at, there, ok := moment(claims[claim])
		switch {
		case there && !ok:
			return expires, refuse(ErrClaims, claim+" is no time")
		case there && at.After(now.Add(i.Leeway)):
			return expires, refuse(ErrNotYet, claim)
		}
	}
	return expires, nil
}

// moment reads a NumericDate of RFC 7519, whole seconds of it. Times beyond
// the year 9999 are refused: they overflow in one place or another.
func moment(claim any) (at time.Time, there, ok bool) {
	if claim == nil {
		return at, false, false
	}
	n, isNumber := claim.(json.Number)
	if !isNumber {
		return at, true, false
	}
	seconds, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || seconds < 0 || seconds > 253402300799 {
		return at, true, false
	}
	return time.Unix(int64(math.Floor(seconds)), 0).UTC(), true, true
}

func (i *issuer) audience(claims map[string]any) *Error {
	all, ok := words(claims["aud"])
	if !ok {
		return refuse(ErrClaims, "aud is missing or not of strings")
	}
	ours := false
	for _, a := range all {
		switch {
		case slices.Contains(i.Audience, a):
			ours = true
		case !slices.Contains(i.Others, a):
			return refuse(ErrAudience, "")
		}
	}
	if !ours {
		return refuse(ErrAudience, "")
	}
	return nil
}

// words reads a string or an array of strings.
func words(claim any) (list []string, ok bool) {
	switch c := claim.(type) {
	case string:
		return []string{c}, true
	case []any:
		for _, item := range c {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			list = append(list, s)
		}
		return list, true
	}
	return nil, false
}

// name reads a claim that names somebody.
func name(claims map[string]any, path []string, spaces bool) (string, bool) {
	value, _ := lookup(claims, path)
	s, ok := value.(string)
	return s, ok && len(s) <= maxName && plain(s, spaces)
}

// mapped gives the policy's roles for the values of the roles claim, each once,
// in the claim's order. A token without the claim has none.
func (i *issuer) mapped(claims map[string]any) ([]string, *Error) {
	if i.Roles.Claim == "" {
		return nil, nil
	}
	claim, there := lookup(claims, i.roles)
	if !there || claim == nil {
		return nil, nil
	}
	values, ok := words(claim)
	if !ok {
		return nil, refuse(ErrClaims, i.Roles.Claim+" is neither a string nor an array of strings")
	}
	if text, single := claim.(string); single && (i.Roles.Claim == "scope" || i.Roles.Claim == "scp") {
		values = strings.Fields(text)
	}
	var roles []string
	for _, value := range values {
		for _, role := range i.Roles.Map[value] {
			if !slices.Contains(roles, role) {
				roles = append(roles, role)
			}
		}
		if len(roles) > maxRoles {
			return nil, refuse(ErrClaims, i.Roles.Claim+" gives more than 64 roles")
		}
	}
	return roles, nil
}
