package backend

import (
	"fmt"
	"strings"
	"testing"
)

// slowWire is a wire that can be read later.
type slowWire struct {
	wire
	paused bool
}

func (w *slowWire) Pause()  { w.paused = true }
func (w *slowWire) Resume() { w.paused = false }

func retiring(t *testing.T) (p *Pipeline, w *slowWire, fresh *int) {
	p, _, _ = newPipeline(2)
	w = &slowWire{}
	p.Attach(w)
	fresh = new(int)
	p.retired.retire = func() bool { *fresh++; return true }
	return p, w, fresh
}

func TestAReplyOverAMegabyteRetiresItsConnectionOnce(t *testing.T) {
	for name, c := range map[string]struct {
		head  string
		after int // how many pieces of 64 KiB later
	}{
		"announced": {"$1048577\r\n", 0},
		"grown":     {"*100\r\n" + strings.Repeat("$65521\r\n"+strings.Repeat("x", 65521)+"\r\n", 1), 16},
		"small":     {"$1048576\r\n", -1},
	} {
		p, w, fresh := retiring(t)
		one := newClient()
		p.Send(one, 0, 1, args("GET", "k"))
		w.flush()
		if err := p.Receive([]byte(c.head)); err != nil {
			t.Fatal(err)
		}
		piece := []byte("$65528\r\n" + strings.Repeat("x", 65528) + "\r\n")
		if name != "grown" {
			piece = []byte(strings.Repeat("x", 64<<10))
		}
		for i := 0; i < 15; i++ {
			if want := c.after >= 0 && i >= c.after; p.Gone() != want {
				t.Fatalf("%s: after %d pieces it is gone: %v", name, i, p.Gone())
			}
			if err := p.Receive(piece); err != nil {
				t.Fatal(name, err)
			}
		}
		if name == "grown" {
			for range 3 {
				if err := p.Receive(piece); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want := c.after >= 0; p.Gone() != want || *fresh > 1 || (*fresh == 1) != want {
			t.Errorf("%s: gone %v, %d fresh ones", name, p.Gone(), *fresh)
		}
	}
}

func TestARetiredConnectionWaitsForItsClientAloneOnlyIfNobodyIsBehind(t *testing.T) {
	p, w, _ := retiring(t)
	one, other := newClient(), newClient()
	p.Send(one, 0, 1, args("GET", "big"))
	p.Send(one, 1, 1, args("GET", "big"))
	if p.Hold(one) {
		t.Fatal("a connection that is not retired was held")
	}
	p.Send(other, 0, 1, args("GET", "small"))
	p.Send(one, 2, 2, args("GET", "small"))
	w.flush()
	big := "$2000000\r\n" + strings.Repeat("x", 2000000) + "\r\n"
	if err := p.Receive([]byte(big[:100])); err != nil {
		t.Fatal(err)
	}
	if p.Hold(one) || w.paused {
		t.Fatal("held with another one behind")
	}
	if err := p.Receive([]byte(big[100:] + big)); err != nil {
		t.Fatal(err)
	}
	if p.Hold(one) {
		t.Fatal("held while another one is to be served")
	}
	if err := p.Receive([]byte("$1\r\nv\r\n")); err != nil {
		t.Fatal(err)
	}
	if !p.Hold(one) || !w.paused {
		t.Fatal("not held though nobody else is behind")
	}
	p.Release()
	if w.paused {
		t.Fatal("not read after the release")
	}
	if err := p.Receive([]byte("$1\r\nw\r\n")); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(other.replies) != fmt.Sprint(map[uint64]string{0: "$1\r\nv\r\n"}) || one.replies[1] != big || one.replies[2] != "$1\r\nw\r\n" {
		t.Fatal("replies went astray")
	}
	p.Hold(one)
	p.Drop()
	p.Release() // nothing is there to be read any more
}

// Where too many retired connections owe replies, a big one more comes over a
// connection that stays in everybody's service, until there is room.
func TestTooManyBigRepliesRetireNoMoreConnections(t *testing.T) {
	p, w, _ := retiring(t)
	room := false
	p.retired.retire = func() bool { return room }
	one := newClient()
	p.Send(one, 0, 1, args("GET", "k"))
	w.flush()
	for i, piece := range []string{"$3145728\r\n" + strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20)} {
		if err := p.Receive([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		if p.Gone() || p.Send(one, uint64(1+i), 1, args("GET", "k")) != 0 {
			t.Fatal("it takes no more calls, and there is no other one that would")
		}
	}
	room = true
	if err := p.Receive([]byte("x")); err != nil || !p.Gone() {
		t.Fatal("it goes on with room for a fresh one:", err)
	}

	pool := &Pool{b: &Backend{}, lines: make(map[Key]*line), leaving: make(map[*line]bool), reserve: make(map[Key]*line)}
	ln := &line{pool: pool}
	pool.lines[ln.key] = ln
	for range maxLeaving {
		pool.leaving[&line{}] = true
	}
	if ln.retired() || pool.lines[ln.key] != ln || len(pool.leaving) != maxLeaving {
		t.Error("more connections are retired than may be")
	}
}

type bystander struct{ *client }

func (bystander) Bystander() {}

// The proxy's own PING behind a big reply had the whole of it held for a client that reads slowly, up to output_bytes.
func TestAPingOfTheProxysOwnDoesNotKeepAConnectionFromWaitingForItsClient(t *testing.T) {
	for name, behind := range map[string]Waiter{"a client": newClient(), "a bystander": bystander{newClient()}} {
		p, w, _ := retiring(t)
		one := newClient()
		p.Send(one, 0, 1, args("GET", "big"))
		p.Send(behind, 0, 1, args("PING"))
		w.flush()
		big := "$2000000\r\n" + strings.Repeat("x", 2000000) + "\r\n"
		if err := p.Receive([]byte(big[:100])); err != nil {
			t.Fatal(err)
		}
		if held, want := p.Hold(one), name == "a bystander"; held != want || w.paused != want {
			t.Fatalf("with %s behind it: held %v, paused %v", name, held, w.paused)
		}
		p.Release()
		if err := p.Receive([]byte(big[100:] + "+PONG\r\n")); err != nil || w.paused {
			t.Fatalf("with %s behind it: %v, paused %v", name, err, w.paused)
		}
		if b, ok := behind.(bystander); ok && b.replies[0] != "+PONG\r\n" {
			t.Errorf("the bystander heard %q", b.replies[0])
		}
	}
}
