package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// action is one thing a client does, in one or several commands. Every command
// that reaches a node carries a mark, m and a number and m, by which it is
// known there; what the proxy answers itself carries none.
type action struct {
	name     string
	commands func(mark string) [][]string
	inline   func(mark string) string // instead of commands
	only3    bool                     // needs the third version
	to2      bool                     // leaves the second version behind
	local    bool                     // answered by the proxy, which refuses it inside a transaction
	opens    bool                     // leaves a transaction open
}

func does(commands ...[]string) func(string) [][]string {
	return func(mark string) [][]string {
		var out [][]string
		for _, c := range commands {
			args := slices.Clone(c)
			for i, a := range args {
				args[i] = strings.ReplaceAll(a, "@", mark)
			}
			out = append(out, args)
		}
		return out
	}
}

func c(args ...string) []string { return args }

var big = strings.Repeat("0123456789abcdef", 70_000) // 1.12 MB, more than a connection is shared for

const bigMark = "a big value"

// smaller is a big value where MONITOR tells the order, which is slow with a
// larger one.
var smaller = big[:100_000]

// actions are the classes of commands and the states that they leave.
var actions = []action{
	{name: "write", commands: does(c("SET", "k", "@"))},
	{name: "read", commands: does(c("GET", "k:@"))},
	{name: "append", commands: does(c("APPEND", "k", "@"), c("GET", "k"))},
	{name: "error of the node", commands: does(c("SET", "s", "@"), c("LPUSH", "s", "@"))},
	{name: "script", commands: does(c("EVAL", "redis.call('set',KEYS[1],ARGV[1]) return ARGV[1]", "1", "k", "@"))},
	{name: "publish", commands: does(c("PUBLISH", "c", "@"))},
	{name: "inline", inline: func(mark string) string { return "SET k " + mark + "\r\n" }},
	{name: "big request", commands: does(c("SET", "big:@", bigMark), c("STRLEN", "big:@"))},
	{name: "big reply", commands: does(c("EVAL", "return string.rep('x',1300000)", "1", "k:@"))},
	{name: "many", commands: func(mark string) (all [][]string) {
		for range 100 {
			all = append(all, c("APPEND", "k", mark))
		}
		return all
	}},
	{name: "ping", commands: does(c("PING"))},
	{name: "echo", commands: does(c("ECHO", "x"))},
	{name: "unknown", commands: does(c("NOPE", "x"))},
	{name: "wrong arity", commands: does(c("GET"))},
	{name: "client name", commands: does(c("CLIENT", "SETNAME", "n"), c("CLIENT", "GETNAME")), local: true},
	{name: "select", commands: does(c("SELECT", "3")), local: true},
	{name: "select and write", commands: does(c("SELECT", "2"), c("SET", "k", "@"), c("SELECT", "0")), local: true},
	{name: "select nothing", commands: does(c("SELECT", "99")), local: true},
	{name: "reset", commands: does(c("RESET")), local: true, to2: true},
	{name: "hello 3 and read", commands: does(c("HELLO", "3"), c("HGETALL", "h:@")), local: true},
	{name: "hello 2 and read", commands: does(c("HELLO", "2"), c("HGETALL", "h:@")), local: true, only3: true, to2: true},

	{name: "transaction", commands: does(c("MULTI"), c("SET", "k", "@"), c("GET", "k:@"), c("EXEC"))},
	{name: "discard", commands: does(c("MULTI"), c("SET", "k", "x"), c("DISCARD"))},
	{name: "broken transaction", commands: does(c("MULTI"), c("NOPE"), c("EXEC"))},
	{name: "open transaction", commands: does(c("MULTI"), c("SET", "k", "@")), opens: true},
	{name: "watch", commands: does(c("WATCH", "k:@"))},
	{name: "watch and change", commands: does(c("WATCH", "k"), c("SET", "k", "@"))},
	{name: "watch and transaction", commands: does(c("WATCH", "w:@"), c("GET", "w:@"), c("MULTI"), c("SET", "w:@", "x"), c("EXEC"))},
	{name: "unwatch", commands: does(c("UNWATCH"))},
	{name: "blocking, served", commands: does(c("RPUSH", "l:@", "x"), c("BLPOP", "l:@", "0"))},
	{name: "blocking, in vain", commands: does(c("BLPOP", "none:@", "0.001"))},
	{name: "blocking stream", commands: does(c("XADD", "x:@", "1-1", "f", "v"), c("XREAD", "BLOCK", "0", "STREAMS", "x:@", "0"))},
	{name: "subscribe and not", commands: does(c("SUBSCRIBE", "c:@"), c("UNSUBSCRIBE", "c:@"))},
	{name: "psubscribe and not", commands: does(c("PSUBSCRIBE", "p:@*"), c("PUNSUBSCRIBE", "p:@*"))},
	{name: "ssubscribe and not", commands: does(c("SSUBSCRIBE", "s:@"), c("SUNSUBSCRIBE", "s:@"))},
	{name: "subscribed", commands: does(c("SUBSCRIBE", "c:@")), only3: true},
	{name: "tracking", commands: does(c("CLIENT", "TRACKING", "ON"), c("GET", "t:@")), only3: true, local: true},
	{name: "tracking and not", commands: does(c("CLIENT", "TRACKING", "ON"), c("GET", "t:@"), c("CLIENT", "TRACKING", "OFF")), only3: true, local: true},
	{name: "reply skip", commands: does(c("CLIENT", "REPLY", "SKIP"), c("SET", "k", "@")), local: true},
	{name: "reply off and on", commands: does(c("CLIENT", "REPLY", "OFF"), c("SET", "k", "@"), c("CLIENT", "REPLY", "ON")), local: true},
	{name: "reply off", commands: does(c("CLIENT", "REPLY", "OFF"), c("SET", "k", "@")), local: true},
	{name: "wait", commands: does(c("SET", "k", "@"), c("WAIT", "0", "10"))},
	{name: "own connection", commands: does(c("DEBUG", "SLEEP", "0"), c("SET", "k", "@"))},
}

// clashes reports what no transaction may hold here, though Redis queues it.
func (a *action) clashes(b *action) bool {
	return a.opens && (b.local || strings.Contains(b.name, "subscribe") || strings.Contains(b.name, "watch") || b.opens)
}

func (a *action) bytes(mark, large string) []byte {
	if a.inline != nil {
		return []byte(a.inline(mark))
	}
	var out []byte
	for _, args := range a.commands(mark) {
		if i := slices.Index(args, bigMark); i >= 0 {
			args[i] = large
		}
		out = append(out, redistest.Encode(args...)...)
	}
	return out
}

// Every ordered pair of what a client can do, in one write: the node runs what
// reaches it in the client's order, and the client reads what it would have
// read without the proxy.
func TestTheNodesOrderIsTheClients(t *testing.T) {
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", proto), func(t *testing.T) {
			t.Parallel()
			r := start(t, redistest.Args("--hz", "200")) // so often it looks whose wait is over
			r.spy = newSpy(t, r.node)
			n := 0
			for i := range actions {
				for j := range actions {
					a, b := &actions[i], &actions[j]
					if unfit(a, b, proto) {
						continue
					}
					n++
					r.order(t, a.name+", then "+b.name, proto, pair(a, b, n, smaller))
				}
			}
			t.Logf("%d pairs", n)
		})
	}
}

// unfit reports a pair that can't be played, or on which Redis and the proxy
// differ on purpose.
func unfit(a, b *action, proto int) bool {
	return a.clashes(b) || a.only3 && b.to2 || b.only3 && a.to2 || proto == 2 && (a.only3 || b.only3)
}

// pair is the n-th pair's pipeline; large is its big value.
func pair(a, b *action, n int, large string) []byte {
	both := append(a.bytes(fmt.Sprint("m", 2*n, "m"), large), b.bytes(fmt.Sprint("m", 2*n+1, "m"), large)...)
	if a.opens || b.opens {
		both = append(both, redistest.Encode("EXEC")...)
	}
	return both
}

// order plays a pipeline directly and through the proxy.
func (r *rig) order(t *testing.T, name string, proto int, pipeline []byte) {
	t.Helper()
	sent := marksIn(pipeline)
	var replies [2][]byte
	var ran [2][]string
	for i, address := range []string{r.node.Addr(), r.proxied} {
		if _, err := r.node.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
		r.spy.fence(t)
		var err error
		if replies[i], err = converse(address, proto, pipeline); err != nil {
			t.Errorf("%s, way %d: %v behind %.300q", name, i, err, replies[i])
			return
		}
		if ran[i] = r.spy.fence(t); !within(ran[i], sent) {
			t.Errorf("%s, way %d: the node ran %v, the client sent %v", name, i, ran[i], sent)
		}
	}
	if !slices.Equal(ran[0], ran[1]) {
		t.Errorf("%s: the node ran %v, and through the proxy %v", name, ran[0], ran[1])
	}
	if !bytes.Equal(replies[0], replies[1]) {
		t.Errorf("%s:\n   redis %.400q\n   proxy %.400q", name, replies[0], replies[1])
	}
}

// within reports whether some of sent ran, in its order: a transaction that is
// given up runs nothing.
func within(ran, sent []string) bool {
	for _, m := range ran {
		i := slices.Index(sent, m)
		if i < 0 {
			return false
		}
		sent = sent[i+1:]
	}
	return true
}

var (
	markName = regexp.MustCompile(`m[0-9]+m`)
	helloID  = regexp.MustCompile(`\r\nid\r\n:[0-9]+\r\n`)
)

// marksIn gives the marks in b, neighbours that are the same as one.
func marksIn(b []byte) []string {
	var marks []string
	for _, m := range markName.FindAll(b, -1) {
		marks = append(marks, string(m))
	}
	return slices.Compact(marks)
}

// converse sends the pipeline and what ends every state in one write, and gives
// the replies up to the last one's.
func converse(address string, proto int, pipeline []byte) ([]byte, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var out []byte
	if proto == 3 {
		out = redistest.Encode("HELLO", "3")
	}
	out = append(out, pipeline...)
	for _, end := range [][]string{{"CLIENT", "REPLY", "ON"}, {"ECHO", "the end"}} {
		out = append(out, redistest.Encode(end...)...)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(out)
		sent <- err
	}()
	in := bufio.NewReader(conn)
	var all []byte
	for !bytes.HasSuffix(all, []byte("$7\r\nthe end\r\n")) {
		if all, err = appendFrame(all, in); err != nil {
			conn.Close()
			<-sent
			return all, err
		}
	}
	return helloID.ReplaceAll(all, []byte("\r\nid\r\n:0\r\n")), <-sent
}

// spy reads what a node runs, by MONITOR on a connection of its own.
type spy struct {
	node   *redistest.Server
	conn   net.Conn
	in     *bufio.Reader
	fences int
}

func newSpy(t *testing.T, node *redistest.Server) *spy {
	t.Helper()
	conn, err := net.DialTimeout("tcp", node.Addr(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &spy{node: node, conn: conn, in: bufio.NewReaderSize(conn, 1<<20)}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(redistest.Encode("MONITOR")); err != nil {
		t.Fatal(err)
	}
	if line, err := s.in.ReadString('\n'); line != "+OK\r\n" || err != nil {
		t.Fatalf("MONITOR: %q, %v", line, err)
	}
	return s
}

// fence gives the marks of what the node has run since the last one.
func (s *spy) fence(t *testing.T) []string {
	t.Helper()
	s.fences++
	end := fmt.Sprint("fence-", s.fences, "-")
	if _, err := s.node.Do("ECHO", end); err != nil {
		t.Fatal(err)
	}
	_ = s.conn.SetDeadline(time.Now().Add(patience))
	var marks []string
	for {
		line, err := s.in.ReadBytes('\n')
		if err != nil {
			t.Fatal("MONITOR:", err)
		}
		if bytes.Contains(line, []byte(end)) {
			return slices.Compact(marks)
		}
		marks = append(marks, marksIn(line[:min(len(line), 4096)])...) // a big value carries none
	}
}
