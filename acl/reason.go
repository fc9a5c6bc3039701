package acl

// Reason is why something was refused. One closed list serves the RESP error,
// the metric label and the event field. None is the zero value.
type Reason uint8

// The closed list. Its order carries no meaning.
const (
	None Reason = iota

	// Admission.
	AddressNotAllowed  // the listener's allow list does not hold the address
	TooManyClients     // a connection limit
	MemoryLimit        // limits.memory is used up
	HandshakeFailed    // TLS handshake
	HandshakeTimeout   // TLS handshake
	NoCertificate      // TLS: one is required and none was shown
	UnknownCA          // TLS: the certificate is issued by nobody the listener trusts
	CertificateExpired // TLS: the certificate, or one above it, is past its end
	CertificateEarly   // TLS: the certificate, or one above it, is not valid yet
	CertificateUsage   // TLS: the certificate is not issued for clients
	CertificateBad     // TLS: damaged, forbidden by its CA, a name with control bytes, or its key not proved
	TLSVersion         // TLS: older than the listener's min_version
	TLSCipher          // TLS: no cipher suite, group or signature in common
	NotTLS             // TLS: the first bytes are something else
	CrossProtocol      // HTTP or TLS bytes on a plain RESP port
	CertificateRevoked // a revocation list names the certificate, or one above it
	RevocationUnknown  // no current revocation list speaks of the certificate
	ProxyHeader        // PROXY protocol: none, a bad one, or from a peer who may not send one

	// Authentication. Clients see WRONGPASS for every one of them.
	NoSuchUser           // the policy has no such user
	UserDisabled         // the user is off
	WrongPassword        // no password of the user fits
	MethodRefused        // the listener does not take this kind of credential
	AuthThrottled        // too many failures before
	UserExpired          // the user's until has passed
	ListenerNotAllowed   // the user, or the token's issuer, is not for this listener
	SourceNotAllowed     // the user's from does not hold the address
	FactorMissing        // require names a proof that was not given
	CertificateAmbiguous // the certificate may mean several users, or does not say clearly whom
	TokenInvalid         // not a token of any issuer, or a bad one
	TokenExpired         // the token's end has passed
	TokenKeysUnknown     // the issuer's keys cannot be had, or are too old
	TokenForOther        // the token does not speak for the name given, or not for this user
	TokenWithoutRole     // neither a user nor a role comes of the token
	PasswordWeak         // the password breaks the password rules
	PasswordExpired      // the password is older than the password rules allow

	// Commands.
	NotAuthenticated   // NOAUTH
	UnknownCommand     // not in the command table
	UnknownSubcommand  // the container is, the subcommand is not
	WrongArity         // wrong number of arguments
	KeysNotFound       // the keys of this shape cannot be determined
	CommandRefused     // class Refused, whatever the policy says
	CommandUnsupported // needs a connection of its own, which is not available
	CommandNotAllowed  // no rule grants it
	KeyNotAllowed      // no rule grants one of its keys
	ChannelNotAllowed  // no rule grants one of its channels
	Guarded            // in a guarded category and not named by a rule
	Never              // on the never list
	KeyspaceWide       // touches keys it does not name; needs ~*
	ScriptConfined     // a script reaches everything; needs ~* &* +@all
	ProtocolError      // the bytes were no request
	ConnectionLimit    // as many backend connections of sessions' own as may be are in use
	TTLRequired        // leaves a key without an expiry, or with too late a one, where expiry: asks for it

	// Limits of a user.
	RateLimited     // more commands a second than the user may make
	UserConnections // more connections than the user may have
	LoginBound      // the session is bound to a backend connection that another login than the user's was made for
	RequestTooLarge // would have to be held to be judged and is longer than may be held

	// The record.
	RecordUnavailable // events can't be kept, and on_full: refuse lets nobody in meanwhile

	reasonCount
)

var reasonCodes = [reasonCount]string{
	None:                 "none",
	AddressNotAllowed:    "address_not_allowed",
	TooManyClients:       "too_many_clients",
	MemoryLimit:          "memory_limit",
	HandshakeFailed:      "handshake_failed",
	HandshakeTimeout:     "handshake_timeout",
	NoCertificate:        "no_certificate",
	UnknownCA:            "unknown_ca",
	CertificateExpired:   "expired_certificate",
	CertificateEarly:     "certificate_not_yet_valid",
	CertificateUsage:     "wrong_usage",
	CertificateBad:       "bad_certificate",
	TLSVersion:           "unsupported_version",
	TLSCipher:            "no_shared_cipher",
	NotTLS:               "not_tls",
	CrossProtocol:        "cross_protocol",
	CertificateRevoked:   "certificate_revoked",
	RevocationUnknown:    "revocation_unknown",
	ProxyHeader:          "proxy_header",
	NoSuchUser:           "no_such_user",
	UserDisabled:         "user_disabled",
	WrongPassword:        "wrong_password",
	MethodRefused:        "method_not_allowed",
	AuthThrottled:        "auth_throttled",
	UserExpired:          "user_expired",
	ListenerNotAllowed:   "listener_not_allowed",
	SourceNotAllowed:     "source_not_allowed",
	FactorMissing:        "factor_missing",
	CertificateAmbiguous: "ambiguous_certificate",
	TokenInvalid:         "bad_token",
	TokenExpired:         "token_expired",
	TokenKeysUnknown:     "token_keys_unknown",
	TokenForOther:        "token_for_other",
	TokenWithoutRole:     "token_without_role",
	PasswordWeak:         "weak_password",
	PasswordExpired:      "password_expired",
	NotAuthenticated:     "not_authenticated",
	UnknownCommand:       "unknown_command",
	UnknownSubcommand:    "unknown_subcommand",
	WrongArity:           "wrong_arity",
	KeysNotFound:         "keys_not_found",
	CommandRefused:       "command_refused",
	CommandUnsupported:   "command_unsupported",
	CommandNotAllowed:    "command_not_allowed",
	KeyNotAllowed:        "key_not_allowed",
	ChannelNotAllowed:    "channel_not_allowed",
	Guarded:              "guarded",
	Never:                "never",
	KeyspaceWide:         "keyspace_wide",
	ScriptConfined:       "script_confined",
	ProtocolError:        "protocol_error",
	ConnectionLimit:      "backend_connection_limit",
	TTLRequired:          "ttl_required",
	RateLimited:          "rate_limited",
	UserConnections:      "user_connections",
	LoginBound:           "backend_login_bound",
	RequestTooLarge:      "request_too_large",
	RecordUnavailable:    "record_unavailable",
}

// String gives the code used in events and metric labels. A value outside the
// list reads "unknown".
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown"
	}
	return reasonCodes[r]
}

// Reasons lists every reason but None, so that metrics can be registered with
// a closed set of labels. The caller owns the slice.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := None + 1; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}
