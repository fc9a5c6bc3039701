package proxy

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"go.uber.org/zap"
)

// Snapshots is how often it goes on record who is connected, here and at the
// backends. What is connected to a backend and is not ours has gone past the proxy.
type Snapshots struct {
	Every time.Duration // 0: never
	// Expected are networks from which others may be connected to backends: other
	// proxies, replicas, Sentinels, monitoring.
	Expected []netip.Prefix
	// ExpectUnix expects those over a unix socket of the node's machine, too.
	ExpectUnix bool
}

const (
	snapshotPatience = 5 * time.Second        // for one node's answer
	snapshotAgain    = 250 * time.Millisecond // until a stranger counts as one: it may be a connection just made
	snapshotGroups   = 64 * audit.MaxGroups   // written of one snapshot; the rest is one group
	strangersMost    = 1 << 12                // remembered as told
)

// snapshots takes them until the server closes.
func (s *Server) snapshots() {
	defer s.proofs.out.Done()
	tick := time.NewTicker(s.opts.Snapshots.Every)
	defer tick.Stop()
	w := &lookout{s: s, told: make(map[stranger]bool), failing: make(map[string]bool)}
	for {
		select {
		case <-tick.C:
		case <-s.proofs.ctx.Done():
			return
		}
		s.recordClients()
		w.look(s.proofs.ctx)
	}
}

// groupKey is what the members of a group have in common.
type groupKey struct {
	ip            netip.Addr
	user, library string
}

// crowd counts connections by group, a bounded number of them.
type crowd map[groupKey]uint64

func (c crowd) add(k groupKey, n uint64) {
	if _, ok := c[k]; !ok && len(c) >= snapshotGroups {
		k = groupKey{}
	}
	c[k] += n
}

// record writes the groups, the largest first.
func (s *Server) record(c crowd, e audit.Event) {
	groups := make([]audit.Group, 0, len(c))
	for k, n := range c {
		groups = append(groups, audit.Group{IP: k.ip, User: k.user, Library: k.library, Count: n})
		e.Connections += n
	}
	slices.SortFunc(groups, func(a, b audit.Group) int {
		if a.Count != b.Count {
			return int(int64(b.Count) - int64(a.Count))
		}
		if d := a.IP.Compare(b.IP); d != 0 {
			return d
		}
		return strings.Compare(a.User+" "+a.Library, b.User+" "+b.Library)
	})
	e.Kind, e.Parts = audit.Clients, (len(groups)+audit.MaxGroups-1)/audit.MaxGroups
	for part := range slices.Chunk(groups, audit.MaxGroups) {
		e.Part++
		e.Groups = part
		s.opts.Recorder.Record(&e)
	}
}

// recordClients writes who is connected to the proxy, if anybody is.
func (s *Server) recordClients() {
	all := make(crowd)
	for _, some := range tally(s, func(*worker) crowd { return make(crowd) }, crowd.count) {
		for k, n := range some {
			all.add(k, n)
		}
	}
	if len(all) > 0 {
		s.record(all, audit.Event{Time: time.Now()})
	}
}

// count adds a session.
func (c crowd) count(s *session) {
	k := groupKey{ip: s.facts.client}
	if s.user != nil {
		k.user = s.user.Name()
	}
	if k.library = string(s.libName); len(s.libVer) > 0 {
		k.library += " " + string(s.libVer)
	}
	c.add(k, 1)
}

// stranger is a connection to a backend that is not ours.
type stranger struct {
	backend string
	at      backend.Endpoint
	id      uint64
	addr    netip.AddrPort
}

// lookout compares the backends' clients with our own connections. It belongs to
// one goroutine.
type lookout struct {
	s       *Server
	told    map[stranger]bool // strangers on record that are still there
	failing map[string]bool   // backends that said nothing last time
}

// look asks every node of every backend.
func (w *lookout) look(ctx context.Context) {
	began := time.Now()
	seen, whole := make(map[netip.AddrPort]bool), true
	there := make(map[stranger]bool)
	for name, b := range w.s.backends.Load().now {
		all, ours := make(crowd), uint64(0)
		places := b.Places()
		whole = whole && len(places) > 0
		for _, at := range places {
			if ctx.Err() != nil {
				return
			}
			list, err := w.ask(ctx, name, b, at)
			if err != nil {
				whole = false
				continue
			}
			for i := range list {
				c := &list[i]
				seen[c.Addr] = true
				all.add(groupKey{c.Addr.Addr(), c.User, c.Library}, 1)
			}
			ours += uint64(len(list)) - w.strangers(ctx, name, at, list, there)
		}
		if len(all) > 0 {
			w.s.record(all, audit.Event{Time: time.Now(), Backend: name, Ours: ours})
		}
	}
	w.told = there
	if whole {
		w.s.own.Forget(began.Add(-time.Minute), func(at netip.AddrPort) bool { return seen[at] })
	}
}

// ask asks one node, and says once that a backend does not answer.
func (w *lookout) ask(ctx context.Context, name string, b *backend.Backend, at backend.Endpoint) ([]backend.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotPatience)
	defer cancel()
	list, err := b.Clients(ctx, at)
	if err == nil {
		w.failing[name] = false
		return list, nil
	}
	if !w.failing[name] && ctx.Err() == nil {
		w.failing[name] = true
		w.s.log.Warn("a backend does not say who is connected to it: connections past the proxy go unseen",
			zap.String("backend", name), zap.Error(err), zap.String("hint", "its user needs +client|id +client|list"))
	}
	return nil, err
}

// strangers records who of a node's clients is not ours, each once, and counts
// them. Where the node sees us under another address than we have (behind address
// translation, or over a unix socket) nothing can be said.
func (w *lookout) strangers(ctx context.Context, name string, at backend.Endpoint, list []backend.Client, there map[stranger]bool) (n uint64) {
	for _, c := range list {
		if c.Self && !w.s.own.Holds(c.Addr) {
			if at.Network == "tcp" && !w.failing[name] {
				w.failing[name] = true
				w.s.log.Warn("a backend sees the proxy under another address: connections past the proxy can't be told from its own", zap.String("backend", name))
			}
			return 0
		}
	}
	waited := false
	for _, c := range list {
		if c.Self || w.s.own.Holds(c.Addr) {
			continue
		}
		if !waited { // it may have been made while we asked, and be noted only now
			waited = true
			if pauseFor(ctx, snapshotAgain) != nil {
				return 0
			}
		}
		if w.s.own.Holds(c.Addr) {
			continue
		}
		n++
		if w.expected(c.Addr.Addr()) {
			continue
		}
		k := stranger{name, at, c.ID, c.Addr}
		if len(there) < strangersMost {
			there[k] = true
		}
		if !w.told[k] {
			w.s.opts.Recorder.Record(&audit.Event{
				Time: time.Now(), Kind: audit.Bypass, Backend: name, ClientIP: c.Addr.Addr(), ClientPort: c.Addr.Port(),
				User: c.User, Command: strings.ToLower(c.Command), Duration: c.Age,
			})
			w.s.metrics.Bypassed(name)
		}
	}
	return n
}

func (w *lookout) expected(a netip.Addr) bool {
	if !a.IsValid() {
		return w.s.opts.Snapshots.ExpectUnix
	}
	return slices.ContainsFunc(w.s.opts.Snapshots.Expected, func(p netip.Prefix) bool { return p.Contains(a) })
}

func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
