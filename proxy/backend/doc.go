// Package backend carries judged calls to a Redis deployment and brings back
// its replies, each to the session that is owed it.
//
//	session ──Send──► Pipeline ──► node connection ──► redis-server
//	session ◄─Reply── FIFO     ◄── resp.Framer     ◄──
//
// Each event loop has one Pipeline per database and protocol version, over one
// connection that all its sessions share. A Pipeline is a state machine that is
// given bytes and gives bytes; dialling, TLS and the login to Redis happen in a
// goroutine before the loop sees the connection.
//
// Invariant: one call consumes exactly one reply. A stream that gives one too
// many, one malformed, or a push out of place is dead: its waiters get an error,
// never data, and nothing is repaired or sent again.
package backend
