package acl

import (
	"strconv"
	"strings"
	"time"

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
	Users     []UserSource // of policy.yaml: ACL SETUSER and DELUSER do not touch them
	ACLFile   []UserSource // of the aclfile, as ParseFile gives them: name and rules alone
	Tokens    []TokenSource
	Expiry    []ExpirySource
	Guard     GuardSource
	Listeners []ListenerSource
	Modes     Modes
	Passwords PasswordRules

	// OpenChannels is acl-pubsub-default allchannels: users and selectors
	// begin with all channels instead of none. Roles begin with none.
	OpenChannels bool

	// Discovery says that commands missing from the table may be learned from
	// the backend later: a rule naming an unknown one is then a warning and has
	// no effect, instead of an error.
	Discovery bool

	// Now is when the policy comes into force, by which until: is judged; zero
	// means that nothing has ended yet.
	Now time.Time

	// Hits owns the rules' counters, so that they outlive a reload; nil: nothing
	// is counted.
	Hits *Hits

	// Rest is called between the parts of the work, whoever is served meanwhile
	// being more urgent; nil: nobody is.
	Rest func()
}

func (src *Source) rest() {
	if src.Rest != nil {
		src.Rest()
	}
}

// Note is what an operator says of an entry beside what it grants.
type Note struct {
	Why   Text
	Owner Text
	// Until is a day (2026-12-31, its end in UTC) or an RFC 3339 time. After it
	// the entry does not work any more. Empty: no end.
	Until Text
}

// RoleSource is one entry of roles: in policy.yaml. Rules holds selector rules
// only: commands, keys and channels. Anything about the user as such (on,
// nopass, passwords, reset, parentheses) is a problem.
type RoleSource struct {
	Name  Text
	Rules Text
	From  []Text // networks in which the role is had; nil: everywhere
	// Listeners at which the role is had; nil: at all of them.
	Listeners []Text
	Note      Note
}

// UserSource is one entry of users: in policy.yaml, or one line of an aclfile.
type UserSource struct {
	Name  Text
	Rules Text
	Roles []Text

	// From are the networks the user may come from: CIDR, address, any, or unix
	// for unix sockets. nil: wherever the listener lets somebody in.
	From []Text
	// Require names the proofs that are needed together: certificate, password,
	// token, network. nil: any one credential the user has.
	Require []Text
	// Certificates name whom a client certificate must speak of; one fitting
	// entry is enough.
	Certificates []CertificateSource
	// Token names whose tokens may enter as this user.
	Token *TokenUserSource
	// Tokens are opaque static ones, kept as hashes.
	Tokens []OpaqueTokenSource
	// PasswordHashes are argon2id in the PHC string form, beside the SHA-256
	// ones of the rules.
	PasswordHashes []Text
	// PasswordsSet is the day on which the passwords were chosen, for
	// PasswordRules.MaxAge; empty: unknown.
	PasswordsSet Text
	Listeners    []Text // where the user may log in; nil: everywhere
	Note         Note

	// UnsafeScripts lets the user run scripts without ~* &* +@all. A script may
	// touch every key of the backend, whatever the user's patterns say.
	UnsafeScripts bool

	Limits Limits

	// Backend names where the user's calls go; empty: where the listener's do. It
	// decides nothing here.
	Backend Text
}

// CertificateSource names a certificate. Of several kinds given, each must fit;
// of several names of one kind, one. Names are compared byte by byte.
type CertificateSource struct {
	At          Origin
	URI         []Text
	DNS         []Text
	Email       []Text
	CN          []Text
	Fingerprint []Text // SHA-256 of the certificate in hex; colons and capitals are accepted
}

// TokenUserSource is users.X.token: the entry that lets an issuer's tokens in.
type TokenUserSource struct {
	Issuer Text // the name: of an entry of tokens:
	// Subject is the value of the issuer's user claim; empty: the user's own name.
	Subject Text
}

// OpaqueTokenSource is one entry of users.X.tokens.
type OpaqueTokenSource struct {
	Hash    Text // SHA-256 as 64 lower-case hexadecimal digits, with or without #
	Expires Text // as Note.Until; empty: never, which is a warning
}

// TokenSource is what an entry of tokens: contributes to decisions.
type TokenSource struct {
	Name      Text
	Listeners []Text // where its tokens are taken; nil: everywhere
	Roles     []Text // every role its map: can give
	// Login is a fixed name that AUTH may give instead of the user claim's
	// value; empty: none.
	Login Text
	Note  Note
}

// ExpirySource is one entry of expiry: in policy.yaml.
type ExpirySource struct {
	At   Origin
	Keys []Text // glob patterns, as behind a ~
	// Require refuses a write that leaves such a key without an expiry.
	Require bool
	// Max refuses an expiry further away; 0: any. Whole milliseconds count.
	Max  time.Duration
	Mode Mode // Enforce refuses, Report lets pass and says so
	Note Note
}

// GuardSource is guard: in policy.yaml. Nil slices take the documented
// defaults; empty, non-nil slices are empty.
type GuardSource struct {
	Categories []Text // with or without the leading @
	Never      []Text // commands, container|sub, or @category
}

// ListenerSource is what a listener contributes to decisions.
type ListenerSource struct {
	Name       Text
	Allow      []Text // CIDR or address; the word "any"; nil: loopback only
	AllowNotes []Note // of the entries of Allow by index, as far as it goes
	Anonymous  bool   // sessions may start as user default if that user is on and nopass
	Auth       []Text // password, token, certificate: methods it takes; nil: all
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
