package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// MaxBytes is the longest token that is looked at.
const MaxBytes = 64 << 10

const (
	maxHeader = 8 << 10
	maxKeyID  = 512
)

// parsed is a token of sound shape. Nothing in it is proved.
type parsed struct {
	signed    []byte // what the signature covers, as it came
	signature []byte
	payload   []byte // JSON that scan has taken
	algorithm string
	keyID     string
	issuer    string
	id        string // a prefix of the token's hash
}

// LooksLike tells whether a secret has a token's outer form, so that it is
// worth asking Verify rather than comparing it with passwords.
func LooksLike(raw []byte) bool {
	if len(raw) > MaxBytes || !bytes.HasPrefix(raw, []byte("eyJ")) {
		return false
	}
	dots := bytes.Count(raw, []byte("."))
	return (dots == 2 || dots == 4) && inAlphabet(raw)
}

// inAlphabet tells whether there is nothing but base64url and dots. The
// standard decoder skips line ends, which would give one token many spellings.
func inAlphabet(raw []byte) bool {
	for _, c := range raw {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

var encoding = base64.RawURLEncoding.Strict()

func decodePart(part []byte) ([]byte, bool) {
	out := make([]byte, encoding.DecodedLen(len(part)))
	n, err := encoding.Decode(out, part)
	return out[:n], err == nil
}

// parse takes a token apart. Its cost is bounded by the token's length and the
// scanner's limits, whatever the bytes are.
func parse(raw []byte) (*parsed, *Error) {
	if len(raw) > MaxBytes {
		return nil, refuse(ErrTooLarge, "")
	}
	if !inAlphabet(raw) {
		return nil, refuse(ErrMalformed, "")
	}
	switch bytes.Count(raw, []byte(".")) {
	case 2:
	case 4:
		return nil, refuse(ErrEncrypted, "")
	default:
		return nil, refuse(ErrMalformed, "")
	}
	first, last := bytes.IndexByte(raw, '.'), bytes.LastIndexByte(raw, '.')
	header, ok := decodePart(raw[:first])
	if !ok || len(header) > maxHeader {
		return nil, refuse(ErrMalformed, "the header can't be read")
	}
	p := &parsed{signed: raw[:last]}
	if err := p.readHeader(header); err != nil {
		return nil, err
	}
	// From here it has a token's shape; before, it could be a password, of
	// which not even a hash may be written down.
	sum := sha256.Sum256(raw)
	p.id = "sha256:" + hex.EncodeToString(sum[:8])
	fail := func(err error, detail string) (*parsed, *Error) {
		return nil, &Error{Err: err, Detail: detail, TokenID: p.id}
	}
	if !known(p.algorithm) {
		return fail(ErrAlgorithm, "")
	}
	if p.payload, ok = decodePart(raw[first+1 : last]); !ok {
		return fail(ErrMalformed, "the claims can't be read")
	}
	if p.signature, ok = decodePart(raw[last+1:]); !ok || len(p.signature) == 0 {
		return fail(ErrMalformed, "the signature can't be read")
	}
	err := scan(p.payload, maxTokenValues, func(name, value string) {
		if name == "iss" {
			p.issuer = value
		}
	})
	if err != nil {
		return fail(ErrMalformed, "its claims are "+err.Error())
	}
	return p, nil
}

// readHeader judges the header's parameters. Those that bring or name a key are
// refused rather than ignored: an honest issuer of ours does not send them.
func (p *parsed) readHeader(text []byte) *Error {
	var fault *Error
	set := func(err error, detail string) {
		if fault == nil {
			fault = refuse(err, detail)
		}
	}
	err := scan(text, maxTokenValues, func(name, value string) {
		odd := value == notAString
		switch name {
		case "alg":
			p.algorithm = value
		case "kid":
			if p.keyID = value; odd || value == "" || len(value) > maxKeyID {
				set(ErrHeader, "kid is no plain string")
			}
		case "typ":
			if odd || !typeTaken(value) {
				set(ErrHeader, "typ is not JWT")
			}
		case "crit", "b64", "cty", "jku", "jwk", "x5u", "x5c":
			set(ErrHeader, name)
		case "enc", "zip":
			set(ErrEncrypted, "")
		}
	})
	if err != nil {
		return refuse(ErrMalformed, "its header's parameters are "+err.Error())
	}
	return fault
}

// typeTaken knows the types of plain tokens and OAuth's access tokens (RFC 9068).
// Other types, such as those of logout tokens, mean another use (RFC 8725).
func typeTaken(typ string) bool {
	typ = strings.ToLower(typ)
	typ = strings.TrimPrefix(typ, "application/")
	return typ == "jwt" || typ == "at+jwt"
}
