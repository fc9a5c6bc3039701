// Package acl decides: who a connection speaks for and what each of its calls
// may do.
//
//	address ─► AdmitAddr         certificate ─► Identify ─┐
//	                      password or token ─► Authenticate ─► Principal ─► Decide ─► Decision
//	                                 a new policy ─► Renew ─┘   (its User)   (a call)
//
// A Policy is immutable. Reloading builds a new one and swaps a pointer; a
// decision is a pure function of policy, principal and call, without a socket,
// a clock or a logger, safe for concurrent use and free of allocation. Where the
// time matters it is given. What changes lives outside: Hits counts rules,
// Throttle slows down guessing.
//
// Invariant: an error, a missing rule or an unknown thing is a refusal.
package acl
