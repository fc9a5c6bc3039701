package command

// ID numbers the entries of one Table densely from 0, so that sets of commands
// are bitmaps. It is stable within a build, not between builds.
type ID uint16

// Class says how a call may travel. The zero value is the careful one.
type Class uint8

const (
	// Pinned needs a backend connection of its own, closed afterwards.
	Pinned Class = iota
	// Shared leaves no state on the connection and never blocks: it may
	// travel on a connection that many sessions use.
	Shared
	// Local is answered by the proxy itself.
	Local
	// Refused never reaches a backend, whatever the policy says.
	Refused
)

// String gives the class as metric labels and the reviewed list write it.
func (c Class) String() string {
	switch c {
	case Pinned:
		return "pinned"
	case Shared:
		return "shared"
	case Local:
		return "local"
	default:
		return "refused"
	}
}

// Access is what a key permission must grant. Zero asks for any pattern that
// matches, be it for reading or for writing (Redis: a key without a logical flag).
type Access uint8

const (
	Read  Access = 1 << iota // the command returns or copies the value (Redis: access)
	Write                    // insert, update or delete
)

// Key is one key of a call: an index into Call.Args and the access it needs.
type Key struct {
	Arg    int32
	Access Access
}

// Channel is one channel of a call. Pattern is set for PSUBSCRIBE, whose
// argument must equal a granted pattern instead of matching one.
type Channel struct {
	Arg     int32
	Pattern bool
}

// Spec is one command or subcommand of the table. Immutable once built.
type Spec struct {
	ID         ID
	Name       string // lower case; "config|get" for a subcommand
	Arity      int    // as in COMMAND: negative is a minimum; counts the name (both words for a subcommand)
	Flags      Flags
	Categories Categories
	Class      Class   // of the command's plain shape; a call's own class is Call.Class
	Container  *Spec   // nil unless this is a subcommand
	Subs       []*Spec // nil unless this is a container; sorted by name

	// FirstKey, LastKey and KeyStep are the fields of a COMMAND reply. Keys
	// are not found with them: they cannot describe every command.
	FirstKey, LastKey, KeyStep int

	subs     *index // of Subs, nil unless this is a container
	keys     keyFinder
	channels channelFinder
}

// Sub finds a subcommand of a container by the word a client sent, ASCII case
// ignored; nil if there is none. "GET\x00" is not "get".
func (s *Spec) Sub(name []byte) *Spec {
	if s.subs == nil {
		return nil
	}
	return s.subs.find(name)
}

// TakesKeys reports whether calls of this command may name keys.
func (s *Spec) TakesKeys() bool { return s.keys.method != noKeys }

// TakesChannels reports whether calls of this command name channels.
func (s *Spec) TakesChannels() bool { return s.channels != noChannels }

// Fault is why a request is not a call. It is an error; its text for the
// client is built elsewhere, in Redis's words.
type Fault uint8

const (
	Unknown           Fault = iota + 1 // no such command
	UnknownSubcommand                  // the container is known, the subcommand is not
	WrongArity                         // ERR wrong number of arguments for '<name>' command
	NoKeys                             // its keys can't be found: refused, never guessed
)

// Error says the fault for logs and tests.
func (f Fault) Error() string {
	switch f {
	case Unknown:
		return "unknown command"
	case UnknownSubcommand:
		return "unknown subcommand"
	case WrongArity:
		return "wrong number of arguments"
	default:
		return "keys cannot be determined"
	}
}

// Call is one parsed command. Args alias the reader's buffer and are valid
// until Feed returns; Keys and Channels reuse their backing arrays from call to
// call. A Call belongs to one goroutine.
type Call struct {
	Spec     *Spec
	Class    Class // of this shape: XREAD with BLOCK is Pinned although XREAD is Shared
	Args     [][]byte
	Keys     []Key
	Channels []Channel

	// PatternArg is the index in Args of the first BY (with a * in its
	// pattern) or GET option of SORT and SORT_RO, by which they read keys
	// nobody can name beforehand; 0 if there is none. Such a call needs, in
	// Redis, unrestricted read access to keys in a selector that allows the
	// command: "ERR BY option of SORT denied due to insufficient ACL
	// permissions." (or "GET option").
	PatternArg int32

	last lookup // clients tend to repeat themselves
}
