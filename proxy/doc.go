// Package proxy runs a connection's life: admit it, know who it speaks for,
// judge each of its calls, answer or forward, and say goodbye on the record.
//
//	accept ─► allow list ─► TLS handshake ─► identity ─► event loop
//	                                                       │
//	  client bytes ─► resp.Reader ─► command.Parse ─► acl.Decide ─► Local answer
//	                                                       │        Shared backend pipeline
//	                                                       └─no──► refusal: RESP error, metric, event
//
// The order of these steps is not a setting. Sessions are state machines that
// take bytes and time and give bytes; package loop alone touches sockets.
//
// Invariant: what was judged is what is sent, and a reply reaches only the
// session whose call it answers.
package proxy
