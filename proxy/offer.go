package proxy

import (
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
)

// Offered reports whether a call that the policy allows is carried out: those of
// class Shared and Pinned travel to the backend, most local ones are answered here.
// Others are refused with acl.CommandUnsupported.
func Offered(call *command.Call) bool {
	switch call.Class {
	case command.Shared:
		return true
	case command.Local:
		return call.Spec.Name != "client|pause" && call.Spec.Name != "client|unpause" && call.Spec.Name != "client|import-source" &&
			call.Spec.Name != "client" && call.Spec.Name != "acl"
	case command.Pinned:
		// Under SCRIPT DEBUG a connection speaks another language.
		return call.Spec.Name != "script|debug"
	}
	return false
}

// Probed reports whether a call that the policy refuses gets a reduced, truthful
// answer instead: what clients and tools ask while they connect. A user whose
// rules take the command away by name gets the refusal, and so does everybody
// where Options.RefuseProbes is set.
func Probed(u *acl.User, call *command.Call, d acl.Decision) bool {
	switch d.Reason {
	case acl.Guarded, acl.CommandNotAllowed, acl.KeyspaceWide:
	default:
		return false
	}
	if u == nil || u.Denies(call.Spec) {
		return false
	}
	switch name := call.Spec.Name; name {
	case "info":
		return true
	case "role":
		return len(call.Args) == 1
	case "client|list", "client|info", "client|id":
		return true
	case "client|kill":
		// Only the guard stands between the user and this command, and it is
		// satisfied by what the answer is narrowed to: the user's own sessions.
		return d.Reason == acl.Guarded
	case "config|get":
		for _, a := range call.Args[2:] {
			if !harmlessSetting(a) {
				return false
			}
		}
		return true
	default:
		return clusterQuestions[strings.TrimPrefix(name, "cluster|")] && strings.HasPrefix(name, "cluster|")
	}
}

// clusterQuestions are the subcommands of CLUSTER by which clients find out
// whether they talk to a cluster.
var clusterQuestions = map[string]bool{
	"info": true, "myid": true, "myshardid": true, "slots": true, "shards": true, "nodes": true, "links": true,
	"keyslot": true, "countkeysinslot": true, "replicas": true, "slaves": true,
}
