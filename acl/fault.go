package acl

import (
	"errors"
	"strconv"
	"strings"
)

// faultKind chooses the words Redis uses for a bad rule.
type faultKind uint8

const (
	faultSyntax faultKind = iota
	faultUnknownName
	faultNoSuchPassword
	faultBadHash
	faultPatternAfterAll
	faultChannelAfterAll
	faultFirstArgOfSub
	faultUnmatched
	faultPassword
)

// fault is one bad rule: in Redis's words by its kind, in the operator's by
// what and hint. what never repeats what may be a password.
type fault struct {
	kind faultKind
	word string // the rule as written
	at   Origin
	what string
	hint string

	unknownCommand bool // a later server may know it
	mild           bool // a warning
}

// text gives Redis's words for the fault.
func (f *fault) text() string {
	switch f.kind {
	case faultUnknownName:
		return "Unknown command or category name in ACL"
	case faultNoSuchPassword:
		return "The password you are trying to remove from the user does not exist"
	case faultBadHash:
		return "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
	case faultPatternAfterAll:
		return "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect." +
			" Try 'resetkeys' to start with an empty list of patterns"
	case faultChannelAfterAll:
		return "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect." +
			" Try 'resetchannels' to start with an empty list of channels"
	case faultFirstArgOfSub:
		return "Allowing first-arg of a subcommand is not supported"
	}
	if f.kind == faultPassword {
		return strings.ToUpper(f.what[:1]) + f.what[1:]
	}
	return "Syntax error"
}

// RuleError is a bad rule of ACL SETUSER, in Redis's own words.
type RuleError struct {
	Rule string // the rule as the client sent it
	Text string // what Redis says about it
	open bool
}

// Error gives the text behind ERR. It repeats the rule, which may hold a
// password: it is for the client who sent it, not for a log.
func (e *RuleError) Error() string {
	if e.open {
		return "Unmatched parenthesis in acl selector starting at '" + e.Rule + "'."
	}
	return "Error in ACL SETUSER modifier '" + e.Rule + "': " + e.Text
}

// redis gives the fault as the server tells it, which repeats the rule up to a NUL.
func (f *fault) redis() *RuleError {
	rule, _, _ := strings.Cut(f.word, "\x00")
	return &RuleError{Rule: rule, Text: f.text(), open: f.kind == faultUnmatched}
}

// problem puts the fault where the operator reads it; field is as users.app.rules.
func (f *fault) problem(field string) Problem {
	return Problem{At: f.at, What: field + ": " + f.what, Hint: f.hint}
}

// didYouMean gives a hint naming the candidate nearest to name, or "" when
// none is near enough to be what was meant.
func didYouMean(name string, candidates func(yield func(string) bool)) string {
	limit := 1
	if len(name) > 3 {
		limit = 2
	}
	best, found := "", limit+1
	for c := range candidates {
		if d := EditDistance(name, c, found); d < found || d == found && found <= limit && c < best {
			best, found = c, d
		}
	}
	if found > limit {
		return ""
	}
	return "did you mean " + strconv.Quote(best) + "?"
}

// EditDistance counts insertions, deletions, changes and swaps of neighbours
// that turn a into b. Anything above limit may come back as limit+1: words whose
// lengths differ by more are not looked at.
func EditDistance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before := make([]int, len(b)+1) // two rows up
	above := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}

// serverText is an error in the very words of a Redis server, capital and all.
type serverText string

func (e serverText) Error() string { return string(e) }

// ErrUserName is the answer to a user name with white space or a NUL byte in it.
//
//lint:ignore ST1005 Redis's own words, as clients compare them
var ErrUserName = errors.New("Usernames can't contain spaces or null characters")

// ErrDefaultUser is the answer to ACL DELUSER default.
var ErrDefaultUser error = serverText("The 'default' user cannot be removed")

// DefinedError is the answer to ACL SETUSER and DELUSER of a user whom the
// operator keeps in policy.yaml.
type DefinedError struct{ User string }

// Error gives the text behind ERR.
func (e *DefinedError) Error() string { return "User '" + e.User + "' is defined in policy.yaml" }

// ErrOpenDefault is the answer to rules that would let everybody in as user
// default on a listener that is not anonymous.
var ErrOpenDefault = errors.New("user default may be on and nopass only where every listener is anonymous: true")
