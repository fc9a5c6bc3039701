package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Kind is how a deployment is built.
type Kind uint8

const (
	Standalone Kind = iota // one node, found where the configuration says
	Replicated             // one primary and replicas; each says which it is
	Sentinel               // the same, and Sentinels say who is the primary
	Cluster                // Redis Cluster: the nodes say who has which slots
	Sharded                // nodes that know nothing of each other
)

// Routing says how a deployment of several nodes is found. The zero value is a
// standalone node.
type Routing struct {
	Kind         Kind
	Allow        Allowed       // nothing in it: the hosts of Nodes and Sentinels alone
	Sentinels    Sentinels     // of Kind Sentinel
	Distribution *Distribution // of Kind Sharded: over Nodes, in their order
	Ranges       []SlotRange   // of Kind Sharded, instead of Distribution: every slot once
	Eject        Ejection      // of Kind Sharded with a Distribution
	Whole        bool          // calls whose keys lie on several shards are refused, not split
	Control      *Login        // how the control plane introduces itself; nil: as everybody
	Announce     string        // host:port by which cluster clients find this proxy; empty: where they have connected to
	Refresh      time.Duration // between two looks at the topology when nothing happens; 0: 10 s
	Wait         time.Duration // how long calls wait for a node that is away before they are refused; 0: not at all
	Reads        Reading       // which nodes calls go to that only read
	Zone         string        // nodes that say they are there are read from before others; empty: there is no such preference
	MaxLag       time.Duration // how long a replica that is read from may have heard nothing of its primary; 0: it has to be connected

	// Pinged hears of every health check, Changed of every new topology, Broke of
	// every node that has failed too many checks. They are called from goroutines
	// of the control plane; nil: nobody.
	Pinged  func(e Endpoint, took time.Duration, err error)
	Changed func(before, now *Topology)
	Broke   func(e Endpoint)
}

// Login is how a connection introduces itself.
type Login struct {
	User     string
	Password func() (string, error)                 // asked at each login; nil: none
	TLS      func(host string) (*tls.Config, error) // asked at each dial; nil: plaintext
}

// Same reports whether two say the same of everything that can't change while
// running: all but how the control plane logs in.
func (r *Routing) Same(o *Routing) bool {
	return r.Kind == o.Kind && r.Refresh == o.Refresh && r.Wait == o.Wait && r.Reads == o.Reads && r.Zone == o.Zone && r.MaxLag == o.MaxLag &&
		r.Whole == o.Whole && r.Announce == o.Announce &&
		slices.Equal(r.Allow.Networks, o.Allow.Networks) && slices.Equal(r.Allow.Names, o.Allow.Names) &&
		r.Sentinels.Name == o.Sentinels.Name && slices.Equal(r.Sentinels.Nodes, o.Sentinels.Nodes) &&
		r.Distribution.same(o.Distribution) && slices.Equal(r.Ranges, o.Ranges) && r.Eject == o.Eject && (r.Sentinels.Login.TLS == nil) == (o.Sentinels.Login.TLS == nil)
}

// logins are how the control plane introduces itself.
type logins struct {
	nodes     *Login // nil: as everybody
	sentinels *Login
}

func loginsOf(r *Routing) *logins { return &logins{r.Control, &r.Sentinels.Login} }

// SetControlLogin changes how the control plane introduces itself from now on;
// all else that r says is fixed.
func (b *Backend) SetControlLogin(r Routing) {
	b.asking.Store(r.Control)
	if b.control != nil {
		b.control.logins.Store(loginsOf(&r))
	}
}

// Sentinels are who says which node is the primary.
type Sentinels struct {
	Nodes []Endpoint
	Name  string // of the primary, as the Sentinels know it
	Login Login
}

// Times of the control plane.
const (
	controlTimeout = time.Second            // for one question, dial and login included
	urgentRefresh  = 200 * time.Millisecond // between looks while a primary is suspected to be gone
	shortestGap    = 50 * time.Millisecond  // between any two looks, whoever asks
	suspicion      = 15 * time.Second       // how long a lost connection makes looks urgent
	usualRefresh   = 10 * time.Second
)

// control follows the topology of one deployment. One goroutine asks nodes and
// Sentinels; everybody else reads the last answer, which stays while nobody can
// be asked. Safe for concurrent use.
type control struct {
	name    string
	seeds   []Endpoint
	login   func() *Login // of the data plane, as it is now
	logins  atomic.Pointer[logins]
	routing Routing
	allowed *Allowed
	own     *Addresses
	log     *zap.Logger

	topology atomic.Pointer[Topology]
	margin   atomic.Int32 // see QuorumMargin
	health   sync.Map     // Endpoint -> *health
	stands   atomic.Pointer[standings]
	stood    func()        // the standings have changed
	recheck  chan struct{} // somebody doubts that a node is fit to be read from
	wake     chan struct{} // somebody asked
	hinted   atomic.Int64  // until when a failover may be under way, Unix ns
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	suspects map[Endpoint]time.Time // until when
	ejects   map[Endpoint]time.Time // until when at least
	clients  map[peer]*contact
	stopped  bool

	since time.Time // of two nodes having said that they are the primary, one of them a replica before; of the goroutine alone
	epoch uint64    // the highest a cluster told of; of the goroutine alone
	said  string    // the last fault put in the log; of the goroutine alone
}

func newControl(o *Options, login func() *Login) *control {
	c := &control{
		name: o.Name, seeds: o.Nodes, login: login, routing: o.Routing, allowed: allowedBy(o), own: o.Addresses, log: o.Logger,
		wake: make(chan struct{}, 1), recheck: make(chan struct{}, 1), suspects: make(map[Endpoint]time.Time), clients: make(map[peer]*contact),
		ejects: make(map[Endpoint]time.Time),
	}
	c.logins.Store(loginsOf(&o.Routing))
	c.margin.Store(quorumUnknown)
	if c.routing.Refresh <= 0 {
		c.routing.Refresh = usualRefresh
	}
	if c.routing.Kind == Sharded {
		c.topology.Store(c.fixed())
	}
	return c
}

// start begins to follow the topology until stop.
func (c *control) start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.running.Go(func() { c.follow(ctx) })
	c.running.Go(func() { c.watchHealth(ctx) })
	for _, e := range c.routing.Sentinels.Nodes {
		c.running.Go(func() { c.listen(ctx, e) })
	}
}

// stop ends all of it and returns when nothing runs any more.
func (c *control) stop() {
	c.cancel()
	c.mu.Lock()
	c.stopped = true
	for _, cl := range c.clients {
		cl.redis.Close()
	}
	c.mu.Unlock()
	c.running.Wait()
}

// Topology is the last one known, nil before the first.
func (c *control) Topology() *Topology { return c.topology.Load() }

// Refresh asks for a look at the topology soon. Any number of those who ask
// cause one.
func (c *control) Refresh() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Suspect says that a node can't be reached: looks are frequent for a while.
func (c *control) Suspect(e Endpoint) {
	c.mu.Lock()
	c.suspects[e] = time.Now().Add(suspicion)
	c.mu.Unlock()
	c.hint()
	c.Refresh()
}

// cleared says that a node answers.
func (c *control) cleared(e Endpoint) {
	c.mu.Lock()
	delete(c.suspects, e)
	c.mu.Unlock()
}

// follow looks, waits until it is time again or somebody asks, and looks again.
func (c *control) follow(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		err := c.look(ctx)
		if ctx.Err() != nil {
			return
		}
		c.report(err)
		if pause(ctx, shortestGap) != nil {
			return
		}
		timer.Reset(jittered(c.interval(err)))
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// jittered spreads many proxies' looks: from four fifths to six fifths of d.
func jittered(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }

// interval is the time until the next look if nobody asks.
func (c *control) interval(err error) time.Duration {
	t := c.topology.Load()
	if c.isHinted() {
		return hintRefresh
	}
	if err != nil || t == nil {
		return urgentRefresh
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for e, until := range c.suspects {
		if now.After(until) || !t.Has(e) {
			delete(c.suspects, e)
		}
	}
	for _, s := range t.Shards {
		if _, suspected := c.suspects[s.Primary]; suspected || s.Primary == (Endpoint{}) {
			return urgentRefresh
		}
	}
	if c.lacks(t) {
		return min(c.routing.Refresh, replicaRefresh)
	}
	return c.routing.Refresh
}

// look asks for the topology once and puts it in force.
func (c *control) look(ctx context.Context) error {
	var t *Topology
	var err error
	switch c.routing.Kind {
	case Cluster:
		t, err = c.askCluster(ctx)
	case Sentinel:
		t, err = c.askSentinels(ctx)
	case Replicated:
		t, err = c.askNodes(ctx)
	default:
		t = c.fixed()
	}
	if err != nil {
		return err
	}
	t, refused := t.within(c.allowed.Allows)
	if before := c.topology.Load(); !before.equal(t) {
		c.topology.Store(t)
		c.forget(t)
		if c.routing.Changed != nil {
			c.routing.Changed(before, t)
		}
		c.Doubt() // who has come is looked at
		c.log.Info("topology", zap.String("backend", c.name), zap.Int("shards", len(t.Shards)), zap.Int("nodes", len(t.Nodes())))
	}
	if refused > 0 {
		return ErrNotAllowed
	}
	return nil
}

// fixed is the topology of nodes that know nothing of each other. New has made
// sure that there is one.
func (c *control) fixed() *Topology {
	t, _ := placed(c.seeds, c.routing.Ranges)
	return c.spare(t)
}

// report puts a fault in the log when it begins and when it is over.
func (c *control) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == c.said {
		return
	}
	c.said = text
	if err != nil {
		c.log.Warn("topology: the last good one stays", zap.String("backend", c.name), zap.Error(err))
		return
	}
	c.log.Info("topology is known again", zap.String("backend", c.name))
}

// forget drops what is kept of nodes that are no longer there.
func (c *control) forget(t *Topology) {
	c.health.Range(func(k, _ any) bool {
		if !t.Has(k.(Endpoint)) {
			c.health.Delete(k)
		}
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, cl := range c.clients {
		if !p.sentinel && !t.Has(p.at) && !slices.Contains(c.seeds, p.at) {
			cl.redis.Close()
			delete(c.clients, p)
		}
	}
}

// errNoAnswer: none of those who were asked knows.
var errNoAnswer = errors.New("no node says what the topology is")
