// Package resp turns bytes into commands and reply frames, and replies and
// commands into bytes. It speaks RESP2, RESP3 and the inline protocol, and
// knows nothing of sockets, time, users or policy.
//
// Three parts, each usable alone:
//
//	client bytes ──► Reader ──► argv ──► AppendCommand ──► node bytes
//	node bytes   ──► Framer ──► where each reply ends (streamed on, undecoded)
//	our answers  ──► Append…  ──► client bytes
//
// # The invariant
//
// The Reader accepts no command that Redis would reject, and the arguments it
// yields are the arguments Redis would execute. Where Redis is lenient the
// Reader is not: a bulk's terminator is checked, a line ends in CR LF, an
// inline command holds no NUL. What was read is sent on only as [AppendCommand]
// writes it, so a client's own bytes never reach a node.
//
// # Bounds
//
// Memory grows with the bytes that arrived, never with a length a peer
// announced. A [Reader] holds at most twice the bytes that arrived for the
// unfinished command, and 24 bytes for each argument of a finished one. A
// [Framer] holds no reply bytes at all, but for one short number line. Work is
// linear in the number of bytes however they are split.
//
// Nothing here is safe for concurrent use: a Reader belongs to a session, a
// Framer to a node connection, and both to the loop that owns these.
package resp
