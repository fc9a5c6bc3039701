package proxy

import (
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
)

// Offered reports whether a call that the policy allows is carried out: those of
// class Shared travel to the backend, of the local ones the proxy answers these.
// Others are refused with acl.CommandUnsupported.
func Offered(call *command.Call) bool {
	switch call.Class {
	case command.Shared:
		return true
	case command.Local:
		switch call.Spec.Name {
		case "ping", "echo", "auth", "hello", "select", "reset", "quit", "acl|whoami",
			"command", "command|count", "command|list", "command|info", "command|docs", "command|getkeys",
			"client|id", "client|getname", "client|setname", "client|setinfo", "client|info", "client|list":
			return true
		}
	}
	return false
}

// Probed reports whether a call that the policy refuses gets a reduced, truthful
// answer instead: what clients and tools ask while they connect. A user whose
// rules take the command away by name gets the refusal.
func Probed(u *acl.User, call *command.Call, d acl.Decision) bool {
	if d.Reason != acl.Guarded && d.Reason != acl.CommandNotAllowed || u.Denies(call.Spec) {
		return false
	}
	switch call.Spec.Name {
	case "client|list", "client|info", "client|id":
		return len(call.Args) == 2
	case "config|get":
		for _, a := range call.Args[2:] {
			if !fold(a, "save") && !fold(a, "appendonly") {
				return false
			}
		}
		return true
	}
	return false
}
