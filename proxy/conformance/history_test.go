package conformance

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// act is one call of one client, and what became of it.
type act struct {
	key, verb, value string // verb: GET, SET, SWAP (SET … GET), INCR
	known            bool   // an answer came
	got              string // "" for a null
	called, returned int64  // ns since the history began
	client           int
}

// history is what all clients did and saw.
type history struct {
	began      time.Time
	generation atomic.Int64 // part of every key's name
	sequence   atomic.Int64 // makes every written value unique

	mu     sync.Mutex
	acts   []act
	unsent int      // calls that were said not to have been sent
	faults []string // answers that nobody may give
}

const (
	keysEach  = 4                      // registers and counters of a generation
	chaosWait = 500 * time.Millisecond // what a client waits for its answer
)

// load starts the clients; finish ends them and waits.
func (h *history) load(address string, clients int, seed uint64) (finish func()) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			a := &actor{h: h, id: i, address: address, rnd: rand.New(rand.NewPCG(seed, uint64(i)+100)), stop: stop}
			a.run()
			h.mu.Lock()
			h.acts = append(h.acts, a.acts...)
			h.unsent += a.unsent
			h.faults = append(h.faults, a.faults...)
			h.mu.Unlock()
		})
	}
	return func() { close(stop); all.Wait() }
}

// actor is one client: a connection, one call at a time.
type actor struct {
	h       *history
	id      int
	address string
	rnd     *rand.Rand
	stop    <-chan struct{}
	wire    *wire
	acts    []act
	unsent  int
	faults  []string
}

func (a *actor) run() {
	defer func() {
		if a.wire != nil {
			a.wire.Close()
		}
	}()
	for {
		select {
		case <-a.stop:
			return
		default:
		}
		if a.wire == nil {
			c, err := net.DialTimeout("tcp", a.address, time.Second)
			if err != nil {
				select {
				case <-a.stop:
				case <-time.After(5 * time.Millisecond):
				}
				continue
			}
			a.wire = &wire{Conn: c, in: bufio.NewReader(c)}
		}
		a.one()
	}
}

// one makes a call and writes down what came of it.
func (a *actor) one() {
	n := fmt.Sprint(a.h.generation.Load(), ":", a.rnd.IntN(keysEach))
	call := act{client: a.id}
	switch a.rnd.IntN(6) {
	case 0, 1:
		call.key, call.verb = "r:"+n, "GET"
	case 2:
		call.key, call.verb, call.value = "r:"+n, "SET", strconv.FormatInt(a.h.sequence.Add(1), 10)
	case 3:
		call.key, call.verb, call.value = "r:"+n, "SWAP", strconv.FormatInt(a.h.sequence.Add(1), 10)
	case 4:
		call.key, call.verb = "c:"+n, "GET"
	default:
		call.key, call.verb = "c:"+n, "INCR"
	}
	call.called = int64(time.Since(a.h.began))
	reply, left := a.exchange(&call)
	call.returned = int64(time.Since(a.h.began))
	switch {
	case left:
		a.wire.Close()
		a.wire = nil
		call.returned = math.MaxInt64
	case strings.HasPrefix(reply, "-ERR backend unavailable: the command was not sent"), strings.HasPrefix(reply, "-LOADING"):
		a.unsent++ // it did not happen, so it is no part of the history
		return
	case strings.HasPrefix(reply, "-ERR backend connection lost, the command may have run"):
		call.returned = math.MaxInt64
	case strings.HasPrefix(reply, "-"):
		a.faults = append(a.faults, call.verb+" answered "+reply)
		return
	default:
		call.known, call.got = true, scalar(reply)
	}
	if !call.known && call.verb == "GET" {
		return // it tells nothing and changes nothing
	}
	a.acts = append(a.acts, call)
}

// exchange sends the call and reads its reply. left says that the client has
// lost its connection, waited in vain, or left on its own account.
func (a *actor) exchange(call *act) (reply string, left bool) {
	args := []string{call.verb, call.key}
	switch call.verb {
	case "SET":
		args = []string{"SET", call.key, call.value}
	case "SWAP":
		args = []string{"SET", call.key, call.value, "GET"}
	}
	_ = a.wire.SetDeadline(time.Now().Add(chaosWait))
	if _, err := a.wire.Write(redistest.Encode(args...)); err != nil {
		return "", true
	}
	if a.rnd.IntN(200) == 0 { // leave at once, politely or not
		if a.rnd.IntN(2) == 0 {
			_ = a.wire.Conn.(*net.TCPConn).SetLinger(0)
		}
		return "", true
	}
	b, err := appendFrame(nil, a.wire.in)
	return string(b), err != nil
}

// scalar is what a simple reply says: text, or "" for a null.
func scalar(reply string) string {
	if strings.HasPrefix(reply, "$-1") {
		return ""
	}
	lines := strings.Split(strings.TrimSuffix(reply, "\r\n"), "\r\n")
	return strings.TrimLeft(lines[len(lines)-1], "+:")
}

// readAll reads every key once more, when all is over.
func (h *history) readAll(t *testing.T, address string) {
	t.Helper()
	c, err := redistest.Dial("tcp", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	read := map[string]bool{}
	for i := range h.acts {
		key := h.acts[i].key
		if read[key] {
			continue
		}
		read[key] = true
		last := act{key: key, verb: "GET", known: true, called: int64(time.Since(h.began))}
		v, err := c.Do("GET", key)
		if err != nil {
			t.Fatal(err)
		}
		if v != nil {
			last.got = fmt.Sprint(v)
		}
		last.returned = int64(time.Since(h.began))
		h.acts = append(h.acts, last)
	}
}

// operations is the history as porcupine wants it. A write of unknown outcome
// whose value nobody saw is left out: with it or without it, the history can
// be put in order or can't, and each such write doubles the search.
func (h *history) operations() []porcupine.Operation {
	saw := map[string]bool{}
	for i := range h.acts {
		if h.acts[i].known {
			saw[h.acts[i].key+"="+h.acts[i].got] = true
		}
	}
	var ops []porcupine.Operation
	for i := range h.acts {
		a := &h.acts[i]
		if !a.known && a.verb != "INCR" && !saw[a.key+"="+a.value] {
			continue
		}
		ops = append(ops, porcupine.Operation{ClientId: a.client, Input: a, Call: a.called, Output: a, Return: a.returned})
	}
	return ops
}

// model is one key of Redis: a value, or none.
var model = porcupine.Model{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range ops {
			key := op.Input.(*act).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		now, a := state.(string), input.(*act)
		switch a.verb {
		case "GET":
			return a.got == now, now
		case "SET":
			return true, a.value
		case "SWAP":
			return !a.known || a.got == now, a.value
		default:
			n, _ := strconv.Atoi(now)
			next := strconv.Itoa(n + 1)
			return !a.known || a.got == next, next
		}
	},
	DescribeOperation: func(input, _ any) string {
		a := input.(*act)
		return fmt.Sprintf("%s %s %s -> %q known=%v", a.verb, a.key, a.value, a.got, a.known)
	},
}

// blame names the keys whose histories contradict Redis.
func (h *history) blame(t *testing.T) {
	for _, part := range model.Partition(h.operations()) {
		one := model
		one.Partition = nil
		if porcupine.CheckOperationsTimeout(one, part, 10*time.Second) != porcupine.Ok {
			t.Errorf("key %s, %d calls", part[0].Input.(*act).key, len(part))
			for _, op := range part[:min(len(part), 200)] {
				t.Logf("%d..%d client %d %s", op.Call, op.Return, op.ClientId, model.DescribeOperation(op.Input, op.Output))
			}
		}
	}
}

// The judge sees what it is there to see.
func TestAContradictionIsSeen(t *testing.T) {
	at := func(from, to int64, verb, value, got string) act {
		return act{key: "k", verb: verb, value: value, got: got, known: true, called: from, returned: to}
	}
	unknown := func(a act) act { a.known, a.returned = false, math.MaxInt64; return a }
	for name, c := range map[string]struct {
		acts []act
		want porcupine.CheckResult
	}{
		"one after the other":             {[]act{at(1, 2, "SET", "a", "OK"), at(3, 4, "GET", "", "a")}, porcupine.Ok},
		"a lost acknowledged write":       {[]act{at(1, 2, "SET", "a", "OK"), at(3, 4, "GET", "", "")}, porcupine.Illegal},
		"a read that goes back":           {[]act{at(1, 2, "SET", "a", "OK"), at(3, 4, "SET", "b", "OK"), at(5, 6, "GET", "", "b"), at(7, 8, "GET", "", "a")}, porcupine.Illegal},
		"a write that may have happened":  {[]act{unknown(at(1, 0, "SET", "a", "")), at(3, 4, "GET", "", ""), at(5, 6, "GET", "", "a")}, porcupine.Ok},
		"a write that happened and not":   {[]act{unknown(at(1, 0, "SET", "a", "")), at(3, 4, "GET", "", "a"), at(5, 6, "GET", "", "")}, porcupine.Illegal},
		"a call counted twice":            {[]act{at(1, 2, "INCR", "", "1"), at(3, 4, "GET", "", "2")}, porcupine.Illegal},
		"a call that may have counted":    {[]act{at(1, 2, "INCR", "", "1"), unknown(at(1, 0, "INCR", "", "")), at(3, 4, "GET", "", "2")}, porcupine.Ok},
		"two of unknown outcome, three":   {[]act{unknown(at(1, 0, "INCR", "", "")), unknown(at(1, 0, "INCR", "", "")), at(3, 4, "GET", "", "3")}, porcupine.Illegal},
		"a swap that saw another's value": {[]act{at(1, 2, "SET", "a", "OK"), at(3, 4, "SWAP", "b", "x")}, porcupine.Illegal},
	} {
		h := &history{acts: c.acts}
		if got := porcupine.CheckOperations(model, h.operations()); got != (c.want == porcupine.Ok) {
			t.Errorf("%s: in order: %v", name, got)
		}
	}
}
