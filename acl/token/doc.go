// Package token proves who a token speaks for: a JSON Web Token of a configured
// issuer, given in the place of a password.
//
//	raw bytes --> shape --> issuer --> key --> signature --> claims --> acl.TokenClaims
//	              no key, no big memory    |                 only of what is authentic
//	                                       +-- key sets: swapped whole by Run, never by Verify
//
// Verify is a function of its bytes, the given time and the key sets at hand.
// It does no input or output, so an event loop may call it. A key that is not
// at hand is an error that says so (Error.NeedsKeys); whoever wants to wait for
// it calls Refresh from a goroutine of its own.
//
// Invariant: what is not proved is refused. No key set, one that is too old, an
// issuer that can't be reached: closed. The algorithms are a closed list of
// public-key signatures, so neither "none" nor a MAC keyed with a public key
// exists here. No error and no identifier holds bytes of a token.
package token
