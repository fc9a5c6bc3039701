package proxy

import (
	"bytes"
	"testing"

	"github.com/sallyport/sallyport/proxy/audit"
)

// A client whose answer could not be made, by a fault of ours, would else wait for it for ever.
func TestAFaultInPuttingAnAnswerTogetherEndsItsSession(t *testing.T) {
	st := newStage(t, 1, 1)
	a, n := st.sessions[0], st.nodes[0]
	g := a.s.gather(mergePlaces, 1)
	g.places, g.parts[0].at = 1, []int{5} // the fault: there is no such place
	if f := n.pipe.Send(g, 0, a.s.at, [][]byte{[]byte("MGET"), []byte("k")}); f != 0 {
		t.Fatal(f)
	}
	g.sent(16)
	st.flush()
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("there was no fault")
			}
		}()
		n.pipe.Receive([]byte("*1\r\n$1\r\nk\r\n"))
	}()
	n.pipe.Drop() // the loop closes the connection
	if !a.s.ended || a.s.reason != audit.ClosePanic {
		t.Errorf("the session goes on: %v, %v", a.s.ended, a.s.reason)
	}
	if len(st.w.gathers) != 0 {
		t.Error("what broke is used again")
	}
}

// What was thrown away, as it was more than a client may have waiting, counts no more.
func TestAnAnswerThatIsTooLargeCountsNoMoreOnceItIsThrownAway(t *testing.T) {
	st := newStage(t, 1, 0)
	s := st.sessions[0].s
	s.w.limits.OutputBytes = 100
	for range 3 {
		g := s.gather(mergeLists, 2)
		g.sent(16)
		g.Reply(0, 1, bytes.Repeat([]byte{'x'}, 60), false)
		g.Reply(0, 1, bytes.Repeat([]byte{'x'}, 60), true)
		g.Reply(1, 1, []byte("*0\r\n"), true)
		if s.ended || s.gathered != 0 {
			t.Fatalf("%d bytes count as gathered, ended %v", s.gathered, s.ended)
		}
		s.port.SetOut(nil)
	}
}
