// Package loop is the event loop: it alone touches sockets once a connection
// has been admitted.
//
//	poll ──► read ready connections ──► Handler.Data … ──► flush ──► poll
//	 ▲                                                      │
//	 └────────── timers, posted functions, ready list ◄─────┘
//
// A loop owns its connections: clients and backend nodes alike. Everything a
// Handler does runs on the loop's goroutine, so there is no lock on the way of a
// command. One pass is a turn: each ready connection is read once, handlers
// append output, and at the end of the turn each touched connection is written
// once.
//
// Invariant: a Conn, its Handler and its buffers are used by one goroutine only,
// the one of the loop that adopted it.
package loop
