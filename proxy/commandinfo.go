package proxy

import (
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/resp"
)

// commandFamily answers COMMAND and its subcommands from the proxy's own table,
// which is what the proxy decides by.
func (s *session) commandFamily(args [][]byte) {
	b := s.w.scratch[:0]
	switch s.call.Spec.Name {
	case "command":
		b = s.appendCommands(b, topLevel(s.w.table))
	case "command|count":
		b = resp.AppendInt(b, int64(len(topLevel(s.w.table))))
	case "command|list":
		names, ok := s.commandList(args)
		if !ok {
			s.fail("ERR syntax error")
			return
		}
		b = resp.AppendArray(b, len(names))
		for _, spec := range names {
			b = resp.AppendBulkString(b, spec.Name)
		}
	case "command|info":
		if len(args) == 2 {
			b = s.appendCommands(b, topLevel(s.w.table))
			break
		}
		b = resp.AppendArray(b, len(args)-2)
		for _, name := range args[2:] {
			b = s.appendCommand(b, s.w.table.ByName(string(name)))
		}
	case "command|docs":
		b = s.appendDocs(b, args[2:])
	case "command|getkeys":
		s.getKeys(args[2:])
		return
	}
	s.emit(b)
}

// topLevel lists the commands that are no subcommands.
func topLevel(t *command.Table) []*command.Spec {
	var top []*command.Spec
	for _, spec := range t.Specs() {
		if spec.Container == nil {
			top = append(top, spec)
		}
	}
	return top
}

// commandList is COMMAND LIST [FILTERBY ACLCAT category | FILTERBY MODULE name].
func (s *session) commandList(args [][]byte) ([]*command.Spec, bool) {
	all := s.w.table.Specs() // subcommands, too: "config|get"
	switch {
	case len(args) == 2:
		return all, true
	case len(args) == 5 && fold(args[2], "filterby") && fold(args[3], "aclcat"):
		cat, _ := command.CategoryByName(string(args[4]))
		var in []*command.Spec
		for _, spec := range all {
			if spec.Categories&cat != 0 {
				in = append(in, spec)
			}
		}
		return in, true
	case len(args) == 5 && fold(args[2], "filterby") && fold(args[3], "module"):
		return nil, true // the table does not say which module a command comes from
	}
	return nil, false
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
	b = resp.AppendBulkString(b, spec.Name)
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
	b = resp.AppendArray(b, 0)
	b = resp.AppendArray(b, 0)
	return s.appendCommands(b, spec.Subs)
}

// appendDocs is COMMAND DOCS: the proxy has no documentation, so each command
// known maps to an empty entry, from which clients take that there is none.
func (s *session) appendDocs(b []byte, names [][]byte) []byte {
	specs := topLevel(s.w.table)
	if len(names) > 0 {
		specs = specs[:0:0]
		for _, name := range names {
			if spec := s.w.table.ByName(string(name)); spec != nil {
				specs = append(specs, spec)
			}
		}
	}
	b = resp.AppendMap(b, s.proto, len(specs))
	for _, spec := range specs {
		b = resp.AppendMap(resp.AppendBulkString(b, spec.Name), s.proto, 0)
	}
	return b
}

// getKeys is COMMAND GETKEYS: the keys as the proxy itself finds them.
func (s *session) getKeys(args [][]byte) {
	var inner command.Call
	fault := s.w.table.Parse(args, &inner)
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
		b = resp.AppendBulk(b, args[k.Arg])
	}
	s.emit(b)
}
