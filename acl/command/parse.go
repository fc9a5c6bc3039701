package command

// keptKeys bounds the key and channel arrays a Call keeps for its next use:
// one request with a million keys must not cost a session megabytes for good.
const keptKeys = 1 << 13

// Parse makes a call of a request: name and subcommand, arity, then keys and
// channels. It fills c, whose slices it reuses, and allocates nothing once
// they are large enough.
//
// The error is a Fault, or nil. On a fault the class is Refused and there are
// no keys or channels; c.Spec is as far as the name was understood: nil for
// Unknown, the container for UnknownSubcommand, the command otherwise. A
// container without subcommand is WrongArity, as in Redis.
//
// c.Keys may name one argument twice, and is in no particular order.
func (t *Table) Parse(args [][]byte, c *Call) error {
	c.Spec = nil
	c.Class = Refused
	c.Args = args
	c.PatternArg = 0
	c.Keys = c.Keys[:0]
	c.Channels = c.Channels[:0]
	if cap(c.Keys) > keptKeys {
		c.Keys = nil
	}
	if cap(c.Channels) > keptKeys {
		c.Channels = nil
	}
	if len(args) == 0 {
		return Unknown
	}
	s := c.last.find(t.top, args[0])
	if s == nil {
		return Unknown
	}
	c.Spec = s
	if s.subs != nil && len(args) > 1 {
		sub := s.subs.find(args[1])
		if sub == nil {
			return UnknownSubcommand
		}
		s = sub
		c.Spec = s
	}
	// Before any look at keys: key search relies on it.
	if !s.takes(len(args)) {
		return WrongArity
	}
	c.Class = s.Class
	if s.keys.method != noKeys && !s.keys.find(c) {
		c.Class = Refused
		c.Keys = c.Keys[:0]
		return NoKeys
	}
	if s.channels != noChannels {
		s.channels.find(c)
	}
	return nil
}

// takes reports whether the command may have that many arguments, its name included.
func (s *Spec) takes(argc int) bool {
	if s.Arity < 0 {
		return argc >= -s.Arity
	}
	return argc == s.Arity
}
