package backend

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

// Who is held up by a node that takes nothing is told when that node is no longer one
// of the deployment.
func TestANodeThatIsGoneHoldsNobodyUp(t *testing.T) {
	eased := 0
	p := &Pool{b: &Backend{}, lines: make(map[Key]*line), Eased: func() { eased++ }}
	for _, congested := range []bool{false, true} {
		ln := &line{pool: p}
		ln.Pipeline = *NewPipeline(2, time.Now, &p.Stats)
		ln.state, ln.congested = ready, congested
		ln.abandon()
		if ln.Congested() || (eased == 1) != congested {
			t.Errorf("congested %v: told %d times, and congested %v", congested, eased, ln.Congested())
		}
	}
}

// A read that has waited for a replica before is given up when its own time is over,
// whoever began to wait in between.
func TestEachReadThatWaitsHasItsOwnTime(t *testing.T) {
	group, err := loop.Start(loop.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	l := group.Loops()[0]
	failed := make(chan uint64, 2)
	l.Post(func() {
		r := &Reads{pool: &Pool{b: &Backend{}, l: l}, policy: ReadReplica}
		now := l.Now()
		for tag, wait := range []time.Duration{time.Hour, 20 * time.Millisecond} {
			if !r.park(&reading{r: r, Read: Read{To: givenUp(failed), Tag: uint64(tag)}, until: now.Add(wait).UnixNano()}) {
				t.Error("it may not wait")
			}
		}
	})
	select {
	case tag := <-failed:
		if tag != 1 {
			t.Errorf("call %d was given up", tag)
		}
	case <-time.After(20 * time.Second):
		t.Error("no call was given up")
	}
}

// givenUp is a Caller that says which of its calls have failed.
type givenUp chan uint64

func (givenUp) Reply(uint64, int, []byte, bool) {}
func (g givenUp) Fail(tag uint64, _ Failure)    { g <- tag }
func (givenUp) Detour(int)                      {}
