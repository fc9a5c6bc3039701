package proxy

import (
	"strings"

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
		return offeredHere(call)
	}
	return false
}

func offeredHere(call *command.Call) bool {
	switch call.Spec.Name {
	case "ping", "echo", "auth", "hello", "select", "reset", "quit",
		"acl|whoami", "acl|cat", "acl|users", "acl|list", "acl|getuser", "acl|genpass", "acl|dryrun", "acl|log",
		"acl|setuser", "acl|deluser", "acl|load", "acl|save", "acl|help",
		"command", "command|count", "command|list", "command|info", "command|docs", "command|getkeys",
		"command|getkeysandflags", "command|help",
		"client|id", "client|getname", "client|setname", "client|setinfo", "client|info", "client|list", "client|kill",
		"client|help", "client|getredir", "client|trackinginfo", "client|caching", "client|unblock", "client|capa":
		return true
	case "client|no-evict", "client|no-touch", "client|tracking", "client|import-source":
		// Off is what they are. On would be a promise: the largest holder goes
		// when memory runs short, and the node's connection is not the client's.
		return len(call.Args) == 3 && fold(call.Args[2], "off")
	case "client|reply":
		return len(call.Args) == 3 && fold(call.Args[2], "on")
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
