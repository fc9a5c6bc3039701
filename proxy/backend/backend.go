package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
	"go.uber.org/zap"
)

// Endpoint is where a node listens. Network is "tcp" or "unix".
type Endpoint struct{ Network, Address string }

// Options describes a deployment.
type Options struct {
	Name        string
	Nodes       []Endpoint                             // where it is found; of a Cluster some are enough
	User        string                                 // backend user; empty: the default user
	Password    func() (string, error)                 // asked at each dial, so that a rotated file needs no restart; nil: no login
	TLS         func(host string) (*tls.Config, error) // asked at each dial; nil: plaintext
	DialTimeout time.Duration                          // TCP, TLS and login together; 0: 2 s
	Routing     Routing                                // how several nodes are found
	Discover    bool                                   // commands that the proxy does not know are learned from it
	Connections Connections                            // how many there may be that not everybody shares
	Logins      map[string]UserLogin                   // users of the policy whose calls are introduced otherwise
	LoadEvery   time.Duration                          // between two questions for the nodes' load; 0: they are not asked
	Addresses   *Addresses                             // is told of every connection; nil: nobody is
	Logger      *zap.Logger
}

// ErrUnavailable: the node can't be reached now.
var ErrUnavailable = errors.New("backend unavailable")

// Backend is one Redis deployment as the whole process sees it. Safe for concurrent use.
type Backend struct {
	opts   Options
	login  atomic.Pointer[login]
	asking atomic.Pointer[Login] // of the control plane; nil: as everybody
	learns atomic.Bool           // see Options.Discover
	info   atomic.Pointer[Info]
	up     atomic.Int64 // connections in service now, over all loops
	dials  sync.WaitGroup
	logged atomic.Int64 // Unix ns of the last dial failure put in the log
	owned  accounts     // connections that are some session's own

	identities identities // of users that have a login of their own
	loads      loads
	following
}

// Info is what the node said of itself at the last login.
type Info struct {
	Version string // redis_version, "7.0.15"; empty where it did not say
	RESP3   bool   // it speaks HELLO 3
}

const dialTimeout = 2 * time.Second

// New builds a Backend; nothing is dialled before a loop asks for a Pool.
func New(o Options) (*Backend, error) {
	if err := o.fits(); err != nil {
		return nil, err
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = dialTimeout
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	b := &Backend{opts: o}
	b.SetLogin(o.User, o.Password, o.TLS)
	b.SetConnections(o.Connections)
	b.SetLogins(o.Logins)
	b.asking.Store(o.Routing.Control)
	b.steer()
	b.SetDiscover(o.Discover)
	return b, nil
}

// login is how connections introduce themselves.
type login struct {
	user     string
	password func() (string, error)
	tls      func(host string) (*tls.Config, error)
}

// SetLogin changes how connections dialled from now on introduce themselves; see
// Options. Those in service go on.
func (b *Backend) SetLogin(user string, password func() (string, error), tls func(host string) (*tls.Config, error)) {
	b.login.Store(&login{user, password, tls})
}

// SetDiscover changes whether commands are to be learned from the deployment.
func (b *Backend) SetDiscover(on bool) { b.learns.Store(on) }

// Discovers says whether commands are to be learned from the deployment.
func (b *Backend) Discovers() bool { return b.learns.Load() }

// Name is the deployment's name in the configuration.
func (b *Backend) Name() string { return b.opts.Name }

// Up reports whether any connection is in service.
func (b *Backend) Up() bool { return b.up.Load() > 0 }

// Connections is the number of connections in service.
func (b *Backend) Connections() int { return int(b.up.Load()) }

// Info is what the node last said of itself, nil before the first login.
func (b *Backend) Info() *Info { return b.info.Load() }

// Wait returns when no dial is under way any more. Close the pools first.
func (b *Backend) Wait() {
	b.unweigh()
	b.unfollow()
	b.dials.Wait()
}

// Key tells a loop's pipelines apart.
type Key struct {
	DB    int
	Proto int      // 2 or 3
	Node  Endpoint // zero: the primary, or where there are several any of them
	As    Identity // whose login; connections of two never stand in for each other
	// Replica: Node is read from as a replica, over a connection of that use alone.
	Replica bool
}

// Pool is a Backend's share of one loop. It belongs to that loop's goroutine.
type Pool struct {
	Stats Stats
	// Eased is called on the loop when a Pipeline that was Congested is so no
	// longer, and at other times too; nil: nobody is held up.
	Eased func()

	b      *Backend
	l      *loop.Loop
	lines  map[Key]*line
	router *Router        // nil: all calls go to one node
	reads  *Reads         // nil: all calls go to primaries
	owns   ownList        // connections of single sessions, oldest first
	spare  map[Key][]*Own // of these, clean ones that nobody has now
	apart  Stats          // of owns: a blocked call is no latency
	closed bool

	calm int64 // the turn in which no connection was congested, Unix ns

	leaving map[*line]bool // retired, and owing replies
	reserve map[Key]*line  // retired, drained, and good for another time

	identified int        // of lines, those of users' logins
	sweeping   loop.Timer // when these are looked at
}

// line is a Pipeline with the connection that comes and goes below it. It is
// the loop.Handler of that connection.
type line struct {
	Pipeline
	pool     *Pool
	key      Key
	conn     *loop.Conn
	retry    loop.Timer
	failed   int           // attempts in a row without a connection that lasted
	since    time.Time     // when the connection was attached
	asked    []func(error) // who wants to know how the attempt under way ends
	id       int64         // the connection's number at the node, 0 where it did not say
	at       Endpoint      // where the connection goes, or went last
	trying   bool          // an attempt is under way
	toward   Endpoint      // where that leads to
	quit     func()        // ends that
	astray   bool          // it was ended, as the line leads elsewhere now
	payer    string        // whose limit it counts against, if paid; see Aside
	paid     bool
	unplaced func() // gives back the place of an attempt that nobody waits for any more
	outage   outage
	swept    uint64 // what had been sent when it was last looked at, see Pool.sweep
}

// Pool makes a loop's share of the backend and begins to connect database 0 for
// RESP2, so that the first client does not wait. Call it on the loop.
func (b *Backend) Pool(l *loop.Loop) *Pool {
	p := &Pool{b: b, l: l, lines: make(map[Key]*line), spare: make(map[Key][]*Own)}
	b.follow(p)
	b.weigh()
	p.router = newRouter(p)
	p.reads = newReads(p)
	p.Pipeline(Key{DB: 0, Proto: 2})
	return p
}

// Pipeline gives the shared pipeline for a database and protocol version,
// dialling it if need be.
func (p *Pool) Pipeline(k Key) *Pipeline {
	ln := p.lines[k]
	if ln == nil {
		switch {
		case k.As != 0 && !p.admits():
			return p.full()
		case k.As == 0 && len(p.lines)-p.identified >= maxLines:
			p.retire()
		}
		ln = &line{pool: p, key: k}
		ln.Pipeline = *NewPipeline(k.Proto, p.l.Now, &p.Stats)
		ln.Pipeline.retired.retire = ln.retired
		ln.state = closed
		p.list(ln)
		if !p.closed {
			ln.dial()
		}
	}
	return &ln.Pipeline
}

// maxLines is how many connections a loop keeps to a node, idle ones included:
// twice what the usual sixteen databases need. A node may have thousands of
// databases, and one client may select them all.
const maxLines = 64

// retire closes the oldest connection that nobody waits on. Whoever wants its
// database finds its Pipeline Gone and asks for it anew. Those in use are no more
// than there are clients.
func (p *Pool) retire() {
	var oldest *line
	for _, ln := range p.lines {
		idle := ln.key.DB != 0 && ln.key.As == 0 && ln.state == ready && ln.Outstanding() == 0
		if idle && (oldest == nil || ln.since.Before(oldest.since)) {
			oldest = ln
		}
	}
	if oldest == nil {
		return
	}
	p.dismiss(oldest)
}

// Probe calls done, on the loop, as soon as it is known whether the database
// and protocol version can be had: nil, a RefusedError in Redis's own words
// (SELECT out of range), or why the node can't be reached.
func (p *Pool) Probe(k Key, done func(error)) {
	p.Pipeline(k)
	switch ln := p.lines[k]; {
	case ln == nil:
		done(ErrUnavailable)
	case ln.state == ready:
		done(nil)
	case ln.state == dialling:
		ln.asked = append(ln.asked, done)
	default:
		done(ErrUnavailable)
	}
}

// Close ends every connection; waiters hear Lost or Unavailable. Nothing is dialled afterwards.
func (p *Pool) Close() {
	p.closed = true
	p.closeRetired()
	p.b.leave(p)
	if p.router != nil {
		defer p.router.close()
	}
	defer p.reads.close()
	p.sweeping.Stop()
	for _, ln := range p.lines {
		ln.retry.Stop()
		ln.outage.over()
		if ln.conn != nil {
			ln.conn.Close()
		}
		if ln.state != closed {
			ln.up(false)
			ln.drop(closed)
		}
		ln.tell(ErrUnavailable)
		p.unlist(ln)
	}
	for p.owns.first != nil {
		p.owns.first.lost(true)
	}
}

// dial starts one attempt; calls may queue meanwhile.
func (ln *line) dial() {
	ln.state, ln.trying, ln.outage.held = dialling, true, false
	b, l := ln.pool.b, ln.pool.l
	ctx, cancel := context.WithCancel(context.Background())
	ln.quit = cancel
	ln.toward, _ = b.target(ln.key)
	b.dials.Add(1)
	go func() {
		defer b.dials.Done()
		defer cancel()
		n, err := b.attempt(ctx, ln.key)
		if !l.Post(func() { ln.connected(n, err) }) && n != nil {
			n.close()
		}
	}()
}

// connected runs on the loop with the outcome of an attempt.
func (ln *line) connected(n *node, err error) {
	ln.trying = false
	if ln.astray && err != nil {
		err = errElsewhere
	}
	ln.astray = false
	if ln.unplaced != nil {
		ln.unplaced()
	}
	if ln.pool.closed || ln.state == closed {
		if err == nil {
			n.close()
		}
		return
	}
	if err == nil && !ln.leadsTo(n.at) {
		n.close()
		err = errElsewhere
	}
	if err == nil {
		if ln.conn, err = ln.pool.l.Adopt(n.transport, n.tls, ln, nil); err != nil {
			n.close()
		}
	}
	if err != nil {
		ln.unreachable(err)
		return
	}
	ln.at = n.at
	ln.outage.over()
	ln.conn.Fragile(true)
	ln.since, ln.id = ln.pool.l.Now(), n.id
	if !ln.key.Replica {
		ln.pool.b.info.Store(&n.info)
	}
	ln.up(true)
	ln.Attach(ln.conn)
	ln.tell(nil)
	if ln.key.Replica {
		ln.pool.reads.update()
	}
	if ln.Pipeline.retired.so {
		ln.pool.eased() // whoever pours may go on
	}
}

// tell answers everybody who asked how the attempt ended.
func (ln *line) tell(err error) {
	asked := ln.asked
	ln.asked = nil
	for _, f := range asked {
		f(err)
	}
}

// up keeps the process-wide count of connections in service.
func (ln *line) up(now bool) {
	was := ln.state == ready
	switch {
	case now && !was:
		ln.pool.b.up.Add(1)
		ln.pool.b.at(ln.at).Add(1)
	case !now && was:
		ln.pool.b.up.Add(-1)
		ln.pool.b.at(ln.at).Add(-1)
	}
}

// unreachable fails what queued and plans the next attempt.
func (ln *line) unreachable(err error) {
	ln.Pipeline.why = failureOf(err)
	if ln.own != nil {
		if ln.holdOwn(err) {
			return
		}
		ln.pool.b.complain(err)
		ln.own.lost(false)
		return
	}
	if ln.forget() {
		ln.pool.b.complain(err)
		ln.finish()
		return
	}
	if ln.hold(err) {
		return
	}
	ln.up(false)
	defer ln.retreat(err) // after a panic of who waited, too
	ln.drop(backoff)
}

// retreat plans the next attempt after one that failed.
func (ln *line) retreat(err error) {
	defer ln.tell(err)
	if ln.pool.closed {
		ln.state = closed
		return
	}
	ln.failed++
	if refused := (*RefusedError)(nil); !errors.As(err, &refused) || refused.Step != "SELECT" {
		ln.pool.b.complain(err) // that a database doesn't exist is for the client to hear alone
	}
	if ln.key.DB != 0 || ln.key.As != 0 && ln.failed >= 5 {
		// It may not exist, and nobody may want it any more: whoever does asks
		// for it anew, instead of this loop dialling for ever.
		ln.pool.unlist(ln)
		ln.state = closed
		return
	}
	ln.pool.l.Arm(&ln.retry, retryDelay(ln.failed), ln.dialAgain)
}

func (ln *line) dialAgain() {
	if !ln.pool.closed && !ln.trying && (ln.state == backoff || ln.outage.held) {
		ln.dial()
	}
}

// retryDelay doubles from 25 ms to 800 ms, with half of it left to chance so
// that many proxies do not return to a node in step.
func retryDelay(failed int) time.Duration {
	d := 25 * time.Millisecond << min(failed-1, 5)
	return d/2 + rand.N(d/2+1)
}

// complain logs a failing backend once a second at most.
func (b *Backend) complain(err error) {
	now, last := time.Now().UnixNano(), b.logged.Load()
	if now-last < int64(time.Second) || !b.logged.CompareAndSwap(last, now) {
		return
	}
	b.opts.Logger.Warn("backend connection", zap.String("backend", b.opts.Name), zap.String("node", b.node()), zap.Error(err))
}

// Data implements loop.Handler.
func (ln *line) Data(c *loop.Conn, p []byte) {
	if c != ln.conn || ln.state != ready || len(p) == 0 {
		return
	}
	err := ln.Receive(p)
	switch {
	case ln.own != nil && ln.own.condemned:
		ln.own.lost(true)
	case err != nil:
		ln.stats.Broken++
		ln.lose(err)
		c.Close()
	case ln.own != nil && ln.own.giving:
		ln.own.Give()
	case ln.Pipeline.retired.so:
		ln.drained()
	}
}

// EOF implements loop.Handler: a node that stops talking is gone.
func (ln *line) EOF(c *loop.Conn) {
	if c == ln.conn {
		ln.lose(errors.New("closed by the node"))
	}
	c.Close()
}

// Drained implements loop.Handler: the node has caught up with its calls.
func (ln *line) Drained(c *loop.Conn) {
	if c == ln.conn {
		ln.CaughtUp()
		ln.pool.eased()
	}
}

func (p *Pool) eased() {
	if p.Eased != nil {
		p.Eased()
	}
}

// Closed implements loop.Handler.
func (ln *line) Closed(c *loop.Conn, cause error) {
	if c != ln.conn {
		return
	}
	if cause == nil {
		cause = errors.New("closed")
	}
	ln.lose(cause)
}

// lose ends the current connection's service once, whichever way it was noticed.
func (ln *line) lose(cause error) {
	if ln.conn == nil {
		return
	}
	if ln.own != nil {
		ln.pool.b.complain(cause)
		ln.own.lost(false)
		return
	}
	ln.up(false)
	defer ln.parted(cause, ln.pool.l.Now().Sub(ln.since)) // after a panic of who waited, too
	ln.drop(backoff)
}

// parted lets go of a connection that has ended, and has the next one dialled.
func (ln *line) parted(cause error, lived time.Duration) {
	ln.pool.eased() // nothing waits for this connection any more
	ln.conn = nil
	if ln.forget() || ln.pool.closed {
		ln.state = closed
		return
	}
	ln.pool.b.complain(cause)
	ln.missing()
	ln.pool.l.Arm(&ln.retry, ln.pauseAfter(lived), ln.dialAgain)
}

// pauseAfter is how long to wait after a connection that lived so long: not at
// all after one that lasted. A node that takes logins and drops them is as good
// as one that can't be reached, and not to be dialled in a spin.
func (ln *line) pauseAfter(lived time.Duration) time.Duration {
	if lived >= time.Second {
		ln.failed = 0
		return 0
	}
	ln.failed++
	return retryDelay(ln.failed)
}
