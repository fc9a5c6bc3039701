package acl

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// argonHash is a password hash of argon2id.
type argonHash struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
	salt    []byte
	key     []byte
}

// What a hash may ask for. It is the operator's own file, yet a slip of the
// keyboard must not take the machine's memory at each login.
const (
	argonMostMemory  = 256 << 10 // KiB
	argonMostPasses  = 16
	argonMostThreads = 16
	argonSaltMin     = 8
	argonSaltMost    = 64
	argonKeyMin      = 16
	argonKeyMost     = 64
)

// parseArgon reads the PHC string form, $argon2id$v=19$m=65536,t=3,p=4$salt$key,
// with the parameters in that order, decimal without leading zeros, and salt
// and key in base64 without padding. Anything else is refused: one hash has one
// form. what says the fault and repeats nothing of it.
func parseArgon(text string) (h argonHash, what string) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || strings.ContainsAny(text, "\r\n") { // base64 would skip line ends
		return h, "not an argon2id hash"
	}
	if parts[2] != "v=19" {
		return h, "not version 19 of argon2id"
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return h, "its parameters are not m, t and p"
	}
	values := [3]uint32{}
	for i, limit := range []uint32{argonMostMemory, argonMostPasses, argonMostThreads} {
		name := "mtp"[i : i+1]
		digits, ok := strings.CutPrefix(params[i], name+"=")
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(n, 10) != digits || n == 0 {
			return h, "its parameter " + name + " is no number"
		}
		if n > uint64(limit) {
			return h, "its parameter " + name + " is over " + strconv.FormatUint(uint64(limit), 10)
		}
		values[i] = uint32(n)
	}
	h.memory, h.passes, h.threads = values[0], values[1], uint8(values[2])
	if h.memory < 8*uint32(h.threads) {
		return h, "its parameter m is less than 8 times p"
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(h.salt) < argonSaltMin || len(h.salt) > argonSaltMost {
		return h, "its salt is not base64 of 8 to 64 bytes"
	}
	if h.key, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(h.key) < argonKeyMin || len(h.key) > argonKeyMost {
		return h, "its hash is not base64 of 16 to 64 bytes"
	}
	return h, ""
}

// weak says whether the parameters are below what is recommended for passwords
// that people choose: 19 MiB and two passes, or more memory and fewer passes.
func (h *argonHash) weak() bool {
	return uint64(h.memory)*uint64(h.passes) < 19456*2
}

func (h *argonHash) fits(password []byte) bool {
	key := argon2.IDKey(password, h.salt, h.passes, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

// argonFits computes one argon2id for each hash of the user, whichever fits, and
// gives the key of the one that does; empty: none.
func (u *User) argonFits(password []byte) string {
	fits := ""
	for i := range u.argon {
		if u.argon[i].fits(password) {
			fits = string(u.argon[i].key)
		}
	}
	return fits
}

// HashArgon2id gives a password as argon2id in the PHC string form, for
// password_hashes: 19 MiB, two passes, one thread, a salt of 16 bytes from
// random, which must be cryptographically strong. It takes tens of milliseconds.
func HashArgon2id(password []byte, random io.Reader) (string, error) {
	const memory, passes, threads = 19456, 2, 1
	salt := make([]byte, 16)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("read randomness for a salt: %w", err)
	}
	key := argon2.IDKey(password, salt, passes, memory, threads, 32)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, threads, enc.EncodeToString(salt), enc.EncodeToString(key)), nil
}

// mostArgon bounds the hashes of one user, each of which costs every login.
const mostArgon = 4

// compileArgon reads users.X.password_hashes.
func (c *compiler) compileArgon(u *User, field string, list []Text) {
	if len(list) > mostArgon {
		c.fail(list[mostArgon].At, field+".password_hashes: more than "+strconv.Itoa(mostArgon), "every login computes each of them")
		return
	}
	for _, t := range list {
		h, what := parseArgon(t.Value)
		if what != "" {
			c.fail(t.At, field+".password_hashes: "+what, "write $argon2id$v=19$m=19456,t=2,p=1$…, as sallyport acl hash --argon2id makes it")
			continue
		}
		if h.weak() {
			c.report(Problem{At: t.At, What: field + ".password_hashes: cheaper to guess than is recommended", Warning: true, Hint: "m=19456,t=2 or more"})
		}
		u.argon = append(u.argon, h)
	}
}
