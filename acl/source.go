package acl

import (
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/acl/command"
)

// Origin is where in the operator's files something was written, for errors,
// explain and the record. Line and Column count from 1, Column in bytes; zero
// means unknown.
type Origin struct {
	File   string
	Line   int
	Column int
}

// String gives file:line:column, without the parts that are unknown.
func (o Origin) String() string {
	parts := make([]string, 0, 3)
	if o.File != "" {
		parts = append(parts, o.File)
	}
	if o.Line > 0 {
		parts = append(parts, strconv.Itoa(o.Line))
		if o.Column > 0 {
			parts = append(parts, strconv.Itoa(o.Column))
		}
	}
	return strings.Join(parts, ":")
}

// Text is a string from a configuration file and where it stood: the origin
// of its first byte, after an opening quote if there was one.
type Text struct {
	Value string
	At    Origin
}

// Source is what an operator wrote, as the configuration reader hands it over:
// still text, with positions. Compile turns it into a Policy.
type Source struct {
	Table     *command.Table
	Roles     []RoleSource
	Users     []UserSource
	Guard     GuardSource
	Listeners []ListenerSource
	Modes     Modes

	// Discovery says that commands missing from the table may be learned from
	// the backend later: a rule naming an unknown one is then a warning and has
	// no effect, instead of an error.
	Discovery bool
}

// RoleSource is one entry of roles: in policy.yaml. Rules holds selector rules
// only: commands, keys and channels. Anything about the user as such (on,
// nopass, passwords, reset, parentheses) is a problem.
type RoleSource struct {
	Name  Text
	Rules Text
}

// UserSource is one entry of users: in policy.yaml, or one line of an aclfile.
type UserSource struct {
	Name  Text
	Rules Text
	Roles []Text

	// UnsafeScripts lets the user run scripts without ~* &* +@all. A script may
	// touch every key of the backend, whatever the user's patterns say.
	UnsafeScripts bool
}

// GuardSource is guard: in policy.yaml. Nil slices take the documented
// defaults; empty, non-nil slices are empty.
type GuardSource struct {
	Categories []Text // with or without the leading @
	Never      []Text // commands, container|sub, or @category
}

// ListenerSource is what a listener contributes to decisions.
type ListenerSource struct {
	Name      Text
	Allow     []Text // CIDR or address; the word "any"; nil: loopback only
	Anonymous bool   // sessions may start as user default if that user is on and nopass
	Auth      []Text // password, token, certificate: methods it takes; nil: all
}

// Mode is how a layer of the decision acts. The zero value enforces.
type Mode uint8

const (
	Enforce Mode = iota // refuse
	Report              // let pass and say what would have been refused
	Off                 // let pass
)

// Modes are the switchable layers. There is a floor that none of them lifts:
// authentication, unknown listeners and commands, class Refused, the never
// list, the confinement of scripts, and ACL SETUSER, DELUSER, LOAD and SAVE.
type Modes struct{ Allow, Guard, ACL Mode }

// Problem is a fault or a warning found while compiling, for the operator.
type Problem struct {
	At      Origin
	What    string // users.app.rules: unknown category "@raed"
	Hint    string // did you mean "@read"?
	Warning bool
}

// String gives file:line:column: what. The hint is left to the caller, who
// knows how its output breaks lines.
func (p Problem) String() string {
	if at := p.At.String(); at != "" {
		return at + ": " + p.What
	}
	return p.What
}
