package acl

import (
	"net/netip"
	"strings"
	"time"
)

// Attempt is one try to prove who a connection speaks for. It is plain data
// and is not kept.
type Attempt struct {
	Listener string
	Addr     netip.Addr   // invalid on unix sockets
	Cert     *Certificate // nil: none was shown
	User     string       // the name tried; empty with a certificate alone
	Password []byte       // nil: none tried
	Token    *TokenClaims // set by the caller when Password was a token that verified
	Now      time.Time
	// Proved is what Argon2id gave when this very name and password were taken a
	// moment ago; empty: they were not. The caller vouches for that.
	Proved string
	// Lenient is for Renew after a change at run time (ACL SETUSER): as in Redis, a
	// password that was taken away ends no session then.
	Lenient bool
}

// Certificate is what a client certificate says that was verified. Its names are
// exactly those of the certificate.
type Certificate struct {
	CommonNames, DNS, Email, URI []string
	SHA256                       string // of the whole certificate, lower-case hex
	Ambiguous                    bool   // programs differ in whom it means
}

// TokenClaims is what a verified token says.
type TokenClaims struct {
	Issuer  string   // the name: of its entry of tokens:, not the iss claim
	Subject string   // the sub claim
	User    string   // the value of the entry's user claim
	Roles   []string // role names of the policy, mapped already
	ID      string   // for the record; never the token itself
	Expires time.Time
	Opaque  bool // a static token; Authenticate knows those by itself and takes none from here

	// Proof is the verifier's own, for judging the token once more under another
	// configuration; it is handed through and not looked at.
	Proof any
}

// Method is how a session's principal was proved.
type Method uint8

const (
	MethodNone        Method = iota // nothing was proved: an anonymous listener
	MethodPassword                  // AUTH or HELLO with a password
	MethodToken                     // AUTH or HELLO with a token, JWT or opaque
	MethodCertificate               // the client certificate alone
)

// String gives the method as listeners[].auth and the events write it.
func (m Method) String() string {
	switch m {
	case MethodPassword:
		return "password"
	case MethodToken:
		return "token"
	case MethodCertificate:
		return "certificate"
	}
	return "none"
}

// Factors is a set of proofs.
type Factors uint8

const (
	FactorCertificate Factors = 1 << iota // a certificate that the user names
	FactorPassword
	FactorToken
	FactorNetwork // an address inside the user's own from:
)

var factorNames = [...]string{"certificate", "password", "token", "network"}

// Names lists the factors in the order of their bits. The caller owns the slice.
func (f Factors) Names() []string {
	var names []string
	for i, name := range factorNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String gives certificate+password, or none.
func (f Factors) String() string {
	if f == 0 {
		return "none"
	}
	return strings.Join(f.Names(), "+")
}

// factorOf reads a word of require:.
func factorOf(word string) (Factors, bool) {
	for i, name := range factorNames {
		if word == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Principal is who a session speaks for and how that was proved.
type Principal struct {
	// User is the user with the roles that hold for this session: those of the
	// policy at its listener and address, and the token's.
	User    *User
	Method  Method
	Factors Factors
	TokenID string
	Issuer  string // the name: of the entry of tokens:
	Subject string
	Expires time.Time // of the token; zero: never
	// Weak is what the password rules have against the password, where they
	// only report.
	Weak PasswordFaults

	claims *TokenClaims // for Renew; nil unless a JWT was taken
	secret secret       // for Renew; zero unless a password was taken
}

// TokenClaims gives what the principal's token said when it was judged last, nil
// unless it was a JSON Web Token. It must not be changed.
func (pr *Principal) TokenClaims() *TokenClaims { return pr.claims }

// Argon2id tells which of the user's argon2id hashes the password fitted, empty
// if none had to. It is no secret of the password's, yet not for anybody's eyes.
func (pr *Principal) Argon2id() string { return pr.secret.argon }

// secret says which of a user's passwords was taken, by the hash the user keeps.
type secret struct {
	hash   passwordHash
	argon  string
	waived bool // it was taken away at run time, which ends no session
}
