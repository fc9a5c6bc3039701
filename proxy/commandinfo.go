package proxy

import (
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/resp"
)

// commandFamily answers COMMAND and its subcommands from the proxy's own table,
// which is what the proxy decides by, as far as the user may run what is in it.
func (s *session) commandFamily(args [][]byte) {
	b := s.w.scratch[:0]
	switch s.call.Spec.Name {
	case "command":
		b = s.appendCommands(b, s.topLevel())
	case "command|count":
		b = resp.AppendInt(b, int64(len(s.topLevel())))
	case "command|list":
		names, ok := s.commandList(args)
		if !ok {
			s.fail(errSyntax)
			return
		}
		b = resp.AppendArray(b, len(names))
		for _, spec := range names {
			b = resp.AppendBulkString(b, s.shown(spec))
		}
	case "command|info":
		if len(args) == 2 {
			b = s.appendCommands(b, s.topLevel())
			break
		}
		b = resp.AppendArray(b, len(args)-2)
		for _, name := range args[2:] {
			b = s.appendCommand(b, s.runnable(s.named(name)))
		}
	case "command|docs":
		b = s.appendDocs(b, args[2:])
	case "command|getkeys":
		s.getKeys(args[2:], false)
		return
	case "command|getkeysandflags":
		s.getKeys(args[2:], true)
		return
	case "command|help":
		s.help(commandHelp)
		return
	}
	s.emit(b)
}

// runnable is the command if the user may run it, or one of its subcommands; else nil.
func (s *session) runnable(spec *command.Spec) *command.Spec {
	if spec == nil || !s.visible(spec) {
		return nil
	}
	if mayRun(s.w.policy, s.user, spec) {
		return spec
	}
	for _, sub := range spec.Subs {
		if mayRun(s.w.policy, s.user, sub) {
			return spec
		}
	}
	return nil
}

// runnableOf keeps of a list what the user may run.
func (s *session) runnableOf(specs []*command.Spec) []*command.Spec {
	var may []*command.Spec
	for _, spec := range specs {
		if s.runnable(spec) != nil {
			may = append(may, spec)
		}
	}
	return may
}

// topLevel lists the commands that the user may run and that are no subcommands.
func (s *session) topLevel() []*command.Spec {
	var top []*command.Spec
	for _, spec := range s.w.table.Specs() {
		if spec.Container == nil && s.runnable(spec) != nil {
			top = append(top, spec)
		}
	}
	return top
}

// commandList is COMMAND LIST [FILTERBY ACLCAT category | PATTERN glob | MODULE
// name]. It holds subcommands, too: "config|get".
func (s *session) commandList(args [][]byte) ([]*command.Spec, bool) {
	if len(args) == 2 {
		return s.runnableOf(s.w.table.Specs()), true
	}
	if len(args) != 5 || !fold(args[2], "filterby") {
		return nil, false
	}
	var keep func(*command.Spec) bool
	what := string(args[4])
	switch {
	case fold(args[3], "aclcat"):
		cat, _ := command.CategoryByName(what)
		keep = func(spec *command.Spec) bool { return spec.Categories&cat != 0 }
	case fold(args[3], "pattern"):
		keep = func(spec *command.Spec) bool { return acl.Matches(what, s.shown(spec)) }
	case fold(args[3], "module"):
		return nil, true // the table does not say which module a command comes from
	default:
		return nil, false
	}
	var in []*command.Spec
	for _, spec := range s.w.table.Specs() {
		if keep(spec) && s.runnable(spec) != nil {
			in = append(in, spec)
		}
	}
	return in, true
}

func (s *session) appendCommands(b []byte, specs []*command.Spec) []byte {
	b = resp.AppendArray(b, len(specs))
	for _, spec := range specs {
		b = s.appendCommand(b, spec)
	}
	return b
}

// appendCommand is one entry of COMMAND's reply: name, arity, flags, first key,
// last key, step, categories, tips, key specifications, subcommands. Tips and
// key specifications are left empty; clients take them as hints only.
func (s *session) appendCommand(b []byte, spec *command.Spec) []byte {
	if spec == nil {
		return resp.AppendNull(b, s.proto)
	}
	b = resp.AppendArray(b, 10)
	b = resp.AppendBulkString(b, s.shown(spec))
	b = resp.AppendInt(b, int64(spec.Arity))
	flags := spec.Flags.Names()
	b = resp.AppendSet(b, s.proto, len(flags))
	for _, f := range flags {
		b = resp.AppendSimple(b, f)
	}
	b = resp.AppendInt(b, int64(spec.FirstKey))
	b = resp.AppendInt(b, int64(spec.LastKey))
	b = resp.AppendInt(b, int64(spec.KeyStep))
	cats := spec.Categories.Names()
	b = resp.AppendSet(b, s.proto, len(cats))
	for _, c := range cats {
		b = resp.AppendSimple(b, "@"+c)
	}
	b = resp.AppendSet(b, s.proto, 0)
	b = resp.AppendSet(b, s.proto, 0)
	subs := s.runnableOf(spec.Subs)
	if len(subs) == 0 { // as Redis does: a list of some, a set of none
		return resp.AppendSet(b, s.proto, 0)
	}
	return s.appendCommands(b, subs)
}

// getKeys is COMMAND GETKEYS and GETKEYSANDFLAGS: the keys as the proxy itself
// finds them, and what it asks of patterns for them.
func (s *session) getKeys(args [][]byte, flags bool) {
	var inner command.Call
	fault := s.parse(args, &inner)
	// A script or function may do without keys: whatever its count says, Redis
	// finds none rather than fault.
	free := inner.Spec != nil && inner.Spec.Flags&command.FlagNoMandatoryKeys != 0
	switch {
	case fault == nil, free && fault == command.NoKeys:
	case fault == command.Unknown, fault == command.UnknownSubcommand:
		s.fail("ERR Invalid command specified")
		return
	case fault == command.WrongArity:
		s.fail("ERR Invalid number of arguments specified for command")
		return
	default:
		s.fail("ERR Invalid arguments specified for command")
		return
	}
	if len(inner.Keys) == 0 && !free {
		s.fail("ERR The command has no key arguments")
		return
	}
	b := resp.AppendArray(s.w.scratch[:0], len(inner.Keys))
	for _, k := range inner.Keys {
		if !flags {
			b = resp.AppendBulk(b, args[k.Arg])
			continue
		}
		b = resp.AppendBulk(resp.AppendArray(b, 2), args[k.Arg])
		words := accessWords[k.Access&(command.Read|command.Write)]
		b = resp.AppendSet(b, s.proto, len(words))
		for _, word := range words {
			b = resp.AppendSimple(b, word)
		}
	}
	s.emit(b)
}

// accessWords are the flags of a key by the access it needs. Redis tells more
// kinds of writing apart than decisions need.
var accessWords = [...][]string{
	0:                            {"RO"},
	command.Read:                 {"RO", "access"},
	command.Write:                {"OW", "update"},
	command.Read | command.Write: {"RW", "access", "update"},
}

var commandHelp = []string{
	"COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"(no subcommand)",
	"    The commands you may run, in detail.",
	"COUNT",
	"    Their number, without subcommands.",
	"LIST",
	"    Their names: FILTERBY ACLCAT <category>, or FILTERBY PATTERN <pattern>.",
	"INFO [<command-name> ...]",
	"    The named ones in detail.",
	"DOCS [<command-name> ...]",
	"    What the proxy knows of each: arguments, categories, group.",
	"GETKEYS <full-command>",
	"    The keys of a command.",
	"GETKEYSANDFLAGS <full-command>",
	"    The keys of a command and what it does to them.",
}
