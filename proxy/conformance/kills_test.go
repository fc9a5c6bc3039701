package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// Clients write pipelines without a pause while the proxy is killed again and
// again. The node lives through all of it, so what was acknowledged is there,
// each once, and of what was not acknowledged nothing is there twice.
func TestAKilledProxyLosesAndDoublesNoWrite(t *testing.T) {
	kills := *chaosKills
	if testing.Short() {
		kills = 3
	}
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 40)
	}
	rnd := rand.New(rand.NewPCG(seed, 2))
	node := redistest.Start(t)
	p := startProcess(t, node.Addr())
	var acknowledged atomic.Int64
	writers := make([]*writer, chaosClients)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range writers {
		w := &writer{id: i, address: p.address, acknowledged: &acknowledged, stop: stop}
		writers[i] = w
		all.Go(w.run)
	}
	report := time.NewTicker(10 * time.Second)
	defer report.Stop()
	for done := 0; done < kills; {
		before := acknowledged.Load()
		eventually(t, "writes are acknowledged", func() bool { return acknowledged.Load() > before })
		select {
		case <-report.C:
			t.Logf("%d of %d kills, %d writes acknowledged", done, kills, acknowledged.Load())
		case <-time.After(time.Duration(rnd.IntN(60)) * time.Millisecond):
			if err := p.kill(); err != nil {
				t.Fatal(err)
			}
			p.start()
			done++
		}
	}
	close(stop)
	all.Wait()
	ambiguous := 0
	for _, w := range writers {
		ambiguous += w.verify(t, node)
	}
	t.Logf("seed %d: %d kills, %d writes acknowledged, %d of unknown outcome", seed, kills, acknowledged.Load(), ambiguous)
	if ambiguous == 0 {
		t.Error("no kill met a write under way: this proves nothing")
	}
}

const writerDepth = 32

// writer is one client: it increments its counter and appends to its list.
type writer struct {
	id           int
	address      string
	acknowledged *atomic.Int64
	stop         <-chan struct{}

	incremented int    // acknowledged
	unsure      int    // of the counter's increments
	state       []byte // of each value appended, by number: 0 not sent, 1 unknown, 2 acknowledged
	fault       string
}

func (w *writer) run() {
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		c, err := net.DialTimeout("tcp", w.address, time.Second)
		if err != nil {
			select {
			case <-w.stop:
			case <-time.After(2 * time.Millisecond):
			}
			continue
		}
		in := bufio.NewReader(c)
		for w.batch(c, in) {
			select {
			case <-w.stop:
				c.Close()
				return
			default:
			}
		}
		c.Close()
	}
}

// batch sends a pipeline and takes what is acknowledged of it. false ends the
// connection.
func (w *writer) batch(c net.Conn, in *bufio.Reader) bool {
	_ = c.SetDeadline(time.Now().Add(patience))
	var out []byte
	first := len(w.state)
	for i := range writerDepth {
		if i%2 == 0 {
			out = append(out, redistest.Encode("INCR", fmt.Sprint("n:", w.id))...)
			continue
		}
		out = append(out, redistest.Encode("RPUSH", fmt.Sprint("l:", w.id), strconv.Itoa(len(w.state)))...)
		w.state = append(w.state, 1)
	}
	if _, err := c.Write(out); err != nil {
		w.unsure += writerDepth / 2
		return false
	}
	for i := range writerDepth {
		reply, err := appendFrame(nil, in)
		unsent := bytes.HasPrefix(reply, []byte("-ERR backend unavailable: the command was not sent"))
		switch {
		case err != nil:
			w.unsure += (writerDepth - i) / 2
			return false
		case reply[0] == ':' && i%2 == 0:
			w.incremented++
			w.acknowledged.Add(1)
		case reply[0] == ':':
			w.state[first+i/2] = 2
			w.acknowledged.Add(1)
		case unsent && i%2 == 1:
			w.state[first+i/2] = 0
		case !unsent:
			w.fault = string(reply)
			return false
		}
	}
	return true
}

// verify compares the node with what was acknowledged, and gives how many
// writes were of unknown outcome.
func (w *writer) verify(t *testing.T, node *redistest.Server) int {
	t.Helper()
	if w.fault != "" {
		t.Errorf("writer %d was answered %q", w.id, w.fault)
	}
	text, err := node.Do("GET", fmt.Sprint("n:", w.id))
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := strconv.Atoi(fmt.Sprint(text)); n < w.incremented || n > w.incremented+w.unsure {
		t.Errorf("writer %d: its counter is %d; acknowledged were %d, of unknown outcome %d", w.id, n, w.incremented, w.unsure)
	}
	reply, err := node.Do("LRANGE", fmt.Sprint("l:", w.id), "0", "-1")
	if err != nil {
		t.Fatal(err)
	}
	seen, last := make([]int, len(w.state)), -1
	list, _ := reply.([]any)
	for _, v := range list {
		i, err := strconv.Atoi(strings.TrimSpace(fmt.Sprint(v)))
		if err != nil || i < 0 || i >= len(seen) {
			t.Fatalf("writer %d: its list holds %v", w.id, v)
		}
		if seen[i]++; w.state[i] != 2 {
			continue
		}
		if i < last {
			t.Errorf("writer %d: %d came after %d", w.id, i, last)
		}
		last = i
	}
	unknown := w.unsure
	for i, n := range seen {
		switch {
		case n > 1:
			t.Errorf("writer %d: write %d is there %d times", w.id, i, n)
		case n == 0 && w.state[i] == 2:
			t.Errorf("writer %d: write %d was acknowledged and is lost", w.id, i)
		case n == 1 && w.state[i] == 0:
			t.Errorf("writer %d: write %d was said not to have been sent and is there", w.id, i)
		}
		if w.state[i] == 1 {
			unknown++
		}
	}
	return unknown
}
