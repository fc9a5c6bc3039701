// Package tlsutil is the TLS side of a connection: it loads certificates,
// replaces them while connections are open, shakes hands, and reads who the
// client is out of the finished connection.
//
//	certificate, key, client CA ─► LoadServer ─► Server ── generation n ─► Handshake ─► State{Identity}
//	                                  ▲             │      (own ticket keys)
//	                   Reload, Prepare┘             └─ Trusts: would this open connection still be let in?
//
// A Server holds one immutable generation at a time. Reload builds the next
// one, checks it, and swaps a pointer: a handshake sees the old files or the
// new ones, never a mixture, and a file that is missing, half-written or does
// not fit leaves the old generation in place.
//
// Invariants:
//
//   - Missing trust is closed, never open. A client CA that is absent or empty
//     is an error; the machine's own roots are never used for clients.
//   - Who the client is, is judged on every connection, resumed ones included.
//     A ticket is good for the listener and the generation that issued it.
//   - The name a client asks for (SNI) selects nothing, so it weakens nothing.
//
// # Private key files
//
// A private key is refused when its mode lets others write it, or lets
// everybody read it, as ssh refuses it; group read (0440, 0640) is fine. Two
// cases are a warning instead of an error, because nobody else can get at the
// file after all, or because its mode is not the operator's habit but the
// platform's default: a folder on the way that others may not enter, and a
// Kubernetes volume, which writes secrets 0644 unless defaultMode says
// otherwise.
package tlsutil
