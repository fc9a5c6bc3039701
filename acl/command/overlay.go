package command

import "strings"

// keyspaceWide lists the commands that touch keys no key specification names,
// so that key patterns say nothing about them, each with its reason. Reviewed
// by hand: facts.json cannot tell.
var keyspaceWide = map[string]string{
	// The whole keyspace.
	"flushall":  "deletes every key of every database",
	"flushdb":   "deletes every key of the database",
	"swapdb":    "puts other keys under every name",
	"keys":      "lists names of any key",
	"scan":      "lists names of any key",
	"randomkey": "returns the name of any key",
	"dbsize":    "counts all keys",
	"monitor":   "shows every key and value of everybody's commands",
	"debug":     "OBJECT, RELOAD, FLUSHALL, SET-ACTIVE-EXPIRE and others take keys, or all keys, undeclared",
	"replicaof": "replaces the whole data set",
	"slaveof":   "replaces the whole data set",

	// Slots.
	"cluster|getkeysinslot":   "lists names of any key of a slot",
	"cluster|countkeysinslot": "counts all keys of a slot",
	"cluster|flushslot":       "deletes every key of a slot",
	"cluster|delslots":        "takes every key of a slot out of service",
	"cluster|delslotsrange":   "takes every key of a slot out of service",
	"cluster|flushslots":      "takes every key of a slot out of service",
	"cluster|setslot":         "decides which node serves every key of a slot",
	"cluster|migrateslots":    "moves every key of slots to another node",
	"cluster|migration":       "moves every key of slots to another node",
	"cluster|reset":           "makes a node forget its slots; a replica drops all its keys",
	"cluster|replicate":       "replaces the whole data set of the node",
	"cluster|syncslots":       "carries every key of slots",
	"clusterscan":             "lists names of any key",
	"trimslots":               "deletes every key of slots",

	// Time series: chosen by labels.
	"ts.mget":        "reads every series whose labels match",
	"ts.mrange":      "reads every series whose labels match",
	"ts.mrevrange":   "reads every series whose labels match",
	"ts.queryindex":  "lists names of the series whose labels match",
	"ts.querylabels": "lists labels and their values over all series",

	// JSON (Valkey): names of keys, and structures all documents share.
	"json.debug|max-depth-key":         "returns the name of any key",
	"json.debug|max-size-key":          "returns the name of any key",
	"json.debug|keytable-check":        "walks every document",
	"json.debug|keytable-clear":        "clears a table all documents share",
	"json.debug|keytable-distribution": "shows a table all documents share",

	// Search: an index covers every key of its prefixes.
	"ft.search":             "reads every document of an index",
	"ft.aggregate":          "reads every document of an index",
	"ft.hybrid":             "reads every document of an index",
	"ft.profile":            "runs a search over an index",
	"ft.cursor|read":        "reads every document of an index, of a search that anybody began",
	"ft.cursor|del":         "ends a search that anybody began",
	"ft.cursor|gc":          "ends searches that anybody began",
	"ft.mget":               "reads documents as keys no specification names",
	"ft.tagvals":            "lists values over all documents of an index",
	"ft.spellcheck":         "shows words over all documents of an index",
	"ft.explain":            "shows how an index would be searched, its prefix expansions included",
	"ft.explaincli":         "shows how an index would be searched, its prefix expansions included",
	"ft.info":               "shows what an index knows about all its documents",
	"ft._list":              "lists indexes over any keys",
	"ft.create":             "makes every key of a prefix searchable",
	"ft._createifnx":        "makes every key of a prefix searchable",
	"ft.alter":              "indexes further fields of all documents",
	"ft._alterifnx":         "indexes further fields of all documents",
	"ft.drop":               "deletes an index and by default every document of it",
	"ft._dropifx":           "deletes an index and by default every document of it",
	"ft.dropindex":          "deletes an index, with DD every document of it",
	"ft._dropindexifx":      "deletes an index, with DD every document of it",
	"ft.aliasadd":           "lets another name reach an index",
	"ft._aliasaddifnx":      "lets another name reach an index",
	"ft.aliasdel":           "takes a name from an index",
	"ft._aliasdelifx":       "takes a name from an index",
	"ft.aliasupdate":        "turns a name to another index",
	"ft.aliaslist":          "lists names of indexes over any keys",
	"ft.synadd":             "changes what every search of an index finds",
	"ft.synupdate":          "changes what every search of an index finds",
	"ft.syndump":            "shows the synonyms of an index",
	"ft.dictadd":            "changes a dictionary all searches share",
	"ft.dictdel":            "changes a dictionary all searches share",
	"ft.dictdump":           "shows a dictionary all searches share",
	"ft.add":                "besides its document, writes an index",
	"ft.safeadd":            "besides its document, writes an index",
	"ft.del":                "besides its document, writes an index",
	"ft.get":                "besides its document, reads an index",
	"ft.config|set":         "changes how every index is searched",
	"_ft.config|set":        "changes how every index is searched",
	"ft.internal_update":    "writes indexes over any keys",
	"ft._debug":             "shows and changes indexes over any keys",
	"_ft.debug":             "shows and changes indexes over any keys, as do its subcommands",
	"search.clusterset":     "changes where indexes look for documents",
	"timeseries.clusterset": "changes where label queries look for series",
}

// runsScripts lists what runs or installs code on the server.
var runsScripts = map[string]bool{
	"eval": true, "eval_ro": true, "evalsha": true, "evalsha_ro": true, "fcall": true, "fcall_ro": true,
	"script|load": true,
	// Not only loading: whoever deletes or empties libraries decides what an FCALL of others finds.
	"function|load": true, "function|restore": true, "function|delete": true, "function|flush": true,
}

// ownFlags gives the flags that are this proxy's judgement.
func ownFlags(name string) Flags {
	var f Flags
	if leavesNothing[name] {
		f |= FlagLeavesNothing
	}
	if _, wide := keyspaceWide[name]; wide || strings.HasPrefix(name, "_ft.debug|") {
		f |= FlagKeyspaceWide
	}
	if runsScripts[name] {
		f |= FlagScript
	}
	if _, ok := atPrimary[name]; ok {
		f |= FlagAtPrimary
	}
	return f
}

// leavesNothing are commands of class Pinned that have left nothing on their
// connection once they have answered, besides those that block. Any other
// connection of that class is closed after such a call.
var leavesNothing = map[string]bool{
	"multi": true, "exec": true, "discard": true, "watch": true, "unwatch": true, "wait": true, "waitaof": true,
	"script|kill": true, "function|kill": true, "function|stats": true,
	"ft.search": true, "ft.aggregate": true, "ft.hybrid": true, "ft.profile": true, "ft.cursor|read": true,
	"ft.explain": true, "ft.spellcheck": true, "ft.tagvals": true, "vadd": true, "vsim": true,
}

// atPrimary lists what only reads, by its flags, and yet is not for replicas, each
// with its reason.
var atPrimary = map[string]string{
	"hscan":           "its cursor holds for one node: another has its fields in another order",
	"sscan":           "its cursor holds for one node: another has its members in another order",
	"zscan":           "its cursor holds for one node: another has its members in another order",
	"bf.scandump":     "its position holds for one node",
	"cf.scandump":     "its position holds for one node",
	"touch":           "it keeps keys from being evicted, which the primary decides",
	"object|freq":     "each node counts its own clients' accesses, and the primary evicts by them",
	"object|idletime": "each node counts its own clients' accesses, and the primary evicts by them",
}

// Spreads reports whether a call may be read from a replica: it only reads, it
// names what, and the answer is not one that the primary alone can give.
func (c *Call) Spreads() bool {
	const never = FlagWrite | FlagKeyspaceWide | FlagDiscovered | FlagAtPrimary
	f := c.Spec.Flags
	return c.Class == Shared && f&FlagReadonly != 0 && f&never == 0 && len(c.Keys) > 0
}
