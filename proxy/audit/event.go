package audit

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/acl"
)

// Kind is what happened: the event field of a line.
type Kind uint8

// The kinds of events. The zero Kind is not an event.
const (
	// NewConn is a connection whose address is allowed and whose transport is up.
	NewConn Kind = iota + 1
	// Auth is one attempt to prove who somebody is, whatever came of it.
	Auth
	// CloseConn ends a connection; exactly one for each NewConn.
	CloseConn
	// Refused is a connection that was not let in or a call that was not allowed.
	Refused
	// Access is an allowed call that is on record: one that needed the guard lifted.
	Access
	// Reload is an attempt to replace the configuration.
	Reload
	// Admin is an administrative action, by whom.
	Admin
	// Dropped stands for lines a sink could not take. The Recorder alone makes it.
	Dropped
	// FirstSeen is an Auth that succeeded for a principal from a network, or by a
	// method, that was not seen before since the process started.
	FirstSeen
	// Clients is who is connected now: to the proxy, or to a backend.
	Clients
	// Bypass is a connection to a backend that is not the proxy's.
	Bypass
	// Checkpoint states where another sink's chain stands. The Recorder alone makes it.
	Checkpoint
	// Chain begins, continues or ends a sink's chain. The Recorder alone makes it.
	Chain

	kindCount
)

var kindNames = [...]string{
	NewConn: "new_conn", Auth: "auth", CloseConn: "close_conn", Refused: "refused",
	Access: "access", Reload: "reload", Admin: "admin", Dropped: "dropped",
	FirstSeen: "first_seen", Clients: "clients", Bypass: "bypass", Checkpoint: "checkpoint", Chain: "chain",
}

// KindNamed finds a kind by the word of its event field.
func KindNamed(name string) (Kind, bool) {
	for k := NewConn; k < kindCount; k++ {
		if kindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// vital says that a part of every queue is kept for events of this kind: without
// them nobody knows who was in.
func (k Kind) vital() bool { return k == Auth || k == CloseConn || k == Admin || k == Reload }

// String gives the word used in the event field.
func (k Kind) String() string { return word(kindNames[:], int(k)) }

// Method is how something was proved or asked for.
type Method uint8

// The methods. MethodAbsent leaves the field out.
const (
	MethodAbsent Method = iota
	// MethodNone is a session that proved nothing because its listener asks for nothing.
	MethodNone
	MethodPassword
	MethodToken
	MethodCertificate
	// MethodSignal, MethodAPI and MethodWatch say what asked for a reload or a drain.
	MethodSignal
	MethodAPI
	MethodWatch
)

var methodNames = [...]string{
	MethodNone: "none", MethodPassword: "password", MethodToken: "token", MethodCertificate: "certificate",
	MethodSignal: "signal", MethodAPI: "api", MethodWatch: "watch",
}

// String gives the word used in the method field, empty for MethodAbsent.
func (m Method) String() string { return word(methodNames[:], int(m)) }

// Status is how an attempt ended. The zero Status leaves the field out.
type Status uint8

// The outcomes.
const (
	OK Status = iota + 1
	Failed
	// Expiring says of an Auth that what was proved ends soon, at Expires, and
	// the session with it.
	Expiring
)

var statusNames = [...]string{OK: "ok", Failed: "failed", Expiring: "expiring"}

// String gives the word used in the status field, empty for the zero Status.
func (s Status) String() string { return word(statusNames[:], int(s)) }

// CloseReason is why a connection ended. The zero CloseReason leaves the field out.
type CloseReason uint8

// The reasons a connection ends, a closed list.
const (
	CloseClient          CloseReason = iota + 1 // the client closed, or asked with QUIT
	CloseReset                                  // the transport failed: reset, broken TLS record
	CloseIdle                                   // longer silent than idle_timeout
	CloseAuthTimeout                            // not authenticated within auth_timeout
	CloseWriteTimeout                           // did not read its replies in time
	CloseHandshake                              // the transport was up but the connection could not be moved in
	CloseTokenExpired                           // its token is no longer valid
	CloseCertExpired                            // its certificate, or one above it, is past its end
	CloseRevoked                                // its certificate was revoked
	ClosePolicyChanged                          // its user or its address is no longer allowed
	CloseOutputLimit                            // more unread replies than output_bytes
	CloseMemoryLimit                            // the largest holder when memory ran short
	CloseProtocolError                          // not RESP, or over a protocol limit
	CloseCrossProtocol                          // HTTP or TLS bytes where RESP belongs
	CloseKilled                                 // by CLIENT KILL or over the admin API
	CloseDrain                                  // the proxy is ending
	CloseBackendLost                            // its own backend connection died
	ClosePanic                                  // a fault of ours while serving it
	CloseUserConnections                        // its user has as many connections as allowed
	CloseRequestLimit                           // a request larger than may be held
	CloseCommandTimeout                         // began a command and did not send the rest in time
	CloseUnrecorded                             // its new_conn could not be put on a record that must be kept
)

var closeNames = [...]string{
	CloseClient: "client_closed", CloseReset: "connection_reset", CloseIdle: "idle", CloseAuthTimeout: "auth_timeout",
	CloseWriteTimeout: "write_timeout", CloseHandshake: "handshake", CloseTokenExpired: "token_expired", CloseCertExpired: "certificate_expired",
	CloseRevoked: "certificate_revoked", ClosePolicyChanged: "policy_changed", CloseOutputLimit: "output_limit",
	CloseMemoryLimit: "memory_limit", CloseProtocolError: "protocol_error", CloseCrossProtocol: "cross_protocol",
	CloseKilled: "killed", CloseDrain: "drain", CloseBackendLost: "backend_lost", ClosePanic: "panic",
	CloseUserConnections: "user_connections", CloseRequestLimit: "request_limit", CloseCommandTimeout: "command_timeout",
	CloseUnrecorded: "unrecorded",
}

// String gives the word used in the reason field of close_conn, empty for the zero CloseReason.
func (r CloseReason) String() string { return word(closeNames[:], int(r)) }

// CloseReasons lists the words of all of them, each at the place of its number,
// so that metrics can be registered with a closed set of labels. The caller owns the slice.
func CloseReasons() []string { return append([]string(nil), closeNames[:]...) }

// word looks a code up; a code outside the list reads "unknown" rather than
// failing while something worth recording happens.
func word(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}

// Event is one thing worth recording. A field with its zero value doesn't apply
// and is left out, but a CloseConn always states its duration, bytes and counts,
// and TLS brings Resumed with it. Strings and keys may hold any bytes: the
// encoder makes them safe. Record reads an Event during the call only and keeps
// nothing of it, so Keys may point into a read buffer.
type Event struct {
	Time time.Time // when it happened; written as UTC with microseconds
	Seq  uint64    // set by Record: 1, 2, 3 … for each Recorder
	Kind Kind

	Mode string // "report" where a layer only reported what it would have refused
	Conn uint64 // joins the events of a connection

	Listener   string
	ClientIP   netip.Addr // whom the connection speaks for: a PROXY header's address where one is taken
	ClientPort uint16
	PeerIP     netip.Addr // who is on the other end of the socket, where that differs
	// Target is the address of ours that the client reached. Only format
	// redis-enterprise writes it.
	Target netip.AddrPort

	User    string
	Method  Method
	Factors acl.Factors // of an Auth that succeeded: all that was proved
	Status  Status
	Reason  acl.Reason  // why it was refused or failed
	Close   CloseReason // why a connection ended; goes to the reason field if Reason is acl.None

	Rule    string   // the deciding rule and where it is written
	Command string   // "config|set"; for Admin, the action
	Keys    [][]byte // names of keys or channels, never values

	TLS          string // "1.3"; empty: plaintext
	Cipher       string
	Resumed      bool
	Cert         Certificate
	TokenID      string
	Expires      time.Time     // when what was proved ends; whole seconds
	Duration     time.Duration // written as whole milliseconds
	BytesIn      uint64
	BytesOut     uint64
	Commands     uint64 // calls the connection made
	RefusedCalls uint64 // of these, refused ones

	// Folded counts the refusals of the same session and reason that were not
	// written and that this event speaks for besides its own; see Folder.
	Folded uint64

	Backend string // of Clients and Bypass: which backend's connections these are
	// Connections is how many there are now, Ours how many of a backend's are the
	// proxy's. Groups are them by where they come from; what is over MaxGroups is
	// brought by further events, Part of Parts.
	Connections, Ours uint64
	Groups            []Group
	Part, Parts       int

	// Sink is the sink whose chain a Checkpoint speaks of; Head is where it stood.
	Sink string
	Head Head
}

// MaxGroups is how many Groups one event writes; those after them are not written.
const MaxGroups = 32

// Group is connections that have a source, a user and a client library in common.
type Group struct {
	IP      netip.Addr
	User    string
	Library string // what the client says it is: name and version
	Count   uint64
}

// Head names a line of a chain by its number and its hash: 64 hexadecimal digits.
type Head struct {
	Seq  uint64
	Hash string
}

// String gives the form that audit verify --expect takes: SEQ:HASH.
func (h Head) String() string { return strconv.FormatUint(h.Seq, 10) + ":" + h.Hash }

// Certificate is what a client certificate says, as far as the record wants it.
type Certificate struct {
	Subject string
	URI     string
	Serial  string // hexadecimal
	SHA256  string // hexadecimal fingerprint of the DER form
}
