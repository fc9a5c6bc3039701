package tlsutil

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxCRLSize bounds one file of revocation lists. The largest lists in public
// use have some 40 MiB.
const maxCRLSize = 64 << 20

// crls loads revocation lists, in PEM (several a file) or in DER, and holds
// each against the CAs that are trusted. It gives nil without files.
func (l *loader) crls(files []string, missing CRLMissing, trusted []*x509.Certificate) *crlSet {
	if len(files) == 0 {
		return nil
	}
	set := &crlSet{byIssuer: make(map[string][]*crl), missing: missing}
	seen := make(map[string]bool)
	for _, file := range files {
		if seen[file] && file != "" {
			l.warn("crl", file, "is named twice", "name it once")
			continue
		}
		seen[file] = true
		data, ok := l.readAtMost("crl", file, false, maxCRLSize)
		if !ok {
			continue
		}
		lists, f := once(l.parsed, "crl "+file, data, func(data []byte) (*crlFile, *Fault) { return parseCRLs(file, data) })
		if f != nil {
			l.fault("crl", file, f.What, f.Hint, f.Err)
			continue
		}
		for i, list := range lists.good {
			f := lists.bad[i]
			if f == nil {
				f = list.fromTrusted(trusted)
			}
			if f != nil {
				what := f.What
				if len(lists.good) > 1 {
					what = fmt.Sprintf("list %d %s", i+1, what)
				}
				l.fault("crl", file, what, f.Hint, f.Err)
				continue
			}
			key := string(list.list.RawIssuer)
			set.byIssuer[key] = append(set.byIssuer[key], list)
			l.judgeCRL(list, missing, trusted)
		}
	}
	for _, ca := range trusted {
		if len(set.byIssuer[string(ca.RawSubject)]) == 0 && ca.IsCA && l.err() == nil {
			what := fmt.Sprintf("there is no list of the CA %q: every client certificate it issued is refused", ca.Subject)
			if missing == AllowMissing {
				what = fmt.Sprintf("there is no list of the CA %q: what it issued is never found revoked", ca.Subject)
			}
			l.warn("crl", files[0], what, "add the list of that CA")
		}
	}
	return set
}

// crlFile is what a file of revocation lists holds: at each index a list, or what
// is wrong with it.
type crlFile struct {
	good []*crl
	bad  []*Fault
}

func parseCRLs(file string, data []byte) (*crlFile, *Fault) {
	blobs, f := crlBlobs(data)
	if f != nil {
		return nil, f
	}
	lists := &crlFile{}
	for _, der := range blobs {
		list, f := parseCRL(der)
		if f == nil {
			list.file = file
		}
		lists.good, lists.bad = append(lists.good, list), append(lists.bad, f)
	}
	return lists, nil
}

// crlBlobs gives the DER of every list in a file.
func crlBlobs(data []byte) ([][]byte, *Fault) {
	// DER of that length begins with a SEQUENCE tag and a length of the long
	// form, which no text does.
	if len(data) > 1 && data[0] == 0x30 && data[1] >= 0x80 {
		return [][]byte{data}, nil
	}
	blocks, f := pemBlocks(data)
	if f != nil {
		if f.What != halfWritten {
			f.What, f.Hint = "holds no revocation list, neither in PEM nor in DER", `make one: openssl ca -gencrl -out FILE`
		}
		return nil, f
	}
	var blobs [][]byte
	for _, b := range blocks {
		if b.Type != "X509 CRL" {
			return nil, &Fault{What: fmt.Sprintf("holds a %q block", b.Type), Hint: `a file of revocation lists holds "X509 CRL" blocks only`}
		}
		blobs = append(blobs, b.Bytes)
	}
	return blobs, nil
}

// Object identifiers of RFC 5280, section 5.
var (
	oidAuthorityKey      = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCRLNumber         = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDeltaCRL          = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingPoint      = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidReasonCode        = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidityDate    = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidCertificateIssuer = asn1.ObjectIdentifier{2, 5, 29, 29}
)

const indirectHint = "give the list that the CA itself issues for its own certificates"

// parseCRL reads one list. What it can't fully understand is a fault: a list
// that is only half understood would let revoked certificates in.
func parseCRL(der []byte) (*crl, *Fault) {
	var whole asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &whole); err != nil || len(rest) > 0 {
		return nil, &Fault{What: "is half-written or damaged", Hint: halfWrittenHint, Err: err}
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, &Fault{What: fmt.Sprintf("is damaged, or no revocation list: %v", err), Hint: "is this the right file?", Err: err}
	}
	c := &crl{list: list, revoked: make(map[string]struct{}, len(list.RevokedCertificateEntries)), signers: make(map[[sha256.Size]byte]bool)}
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(oidDeltaCRL):
			return nil, &Fault{What: "is a delta list: it names only what changed since another list", Hint: "give the CA's full list instead"}
		case e.Id.Equal(oidIssuingPoint):
			if f := c.scope.read(e.Value); f != nil {
				return nil, f
			}
		case e.Critical && !e.Id.Equal(oidAuthorityKey) && !e.Id.Equal(oidCRLNumber):
			return nil, &Fault{What: "has a critical extension of an unknown kind, " + e.Id.String(), Hint: indirectHint}
		}
	}
	if list.NextUpdate.IsZero() {
		return nil, &Fault{What: "has no nextUpdate, so nobody can tell when it is stale", Hint: "issue it with one, as RFC 5280 demands"}
	}
	if !list.NextUpdate.After(list.ThisUpdate) {
		return nil, &Fault{What: "ends before it begins", Hint: "issue it with a nextUpdate that is after its thisUpdate"}
	}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical && !x.Id.Equal(oidReasonCode) && !x.Id.Equal(oidInvalidityDate) {
				what := "has an entry with a critical extension of an unknown kind, " + x.Id.String()
				if x.Id.Equal(oidCertificateIssuer) {
					what = "is an indirect list: it names certificates of other CAs"
				}
				return nil, &Fault{What: what, Hint: indirectHint}
			}
		}
		c.revoked[serialKey(e.SerialNumber)] = struct{}{}
	}
	// The index has all that is asked for; of a large list the rest is most.
	c.list = &x509.RevocationList{
		RawTBSRevocationList: list.RawTBSRevocationList, SignatureAlgorithm: list.SignatureAlgorithm, Signature: list.Signature,
		RawIssuer: list.RawIssuer, Issuer: list.Issuer, AuthorityKeyId: list.AuthorityKeyId,
		Number: list.Number, ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
	}
	return c, nil
}

// fromTrusted refuses a list that claims to be of a trusted CA and is not
// signed by it. The issuer of a list may be an intermediate CA, whose
// certificate clients send along: then the signature is checked there.
func (c *crl) fromTrusted(trusted []*x509.Certificate) *Fault {
	var named []*x509.Certificate
	for _, ca := range trusted {
		if bytes.Equal(ca.RawSubject, c.list.RawIssuer) {
			named = append(named, ca)
		}
	}
	if len(named) == 0 || slices.ContainsFunc(named, c.signedBy) {
		return nil
	}
	err := c.list.CheckSignatureFrom(named[0])
	if _, is := errors.AsType[x509.ConstraintViolationError](err); is {
		return &Fault{What: fmt.Sprintf("is of the CA %q, whose certificate in client_ca does not let it sign lists", c.list.Issuer), Hint: "issue the CA's certificate with keyUsage = cRLSign", Err: err}
	}
	return &Fault{What: fmt.Sprintf("is not signed by the CA %q of client_ca, though it has that issuer's name", c.list.Issuer), Hint: "is it of an older key of that CA?", Err: err}
}

// judgeCRL warns of a list that is stale, soon will be, or counts for nobody.
func (l *loader) judgeCRL(c *crl, missing CRLMissing, trusted []*x509.Certificate) {
	known := slices.ContainsFunc(trusted, func(ca *x509.Certificate) bool { return bytes.Equal(ca.RawSubject, c.list.RawIssuer) })
	if !known {
		l.warn("crl", c.file, fmt.Sprintf("is of %q, which is not in client_ca: it counts only for clients that send that CA's certificate along", c.list.Issuer),
			"is it the right list?")
	}
	consequence := "certificates it should speak about are refused"
	if missing == AllowMissing {
		consequence = "certificates revoked since are let in"
	}
	this, next := c.list.ThisUpdate, c.list.NextUpdate
	left := next.Sub(l.now)
	switch {
	case l.now.Before(this):
		l.warn("crl", c.file, "is not valid before "+this.UTC().Format(time.RFC3339)+": "+consequence, "is this machine's clock right?")
	case left <= 0:
		l.warn("crl", c.file, "is stale since "+next.UTC().Format(time.RFC3339)+": "+consequence, "fetch the CA's new list")
	case left < min(next.Sub(this)/4, 7*24*time.Hour):
		l.warn("crl", c.file, "goes stale at "+next.UTC().Format(time.RFC3339)+": then "+consequence, "fetch the CA's new list before")
	}
}

// scope is which certificates of its issuer a list speaks about. The zero
// value is all of them.
type scope struct {
	usersOnly, authoritiesOnly bool
	points                     []string // URIs; nil: not limited to a distribution point
}

// covers reports whether the list speaks about the certificate. A list of a
// distribution point holds the certificates that name that point.
func (s *scope) covers(c *x509.Certificate) bool {
	if s.usersOnly && c.IsCA || s.authoritiesOnly && !c.IsCA {
		return false
	}
	return s.points == nil || slices.ContainsFunc(s.points, func(p string) bool { return slices.Contains(c.CRLDistributionPoints, p) })
}

func (s scope) equal(o scope) bool {
	return s.usersOnly == o.usersOnly && s.authoritiesOnly == o.authoritiesOnly && slices.Equal(s.points, o.points)
}

// issuingPoint is the extension of RFC 5280, section 5.2.5.
type issuingPoint struct {
	Point          asn1.RawValue  `asn1:"optional,tag:0"`
	OnlyUsers      bool           `asn1:"optional,tag:1"`
	OnlyCAs        bool           `asn1:"optional,tag:2"`
	OnlyReasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect       bool           `asn1:"optional,tag:4"`
	OnlyAttributes bool           `asn1:"optional,tag:5"`
}

func (s *scope) read(der []byte) *Fault {
	var p issuingPoint
	if rest, err := asn1.Unmarshal(der, &p); err != nil || len(rest) > 0 {
		return &Fault{What: "has a damaged issuingDistributionPoint", Hint: indirectHint, Err: err}
	}
	switch {
	case p.Indirect:
		return &Fault{What: "is an indirect list: it names certificates of other CAs", Hint: indirectHint}
	case p.OnlyReasons.BitLength > 0:
		return &Fault{What: "names only certificates revoked for some reasons", Hint: indirectHint}
	case p.OnlyAttributes:
		return &Fault{What: "speaks about attribute certificates only", Hint: indirectHint}
	}
	s.usersOnly, s.authoritiesOnly = p.OnlyUsers, p.OnlyCAs
	if len(p.Point.FullBytes) == 0 {
		return nil
	}
	// DistributionPointName is a CHOICE: [0] fullName, GeneralNames.
	var names asn1.RawValue
	if _, err := asn1.Unmarshal(p.Point.Bytes, &names); err != nil || names.Tag != 0 || names.Class != asn1.ClassContextSpecific {
		return &Fault{What: "is of a distribution point without a full name", Hint: indirectHint, Err: err}
	}
	s.points = []string{}
	for rest := names.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return &Fault{What: "has a damaged issuingDistributionPoint", Hint: indirectHint, Err: err}
		}
		if name.Class == asn1.ClassContextSpecific && name.Tag == 6 {
			s.points = append(s.points, string(name.Bytes))
		}
	}
	return nil
}
