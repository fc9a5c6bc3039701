package acl

import (
	"crypto/sha256"
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
