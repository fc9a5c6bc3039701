package proxy

import (
	"io/fs"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
)

// Options is a whole configuration, validated and typed. NewServer takes
// ownership; nothing in it may change afterwards.
type Options struct {
	Listeners []ListenerOptions
	Backends  map[string]backend.Options
	Policy    *acl.Policy // nil, for Reload alone: the one in force stays
	Table     *command.Table
	Limits    Limits
	Auth      Auth
	Workers   int // event loops; 0: auto
	Shutdown  Shutdown
	Recorder  *audit.Recorder
	Logger    *zap.Logger
	Version   string

	// PingEvery is how often a single node is asked PING, for the metric; 0: never.
	PingEvery time.Duration
	// RefuseProbes gives those who may not run a probe the refusal, instead of
	// the reduced answer made here.
	RefuseProbes bool
	// EventsOn are patterns of keys and channels: every allowed call that names
	// one is recorded.
	EventsOn  []string
	Snapshots Snapshots
	// ACLFile is the file of ACL LOAD and ACL SAVE; nil: there is none.
	ACLFile *ACLFile
}

// ACLFile is a Redis ACL file. Its functions run in goroutines, one at a time.
type ACLFile struct {
	Name  string // what errors call it
	Read  func() (string, error)
	Write func(text string) error // whole or not at all
}

// Auth is how logins are judged beside the policy.
type Auth struct {
	// Tokens proves JSON Web Tokens; nil: none is taken. Its owner runs it.
	Tokens *token.Verifier
	// TokenSwitch lets a session that goes on by a token change to another
	// principal by that one's token. Without it only the same principal's is
	// taken, which extends the session.
	TokenSwitch bool
	Throttle    acl.ThrottleOptions
	NoThrottle  bool // failures do not count; for measuring
}

// ListenerOptions describes one way in.
type ListenerOptions struct {
	Name      string
	Network   string            // "tcp" or "unix"
	Address   string            // host:port or socket path
	Mode      fs.FileMode       // unix sockets: permissions, default 0660
	TLS       *tlsutil.Server   // nil: plaintext
	Backend   string            // key of Options.Backends
	Routes    *backend.Prefixes // which keys are of another backend; its Names are keys of Options.Backends, Backend the first; nil: none
	Proxy     []netip.Prefix    // networks whose connections begin with a PROXY protocol header; with any, all others are turned away
	ProxyUnix bool              // a unix listener whose connections begin with one
	Names     *command.Names    // what commands are called here; nil: as everywhere
	Bound     net.Listener      // already listens on the address, and is the Server's from Start on; nil: Start binds it
	ReusePort bool              // other processes of this user may listen on the same port (SO_REUSEPORT)
}

// Limits bounds what clients can make the proxy hold. Zero values take the documented defaults (DefaultLimits).
type Limits struct {
	Connections          int
	ConnectionsPerSource int // 0: no limit below Connections
	Handshakes           int // TLS handshakes at work at a time; those that wait for their client don't count. By default one fewer than GOMAXPROCS, at least one: a loop then never waits for a processor behind strangers
	HandshakeTimeout     time.Duration
	AuthTimeout          time.Duration
	AuthFailureDelay     time.Duration // after the receipt of an AUTH that fails, whatever fails in it; negative: none
	IdleTimeout          time.Duration // 0: never
	WriteTimeout         time.Duration
	CommandTimeout       time.Duration // for the rest of a command that has begun, or 64 KiB of it
	InFlight             int           // calls of one client that are not answered yet
	RequestBytes         int64         // one command
	RequestBuffer        int64         // of one command that can't be handed on as it comes
	RequestArgs          int
	OutputBytes          int64 // one client's unread replies
	AuthArgumentBytes    int   // one argument of AUTH or HELLO before login; 0: as any other (16 KiB)
	Memory               int64 // all clients' buffers together

	// Of one user, over all loops. policy.yaml may say otherwise of a user. 0: no limit.
	UserConnections   int
	CommandsPerSecond int
	BytesPerSecond    int64 // requests and replies
}

// DefaultLimits are the limits of a configuration that names none.
func DefaultLimits() Limits {
	return Limits{
		Connections:      10000,
		Handshakes:       max(1, runtime.GOMAXPROCS(0)-1),
		HandshakeTimeout: 10 * time.Second,
		AuthTimeout:      10 * time.Second,
		AuthFailureDelay: 100 * time.Millisecond,
		WriteTimeout:     30 * time.Second,
		CommandTimeout:   30 * time.Second,
		InFlight:         maxInFlight,
		RequestBytes:     512 << 20,
		RequestBuffer:    64 << 20,
		RequestArgs:      1 << 20,
		OutputBytes:      64 << 20,
		Memory:           1 << 30,
	}
}

// Shutdown is how a drain proceeds: readiness off, Delay, then at most Timeout for what is under way.
type Shutdown struct{ Delay, Timeout time.Duration }
