package acl

import (
	"slices"
	"strings"
)

// nameKind is what part of a certificate a name stands in.
type nameKind uint8

const (
	nameURI nameKind = iota
	nameDNS
	nameEmail
	nameCN
	nameFingerprint
	nameKinds
)

var nameKindWords = [nameKinds]string{"uri", "dns", "email", "cn", "fingerprint"}

// names gives the names of one kind in a certificate.
func (c *Certificate) names(kind nameKind) []string {
	switch kind {
	case nameURI:
		return c.URI
	case nameDNS:
		return c.DNS
	case nameEmail:
		return c.Email
	case nameCN:
		return c.CommonNames
	}
	return []string{c.SHA256}
}

// clear says whether the certificate names its holder beyond doubt: at most one
// CN, no byte in any name that does not print, and one URI if that is a SPIFFE
// ID, which such a certificate has exactly one of.
func (c *Certificate) clear() bool {
	if c.Ambiguous || len(c.CommonNames) > 1 {
		return false
	}
	for kind := range nameFingerprint {
		if slices.ContainsFunc(c.names(kind), unprintable) {
			return false
		}
	}
	return len(c.URI) < 2 || !slices.ContainsFunc(c.URI, func(uri string) bool {
		const scheme = "spiffe://"
		return len(uri) >= len(scheme) && strings.EqualFold(uri[:len(scheme)], scheme)
	})
}

func unprintable(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

// certificateRule is a compiled CertificateSource.
type certificateRule struct {
	names [nameKinds][]string
	at    Origin
}

// fits says whether of each kind given one name is in the certificate.
func (r *certificateRule) fits(c *Certificate) bool {
	some := false
	for kind := range nameKinds {
		wanted := r.names[kind]
		if len(wanted) == 0 {
			continue
		}
		some = true
		if !slices.ContainsFunc(c.names(kind), func(name string) bool { return name != "" && slices.Contains(wanted, name) }) {
			return false
		}
	}
	return some
}

// heldBy says whether the certificate is one the user names. One that is not
// clear is nobody's.
func (u *User) heldBy(c *Certificate) bool {
	return c != nil && c.clear() && slices.ContainsFunc(u.certificates, func(r certificateRule) bool { return r.fits(c) })
}

// nameKey finds users by a name in a certificate.
type nameKey struct {
	kind nameKind
	name string
}

// holders gives the users that the certificate fits and that are meant for the
// listener, whether they are on or off.
func (p *Policy) holders(c *Certificate, listener string) []*User {
	var found []*User
	for kind := range nameKinds {
		for _, name := range c.names(kind) {
			for _, u := range p.byName[nameKey{kind, name}] {
				if u.scope.holds(listener) && !slices.Contains(found, u) && u.heldBy(c) {
					found = append(found, u)
				}
			}
		}
	}
	return found
}

// isOf says whether the certificate is the user's and nobody else's at the
// listener: one that could be two users' proves neither, beside a password either.
func (p *Policy) isOf(c *Certificate, u *User, listener string) bool {
	if !u.heldBy(c) {
		return false
	}
	holders := p.holders(c, listener)
	return len(holders) == 1 && holders[0].name == u.name
}

// compileCertificates reads users.X.certificate.
func (c *compiler) compileCertificates(u *User, field string, list []CertificateSource) {
	for i := range list {
		src := &list[i]
		r := certificateRule{at: src.At}
		count := 0
		for kind, texts := range [nameKinds][]Text{src.URI, src.DNS, src.Email, src.CN, src.Fingerprint} {
			for _, t := range texts {
				count++
				if name, ok := c.certificateName(field+".certificate."+nameKindWords[kind], nameKind(kind), t); ok {
					r.names[kind] = append(r.names[kind], name)
				}
			}
		}
		if count == 0 {
			c.fail(src.At, field+".certificate: names nothing", "uri, dns, email, cn or fingerprint")
			continue
		}
		u.certificates = append(u.certificates, r)
	}
}

func (c *compiler) certificateName(field string, kind nameKind, t Text) (string, bool) {
	name := t.Value
	if kind == nameFingerprint {
		name = strings.ReplaceAll(lowerASCII(name), ":", "")
		if _, ok := parseHash(name); !ok {
			c.fail(t.At, field+": not the SHA-256 of a certificate", "64 hexadecimal digits, with or without colons")
			return "", false
		}
		return name, true
	}
	switch {
	case name == "":
		c.fail(t.At, field+": empty", "")
	case unprintable(name):
		c.fail(t.At, field+": holds a byte that does not print", "no certificate with such a name is taken")
	case strings.TrimSpace(name) != name:
		c.fail(t.At, field+": begins or ends with a blank", "names are compared byte by byte")
	case strings.ContainsRune(name, '*'):
		c.fail(t.At, field+": "+quoted("no wildcards:", name), "name each certificate, or list them")
	default:
		return name, true
	}
	return "", false
}

// indexCertificates makes users findable by the names of their certificates and
// refuses a name that would stand for two users at one listener.
func (c *compiler) indexCertificates(p *Policy) {
	p.byName = make(map[nameKey][]*User)
	for _, u := range sortedUsers(p.users) {
		for i := range u.certificates {
			r := &u.certificates[i]
			for kind := range nameKinds {
				for _, name := range r.names[kind] {
					key := nameKey{kind, name}
					if !slices.Contains(p.byName[key], u) {
						p.byName[key] = append(p.byName[key], u)
					}
				}
			}
			c.refuseTwins(p, u, r)
		}
	}
}

// refuseTwins finds an earlier user with the very same single name.
func (c *compiler) refuseTwins(p *Policy, u *User, r *certificateRule) {
	kind, ok := r.onlyKind()
	if !ok {
		return
	}
	for _, name := range r.names[kind] {
		for _, other := range p.byName[nameKey{kind, name}] {
			if other == u || !other.scope.overlaps(u.scope) {
				continue
			}
			if slices.ContainsFunc(other.certificates, func(o certificateRule) bool {
				k, ok := o.onlyKind()
				return ok && k == kind && slices.Contains(o.names[kind], name)
			}) {
				c.fail(r.at, "users."+u.name+".certificate: "+quoted(nameKindWords[kind], name)+" stands for user "+other.name+", too",
					"one certificate speaks for one user; separate them by listeners if they must share it")
				return
			}
		}
	}
}

// onlyKind gives the kind of the names, if there is but one.
func (r *certificateRule) onlyKind() (only nameKind, ok bool) {
	for kind := range nameKinds {
		if len(r.names[kind]) > 0 {
			if ok {
				return 0, false
			}
			only, ok = kind, true
		}
	}
	return only, ok
}
