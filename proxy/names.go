package proxy

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/acl/command"
)

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
	w.oblige(func(s *session) {
		if s.facts.in != l {
			return
		}
		was := s.names
		if s.names = l.names.Load(); s.held != nil {
			s.held, s.hidden = s.reread(s.held, was)
		}
	})
}

// reread tells what has become of words that were translated by other names: a
// fault if the listener does not call the command that any more. Then the call is
// given back as it was asked for.
func (s *session) reread(args [][]byte, was *command.Names) ([][]byte, error) {
	var call command.Call
	if was == s.names || s.w.table.Parse(args, &call) != nil {
		return args, nil // no call by any name: it is refused as such
	}
	before, _ := was.Name(call.Spec)
	if now, ok := s.names.Name(call.Spec); ok && now == before {
		return args, nil
	}
	asked := slices.Clone(args)
	word, sub, isSub := strings.Cut(before, "|")
	asked[0] = []byte(word)
	if !isSub {
		return asked, command.Unknown
	}
	asked[1] = []byte(sub)
	if now, ok := s.names.Name(call.Spec.Container); !ok || now != word {
		return asked, command.Unknown
	}
	return asked, command.UnknownSubcommand
}

// requeued holds a transaction against names that a reload brought since its calls
// were queued: what clients may not say any more must not run either.
func (s *session) requeued(t *transaction) {
	was := t.names
	if t.names = s.names; was == s.names || t.unheard != nil {
		return
	}
	for _, args := range t.calls {
		if asked, err := s.reread(args, was); err != nil {
			t.asked, t.unheard = asked, err
			return
		}
	}
}
