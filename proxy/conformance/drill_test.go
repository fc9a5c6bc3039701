package conformance

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

var (
	drillFailovers = flag.Int("drill.failovers", 6, "failovers of TestFailoversBesideAClient, half of them of a cluster, half by Sentinels")
	drillSeed      = flag.Uint64("drill.seed", 0, "its seed; 0: a fresh one, which is logged")
	drillSlots     = flag.Int("drill.slots", 50, "slots that TestSlotsMoveUnderClientsThatNoticeNothing moves")
)

// Harm that makes a primary be replaced.
const (
	killed    = "killed"    // it ends without a word, and comes back empty
	frozen    = "frozen"    // it stands still until it has been replaced, and then goes on as if it were the primary
	commanded = "commanded" // all live: an operator wants another one
)

// Clients of the proxy, and clients of go-redis that follow the deployment on
// their own, write side by side while primaries are replaced. In the same
// failover the proxy's clients lose no more of what was acknowledged and wait no
// longer.
func TestFailoversBesideAClient(t *testing.T) {
	seed := *drillSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 40)
	}
	each := (*drillFailovers + 1) / 2
	if testing.Short() {
		each = 1
	}
	t.Logf("seed %d: %d failovers of a cluster, %d by Sentinels", seed, each, each)
	t.Log(header)
	var mu sync.Mutex
	var all []outcome
	var both sync.WaitGroup
	for i, open := range []func(*testing.T) arena{openClusterArena, openSentinelArena} {
		d := &drill{t: t, arena: open(t), rnd: rand.New(rand.NewPCG(seed, uint64(i)))}
		both.Go(func() {
			for n := range each {
				o, err := d.round(n)
				if err != nil {
					t.Errorf("%s %d, %s: %v", o.where, n, o.harm, err)
					return
				}
				t.Log(o.row(n))
				mu.Lock()
				all = append(all, o)
				mu.Unlock()
			}
		})
	}
	both.Wait()
	if t.Failed() {
		return
	}
	for _, line := range totals(all) {
		t.Log(line)
	}
	for _, fault := range judge(all) {
		t.Errorf("seed %d: %s", seed, fault)
	}
}

// arena is a deployment that fails over, and both kinds of clients before it.
type arena interface {
	name() string
	sides() [2]*side
	// tag begins the keys of a failover's clients: they lie on its shard.
	tag(n int) string
	primary(ctx context.Context, n int) (*redistest.Server, error)
	partner(s *redistest.Server) *redistest.Server
	// command has a replica take over; replaced waits until one has.
	command(ctx context.Context, before *redistest.Server) (*redistest.Server, error)
	replaced(ctx context.Context, before *redistest.Server) (*redistest.Server, error)
	// repair makes the former primary a replica in step.
	repair(ctx context.Context, before, now *redistest.Server) error
}

// drill is a row of failovers in one arena.
type drill struct {
	t     *testing.T
	arena arena
	rnd   *rand.Rand
	order []string // harm to come
}

const (
	drillWriters  = 4                      // clients on each side
	drillPace     = 3 * time.Millisecond   // between an answer and the next call of a client
	drillPatience = 60 * time.Second       // for one failover, and for its repair
	drillLinger   = 700 * time.Millisecond // that clients go on after all is well: a stale primary may still be there
)

// harm gives each kind as often as the others, in an order that the seed decides.
func (d *drill) harm() string {
	if len(d.order) == 0 {
		d.order = []string{killed, frozen, commanded}
		d.rnd.Shuffle(len(d.order), func(i, j int) { d.order[i], d.order[j] = d.order[j], d.order[i] })
	}
	next := d.order[0]
	d.order = d.order[1:]
	return next
}

// round is one failover with writers on both sides, and what they saw.
func (d *drill) round(n int) (o outcome, err error) {
	o = outcome{where: d.arena.name(), harm: d.harm()}
	ctx, cancel := context.WithTimeout(context.Background(), drillPatience)
	defer cancel()
	before, err := d.arena.primary(ctx, n)
	if err != nil {
		return o, err
	}
	w := beginWriting(d.arena, n)
	defer w.end()
	if err := w.await(ctx, "all clients write", func(p *pen) bool { return p.count.Load() >= 10 }); err != nil {
		return o, err
	}
	if err := w.copied(ctx, d.arena.partner(before)); err != nil {
		return o, err
	}
	<-time.After(time.Duration(d.rnd.IntN(200)) * time.Millisecond)
	now, err := d.replace(ctx, before, o.harm)
	if err != nil {
		return o, err
	}
	promoted := time.Now()
	if o.harm == frozen {
		if err := before.Continue(); err != nil {
			return o, err
		}
	}
	if err := w.arrived(ctx, now); err != nil {
		w.end()
		return o, fmt.Errorf("%w; failures: %v", err, w.failures())
	}
	<-time.After(drillLinger)
	w.end()
	for i := range o.seen {
		if o.seen[i], err = w.verify(now, i, promoted); err != nil {
			return o, err
		}
	}
	if role, err := now.Role(); err != nil || role != "master" {
		return o, fmt.Errorf("the new primary is a %q by now (%w)", role, err)
	}
	again, cancel := context.WithTimeout(context.Background(), drillPatience)
	defer cancel()
	return o, d.arena.repair(again, before, now)
}

// replace does the harm and returns when there is another primary.
func (d *drill) replace(ctx context.Context, before *redistest.Server, harm string) (*redistest.Server, error) {
	var err error
	switch harm {
	case killed:
		err = before.Kill()
	case frozen:
		err = before.Pause()
	default:
		return d.arena.command(ctx, before)
	}
	if err != nil {
		return nil, err
	}
	return d.arena.replaced(ctx, before)
}
