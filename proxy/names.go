package proxy

import "github.com/sallyport/sallyport/acl/command"

// A listener may call commands by other names, or have none for them. Words are
// translated once, when the reader gives them, and everything after that knows
// real names only: decisions, the record, what is sent. On the way back they are
// translated where the proxy itself speaks of commands.

// unheardOf makes a call of words that the listener has no command for.
func (s *session) unheardOf(args [][]byte) {
	s.hidden = nil
	c := &s.call
	c.Spec, c.Class, c.Args, c.PatternArg = nil, command.Refused, args, 0
	c.Keys, c.Channels = c.Keys[:0], c.Channels[:0]
}

// shown is what the session's listener calls a command.
func (s *session) shown(spec *command.Spec) string {
	if s.names == nil {
		return spec.Name
	}
	name, _ := s.names.Name(spec)
	return name
}

// named finds a command by what the session's listener calls it, nil if it has
// none of that name.
func (s *session) named(name []byte) *command.Spec {
	if s.names == nil {
		return s.w.table.ByName(string(name))
	}
	return s.names.ByName(s.w.table, string(name))
}

// visible reports whether the session's listener has the command.
func (s *session) visible(spec *command.Spec) bool {
	if s.names == nil {
		return true
	}
	_, ok := s.names.Name(spec)
	return ok
}

// parse makes a call of words within a command: COMMAND GETKEYS, ACL DRYRUN.
func (s *session) parse(args [][]byte, call *command.Call) error {
	if s.names != nil {
		if fault := s.names.Translate(args); fault != nil {
			return fault
		}
	}
	return s.w.table.Parse(args, call)
}

// rename gives the sessions of a listener the names a reload brought.
func (w *worker) rename(l *listener) {
	for s := w.sessions; s != nil; s = s.next {
		if s.facts.in == l {
			s.names = l.names.Load()
		}
	}
}
