package config

import (
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
)

// renaming is one entry of commands.rename: of a listener.
type renaming struct {
	from acl.Text
	to   value
}

// readNames reads commands: of a listener. Which commands there are is known later.
func (l *listener) readNames(s *section) {
	s.get("rename").section().each(func(name acl.Text, v value) {
		l.renamed = append(l.renamed, renaming{name, v})
	})
	l.disabled = s.get("disable").items()
	s.close()
}

// commandNames makes each listener's names for commands.
func (r *reader) commandNames(c *Config) {
	for i := range c.listeners {
		l := &c.listeners[i]
		if len(l.renamed)+len(l.disabled) == 0 {
			continue
		}
		names := command.NewNames(c.Table.Base())
		for _, e := range l.renamed {
			to := e.to.nonempty()
			if to.Value == "" {
				continue
			}
			if err := names.Rename(e.from.Value, to.Value); err != nil {
				at := e.to
				if c.Table.ByName(e.from.Value) == nil {
					at.at = e.from.At
				}
				at.faultHint(r.commandHint(c, e.from.Value), "%s", err)
			}
		}
		for _, v := range l.disabled {
			name := v.nonempty()
			if name.Value == "" {
				continue
			}
			if err := names.Disable(name.Value); err != nil {
				v.faultHint(r.commandHint(c, name.Value), "%s", err)
			}
		}
		l.names = names
	}
}

// commandHint guesses at a command that was meant by a name of none.
func (r *reader) commandHint(c *Config, name string) string {
	if c.Table.ByName(name) != nil {
		return ""
	}
	var all []string
	for _, s := range c.Table.Specs() {
		all = append(all, s.Name)
	}
	return DidYouMean(name, all)
}

// Names gives what a listener calls commands; nil: as everywhere.
func (c *Config) Names(listener string) *command.Names {
	for _, l := range c.listeners {
		if l.name.Value == listener {
			return l.names
		}
	}
	return nil
}
