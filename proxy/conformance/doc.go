// Package conformance holds no code of the product: its tests say that a
// client can't tell the proxy from the Redis behind it, and that nothing is
// lost or done twice when either dies.
//
//	testdata/cases/*.txt ─► play ─► redis-server ◄── directly, and again through the proxy; the replies are compared
//	testdata/differences.txt        what may differ, with words of DIFFERENCES.md as the reason
//
//	pairs    every ordered pair of what a client can do, in one write: the node's order is the client's
//	chaos    the proxy as a process of its own, killed and frozen under load; histories are judged by porcupine
//
// Invariant: a reply is compared byte for byte. What varies from run to run
// is masked in the case's own line, and a listed difference that is not needed
// fails.
package conformance
