package acl

import (
	"regexp"
	"testing"
)

// The list is closed: metrics and events rely on these very codes.
func TestReasons_are_a_closed_list(t *testing.T) {
	want := []string{
		"address_not_allowed", "too_many_clients", "memory_limit", "handshake_failed", "handshake_timeout",
		"no_certificate", "unknown_ca", "expired_certificate", "certificate_not_yet_valid", "wrong_usage", "bad_certificate",
		"unsupported_version", "no_shared_cipher", "not_tls", "cross_protocol",
		"certificate_revoked", "revocation_unknown", "proxy_header",
		"no_such_user", "user_disabled", "wrong_password", "method_not_allowed", "auth_throttled",
		"user_expired", "listener_not_allowed", "source_not_allowed", "factor_missing", "ambiguous_certificate",
		"bad_token", "token_expired", "token_keys_unknown", "token_for_other", "token_without_role", "weak_password", "password_expired",
		"not_authenticated", "unknown_command", "unknown_subcommand", "wrong_arity", "keys_not_found",
		"command_refused", "command_unsupported", "command_not_allowed", "key_not_allowed", "channel_not_allowed",
		"guarded", "never", "keyspace_wide", "script_confined", "protocol_error", "backend_connection_limit", "ttl_required",
		"rate_limited", "user_connections", "backend_login_bound", "request_too_large", "record_unavailable",
	}
	all := Reasons()
	if len(all) != len(want) {
		t.Fatalf("%d reasons, want %d", len(all), len(want))
	}
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for i, r := range all {
		if r.String() != want[i] || !form.MatchString(r.String()) {
			t.Errorf("reason %d is %q, want %q", r, r, want[i])
		}
	}
	if None.String() != "none" || Reason(200).String() != "unknown" {
		t.Errorf("got %q and %q", None, Reason(200))
	}
}
