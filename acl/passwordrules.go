package acl

import (
	"crypto/sha256"
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// PasswordRules is what is asked of passwords that people choose. The zero
// value asks for nothing. With Mode Enforce a bad password is refused by
// SETUSER, by Compile and at login; with Report it passes and is told of.
type PasswordRules struct {
	Mode      Mode
	MinLength int           // characters; 0: any number
	Common    bool          // not what is commonly chosen, nor made of the user's name
	Reuse     int           // how many passwords back must not come again; 0: any may
	MaxAge    time.Duration // 0: none
}

// StandardPasswordRules is what is asked where nothing else is said.
func StandardPasswordRules(mode Mode) PasswordRules {
	return PasswordRules{Mode: mode, MinLength: 12, Common: true, Reuse: 3}
}

// mostPast bounds what is kept of a user's former passwords, and so Reuse.
const mostPast = 24

// PasswordFaults is a set of what the rules have against a password.
type PasswordFaults uint8

const (
	PasswordShort  PasswordFaults = 1 << iota // fewer characters than MinLength
	PasswordCommon                            // commonly chosen, a simple sequence, or the user's name with a little around it
	PasswordReused                            // one of the user's former passwords
	PasswordOld                               // older than MaxAge
)

var passwordFaultNames = [...]string{"short", "common", "reused", "old"}

// Names lists the faults in the order of their bits. The caller owns the slice.
func (f PasswordFaults) Names() []string {
	var names []string
	for i, name := range passwordFaultNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String gives short+common, or none.
func (f PasswordFaults) String() string {
	if f == 0 {
		return "none"
	}
	return strings.Join(f.Names(), "+")
}

// PasswordRules gives the rules of the policy.
func (p *Policy) PasswordRules() PasswordRules { return p.passwords }

// Weak judges a password by itself: its length and whether it is common. A name
// of "" stands for no particular user. Off finds nothing.
func (r PasswordRules) Weak(user string, password []byte) PasswordFaults {
	var faults PasswordFaults
	if r.Mode == Off {
		return 0
	}
	if r.MinLength > 0 && utf8.RuneCount(password) < r.MinLength {
		faults |= PasswordShort
	}
	if r.Common && commonPassword(user, password) {
		faults |= PasswordCommon
	}
	return faults
}

// Reused says whether a password is one of the former ones, newest first, given
// as SHA-256 in hexadecimal, with or without #, or argon2id in the PHC form.
// Those beyond Reuse do not count; a hash that cannot be read fits nothing.
func (r PasswordRules) Reused(password []byte, former []string) bool {
	if r.Mode == Off {
		return false
	}
	for _, text := range former[:min(len(former), max(r.Reuse, 0))] {
		if h, what := parseArgon(text); what == "" {
			if h.fits(password) {
				return true
			}
			continue
		}
		if h, ok := parseHash(strings.TrimPrefix(text, "#")); ok && h == sha256.Sum256(password) {
			return true
		}
	}
	return false
}

// Old says whether a password that was set at a time is past its age. A zero
// time is unknown, and not old.
func (r PasswordRules) Old(set, now time.Time) bool {
	return r.Mode != Off && r.MaxAge > 0 && !set.IsZero() && now.Sub(set) > r.MaxAge
}

// Words says the first of the faults in words, for the person who chose the
// password. It repeats nothing of it.
func (r PasswordRules) Words(f PasswordFaults) string {
	switch {
	case f&PasswordShort != 0:
		return "the password has fewer than " + strconv.Itoa(r.MinLength) + " characters"
	case f&PasswordCommon != 0:
		return "the password is commonly chosen"
	case f&PasswordReused != 0:
		return "the password was one of the last " + strconv.Itoa(r.Reuse)
	}
	return "the password is too old"
}

// judgePassword holds a password in a rule against the password rules. Where
// they only report, the fault goes to skipped.
func (l *language) judgePassword(u *User, w word) *fault {
	password := []byte(w.text[1:])
	h := sha256.Sum256(password)
	return l.judged(u, h, l.passwords.Weak(u.name, password), w)
}

// judgeHash does so for a hash, of which less can be said.
func (l *language) judgeHash(u *User, h passwordHash, w word) *fault {
	var faults PasswordFaults
	if l.passwords.Mode != Off && l.passwords.Common && commonHashes()[h] {
		faults = PasswordCommon
	}
	return l.judged(u, h, faults, w)
}

func (l *language) judged(u *User, h passwordHash, faults PasswordFaults, w word) *fault {
	r := l.passwords
	if r.Mode != Off && slices.Contains(u.past[:min(len(u.past), max(r.Reuse, 0))], h) {
		faults |= PasswordReused
	}
	if faults == 0 || slices.Contains(u.hashes, h) {
		return nil
	}
	f := &fault{kind: faultPassword, word: w.text, at: w.at, what: r.Words(faults), hint: "sallyport acl genpass makes a strong one", mild: r.Mode == Report}
	if f.mild {
		l.skipped = append(l.skipped, f)
		return nil
	}
	return f
}

//go:embed common.txt
var commonText string

var commonWords = sync.OnceValue(func() map[string]bool {
	words := make(map[string]bool)
	for line := range strings.Lines(commonText) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			words[line] = true
		}
	}
	return words
})

// commonHashes are the SHA-256 of the common words as they stand and in the
// dress they usually wear: what a hash in a file can be known by.
var commonHashes = sync.OnceValue(func() map[passwordHash]bool {
	hashes := make(map[passwordHash]bool)
	for word := range commonWords() {
		title := strings.ToUpper(word[:1]) + word[1:]
		for _, w := range []string{word, title} {
			for _, tail := range []string{"", "1", "12", "123", "1234", "12345", "!", "1!", "123!"} {
				hashes[sha256.Sum256([]byte(w+tail))] = true
			}
		}
	}
	for _, w := range []string{"", "123456", "12345678", "123456789", "1234567890", "111111", "000000", "P@ssw0rd", "p@ssw0rd"} {
		hashes[sha256.Sum256([]byte(w))] = true
	}
	return hashes
})

// commonPassword says whether a guesser would try it early: a common word in
// any case, with letters written as digits, with digits and signs around it;
// the user's name in the same dress; one character or a short group over and
// over; or a run along the alphabet, the digits or the keyboard.
func commonPassword(user string, password []byte) bool {
	text := lowerASCII(string(password))
	if len(text) > 64 { // nobody remembers it, and it is not to cost time
		return false
	}
	name := lowerASCII(user)
	for _, form := range []string{text, plainLetters(text)} {
		bare := strings.TrimFunc(form, func(r rune) bool { return r < 'a' || r > 'z' })
		if commonWords()[form] || commonWords()[bare] || bare == "" && len(form) < 12 {
			return true
		}
		if rest, ok := strings.CutPrefix(bare, name); ok && name != "" && len(rest) < 3 {
			return true
		}
	}
	return repeated(text) || sequence(text)
}

var leet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s")

// plainLetters undoes the usual digits and signs for letters, but for those at
// the very end, which are rather a tail.
func plainLetters(text string) string {
	end := len(strings.TrimRight(text, "0123456789!?.*#_-"))
	return leet.Replace(text[:end]) + text[end:]
}

// repeated says whether the text is a group of up to four bytes over and over.
func repeated(text string) bool {
	for n := 1; n <= 4 && n < len(text); n++ {
		if len(text) >= 2*n && text[n:] == text[:len(text)-n] {
			return true
		}
	}
	return len(text) < 2
}

// sequence says whether the text runs along one of the rows, forth or back.
func sequence(text string) bool {
	for _, row := range []string{
		"abcdefghijklmnopqrstuvwxyzabc", "012345678901234567890", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm",
		"1qaz2wsx3edc4rfv", "1q2w3e4r5t6z7u8i", "1q2w3e4r5t6y7u8i",
	} {
		if strings.Contains(row, text) || strings.Contains(reversed(row), text) {
			return true
		}
	}
	return false
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}
