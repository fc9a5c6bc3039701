package tlsutil

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"
)

// CRLMissing says what becomes of a certificate that no revocation list in
// force speaks about: there is none of its issuer, or it is stale. The zero
// value is the strict one.
type CRLMissing uint8

// A certificate that a list names is refused in both cases.
const (
	RefuseMissing CRLMissing = iota // not knowing is refused
	AllowMissing                    // not knowing is let in
)

// String gives the word used in the configuration.
func (m CRLMissing) String() string {
	switch m {
	case RefuseMissing:
		return "refuse"
	case AllowMissing:
		return "allow"
	}
	return fmt.Sprintf("CRLMissing(%d)", uint8(m))
}

// CRL tells of one revocation list in use.
type CRL struct {
	File       string
	Issuer     string    // RFC 2253
	Number     string    // decimal, or empty where the list has none
	ThisUpdate time.Time // its age begins here
	NextUpdate time.Time // stale from here on
	Revoked    int       // how many certificates it names
}

// maxKnownIssuers bounds how many issuers a list remembers its signature for.
// Issuers come from verified chains, so their number is the PKI's.
const maxKnownIssuers = 256

// crl is one parsed revocation list. Immutable but for what it remembers of
// checked signatures.
type crl struct {
	file    string
	list    *x509.RevocationList // without its entries and extensions
	scope   scope
	revoked map[string]struct{} // by serialKey

	mu      sync.Mutex
	signers map[[sha256.Size]byte]bool // whether the issuer's certificate, by its hash, fits the signature
}

// crlSet are all lists of one generation by their issuer's name. A nil set
// means that revocation is not checked.
type crlSet struct {
	byIssuer map[string][]*crl // by RawIssuer
	missing  CRLMissing
}

// Errors of a check. They name no certificate: what is logged with them does.
var (
	errRevoked           = errors.New("tlsutil: the certificate is revoked")
	errRevocationUnknown = errors.New("tlsutil: no revocation list in force speaks about the certificate")
)

// serialKey is equal for equal numbers. Serials are compared as numbers, since
// DER leaves no choice and others do the same.
func serialKey(n *big.Int) string {
	if n.Sign() < 0 {
		return "-" + string(n.Bytes())
	}
	return string(n.Bytes())
}

// signedBy reports whether the list was signed by this very issuer: two CAs of
// one name may be trusted, as when a CA got a new key.
func (c *crl) signedBy(issuer *x509.Certificate) bool {
	if len(c.list.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(c.list.AuthorityKeyId, issuer.SubjectKeyId) {
		return false
	}
	id := sha256.Sum256(issuer.Raw)
	c.mu.Lock()
	fits, known := c.signers[id]
	c.mu.Unlock()
	if known {
		return fits
	}
	fits = c.list.CheckSignatureFrom(issuer) == nil
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.signers) < maxKnownIssuers {
		c.signers[id] = fits
	}
	return fits
}

func (c *crl) inForce(now time.Time) bool {
	return !now.Before(c.list.ThisUpdate) && now.Before(c.list.NextUpdate)
}

// check judges one certificate by the lists of its issuer. A list that is stale
// still revokes, but no longer vouches for what it doesn't name.
func (s *crlSet) check(c, issuer *x509.Certificate, now time.Time) error {
	vouched := false
	serial := serialKey(c.SerialNumber)
	for _, l := range s.byIssuer[string(c.RawIssuer)] {
		if !l.scope.covers(c) || !l.signedBy(issuer) {
			continue
		}
		if _, is := l.revoked[serial]; is {
			return errRevoked
		}
		vouched = vouched || l.inForce(now)
	}
	if !vouched && s.missing == RefuseMissing {
		return errRevocationUnknown
	}
	return nil
}

// checkChains wants one chain of which nothing is revoked, from the leaf to
// what the trusted certificate at its end issued. A leaf that is revoked
// in one chain is revoked, whatever the others say.
func (s *crlSet) checkChains(chains [][]*x509.Certificate, now time.Time) error {
	if s == nil {
		return nil
	}
	good := false
	worst := errRevocationUnknown
	for _, chain := range chains {
		var found error
		for i := 0; i+1 < len(chain); i++ {
			err := s.check(chain[i], chain[i+1], now)
			if err == errRevoked && i == 0 {
				return err
			}
			if err != nil && found != errRevoked {
				found = err
			}
		}
		if found == nil {
			good = true
		} else if found == errRevoked {
			worst = errRevoked
		}
	}
	if good {
		return nil
	}
	return worst
}

// describe lists what is in use, ordered by file. The caller owns the slice.
func (s *crlSet) describe() []CRL {
	if s == nil {
		return nil
	}
	var out []CRL
	for _, lists := range s.byIssuer {
		for _, l := range lists {
			d := CRL{File: l.file, Issuer: l.list.Issuer.String(), ThisUpdate: l.list.ThisUpdate, NextUpdate: l.list.NextUpdate, Revoked: len(l.revoked)}
			if l.list.Number != nil {
				d.Number = l.list.Number.String()
			}
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b CRL) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Issuer, b.Issuer), a.ThisUpdate.Compare(b.ThisUpdate))
	})
	return out
}

// succeeds refuses a list that is older than the one in use, or stale where
// that is not: somebody who can only replay files would undo a revocation.
func (s *crlSet) succeeds(old *crlSet, now time.Time) error {
	if s == nil || old == nil {
		return nil
	}
	var faults []error
	for issuer, lists := range s.byIssuer {
		for _, was := range old.byIssuer[issuer] {
			next := newest(lists, was)
			if next == nil || newest(old.byIssuer[issuer], was) != was {
				continue
			}
			what := ""
			switch {
			case next.list.ThisUpdate.Before(was.list.ThisUpdate):
				what = "was issued before the list in use: what was revoked since would be let in again"
			case was.inForce(now) && !next.inForce(now):
				what = "is not in force now; the list in use still is"
			default:
				continue
			}
			faults = append(faults, &Fault{Setting: "crl", File: next.file, What: what, Hint: "give the CA's newest list; a restart takes any"})
		}
	}
	return errors.Join(faults...)
}

// newest gives the latest of the lists that speak about the same certificates
// as like does, nil for none.
func newest(lists []*crl, like *crl) *crl {
	var found *crl
	for _, l := range lists {
		if bytes.Equal(l.list.AuthorityKeyId, like.list.AuthorityKeyId) && l.scope.equal(like.scope) &&
			(found == nil || l.list.ThisUpdate.After(found.list.ThisUpdate)) {
			found = l
		}
	}
	return found
}
