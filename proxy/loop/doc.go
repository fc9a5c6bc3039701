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
// TLS runs on the loop too: one read brings ciphertext into a buffer that all
// connections share, crypto/tls takes it from there over a [Transport] that never
// blocks, and the records of a flush leave in one write. Between turns a quiet
// connection holds nothing but its tls.Conn.
//
// Readiness is level-triggered and every list of things to do is taken from one by
// one, so a turn can stop anywhere (a panic, a bound on what one connection may
// have) and the next one finds the rest. Bytes that wait in user space, which the
// poller can't know of, keep their connection on the ready list.
//
// Linux uses epoll; darwin and freebsd use kqueue.
//
// Invariant: a Conn, its Handler and its buffers are used by one goroutine only,
// the one of the loop that adopted it.
package loop
