package proxy

import (
	"bytes"
	"testing"

	"github.com/sallyport/sallyport/proxy/resp"
)

// One client has sent ten thousand calls at once. Each turn serves a bounded part of
// them, and whoever else has something to ask is answered in that same turn.
func TestALongPipelineStarvesNobody(t *testing.T) {
	for name, call := range map[string][]byte{
		"answered here":    words("PING"),
		"refused":          words("NOSUCHCOMMAND"),
		"sent to the node": words("GET 1"),
	} {
		t.Run(name, func(t *testing.T) {
			const calls = 10000
			st := newStage(t, 2, 1)
			hog, small, n := st.sessions[0], st.sessions[1], st.nodes[0]
			hog.s.pipe, small.s.pipe = n.pipe, n.pipe
			var backlog []byte
			for range calls {
				backlog = append(backlog, call...)
			}
			turns := 0
			for served := uint64(0); hog.s.commands < calls || hog.s.slots.len() > 0; turns++ {
				if turns > 100 {
					t.Fatalf("%d of %d calls were served in %d turns", hog.s.commands, calls, turns)
				}
				// A turn: one read of those who are read, then what they asked for.
				if !hog.desk.paused && len(backlog) > 0 {
					part := backlog[:min(64<<10, len(backlog))]
					backlog = backlog[len(part):]
					hog.s.feed(part)
				}
				before := len(small.desk.sent)
				small.s.feed(words("PING"))
				st.flush()
				if got := string(small.desk.sent[before:]); got != "+PONG\r\n" {
					t.Fatalf("turn %d: the other client read %q", turns, got)
				}
				if did := hog.s.commands - served; did > 2*turnCalls { // its read and what was left over
					t.Fatalf("turn %d served %d of its calls", turns, did)
				}
				served = hog.s.commands
				if err := n.pipe.Receive(n.replies); err != nil {
					t.Fatal(err)
				}
				n.replies = nil
			}
			st.flush()
			if turns < calls/(2*turnCalls) {
				t.Errorf("all were served in %d turns", turns)
			}
			if got := bytes.Count(hog.desk.sent, []byte("\r\n")); got < calls {
				t.Errorf("%d replies", got)
			}
			if hog.desk.paused || hog.s.reader.Buffered() != 0 {
				t.Errorf("paused %v, %d bytes kept at the end", hog.desk.paused, hog.s.reader.Buffered())
			}
		})
	}
}

// What a turn leaves over is kept once and not added to: the sender is not read meanwhile.
func TestWhatATurnLeavesOverIsNotAddedTo(t *testing.T) {
	st := newStage(t, 1, 1)
	a := st.sessions[0]
	var calls []byte
	for range 3000 {
		calls = resp.AppendCommand(calls, [][]byte{[]byte("PING")})
	}
	a.s.feed(calls)
	if !a.desk.paused || !a.desk.again {
		t.Fatalf("paused %v, asked again %v", a.desk.paused, a.desk.again)
	}
	if a.s.commands != turnCalls {
		t.Fatalf("%d calls were served", a.s.commands)
	}
	st.flush()
	st.flush()
	st.flush()
	if a.s.commands != 3000 || a.desk.paused || a.desk.again {
		t.Fatalf("%d calls served, paused %v, asked again %v", a.s.commands, a.desk.paused, a.desk.again)
	}
}
