package acl

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
)

// passwordHash is the SHA-256 of a password.
type passwordHash = [sha256.Size]byte

// parseHash reads 64 lower-case hexadecimal digits. Upper case is refused, as
// Redis does, so that one password has one form.
func parseHash(text string) (h passwordHash, ok bool) {
	if len(text) != hex.EncodedLen(len(h)) {
		return h, false
	}
	for i := range len(text) {
		if !isHex(text[i]) || text[i] != lowerByte(text[i]) {
			return h, false
		}
	}
	_, err := hex.Decode(h[:], []byte(text))
	return h, err == nil
}

// HashPassword gives the SHA-256 of a password as 64 lower-case hexadecimal
// digits, the form that stands behind # in a rule.
func HashPassword(password []byte) string {
	h := sha256.Sum256(password)
	return hex.EncodeToString(h[:])
}

// GenPass makes a password of 32 bytes from random, as 64 hexadecimal digits.
// random must be cryptographically strong, crypto/rand.Reader outside tests.
func GenPass(random io.Reader) (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("read randomness for a password: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// Authenticate proves a password for a user name; AUTH with a password alone
// speaks for user default. On success the Reason is None and the User not nil.
// Unknown user, disabled user and wrong password cost the same: one hash and
// the same number of comparisons, each in constant time. Clients must get one
// answer for all of them; the Reason tells them apart for the record only.
func (p *Policy) Authenticate(listener, user string, password []byte) (*User, Reason) {
	given := sha256.Sum256(password)
	u := p.users[user]
	var hashes []passwordHash
	if u != nil {
		hashes = u.hashes
	}
	fits := 0
	for i := range p.mostHashes {
		var stored passwordHash
		present := 0
		if i < len(hashes) {
			stored, present = hashes[i], 1
		}
		fits |= present & subtle.ConstantTimeCompare(stored[:], given[:])
	}
	l := p.listeners[listener]
	switch {
	case l == nil || !l.passwords:
		return nil, MethodRefused
	case u == nil:
		return nil, NoSuchUser
	case !u.enabled:
		return nil, UserDisabled
	case fits == 0 && !u.nopass:
		return nil, WrongPassword
	}
	return u, None
}

// Proof is what is kept of a password that was accepted, to hold it against a
// later policy: its SHA-256.
type Proof struct{ hash passwordHash }

// ProofOf is the proof of a password.
func ProofOf(password []byte) Proof { return Proof{sha256.Sum256(password)} }

// Takes says whether the password still is one of the user's.
func (u *User) Takes(p Proof) bool {
	fits := 0
	for i := range u.hashes {
		fits |= subtle.ConstantTimeCompare(u.hashes[i][:], p.hash[:])
	}
	return u.nopass || fits == 1
}

// Anonymous gives the user that sessions of the listener start as without any
// proof: default, if the listener is anonymous and default is on and nopass.
// Otherwise nil.
func (p *Policy) Anonymous(listener string) *User {
	l, u := p.listeners[listener], p.users[defaultUser]
	if l == nil || !l.anonymous || u == nil || !u.enabled || !u.nopass {
		return nil
	}
	return u
}

const defaultUser = "default"
