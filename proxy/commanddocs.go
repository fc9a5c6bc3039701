package proxy

import (
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/resp"
)

// appendDocs is COMMAND DOCS: for each command what the proxy's own table knows
// of it. Clients complete and group by it; it is no manual.
func (s *session) appendDocs(b []byte, names [][]byte) []byte {
	var specs []*command.Spec
	for _, name := range names {
		if spec := s.runnable(s.named(name)); spec != nil {
			specs = append(specs, spec)
		}
	}
	if len(names) == 0 {
		specs = s.topLevel()
	}
	return s.appendDocEntries(b, specs)
}

func (s *session) appendDocEntries(b []byte, specs []*command.Spec) []byte {
	b = resp.AppendMap(b, s.proto, len(specs))
	for _, spec := range specs {
		subs := s.runnableOf(spec.Subs)
		fields := 2
		if len(subs) > 0 {
			fields++
		}
		b = resp.AppendMap(resp.AppendBulkString(b, s.shown(spec)), s.proto, fields)
		b = appendPair(b, "summary", docSummary(spec))
		b = appendPair(b, "group", docGroup(spec))
		if len(subs) > 0 {
			b = s.appendDocEntries(resp.AppendBulkString(b, "subcommands"), subs)
		}
	}
	return b
}

// docSummary says how many arguments a command takes, and its categories.
func docSummary(spec *command.Spec) string {
	n, words := spec.Arity, "exactly "
	if n < 0 {
		n, words = -n, "at least "
	}
	if n--; spec.Container != nil {
		n-- // of both words
	}
	words += strconv.Itoa(n)
	if words == "exactly 0" {
		words = "no"
	}
	return "Takes " + words + " arguments; @" + strings.Join(spec.Categories.Names(), " @") + "."
}

// docGroups are Redis's groups by the category that tells them; the first that fits counts.
var docGroups = [...][2]string{
	{"hyperloglog", "hyperloglog"}, {"bitmap", "bitmap"}, {"geo", "geo"}, {"stream", "stream"}, {"pubsub", "pubsub"},
	{"transaction", "transactions"}, {"scripting", "scripting"}, {"connection", "connection"}, {"keyspace", "generic"},
	{"sortedset", "sorted-set"}, {"hash", "hash"}, {"list", "list"}, {"set", "set"}, {"string", "string"},
}

// docOthers are the groups that categories do not tell.
var docOthers = map[string]string{
	"asking": "cluster", "readonly": "cluster", "readwrite": "cluster", "cluster": "cluster", "command": "server", "dbsize": "server",
	"wait": "generic", "waitaof": "generic",
}

func docGroup(spec *command.Spec) string {
	container, _, _ := strings.Cut(spec.Name, "|")
	switch {
	case spec.Flags&command.FlagModule != 0:
		return "module"
	case docOthers[container] != "":
		return docOthers[container]
	case len(spec.Subs) > 0: // what it is about shows in its subcommands
		return docGroup(spec.Subs[0])
	}
	for _, g := range docGroups {
		if cat, _ := command.CategoryByName(g[0]); spec.Categories&cat != 0 {
			return g[1]
		}
	}
	return "server"
}
