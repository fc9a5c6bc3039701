package acl

import "time"

// PasswordRules is passwords: in policy.yaml. The zero value, with Mode
// Enforce, asks for nothing.
type PasswordRules struct {
	Mode      Mode
	MinLength int           // characters; 0: any
	Common    bool          // refuse what is commonly chosen, or made of the user's name
	Reuse     int           // how many passwords back must not come again; 0: any may
	MaxAge    time.Duration // 0: none
}

// PasswordFaults is a set of what the rules have against a password.
type PasswordFaults uint8

// Weak judges a password by itself.
func (r PasswordRules) Weak(user string, password []byte) PasswordFaults { return 0 }
