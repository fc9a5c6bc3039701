package acl

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl/command"
)

// User is a compiled user: its selectors (the root, those in parentheses, one
// per role), password hashes and flags. Immutable, safe for concurrent use.
type User struct {
	name string
	at   Origin

	enabled       bool
	nopass        bool
	skipSanitize  bool
	unsafeScripts bool
	hashes        []passwordHash
	past          []passwordHash // former ones, newest first; lost at a reload
	nopassAt      Origin
	kind          userKind
	filed         bool        // some file held it when it was last read or written
	written       *UserSource // what the aclfile says of it; nil: nothing, or it was changed

	// What only policy.yaml can say.
	note         note
	scope        scope
	from         *networks
	require      Factors
	certificates []certificateRule
	binding      *tokenBinding
	tokens       []opaqueToken
	argon        []argonHash
	passwordsSet time.Time // zero: unknown
	limits       Limits
	backend      string // empty: the listener's

	selectors []*selector // root, written ones, roles
	roles     []string
	table     *command.Table
}

// userKind is where a user comes from.
type userKind uint8

const (
	atRunTime userKind = iota // ACL SETUSER, and nowhere else
	inFile                    // the aclfile
	inPolicy                  // policy.yaml
)

func newUser(lang *language, name string, at Origin) *User {
	return &User{
		name:      name,
		at:        at,
		table:     lang.table,
		selectors: []*selector{lang.selector("root", at)},
	}
}

// Name gives the user's name as written; names are case-sensitive.
func (u *User) Name() string { return u.name }

// Enabled says whether the user is on. A user that is off cannot log in.
func (u *User) Enabled() bool { return u.enabled }

// NoPass says whether any password fits.
func (u *User) NoPass() bool { return u.nopass }

// Passwords gives the number of the user's passwords.
func (u *User) Passwords() int { return len(u.hashes) }

// HasPassword says whether a password is one of the user's. It is for whoever
// chooses a new one: it tells by its time which hash fits.
func (u *User) HasPassword(password []byte) bool {
	return slices.Contains(u.hashes, sha256.Sum256(password)) || u.argonFits(password) != ""
}

// Roles names the user's roles in order. The caller must not change the slice.
func (u *User) Roles() []string { return u.roles }

// Defined says whether the user stands in policy.yaml, where ACL SETUSER and
// DELUSER do not reach.
func (u *User) Defined() bool { return u.kind == inPolicy }

// Note gives what the operator says of the user: why it is there, whose it is
// and until when it works (zero: no end).
func (u *User) Note() (why, owner string, until time.Time) {
	return u.note.why, u.note.owner, u.note.until
}

// Requires gives the proofs the user needs together; none: any one will do.
func (u *User) Requires() Factors { return u.require }

// At gives where the user was written.
func (u *User) At() Origin { return u.at }

// Denies says whether the user's own rules or roles take this very command
// away by name (-cmd, -container or -cmd|sub), rather than merely not granting
// it, and no selector gives it back.
func (u *User) Denies(spec *command.Spec) bool {
	denied := false
	for _, s := range u.selectors {
		if int(spec.ID) >= len(s.touched) {
			return false
		}
		if s.allowed.has(spec.ID) {
			return false
		}
		if r := s.rule(spec.ID); r != nil && r.Text[0] == '-' && r.Text[1] != '@' {
			denied = true
		}
	}
	return denied
}

func (u *User) clone() *User {
	c := *u
	c.hashes = slices.Clone(u.hashes)
	c.selectors = slices.Clone(u.selectors)
	c.selectors[0] = u.selectors[0].clone()
	return &c
}

// apply applies one rule of any kind to a user under construction.
func (u *User) apply(lang *language, w word) *fault {
	switch lowerASCII(w.text) {
	case "on":
		u.enabled = true
	case "off":
		u.enabled = false
	case "nopass":
		u.forget(u.hashes...)
		u.nopass, u.hashes, u.nopassAt = true, nil, w.at
	case "resetpass":
		u.forget(u.hashes...)
		u.nopass, u.hashes = false, nil
	case "sanitize-payload":
		u.skipSanitize = false
	case "skip-sanitize-payload":
		u.skipSanitize = true
	case "clearselectors":
		u.selectors, u.roles = u.selectors[:1:1], nil
	case "reset":
		u.forget(u.hashes...)
		u.enabled, u.nopass, u.skipSanitize, u.hashes = false, false, false, nil
		root := u.selectors[0]
		u.selectors = []*selector{lang.selector(root.label, root.at)}
		u.roles = nil
	default:
		return u.applyPrefixed(lang, w)
	}
	return nil
}

func (u *User) applyPrefixed(lang *language, w word) *fault {
	if w.text == "" {
		return nil
	}
	switch w.text[0] {
	case '>':
		if f := lang.judgePassword(u, w); f != nil {
			return f
		}
		u.addHash(sha256.Sum256([]byte(w.text[1:])))
	case '#':
		h, ok := parseHash(w.text[1:])
		if !ok {
			return badHash(w)
		}
		if f := lang.judgeHash(u, h, w); f != nil {
			return f
		}
		u.addHash(h)
	case '<':
		return u.dropHash(sha256.Sum256([]byte(w.text[1:])), w)
	case '!':
		h, ok := parseHash(w.text[1:])
		if !ok {
			return badHash(w)
		}
		return u.dropHash(h, w)
	case '(':
		return u.addSelector(lang, w)
	default:
		return u.selectors[0].apply(lang, w)
	}
	return nil
}

func (u *User) addHash(h passwordHash) {
	u.nopass = false
	if !slices.Contains(u.hashes, h) {
		u.hashes = append(u.hashes, h)
	}
}

func (u *User) dropHash(h passwordHash, w word) *fault {
	i := slices.Index(u.hashes, h)
	if i < 0 {
		return &fault{kind: faultNoSuchPassword, word: w.text, at: w.at, what: "the password to be removed is not one of the user's"}
	}
	u.forget(h)
	u.hashes = slices.Delete(u.hashes, i, i+1)
	return nil
}

// forget keeps hashes that are no longer the user's, the newest first, so that
// the password rules know them again.
func (u *User) forget(hashes ...passwordHash) {
	for _, h := range hashes {
		past := slices.DeleteFunc(slices.Clone(u.past), func(o passwordHash) bool { return o == h })
		u.past = append([]passwordHash{h}, past[:min(len(past), mostPast-1)]...)
	}
}

func badHash(w word) *fault {
	return &fault{
		kind: faultBadHash, word: w.text, at: w.at,
		what: "a password hash is 64 lower-case hexadecimal digits",
		hint: "sallyport acl hash makes one",
	}
}

// addSelector adds what stands in parentheses. Its faults are placed at the
// rule inside, but Redis names the selector as a whole.
func (u *User) addSelector(lang *language, w word) *fault {
	if len(w.text) < 2 || w.text[len(w.text)-1] != ')' {
		return unmatched(w.text, w.at)
	}
	words, ok := splitSelector(w)
	if !ok {
		return &fault{word: w.text, at: w.at, what: "a quote in a selector is not closed"}
	}
	s := lang.selector("selector "+strconv.Itoa(len(u.selectors)), w.at)
	for _, inner := range words {
		if f := s.apply(lang, inner); f != nil {
			if lang.discovery && f.unknownCommand {
				lang.skipped = append(lang.skipped, f)
				continue
			}
			f.word = w.text
			return f
		}
	}
	u.selectors = append(u.selectors[:len(u.selectors):len(u.selectors)], s)
	return nil
}

// Line gives the user as ACL LIST does from Redis 7.2 on. Roles are printed as
// selectors. Reading the line back gives the same decisions.
func (u *User) Line() string {
	var b strings.Builder
	b.WriteString("user ")
	b.WriteString(u.name)
	for _, f := range u.Flags() {
		b.WriteByte(' ')
		b.WriteString(f)
	}
	for _, h := range u.Hashes() {
		b.WriteString(" #")
		b.WriteString(h)
	}
	for i, v := range u.Selectors() {
		b.WriteByte(' ')
		text := v.text()
		if i > 0 {
			text = "(" + text + ")"
		}
		b.WriteString(text)
	}
	return b.String()
}

// Flags gives on or off, nopass, and one of sanitize-payload and
// skip-sanitize-payload, in the order of ACL LIST. The caller owns the slice.
func (u *User) Flags() []string {
	flags := []string{"off"}
	if u.enabled {
		flags[0] = "on"
	}
	if u.nopass {
		flags = append(flags, "nopass")
	}
	if u.skipSanitize {
		return append(flags, "skip-sanitize-payload")
	}
	return append(flags, "sanitize-payload")
}

// Hashes gives the user's password hashes as lower-case hexadecimal SHA-256, in
// the order they were added, for ACL GETUSER and LIST. The caller owns the slice.
func (u *User) Hashes() []string {
	hashes := make([]string, len(u.hashes))
	for i, h := range u.hashes {
		hashes[i] = hex.EncodeToString(h[:])
	}
	return hashes
}

// SelectorText is one selector in the words of ACL GETUSER.
type SelectorText struct {
	Label    string // root, selector 1, role reader
	Commands string // -@all +get
	Keys     string // ~a %R~b
	Channels string // &a; empty for none, without the word resetchannels
}

// Selectors describes the root first, then the written selectors, then the
// roles. The caller owns the slice.
func (u *User) Selectors() []SelectorText {
	texts := make([]SelectorText, len(u.selectors))
	for i, s := range u.selectors {
		texts[i] = s.describe()
	}
	return texts
}

func (v SelectorText) text() string {
	channels := v.Channels
	if channels != "&*" {
		channels = strings.TrimRight("resetchannels "+channels, " ")
	}
	return strings.TrimLeft(v.Keys+" "+channels+" "+v.Commands, " ")
}

func (s *selector) describe() SelectorText {
	v := SelectorText{Label: s.label, Commands: "-@all", Keys: "~*", Channels: "&*"}
	if s.future {
		v.Commands = "+@all"
	}
	v.Commands = strings.Join(append([]string{v.Commands}, s.listing...), " ")
	if !s.allKeys {
		keys := make([]string, len(s.keys))
		for i, k := range s.keys {
			keys[i] = accessPrefix(k) + k.text
		}
		v.Keys = strings.Join(keys, " ")
	}
	if !s.allChannels {
		channels := make([]string, len(s.channels))
		for i, c := range s.channels {
			channels[i] = "&" + c.text
		}
		v.Channels = strings.Join(channels, " ")
	}
	return v
}

// accessPrefix writes the pattern * as %RW~* where Redis writes ~*, which
// would come back as the all-keys flag and widen what the user may do.
func accessPrefix(k keyPattern) string {
	switch {
	case k.access == command.Read:
		return "%R~"
	case k.access == command.Write:
		return "%W~"
	case k.text == "*":
		return "%RW~"
	}
	return "~"
}
