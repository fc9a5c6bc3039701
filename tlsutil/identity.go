package tlsutil

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Identity is who a client's certificate says it is. Its names are exactly
// those of the certificate: no case is folded, no escape resolved. It must not
// be changed, as it is shared.
type Identity struct {
	Subject     string   // RFC 2253, "CN=app,O=Shop"
	CommonNames []string // every CN of the subject, in its order; empty ones left out
	DNS         []string // subject alternative names by kind
	Email       []string
	URI         []string
	Serial      string // lower-case hex, two digits a byte
	SHA256      string // of the whole certificate, lower-case hex without colons
	NotAfter    time.Time

	// Ambiguous is true for a subject with more than one CN. Programs differ in
	// which of them they mean, so a CN of it should match nobody.
	Ambiguous bool
}

// NameError is returned for a certificate whose names can't be taken at their
// word: a NUL or another character that doesn't print (a name that looks like
// another's in a comparison or a log), or an encoding with no certain meaning.
// It never quotes the name.
type NameError struct {
	Field string // "CN", "subject", "DNS", "email", "URI"
	What  string
}

// Error says which field is bad and how.
func (e *NameError) Error() string { return "client certificate: " + e.Field + " " + e.What }

// IdentityOf reads the identity out of a finished handshake, a resumed one too,
// on the server's side. It is nil, without an error, when the client showed no
// certificate. A certificate that was not verified is an error, as is one with
// bad names (*NameError).
func IdentityOf(cs tls.ConnectionState) (*Identity, error) {
	if len(cs.PeerCertificates) == 0 {
		return nil, nil
	}
	if len(cs.VerifiedChains) == 0 {
		return nil, errors.New("tlsutil: the client certificate was not verified")
	}
	return identityFrom(cs.PeerCertificates[0])
}

// identityFrom trusts that c was verified.
func identityFrom(c *x509.Certificate) (*Identity, error) {
	sum := sha256.Sum256(c.Raw)
	id := &Identity{
		Serial:   fmt.Sprintf("%02x", c.SerialNumber.Bytes()),
		SHA256:   hex.EncodeToString(sum[:]),
		NotAfter: c.NotAfter,
	}
	if id.Serial == "" {
		id.Serial = "00"
	}
	if err := id.readSubject(c.RawSubject); err != nil {
		return nil, err
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			if err := id.readAltNames(e.Value); err != nil {
				return nil, err
			}
		}
	}
	return id, nil
}

// The subject as it is on the wire. pkix.Name keeps only the last of several
// CNs, so it can't be used.
type (
	rawAttribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	rawNameSET []rawAttribute // "SET" in the name tells encoding/asn1 what it is
)

func (id *Identity) readSubject(der []byte) error {
	var raw []rawNameSET
	if rest, err := asn1.Unmarshal(der, &raw); err != nil || len(rest) != 0 {
		return &NameError{"subject", "is damaged"}
	}
	seq := make(pkix.RDNSequence, len(raw))
	names := 0
	for i, set := range raw {
		for _, a := range set {
			isCN := a.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3})
			field := "subject"
			if isCN {
				field = "CN"
				names++
			}
			text, isText, err := directoryString(a.Value)
			switch {
			case err != nil:
				return &NameError{field, err.Error()}
			case !isText && inSubjectAsText(a.Type):
				return &NameError{field, "is not a text"}
			case isCN && text != "":
				id.CommonNames = append(id.CommonNames, text)
			}
			value := any(a.Value)
			if inSubjectAsText(a.Type) {
				value = text
			}
			seq[i] = append(seq[i], pkix.AttributeTypeAndValue{Type: a.Type, Value: value})
		}
	}
	id.Ambiguous = names > 1
	id.Subject = seq.String()
	return nil
}

// inSubjectAsText reports whether pkix writes the value of an attribute as
// text. Of all others it writes the DER, which has to be the original one.
func inSubjectAsText(oid asn1.ObjectIdentifier) bool {
	if len(oid) != 4 || oid[0] != 2 || oid[1] != 5 || oid[2] != 4 {
		return false
	}
	switch oid[3] {
	case 3, 5, 6, 7, 8, 9, 10, 11, 17: // CN SERIALNUMBER C L ST STREET O OU POSTALCODE
		return true
	}
	return false
}

// readAltNames reads the GeneralNames of RFC 5280, section 4.2.1.6, from the
// wire: x509.Certificate has URIs parsed, and writing them again would change
// some of them. Kinds that name nobody here (IP, directory name, other) are
// passed over.
func (id *Identity) readAltNames(der []byte) error {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) != 0 {
		return &NameError{"subjectAltName", "is damaged"}
	}
	for _, n := range names {
		if n.Class != asn1.ClassContextSpecific {
			return &NameError{"subjectAltName", "is damaged"}
		}
		var field string
		var list *[]string
		switch n.Tag {
		case 1:
			field, list = "email", &id.Email
		case 2:
			field, list = "DNS", &id.DNS
		case 6:
			field, list = "URI", &id.URI
		default:
			continue
		}
		text := string(n.Bytes)
		switch {
		case n.IsCompound:
			return &NameError{field, "is damaged"}
		case text == "":
			return &NameError{field, "is empty"}
		}
		for i := range len(text) { // an IA5String, so of ASCII; a space has no place in any of them
			if text[i] <= ' ' || text[i] >= 0x7f {
				return &NameError{field, "holds a character that does not print"}
			}
		}
		*list = append(*list, text)
	}
	return nil
}

// directoryString decodes the string kinds of a subject. isText is false for
// values that are no string at all.
func directoryString(v asn1.RawValue) (text string, isText bool, err error) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false, nil
	}
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString:
		text = string(v.Bytes)
		if v.Tag != asn1.TagUTF8String && !isASCII(v.Bytes) {
			return "", true, errors.New("holds a character its encoding does not have")
		}
	case asn1.TagT61String:
		// Its upper half means one thing by the standard and another in
		// practice (Latin-1): no certain name can be made of it.
		if !isASCII(v.Bytes) {
			return "", true, errors.New("is a T61String outside ASCII")
		}
		text = string(v.Bytes)
	case asn1.TagBMPString:
		if len(v.Bytes)%2 != 0 {
			return "", true, errors.New("is a damaged BMPString")
		}
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = uint16(v.Bytes[2*i])<<8 | uint16(v.Bytes[2*i+1])
		}
		text = string(utf16.Decode(units)) // a lone surrogate becomes U+FFFD, refused below
	case tagUniversalString, tagVisibleString:
		return "", true, errors.New("is of a string kind not in use")
	default:
		return "", false, nil
	}
	if !utf8.ValidString(text) {
		return "", true, errors.New("is not valid UTF-8")
	}
	for _, r := range text {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return "", true, errors.New("holds a character that does not print")
		}
	}
	return text, true, nil
}

const (
	tagVisibleString   = 26
	tagUniversalString = 28
)

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
