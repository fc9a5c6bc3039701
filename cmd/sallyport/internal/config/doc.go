// Package config turns the two files an operator writes, sallyport.yaml and
// policy.yaml, into typed options, or into a complete list of what is wrong
// with them.
//
// Invariant: a file with a fault yields no Config at all, and every fault that
// can be seen is reported at once, with its file, line and column. Nothing is
// started, bound or dialled here; certificates, password files and the policy
// are read and judged, so that what Load accepts, serve can run.
//
//	sallyport.yaml ─ parse ─▶ node tree ─ sections ─▶ typed, positioned ─┐
//	policy.yaml    ─ parse ─▶ node tree ─ sections ─▶ acl.Source ─ Compile ┴▶ Config
//
// The YAML library is used up to its node tree only, and only here. Its own
// strict decoding into structs is not enough: it drops a mapping's other faults
// once a key is doubled, takes null for "absent" (a listener whose tls: is left
// empty would become plaintext), and names Go types instead of keys. The tests
// still hold it against ours as a second opinion.
//
// Secrets: values of password keys and the password words of ACL rules (>…,
// <…, #…, !…) are masked wherever a line of a file is shown.
package config
