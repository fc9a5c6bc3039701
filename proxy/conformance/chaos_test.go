package conformance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/sallyport/sallyport/proxy/redistest"
)

var (
	chaosSeeds    = flag.Int("chaos.seeds", 5, "seeds of TestNoHistoryContradictsRedis")
	chaosSeed     = flag.Uint64("chaos.seed", 0, "its first seed; 0: a fresh one, which is logged")
	chaosDuration = flag.Duration("chaos.duration", 10*time.Second, "how long it does harm with each seed")
	chaosKills    = flag.Int("chaos.kills", 12, "kills of TestAKilledProxyLosesAndDoublesNoWrite")
)

const chaosClients = 10

// Ten clients write and read registers and counters while the proxy and the
// node are killed and frozen and connections are reset. What they saw is a
// history that one Redis alone could have made: an acknowledged write stays, a
// read is never older than what was read before, and what was said not to have
// been sent never happened.
func TestNoHistoryContradictsRedis(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 40)
	}
	seeds, duration := *chaosSeeds, *chaosDuration
	if testing.Short() {
		seeds = 1
	}
	for i := range seeds {
		t.Run(fmt.Sprint("seed_", seed+uint64(i)), func(t *testing.T) {
			t.Parallel()
			c := &chaos{t: t, rnd: rand.New(rand.NewPCG(seed+uint64(i), 1))}
			c.node = redistest.Start(t, redistest.Args("--appendonly", "yes", "--appendfsync", "always"))
			c.proxy = startProcess(t, c.node.Addr())
			c.run(seed+uint64(i), duration)
		})
	}
}

// chaos is one run with one seed.
type chaos struct {
	t     *testing.T
	rnd   *rand.Rand
	node  *redistest.Server
	proxy *process
	done  map[string]int // what harm was done, how often
}

func (c *chaos) run(seed uint64, duration time.Duration) {
	c.done = map[string]int{}
	h := &history{began: time.Now()}
	finish := h.load(c.proxy.address, chaosClients, seed)
	end := time.NewTimer(duration)
	defer end.Stop()
	for harming := true; harming; {
		select {
		case <-end.C:
			harming = false
		case <-time.After(time.Duration(100+c.rnd.IntN(200)) * time.Millisecond):
			c.harm()
			// New keys now and then keep each key's history short enough to judge.
			h.generation.Add(1)
		}
	}
	finish()
	h.readAll(c.t, c.proxy.address)
	acts, unknown := len(h.acts), 0
	for i := range h.acts {
		if !h.acts[i].known {
			unknown++
		}
	}
	c.t.Logf("%d calls of unknown outcome among %d, %d not sent; %v", unknown, acts, h.unsent, c.done)
	if acts-unknown < 100 {
		c.t.Errorf("only %d calls were answered: this judges nothing", acts-unknown)
	}
	for _, fault := range h.faults {
		c.t.Error(fault)
	}
	if result := porcupine.CheckOperationsTimeout(model, h.operations(), time.Minute); result != porcupine.Ok {
		c.t.Errorf("the history of seed %d is %s", seed, result)
		h.blame(c.t)
	}
}

// harm does one thing and undoes it.
func (c *chaos) harm() {
	c.t.Helper()
	kinds := []string{"proxy killed", "proxy frozen", "node killed", "node frozen", "node's connections reset"}
	kind := kinds[c.rnd.IntN(len(kinds))]
	c.done[kind]++
	frozen := time.After(time.Duration(50+c.rnd.IntN(700)) * time.Millisecond)
	var err error
	switch kind {
	case "proxy killed":
		if err = c.proxy.kill(); err == nil {
			c.proxy.start()
		}
	case "proxy frozen":
		p := c.proxy.running()
		if err = p.Signal(syscall.SIGSTOP); err == nil {
			<-frozen
			err = p.Signal(syscall.SIGCONT)
		}
	case "node killed":
		if err = c.node.Kill(); err == nil {
			err = c.node.Restart()
		}
	case "node frozen":
		if err = c.node.Pause(); err == nil {
			<-frozen
			err = c.node.Continue()
		}
	case "node's connections reset":
		_, err = c.node.Do("CLIENT", "KILL", "TYPE", "normal")
	}
	if err != nil {
		c.t.Fatalf("%s: %v", kind, err)
	}
	eventually(c.t, "the proxy answers after: "+kind, func() bool { return answers(c.proxy.address) })
}
