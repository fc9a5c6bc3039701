package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

// fits reports options that contradict themselves.
func (o *Options) fits() error {
	switch n := len(o.Nodes); {
	case o.Routing.Kind == Standalone && n != 1:
		return errors.New("backend " + o.Name + ": a standalone deployment has exactly one node")
	case o.Routing.Kind == Sentinel && len(o.Routing.Sentinels.Nodes) == 0:
		return errors.New("backend " + o.Name + ": no Sentinel is named")
	case o.Routing.Kind != Sentinel && n == 0:
		return errors.New("backend " + o.Name + ": no node is named")
	case o.Routing.Kind == Sharded:
		if _, err := placed(o.Nodes, o.Routing.Ranges); err != nil {
			return fmt.Errorf("backend %s: %w", o.Name, err)
		}
		if o.Routing.Distribution == nil && len(o.Routing.Ranges) == 0 {
			return fmt.Errorf("backend %s: %w", o.Name, errNoPlaces)
		}
		if d := o.Routing.Distribution; d != nil && d.size != n {
			return fmt.Errorf("backend %s: a distribution over %d nodes, and there are %d", o.Name, d.size, n)
		}
	}
	return nil
}

// following is what a Backend knows of several nodes. The zero value is that of
// a standalone one.
type following struct {
	control *control // nil: standalone
	once    sync.Once
	mu      sync.Mutex
	pools   []*Pool
	counts  sync.Map // Endpoint -> *atomic.Int64: connections in service
}

var (
	errElsewhere  = errors.New("the topology has changed meanwhile")
	errNoTopology = errors.New("it isn't known yet where the nodes are")
	errBroken     = errors.New("the node answers no health checks")
)

// follow begins to follow the topology with the first pool, and tells each pool
// of its changes from then on.
func (b *Backend) follow(p *Pool) {
	if b.opts.Routing.Kind == Standalone {
		return
	}
	b.mu.Lock()
	b.pools = append(b.pools, p)
	b.mu.Unlock()
	b.once.Do(func() { b.control.start() })
}

// Same reports whether a backend could go on with other options: whatever they
// say besides can change while running.
func (b *Backend) Same(o *Options) bool {
	return slices.Equal(o.Nodes, b.opts.Nodes) && (o.TLS == nil) == (b.login.Load().tls == nil) && o.Routing.Same(&b.opts.Routing)
}

// Announce is Routing.Announce.
func (b *Backend) Announce() string { return b.opts.Routing.Announce }

// leave ends that.
func (b *Backend) leave(p *Pool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pools = slices.DeleteFunc(b.pools, func(q *Pool) bool { return q == p })
}

// unfollow ends the control plane.
func (b *Backend) unfollow() {
	started := true
	b.once.Do(func() { started = false })
	if b.control != nil && started {
		b.control.stop()
	}
}

// steer makes the control plane of a backend that has several nodes.
func (b *Backend) steer() {
	if b.opts.Routing.Kind == Standalone {
		return
	}
	told, broke := b.opts.Routing.Changed, b.opts.Routing.Broke
	b.control = newControl(&b.opts, func() *Login {
		l := b.login.Load()
		return &Login{User: l.user, Password: l.password, TLS: l.tls}
	})
	b.control.routing.Changed = func(before, now *Topology) {
		if told != nil {
			told(before, now)
		}
		b.each(func(p *Pool) { p.retarget(Endpoint{}) })
	}
	b.control.stood = func() { b.each(func(p *Pool) { p.reads.update() }) }
	b.control.routing.Broke = func(e Endpoint) {
		if broke != nil {
			broke(e)
		}
		b.each(func(p *Pool) { p.retarget(e) })
	}
}

// each runs f for every pool, on its loop.
func (b *Backend) each(f func(*Pool)) {
	b.mu.Lock()
	pools := slices.Clone(b.pools)
	b.mu.Unlock()
	for _, p := range pools {
		p.l.Post(func() { f(p) })
	}
}

// Topology is who has what as far as is known, nil before that and where there
// is one node.
func (b *Backend) Topology() *Topology {
	if b.control == nil {
		return nil
	}
	return b.control.Topology()
}

// node is the one node's address for a log line, empty where there are several.
func (b *Backend) node() string {
	if b.control != nil {
		return ""
	}
	return b.opts.Nodes[0].Address
}

// target is where a connection leads now.
func (b *Backend) target(k Key) (Endpoint, error) {
	if b.control == nil {
		return b.opts.Nodes[0], nil
	}
	t := b.control.Topology()
	switch {
	case t == nil:
		return Endpoint{}, errNoTopology
	case k.Replica && !t.copies(k.Node): // it may have become a primary
		return Endpoint{}, errElsewhere
	case k.Node != Endpoint{}:
		if !t.Has(k.Node) || t.ejected(k.Node) {
			return Endpoint{}, errElsewhere
		}
		return k.Node, nil
	}
	for i, s := range t.Shards {
		if s.Primary != (Endpoint{}) && !t.Out(i) && !(len(t.Shards) > 1 && b.control.Broken(s.Primary)) {
			return s.Primary, nil
		}
	}
	return Endpoint{}, errNoTopology
}

// reach connects to where a connection leads now.
func (b *Backend) reach(ctx context.Context, k Key) (Endpoint, net.Conn, error) {
	e, err := b.target(k)
	if err != nil {
		return e, nil, err
	}
	if b.control == nil {
		nc, err := (&net.Dialer{}).DialContext(ctx, e.Network, e.Address)
		return e, nc, err
	}
	if b.control.Broken(e) {
		return e, nil, errBroken
	}
	nc, err := b.control.allowed.dial(ctx, e, slices.Contains(b.opts.Nodes, e))
	if err != nil {
		b.control.Suspect(e)
	}
	return e, nc, err
}

// at counts the connections in service to a node.
func (b *Backend) at(e Endpoint) *atomic.Int64 {
	n, ok := b.counts.Load(e)
	if !ok {
		n, _ = b.counts.LoadOrStore(e, new(atomic.Int64))
	}
	return n.(*atomic.Int64)
}

// NodeState is what is known of a node, for metrics; clients never see it.
type NodeState struct {
	Address     string
	Up          bool
	Connections int
	Role        string // "primary" or "replica"; empty: there is one node, or it is not known
	Zone        string // where it says that it is
	Read        bool   // it may be read from as things stand, where replicas are read from
}

// State gives the state of every node there is now.
func (b *Backend) State() []NodeState {
	nodes := b.opts.Nodes
	if b.control != nil {
		if t := b.control.Topology(); t != nil {
			nodes = t.Nodes()
		}
	}
	out := make([]NodeState, len(nodes))
	for i, e := range nodes {
		n := int(b.at(e).Load())
		out[i] = NodeState{Address: e.Address, Up: n > 0 || b.control != nil && b.control.Answers(e), Connections: n}
		b.reading(e, &out[i])
	}
	return out
}

// retarget has connections follow the topology: those that lead elsewhere now,
// or to a node that is broken, end, and what they led to is dialled. Calls that
// were sent are lost, as it is not known whether they ran.
func (p *Pool) retarget(broken Endpoint) {
	if p.closed {
		return
	}
	if p.router != nil {
		p.router.update()
	}
	p.reads.update()
	p.retargetRetired(broken)
	p.retargetOwn(broken)
	for k, ln := range p.lines {
		want, err := p.b.target(k)
		switch {
		case err == errElsewhere:
			p.unlist(ln)
			ln.abandon()
		case p.router != nil && ln.conn == nil && k.Node != (Endpoint{}) && !k.Replica && !p.router.topo.leads(k.Node):
			ln.outage.spent, ln.outage.held = true, false
			ln.drop(backoff) // what waits here finds its way to the new primary
		case ln.turns(want, err):
		case ln.conn != nil && (ln.at != want || ln.at == broken):
			conn := ln.conn
			ln.lose(errElsewhere)
			ln.failed = 0
			ln.pool.l.Arm(&ln.retry, 0, ln.dialAgain)
			conn.Close()
		case ln.state == backoff || ln.outage.held:
			ln.failed = 0
			ln.pool.l.Arm(&ln.retry, 0, ln.dialAgain)
		}
	}
}

// turns ends an attempt to connect to where the line leads no more: a node that
// has vanished may leave it without an answer for as long as attempts take.
func (ln *line) turns(want Endpoint, err error) bool {
	if !ln.trying || err != nil || ln.toward == want {
		return false
	}
	ln.astray, ln.failed = true, 0
	ln.quit()
	return true
}

// retargetOwn ends connections of single sessions that lead elsewhere now: what
// they watch, wait for or are subscribed to is no longer there.
func (p *Pool) retargetOwn(broken Endpoint) {
	for o := p.owns.first; o != nil; {
		next := o.next
		if o.line.conn == nil {
			if o.retargetDialled() {
				next = p.owns.first
			}
			o = next
			continue
		}
		want, err := p.b.target(o.line.key)
		if err != nil || o.line.at != want || o.line.at == broken {
			o.lost(o.state == spare)
			next = p.owns.first // its owner may have closed others
		}
		o = next
	}
}

// abandon ends a line for good: its node is no longer one of the deployment.
func (ln *line) abandon() {
	ln.retry.Stop()
	ln.outage.over()
	conn, congested := ln.conn, ln.congested
	ln.up(false)
	ln.conn = nil
	ln.drop(closed)
	if conn != nil {
		conn.Close()
	}
	ln.tell(ErrUnavailable)
	if congested {
		ln.pool.eased() // it will not catch up any more: whoever was held up may be owed nothing that would wake it
	}
}

// leadsTo reports whether a connection to e is what the line is for now.
func (ln *line) leadsTo(e Endpoint) bool {
	want, err := ln.pool.b.target(ln.key)
	return err == nil && want == e
}

// outage is a time without a connection, during which calls may wait for the
// next one. Those that were sent before never do: they may have run.
type outage struct {
	since time.Time // zero: there is none
	held  bool      // calls queue although no attempt is under way
	spent bool      // it has lasted so long that calls are refused at once
	limit loop.Timer
}

func (o *outage) over() {
	o.since, o.held, o.spent = time.Time{}, false, false
	o.limit.Stop()
}

// missing begins an outage: the connection has gone.
func (ln *line) missing() {
	b := ln.pool.b
	if b.control == nil {
		return
	}
	b.control.Suspect(ln.at)
	if ln.await() {
		ln.state, ln.outage.held = dialling, true
	}
}

// await reports whether calls still wait for a connection.
func (ln *line) await() bool {
	wait := ln.pool.b.opts.Routing.Wait
	if wait <= 0 || ln.outage.spent || ln.key.Replica { // reads find another node
		return false
	}
	if ln.outage.since.IsZero() {
		ln.outage.since = ln.pool.l.Now()
		ln.pool.Stats.Waited++
		ln.pool.l.Arm(&ln.outage.limit, wait, ln.giveUp)
	}
	return true
}

// giveUp refuses what has waited long enough, and all that comes until there is
// a connection again.
func (ln *line) giveUp() {
	ln.pool.Stats.GaveUp++
	ln.outage.spent, ln.outage.held = true, false
	if ln.state != dialling {
		return
	}
	ln.drop(backoff) // the next attempt is planned, or under way
	ln.tell(ErrUnavailable)
}

// hold keeps what has queued through an attempt that failed, if it may wait
// longer, and plans the next one.
func (ln *line) hold(err error) bool {
	var refused *RefusedError
	if ln.pool.closed || ln.pool.b.control == nil || ln.key.DB != 0 || errors.As(err, &refused) || ln.Pipeline.why != 0 || ln.state != dialling || !ln.await() {
		return false
	}
	ln.failed++
	ln.outage.held = true
	if err != errElsewhere && err != errNoTopology {
		ln.pool.b.complain(err)
	}
	ln.pool.l.Arm(&ln.retry, retryDelay(ln.failed), ln.dialAgain)
	return true
}
