package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// slowNode is a scripted node that answers well and late. It keeps account of
// what it has not answered yet, so it sees when a client's call comes over one
// connection while an earlier call of that client waits on another: a real
// server might run the two in either order.
type slowNode struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu      sync.Mutex
	conns   map[int]net.Conn
	owed    map[int]int // by connection: marked calls that wait for their answer
	marks   []string    // as they came
	crossed []string
}

// answerLate is how long an answer takes.
const answerLate = 300 * time.Microsecond

func newSlowNode(t *testing.T) *slowNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &slowNode{listener: l, conns: map[int]net.Conn{}, owed: map[int]int{}}
	n.serving.Go(func() {
		for id := 0; ; id++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.conns[id] = c
			n.mu.Unlock()
			n.serving.Go(func() { n.serve(id, c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		n.mu.Lock()
		for _, c := range n.conns {
			_ = c.Close()
		}
		n.mu.Unlock()
		n.serving.Wait()
	})
	return n
}

// serve reads calls as they come and answers them one by one.
func (n *slowNode) serve(id int, conn net.Conn) {
	defer func() {
		n.mu.Lock()
		delete(n.conns, id)
		delete(n.owed, id)
		n.mu.Unlock()
		_ = conn.Close()
	}()
	calls := make(chan []string, 4096)
	defer func() { // the reader ends when the connection does
		for range calls {
		}
	}()
	n.serving.Go(func() {
		defer close(calls)
		in := bufio.NewReaderSize(conn, 1<<16)
		for {
			raw, err := appendFrame(nil, in)
			if err != nil {
				return
			}
			args := arguments(raw)
			n.note(id, args)
			calls <- args
		}
	})
	st := &nodeState{proto: 2}
	late := time.NewTimer(0)
	defer late.Stop()
	for args := range calls {
		late.Reset(answerLate)
		<-late.C
		if m := marksIn([]byte(strings.Join(args[:min(len(args), 6)], " "))); len(m) > 0 {
			n.mu.Lock()
			n.owed[id]--
			n.mu.Unlock()
		}
		if _, err := conn.Write([]byte(st.answer(args))); err != nil {
			_ = conn.Close()
			return
		}
	}
}

// note writes a marked call down as it comes.
func (n *slowNode) note(id int, args []string) {
	marks := marksIn([]byte(strings.Join(args[:min(len(args), 6)], " ")))
	if len(marks) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for other, owed := range n.owed {
		if other != id && owed > 0 {
			n.crossed = append(n.crossed, fmt.Sprintf("%.40q came while %d calls wait on another connection", args, owed))
		}
	}
	n.owed[id]++
	n.marks = append(n.marks, marks...)
}

// arguments takes a canonical command apart.
func arguments(raw []byte) []string {
	_, elements, _ := elementsOf(raw)
	args := make([]string, 0, len(elements))
	for _, e := range elements {
		_, body, _ := strings.Cut(string(e), "\r\n")
		args = append(args, strings.TrimSuffix(body, "\r\n"))
	}
	return args
}

// taken gives what came since the last time.
func (n *slowNode) taken() (marks, crossed []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	marks, crossed = n.marks, n.crossed
	n.marks, n.crossed = nil, nil
	return marks, crossed
}

// nodeState is what a connection to the slow node is in.
type nodeState struct {
	proto      int
	multi      bool
	queued     int
	subscribed int
}

func (s *nodeState) answer(args []string) string {
	name := strings.ToUpper(args[0])
	if s.multi && name != "EXEC" && name != "DISCARD" {
		s.queued++
		return "+QUEUED\r\n"
	}
	switch name {
	case "HELLO":
		if len(args) > 1 {
			s.proto, _ = strconv.Atoi(args[1])
		}
		return s.hello()
	case "PING":
		return "+PONG\r\n"
	case "MULTI":
		s.multi, s.queued = true, 0
		return "+OK\r\n"
	case "DISCARD":
		s.multi = false
		return "+OK\r\n"
	case "EXEC":
		s.multi = false
		return fmt.Sprint("*", s.queued, "\r\n", strings.Repeat("+OK\r\n", s.queued))
	case "SET", "AUTH", "SELECT", "WATCH", "UNWATCH", "CLIENT", "RESET", "DEBUG":
		return "+OK\r\n"
	case "GET", "XREAD":
		return s.null()
	case "BLPOP":
		if strings.HasPrefix(args[1], "none:") {
			return s.nullArray()
		}
		return "*2\r\n+" + args[1] + "\r\n+x\r\n"
	case "EVAL":
		return "$4\r\ntext\r\n"
	case "HGETALL":
		if s.proto == 3 {
			return "%0\r\n"
		}
		return "*0\r\n"
	case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE":
		s.subscribed++
		return s.told(args)
	case "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE":
		s.subscribed--
		return s.told(args)
	}
	return ":1\r\n"
}

func (s *nodeState) told(args []string) string {
	head := "*"
	if s.proto == 3 {
		head = ">"
	}
	name := strings.ToLower(args[0])
	channel := ""
	if len(args) > 1 {
		channel = args[1]
	}
	return fmt.Sprintf("%s3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:%d\r\n", head, len(name), name, len(channel), channel, max(s.subscribed, 0))
}

func (s *nodeState) null() string {
	if s.proto == 3 {
		return "_\r\n"
	}
	return "$-1\r\n"
}

func (s *nodeState) nullArray() string {
	if s.proto == 3 {
		return "_\r\n"
	}
	return "*-1\r\n"
}

func (s *nodeState) hello() string {
	head := "*14"
	if s.proto == 3 {
		head = "%7"
	}
	return head + "\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:" + strconv.Itoa(s.proto) +
		"\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
}

// A call never travels over one connection while an earlier call of the same
// client waits for its answer on another, however slow the node is.
func TestAClientsCallsNeverOvertakeEachOtherAtASlowNode(t *testing.T) {
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", proto), func(t *testing.T) {
			t.Parallel()
			node := newSlowNode(t)
			address := front(t, node.listener.Addr().String())
			n := 0
			for i := range actions {
				for j := range actions {
					a, b := &actions[i], &actions[j]
					if unfit(a, b, proto) || a.name == "many" || b.name == "many" {
						continue
					}
					n++
					both := pair(a, b, n, big)
					if got, err := converse(address, proto, both); err != nil {
						t.Errorf("%s, then %s: %v behind %.300q", a.name, b.name, err, got)
						continue
					}
					ran, crossed := node.taken()
					if !within(ran, repeated(both)) {
						t.Errorf("%s, then %s: the node was sent %v, the client sent %v", a.name, b.name, ran, repeated(both))
					}
					for _, c := range crossed {
						t.Errorf("%s, then %s: %s", a.name, b.name, c)
					}
				}
			}
			t.Logf("%d pairs", n)
		})
	}
}

// repeated are all marks of a pipeline, neighbours that are the same included.
func repeated(b []byte) []string {
	var marks []string
	for _, m := range markName.FindAll(b, -1) {
		marks = append(marks, string(m))
	}
	return marks
}

// The slow node sees a call that overtakes.
func TestASlowNodeSeesWhatOvertakes(t *testing.T) {
	node := newSlowNode(t)
	var wires [2]*wire
	for i := range wires {
		c, err := net.DialTimeout("tcp", node.listener.Addr().String(), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		wires[i] = &wire{Conn: c, in: bufio.NewReader(c)}
	}
	for round, overtakes := range []bool{true, false} {
		calls := 200
		if _, err := wires[0].Write(bytes.Repeat(redistest.Encode("SET", "k", fmt.Sprint("m", round, "m")), calls)); err != nil {
			t.Fatal(err)
		}
		before := 1 // answers awaited before the other connection is used
		if !overtakes {
			before = calls
		}
		wires[0].frames(before)
		if _, err := wires[1].Write(redistest.Encode("GET", fmt.Sprint("m", round, "m"))); err != nil {
			t.Fatal(err)
		}
		wires[1].frames(1)
		wires[0].frames(calls - before)
		if _, crossed := node.taken(); len(crossed) > 0 != overtakes {
			t.Errorf("a call that overtakes: %v; seen: %v", overtakes, crossed)
		}
	}
}
