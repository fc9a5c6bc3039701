// Package redistest holds rigs for tests and for the benchmark: real
// redis-server processes, clusters, replicated groups and Sentinels of them, a small RESP client, and scripted nodes that
// misbehave on purpose. Product code never imports it.
//
//	Start/Open ─► redis-server ◄─ TCP, TLS or unix ── the code under test
//	                   ▲
//	                   └──────── private unix socket ── Do, CommandStats, ClientList
//
//	NewFake ─► listener ─► one goroutine a connection: read a request, ask the Script, write its Answer
//
// The rig speaks to its server over a unix socket in a private folder, so a
// server that answers there is the one that was started, whatever else listens
// on the port, and the way the code under test takes (TLS, password) stays its own.
//
// Invariant: a server dies with the process that started it, by Stop, by the
// test's clean-up, or by the kernel (Linux) when the test binary is killed.
package redistest
