package token

import "errors"

// Why a token is refused; errors.Is finds them in what Verify returns.
var (
	ErrTooLarge        = errors.New("the token is longer than 64 KiB")
	ErrMalformed       = errors.New("this is no JSON Web Token")
	ErrEncrypted       = errors.New("encrypted tokens are not taken")
	ErrHeader          = errors.New("the token's header asks for what is not supported")
	ErrAlgorithm       = errors.New("the token's algorithm is not allowed")
	ErrIssuer          = errors.New("the token's issuer is not configured")
	ErrKeysUnavailable = errors.New("the issuer's keys are not at hand")
	ErrUnknownKey      = errors.New("the token is signed with a key that is not among the issuer's")
	ErrSignature       = errors.New("the token's signature is wrong")
	ErrExpired         = errors.New("the token has expired")
	ErrNotYet          = errors.New("the token is from the future")
	ErrAudience        = errors.New("the token is meant for somebody else")
	ErrClaims          = errors.New("the token's claims can't be used")
)

// Why Refresh did not ask the issuer.
var (
	ErrTooSoon    = errors.New("the issuer's keys were asked for less than 30 seconds ago")
	ErrStopped    = errors.New("keys are no longer refreshed")
	ErrNoSuchName = errors.New("no issuer has this name")
)

// Error is why a token is refused. Its text holds names of the configuration
// and nothing a client chose.
type Error struct {
	Err     error  // one of the list above
	Detail  string // more about it; may be empty
	Issuer  string // the name of the configured issuer; empty while unknown
	TokenID string // a prefix of the token's hash; empty if it had no token's shape
}

func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Issuer != "" {
		s = "issuer " + e.Issuer + ": " + s
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// NeedsKeys tells whether newer keys of the issuer could change the answer.
// A wrong signature under a known key is not such a case.
func (e *Error) NeedsKeys() bool { return e.Err == ErrUnknownKey || e.Err == ErrKeysUnavailable }

func refuse(err error, detail string) *Error { return &Error{Err: err, Detail: detail} }
