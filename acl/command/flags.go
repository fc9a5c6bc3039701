package command

// Flags is a bitmap of a command's flags: those of the COMMAND reply, and
// six of our own that the facts do not hold.
type Flags uint32

const (
	FlagWrite Flags = 1 << iota
	FlagReadonly
	FlagAdmin
	FlagPubsub
	FlagBlocking
	FlagNoAuth // AUTH, HELLO, QUIT, RESET: outside a user's rules
	FlagNoMulti
	// FlagKeyspaceWide marks what touches keys it does not name: FLUSHALL,
	// KEYS, SCAN, ... Key patterns say nothing about such a call.
	FlagKeyspaceWide
	// FlagScript marks what runs or installs code that the server then runs
	// as the proxy's backend user, on any key and with any command: EVAL*,
	// FCALL*, SCRIPT LOAD, FUNCTION LOAD, RESTORE, DELETE and FLUSH.
	FlagScript
	// FlagLeavesNothing marks a Pinned command after which its connection is as
	// good as before.
	FlagLeavesNothing
	// FlagDiscovered marks what a backend says it has and the table knows
	// nothing of: neither its keys nor what it does.
	FlagDiscovered
	// FlagAtPrimary marks a reading command whose answer has to be the primary's.
	FlagAtPrimary
	FlagMovableKeys
	FlagModule
	FlagDenyOOM
	FlagNoScript
	FlagLoading
	FlagStale
	FlagFast
	FlagSkipMonitor
	FlagSkipSlowlog
	FlagSkipCommandlog
	FlagAsking
	FlagNoAsyncLoading
	FlagNoMandatoryKeys
	FlagAllowBusy
	FlagScriptRunner
)

// flagNames are the words of the COMMAND reply. Our own flags have none.
var flagNames = []struct {
	flag Flags
	name string
}{
	{FlagWrite, "write"}, {FlagReadonly, "readonly"}, {FlagDenyOOM, "denyoom"}, {FlagModule, "module"},
	{FlagAdmin, "admin"}, {FlagPubsub, "pubsub"}, {FlagNoScript, "noscript"}, {FlagBlocking, "blocking"},
	{FlagLoading, "loading"}, {FlagStale, "stale"}, {FlagSkipMonitor, "skip_monitor"},
	{FlagSkipSlowlog, "skip_slowlog"}, {FlagSkipCommandlog, "skip_commandlog"}, {FlagAsking, "asking"},
	{FlagFast, "fast"}, {FlagNoAuth, "no_auth"}, {FlagNoMandatoryKeys, "no_mandatory_keys"},
	{FlagScriptRunner, "script_runner"}, {FlagNoAsyncLoading, "no_async_loading"},
	{FlagNoMulti, "no_multi"}, {FlagMovableKeys, "movablekeys"}, {FlagAllowBusy, "allow_busy"},
}

// Names gives the flags as a COMMAND reply writes them. The flags that only
// this proxy knows (FlagKeyspaceWide, FlagScript, FlagLeavesNothing, FlagDiscovered, FlagAtPrimary) are left out.
func (f Flags) Names() []string {
	var names []string
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}
