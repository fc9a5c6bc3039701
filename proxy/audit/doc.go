// Package audit writes security events down: one JSON object a line.
//
//	session ─┐                       ┌─► pending lines ─► goroutine ─► stdout
//	admit   ─┼─► Recorder.Record ────┤
//	admin   ─┘   (number, encode)    └─► pending lines ─► goroutine ─► file
//
// Record numbers and encodes an event and appends the line to a bounded buffer
// of each sink; it does no I/O and waits for none. A goroutine per sink takes
// what has gathered and writes it with one call. What a sink can't take is
// dropped for that sink only, counted, and stated by a dropped line that stands
// where the lost lines would have stood.
//
// As it is written, each line of a sink gets a hash that depends on all lines
// before it, under a key if there is one; Verifier finds what was changed, moved,
// cut or removed since. A quarter of each buffer is kept for who was in. A sink
// may be one that must keep the record: then Record and Keeps tell whoever lets
// clients in that it can't.
//
// Invariant: whatever bytes a client chose for its name, its keys or its
// certificate, an event is exactly one line of valid JSON, holds no control
// character, and is bounded in length. Values, passwords and tokens have no
// field to be written to.
package audit
