package backend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// atOnce is how many nodes are asked at the same time.
const atOnce = 3

// view is what one node of a cluster says.
type view struct {
	topology *Topology
	epoch    uint64
	whole    bool // it finds the cluster whole
	err      error
}

// better reports whether v should be believed rather than w.
func (v view) better(w view) bool {
	switch {
	case v.err != nil:
		return false
	case w.err != nil || w.topology == nil:
		return true
	case v.epoch != w.epoch:
		return v.epoch > w.epoch
	}
	return v.whole && !w.whole
}

// askCluster asks nodes in random order, a few at a time, until one that finds
// the cluster whole is not behind what was heard before: a node cut off from the
// others goes on saying what once was true.
func (c *control) askCluster(ctx context.Context) (*Topology, error) {
	best := view{err: errNoAnswer}
	for group := range slices.Chunk(c.candidates(), atOnce) {
		answers := make(chan view, len(group))
		for _, e := range group {
			go func() { answers <- c.viewOf(ctx, e) }()
		}
		for range group {
			if v := <-answers; v.better(best) || best.err == errNoAnswer && v.err != nil {
				best = v
			}
			if best.err == nil && best.whole && best.epoch >= c.epoch {
				c.epoch = best.epoch
				return best.topology, nil
			}
		}
	}
	if best.err != nil {
		return nil, best.err
	}
	c.epoch = best.epoch // all of them are behind: it was built anew
	return best.topology, nil
}

// candidates are the nodes to ask: those known and those of the configuration.
func (c *control) candidates() []Endpoint {
	var all []Endpoint
	if t := c.topology.Load(); t != nil {
		all = t.Nodes()
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, e := range c.seeds {
		if !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

// viewOf asks one node.
func (c *control) viewOf(ctx context.Context, e Endpoint) (v view) {
	p := peer{at: e}
	info, err := c.ask(ctx, p, "CLUSTER", "INFO")
	if err != nil {
		return view{err: err}
	}
	text, _ := info.(string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "cluster_state":
			v.whole = value == "ok"
		case "cluster_current_epoch":
			v.epoch, _ = strconv.ParseUint(value, 10, 63)
		}
	}
	by := asked{host: hostOf(e), tls: c.as(p).TLS != nil}
	reply, err := c.ask(ctx, p, "CLUSTER", "SHARDS")
	var refused *RefusedError
	switch {
	case err == nil:
		v.topology, v.err = parseShards(reply, by)
	case errors.As(err, &refused) && strings.HasPrefix(refused.Reply, "ERR"):
		if reply, err = c.ask(ctx, p, "CLUSTER", "SLOTS"); err != nil { // Redis before 7
			return view{err: err}
		}
		v.topology, v.err = parseSlots(reply, by)
	default:
		v.err = err
	}
	return v
}

// errTwoPrimaries: more than one node says that it is the primary. Writing to
// either would lose what the other has.
var errTwoPrimaries = errors.New("more than one node says that it is the primary")

// askNodes finds the primary among the configured nodes by what each says of
// itself.
func (c *control) askNodes(ctx context.Context) (*Topology, error) {
	s, primaries, err := c.roles(ctx, c.seeds)
	before := c.topology.Load()
	switch {
	case len(primaries) == 0 && err != nil:
		return nil, err
	case len(primaries) == 0:
		return nil, errors.New("no node says that it is the primary")
	case len(primaries) == 1:
		s.Primary = primaries[0]
		return &Topology{Shards: []Shard{s}}, nil
	case before != nil && slices.Contains(primaries, before.Shards[0].Primary):
		return nil, errTwoPrimaries // the one in use stays in use
	}
	return nil, errTwoPrimaries
}

// roles asks each of several nodes for its ROLE.
func (c *control) roles(ctx context.Context, nodes []Endpoint) (s Shard, primaries []Endpoint, err error) {
	type answer struct {
		at   Endpoint
		role string
		err  error
	}
	answers := make(chan answer, len(nodes))
	for _, e := range nodes {
		go func() {
			role, err := c.roleOf(ctx, e)
			answers <- answer{e, role, err}
		}()
	}
	for range nodes {
		a := <-answers
		switch {
		case a.err != nil:
			err = fmt.Errorf("ROLE of %s: %w", a.at.Address, a.err)
		case a.role == "master":
			primaries = append(primaries, a.at)
		case a.role == "replica":
			s.Replicas = append(s.Replicas, a.at)
		}
	}
	slices.SortFunc(s.Replicas, byAddress)
	slices.SortFunc(primaries, byAddress)
	return s, primaries, err
}

func byAddress(a, b Endpoint) int { return strings.Compare(a.Address, b.Address) }

// roleOf is "master", "replica" for one that is in step, or "" for another.
func (c *control) roleOf(ctx context.Context, e Endpoint) (string, error) {
	reply, err := c.ask(ctx, peer{at: e}, "ROLE")
	if err != nil {
		return "", err
	}
	items, ok := reply.([]any)
	if !ok || len(items) == 0 {
		return "", topologyFault("no role")
	}
	switch role, _ := items[0].(string); role {
	case "master":
		return "master", nil
	case "slave":
		if len(items) > 3 && items[3] == "connected" {
			return "replica", nil
		}
	}
	return "", nil
}

// askSentinels takes the primary that more than half of all named Sentinels
// name, and believes them once that node says so itself.
func (c *control) askSentinels(ctx context.Context) (*Topology, error) {
	named, speaker, err := c.votes(ctx)
	need := len(c.routing.Sentinels.Nodes)/2 + 1
	c.voted(named, need)
	var primary Endpoint
	for e, n := range named {
		if n >= need {
			primary = e
		}
	}
	if len(named) > 1 {
		c.conflict(ctx, named, primary)
	}
	switch {
	case primary == (Endpoint{}) && err != nil && len(named) == 0:
		return nil, err
	case primary == (Endpoint{}):
		return nil, errors.New("not enough Sentinels agree on a primary")
	case !c.allowed.Allows(primary):
		return nil, fmt.Errorf("the primary that the Sentinels name: %w", ErrNotAllowed)
	}
	if t := c.contested(ctx, primary); t != nil {
		return t, nil
	}
	hurried, cancel := c.hurried(ctx)
	defer cancel()
	role, err := c.roleOf(hurried, primary)
	if err != nil {
		return nil, fmt.Errorf("the primary that the Sentinels name: %w", err)
	}
	if role != "master" {
		return nil, errors.New("the node that the Sentinels name does not say that it is the primary")
	}
	return &Topology{Shards: []Shard{{Primary: primary, Replicas: c.replicas(ctx, speaker[primary], primary)}}}, nil
}

// votes counts which primary the Sentinels name, and keeps one who named it.
func (c *control) votes(ctx context.Context) (named map[Endpoint]int, speaker map[Endpoint]Endpoint, err error) {
	type vote struct {
		by, at Endpoint
		err    error
	}
	sentinels := c.routing.Sentinels.Nodes
	votes := make(chan vote, len(sentinels))
	for _, s := range sentinels {
		go func() {
			at, err := c.namedBy(ctx, s)
			votes <- vote{s, at, err}
		}()
	}
	named, speaker = make(map[Endpoint]int), make(map[Endpoint]Endpoint)
	for range sentinels {
		v := <-votes
		if v.err != nil {
			err = fmt.Errorf("what Sentinel %s says: %w", v.by.Address, v.err)
			continue
		}
		named[v.at]++
		speaker[v.at] = v.by
	}
	return named, speaker, err
}

// namedBy is the primary that one Sentinel names.
func (c *control) namedBy(ctx context.Context, sentinel Endpoint) (Endpoint, error) {
	reply, err := c.ask(ctx, peer{sentinel, true}, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", c.routing.Sentinels.Name)
	if errors.Is(err, redis.Nil) {
		return Endpoint{}, errors.New("it knows no primary of that name")
	}
	if err != nil {
		return Endpoint{}, err
	}
	items, ok := reply.([]any)
	if !ok || len(items) != 2 {
		return Endpoint{}, topologyFault("no host and port")
	}
	return told(items[0], items[1])
}

// told reads a host and a port that are both text.
func told(host, port any) (Endpoint, error) {
	name, okHost := host.(string)
	text, okPort := port.(string)
	n, err := strconv.ParseUint(text, 10, 16)
	if !okHost || !okPort || err != nil || n == 0 || !plausibleHost(name) {
		return Endpoint{}, topologyFault("no host and port")
	}
	return Endpoint{Network: "tcp", Address: net.JoinHostPort(name, text)}, nil
}

// conflict puts in the log that Sentinels name different primaries, if more than
// one of those is one.
func (c *control) conflict(ctx context.Context, named map[Endpoint]int, chosen Endpoint) {
	var reachable []Endpoint
	for e := range named {
		if c.allowed.Allows(e) {
			reachable = append(reachable, e)
		}
	}
	if _, primaries, _ := c.roles(ctx, reachable); len(primaries) > 1 {
		c.log.Warn("conflicting primaries: Sentinels name more than one, and each says that it is", zap.String("backend", c.name),
			zap.Int("named", len(named)), zap.String("followed", chosen.Address))
	}
}

// replicas are those that a Sentinel finds fit to read from; none, where it
// can't be asked: reading from them is a choice, never a need.
func (c *control) replicas(ctx context.Context, sentinel, primary Endpoint) []Endpoint {
	reply, err := c.ask(ctx, peer{sentinel, true}, "SENTINEL", "REPLICAS", c.routing.Sentinels.Name)
	items, ok := reply.([]any)
	if err != nil || !ok || len(items) > maxReplicas {
		return nil
	}
	var out []Endpoint
	for _, item := range items {
		fields, err := named(item)
		if err != nil {
			return nil
		}
		at, err := told(fields["ip"], fields["port"])
		flags, _ := fields["flags"].(string)
		link, _ := fields["master-link-status"].(string)
		fit := link == "ok" && !strings.Contains(flags, "down") && !strings.Contains(flags, "disconnected")
		if err == nil && fit && at != primary && !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, byAddress)
	return out
}

// listen hears from one Sentinel of a new primary as soon as it knows, and has
// all of them asked then: one Sentinel's word alone changes nothing.
func (c *control) listen(ctx context.Context, sentinel Endpoint) {
	for ctx.Err() == nil {
		if cl, err := c.client(peer{sentinel, true}); err == nil {
			c.hear(ctx, cl)
		}
		if pause(ctx, jittered(time.Second)) != nil {
			return
		}
		c.Refresh() // what it said meanwhile went unheard
	}
}

func (c *control) hear(ctx context.Context, cl *contact) {
	sub := cl.redis.Subscribe(ctx, switched, promoting)
	defer sub.Close()
	for {
		// A silent connection may be a dead one: it is asked now and then.
		got, err := sub.ReceiveTimeout(ctx, 5*time.Second)
		var late net.Error
		switch {
		case errors.As(err, &late) && late.Timeout():
			if sub.Ping(ctx) != nil {
				return
			}
		case err != nil:
			return
		}
		if m, ok := got.(*redis.Message); ok {
			c.heard(m)
		}
	}
}
