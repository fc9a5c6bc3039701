package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	unavailable = "ERR backend unavailable: the command was not sent"
	lost        = "ERR backend connection lost, the command may have run"
)

// bulk is a value as a node writes it.
func bulk(v string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(v), v) }

// mirror answers a GET with the name of its key, so that a reply shows whose it is.
func mirror(r redistest.Request) redistest.Answer {
	if r.Is("GET") && len(r.Args) == 2 {
		return redistest.Reply(bulk(r.Args[1]))
	}
	return redistest.Reply("-ERR the rig does not know this\r\n")
}

// except plays faults for GETs of certain keys, and mirrors the others.
func except(faults map[string]redistest.Answer) redistest.Script {
	return redistest.AfterHandshake(func(r redistest.Request) redistest.Answer {
		if r.Is("GET") && len(r.Args) == 2 {
			if a, ok := faults[r.Args[1]]; ok {
				return a
			}
		}
		return mirror(r)
	})
}

// before answers what the script does not: the zero Answer of ask means "not mine".
func before(ask func(redistest.Request) (redistest.Answer, bool), script redistest.Script) redistest.Script {
	return func(r redistest.Request) redistest.Answer {
		if a, ok := ask(r); ok {
			return a
		}
		return script(r)
	}
}

// inFrontOf is a rig with one loop in front of a scripted node: all clients
// share one connection, the first one.
func inFrontOf(t *testing.T, script redistest.Script, change func(*setup)) (*rig, *redistest.Fake) {
	t.Helper()
	node := redistest.NewFake(t, script)
	r := withRig(t, node.Addr(), func(s *setup) {
		s.workers = 1
		s.log = zap.NewNop() // the faults are the test's own
		if change != nil {
			change(s)
		}
	})
	return r, node
}

// requested waits until the node has read a GET of the key.
func requested(t *testing.T, node *redistest.Fake, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := 1; ; n++ {
		all, err := node.Await(ctx, n)
		if err != nil {
			t.Fatalf("the node was never asked for %s: %v", key, err)
		}
		for _, r := range all {
			if r.Is("GET") && r.Args[1] == key {
				return
			}
		}
		n = len(all)
	}
}

// recovers waits until a client's GETs are answered again. Whatever comes
// meanwhile is an error, never another's data.
func (r *rig) recovers(c *redistest.Client, key string) {
	r.t.Helper()
	eventually(r.t, patience, "the node is in use again", func() bool {
		v, err := c.Do("GET", key)
		var refused redistest.Error
		switch {
		case err == nil && v == key:
			return true
		case err == nil:
			r.t.Fatalf("GET %s got %v", key, v)
		case !errors.As(err, &refused) || string(refused) != unavailable && string(refused) != lost:
			r.t.Fatalf("GET %s: %v", key, err)
		}
		return false
	})
}

func TestASurplusReplyReachesNobody(t *testing.T) {
	for name, surplus := range map[string]string{
		"a whole one": bulk("stolen"), "half of one": "$6\r\nsto", "an error": "-ERR stolen\r\n", "a push": ">1\r\n+stolen\r\n", "a byte": "+",
	} {
		t.Run(name, func(t *testing.T) {
			r, node := inFrontOf(t, except(map[string]redistest.Answer{"a": redistest.Extra(bulk("a"), surplus)}), nil)
			a, b := r.login("root"), r.login("root")
			r.want(a, "a", "GET", "a")
			r.recovers(b, "b")
			r.recovers(a, "c")
			if node.Accepted() < 2 {
				t.Error("the connection with the surplus reply is still in use")
			}
		})
	}
}

func TestBytesNobodyAskedForEndTheConnection(t *testing.T) {
	for name, bytes := range map[string]string{"a reply": bulk("stolen"), "a push": ">2\r\n+message\r\n+stolen\r\n", "garbage": "\x00\xff"} {
		t.Run(name, func(t *testing.T) {
			r, node := inFrontOf(t, except(nil), nil)
			c := r.login("root")
			r.want(c, "x", "GET", "x")
			if err := node.Send(0, bytes); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := node.AwaitConns(ctx, 2); err != nil {
				t.Fatal(err)
			}
			r.recovers(c, "y")
		})
	}
}

// A reply can't be a call's that has not left yet. Both lie in the kernel when
// the loop wakes up, and it sees the client first, or the node.
func TestAReplyThatCameBeforeItsCallWasSentIsNobodys(t *testing.T) {
	for name, clientFirst := range map[string]bool{"the client is read first": true, "the node is read first": false} {
		t.Run(name, func(t *testing.T) {
			var armed atomic.Bool
			blocked, release := make(chan struct{}), make(chan struct{})
			refuse := func(q redistest.Request) (redistest.Answer, bool) {
				return redistest.Garbage(), q.Is("SELECT")
			}
			r, node := inFrontOf(t, before(refuse, except(nil)), func(s *setup) {
				// The loop says so when a connection fails, and stands still meanwhile.
				s.log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.WarnLevel),
					zap.Hooks(func(zapcore.Entry) error {
						if armed.CompareAndSwap(true, false) {
							close(blocked)
							<-release
						}
						return nil
					}))
			})
			client, other := r.login("root"), r.login("root")
			r.want(client, "warm", "GET", "warm")
			armed.Store(true)
			if err := other.Send("SELECT", "9"); err != nil {
				t.Fatal(err)
			}
			select {
			case <-blocked:
			case <-time.After(patience):
				t.Fatal("the loop did not say that a connection failed")
			}
			say := func() {
				if err := client.Send("GET", "mine"); err != nil {
					t.Error(err)
				}
			}
			if clientFirst {
				say()
			}
			if err := node.Send(0, bulk("stolen")); err != nil {
				t.Error(err)
			}
			if !clientFirst {
				say()
			}
			close(release)
			v, err := client.Receive()
			if got := fmt.Sprint(v); err != nil || got != "mine" && got != unavailable && got != lost {
				t.Errorf("the client's GET got %q, %v", got, err)
			}
			r.recovers(client, "next")
		})
	}
}

func TestASilentNodeCostsAnErrorOnceItIsGone(t *testing.T) {
	r, node := inFrontOf(t, except(map[string]redistest.Answer{"dropped": redistest.Drop(), "gated": {After: make(chan struct{})}}), nil)
	first, second, third := r.login("root"), r.login("root"), r.login("root")
	if err := first.Send("GET", "dropped"); err != nil {
		t.Fatal(err)
	}
	requested(t, node, "dropped")
	for _, c := range []*redistest.Client{second, third} {
		if err := c.Send("GET", "gated"); err != nil {
			t.Fatal(err)
		}
	}
	requested(t, node, "gated")
	// The counters are read between turns: what they hold has been written.
	eventually(t, 5*time.Second, "all three calls have left", func() bool {
		return r.scrape(t).value(`sallyport_commands_total{class="shared",decision="allowed"}`) == 3
	})
	if err := node.Hangup(0); err != nil {
		t.Fatal(err)
	}
	for i, c := range []*redistest.Client{first, second, third} {
		if v, err := c.Receive(); err != nil || fmt.Sprint(v) != lost {
			t.Errorf("client %d got %v, %v", i, v, err)
		}
		r.recovers(c, fmt.Sprint("later", i))
	}
}

// replies of every kind a framer tells apart.
var someReplies = map[string][]string{
	"2": {bulk("value"), "$-1\r\n", "$0\r\n\r\n", ":-42\r\n", "+OK\r\n", "-WRONGTYPE no\r\n", "*0\r\n", "*-1\r\n", "*2\r\n*1\r\n:1\r\n$3\r\na\r\n\r\n", bulk("\r\n$5\r\nnope")},
	"3": {"_\r\n", "#t\r\n", ",1.5\r\n", "(12345678901234567890\r\n", "%1\r\n+k\r\n~1\r\n:1\r\n", "=7\r\ntxt:abc\r\n", "!5\r\nERR x\r\n", "*2\r\n_\r\n%0\r\n", "|1\r\n+ttl\r\n:1\r\n$1\r\nx\r\n"},
}

// A reply in pieces is the same reply.
func TestAReplySplitAtEveryByteIsTheSameReply(t *testing.T) {
	for proto, replies := range someReplies {
		t.Run("RESP"+proto, func(t *testing.T) {
			faults := map[string]redistest.Answer{}
			lines := []string{"HELLO " + proto}
			want := []string{""}
			for i, raw := range replies {
				for _, piece := range []int{1, 2, 3} {
					key := fmt.Sprint("k", i, "-", piece)
					faults[key] = redistest.SplitEvery(piece, raw)
					lines, want = append(lines, "GET "+key, "GET between"), append(want, raw, bulk("between"))
				}
			}
			r, _ := inFrontOf(t, except(faults), nil)
			k := talk(t, r.addr("plain"))
			k.ask("AUTH", "root", "root-pw")
			for i, got := range k.pipelined(lines...) {
				if i > 0 && got != want[i] {
					t.Errorf("%s got %q, want %q", lines[i], got, want[i])
				}
			}
		})
	}
}

// A reply that breaks off leaves its client with what had come and the end of
// the connection, or with an error; the one behind it with an error; and nobody
// with anything else.
func TestAReplyCutAtEveryByteIsNobodyElses(t *testing.T) {
	const raw = "*3\r\n$5\r\nfirst\r\n:7\r\n$6\r\nsecond\r\n"
	for n := range len(raw) {
		gate := make(chan struct{})
		cut := redistest.CutAt(n, raw)
		cut.After = gate
		r, node := inFrontOf(t, except(map[string]redistest.Answer{"cut": cut}), nil)
		c, behind := r.wire(t, nil).as("root"), r.login("root")
		c.say("GET cut\r\n")
		requested(t, node, "cut")
		if err := behind.Send("GET", "behind"); err != nil {
			t.Fatal(err)
		}
		requested(t, node, "behind")
		close(gate)
		if n == 0 {
			c.hear("-" + lost + "\r\n")
		} else {
			c.hear(raw[:n])
			c.ends()
			r.await("close_conn", "client_port", c.port(), "reason", "backend_lost")
		}
		if v, err := behind.Receive(); err != nil || fmt.Sprint(v) != lost {
			t.Fatalf("cut at %d: the client behind got %v, %v", n, v, err)
		}
		r.recovers(behind, "next")
		r.close()
	}
}

func TestGarbageIsHandedToNobody(t *testing.T) {
	for name, bytes := range map[string]string{
		"no RESP": "\x00\xff!garbage\x00", "text": "hello\r\n", "a wrong length": "$5\r\nabcdefgh\r\n", "a negative length": "$-2\r\n", "a zero in front": "$01\r\na\r\n",
		"RESP3 for a RESP2 client": "_\r\n", "an attribute for a RESP2 client": "|1\r\n+a\r\n+b\r\n", "a length beyond all": "$99999999999999999999\r\n",
		"bare LF": ":1\n", "a push": ">1\r\n+stolen\r\n", "an HTTP answer": "HTTP/1.1 400 Bad Request\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			gate := make(chan struct{})
			r, node := inFrontOf(t, except(map[string]redistest.Answer{"a": redistest.When(gate, bytes)}), nil)
			a, b := r.wire(t, nil).as("root"), r.login("root")
			a.say("GET a\r\n")
			requested(t, node, "a")
			if err := b.Send("GET", "b"); err != nil {
				t.Fatal(err)
			}
			requested(t, node, "b")
			close(gate)
			if v, err := b.Receive(); err != nil || fmt.Sprint(v) != lost {
				t.Errorf("the client behind got %v, %v", v, err)
			}
			a.hear("-" + lost + "\r\n")
			r.recovers(b, "c")
		})
	}
}

func TestTheReplyOfAClientThatLeftReachesNobody(t *testing.T) {
	for name, leave := range map[string]func(*wire){
		"closes": func(c *wire) { c.Close() },
		"resets": (*wire).reset,
		"quits":  func(c *wire) { c.say("QUIT\r\n"); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			gate := make(chan struct{})
			r, node := inFrontOf(t, except(map[string]redistest.Answer{"gone": redistest.When(gate, bulk("gone"))}), nil)
			next := r.login("root")
			c := r.wire(t, nil).as("root")
			c.say("GET gone\r\nGET more\r\n")
			requested(t, node, "more")
			port := c.port()
			leave(c)
			if name != "quits" && name != "closes" { // those are owed their replies, and the proxy waits to deliver them
				r.await("close_conn", "client_port", port)
			}
			for i := range 3 {
				if err := next.Send("GET", fmt.Sprint("next", i)); err != nil {
					t.Fatal(err)
				}
			}
			requested(t, node, "next2")
			close(gate)
			for i := range 3 {
				if v, err := next.Receive(); err != nil || v != fmt.Sprint("next", i) {
					t.Fatalf("the next client got %v, %v", v, err)
				}
			}
			r.await("close_conn", "client_port", port)
			if n := node.Accepted(); n != 1 {
				t.Errorf("%d connections to the node; the first one was sound", n)
			}
		})
	}
}

// While a node refuses its logins clients are told so, in words that say nothing
// about the node, and served as soon as it takes them.
func TestALoginTheNodeRefusesIsTriedAgain(t *testing.T) {
	for name, words := range map[string]string{
		"loading": "-LOADING Redis is loading the dataset in memory\r\n", "a password": "-NOAUTH HELLO must be called with the client already authenticated\r\n",
		"wrong one": "-WRONGPASS invalid username-password pair or user is disabled.\r\n", "full": "-ERR max number of clients reached\r\n",
		"two replies": "+OK\r\n+OK\r\n", "garbage": "\x00", "a push": ">1\r\n+x\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var well atomic.Bool
			var refused atomic.Int64
			refuse := func(q redistest.Request) (redistest.Answer, bool) {
				if q.Is("HELLO") && !well.Load() {
					refused.Add(1)
					return redistest.Reply(words), true
				}
				return redistest.Answer{}, false
			}
			r, _ := inFrontOf(t, before(refuse, except(nil)), func(s *setup) { s.down = true })
			c := r.login("root")
			for range 3 {
				r.want(c, unavailable, "GET", "x")
			}
			if err := r.server.Ready(); err == nil {
				t.Error("ready without a backend")
			}
			eventually(t, patience, "several attempts", func() bool { return refused.Load() >= 3 })
			well.Store(true)
			r.recovers(c, "x")
			if err := r.server.Ready(); err != nil {
				t.Error("not ready again:", err)
			}
		})
	}
}

func TestABackendThatIsDownAtStart(t *testing.T) {
	node := redistest.Start(t)
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	r := withRig(t, node.Addr(), func(s *setup) { s.down, s.log = true, zap.NewNop() })
	c := r.login("root")
	r.want(c, unavailable, "GET", "x")
	r.want(c, unavailable, "SELECT", "3")
	r.want(c, "PONG", "PING")
	r.want(c, "NOPERM User root has no permissions to run the 'flushall' command", "FLUSHALL")
	if _, err := c.Do("HELLO", "3"); err != nil {
		t.Error("HELLO 3 while the backend is down:", err)
	}
	if err := r.server.Ready(); err == nil || strings.Contains(err.Error(), node.Addr()) {
		t.Error("Ready says", err)
	}
	if err := node.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the backend is used", func() bool { _, err := c.Do("SET", "x", "1"); return err == nil })
	r.want(c, "OK", "SELECT", "3")
	r.want(c, "<nil>", "GET", "x")
	eventually(t, patience, "ready", func() bool { return r.server.Ready() == nil })
}

func TestASELECTThatTheNodeRefusesLeavesTheSessionWhereItWas(t *testing.T) {
	var down atomic.Bool
	answer := func(q redistest.Request) (redistest.Answer, bool) {
		switch {
		case !q.Is("SELECT"):
			return redistest.Answer{}, false
		case q.Args[1] == "7":
			return redistest.Reply("-ERR DB index is out of range\r\n"), true
		case q.Args[1] == "8":
			return redistest.Hangup(), true
		case q.Args[1] == "6":
			return redistest.Reply("-NOPERM this user has no permissions to run the 'select' command\r\n"), true
		}
		return redistest.Answer{}, down.Load()
	}
	r, node := inFrontOf(t, before(answer, except(nil)), nil)
	k := talk(t, r.addr("plain"))
	k.ask("AUTH", "root", "root-pw")
	got := k.pipelined("GET a", "SELECT 7", "GET b", "SELECT 8", "GET c", "SELECT 6", "GET d", "SELECT 5", "GET e", "SELECT 7", "GET f", "SELECT 0", "GET g")
	want := []string{bulk("a"), "-ERR DB index is out of range\r\n", bulk("b"), "-" + unavailable + "\r\n", bulk("c"),
		comparable("-NOPERM this user has no permissions to run the 'select' command\r\n"), bulk("d"), "+OK\r\n", bulk("e"), "-ERR DB index is out of range\r\n", bulk("f"), "+OK\r\n", bulk("g")}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("reply %d is %q, want %q", i, got[i], want[i])
		}
	}
	// On which connection each call went: the database it was made in.
	in := map[int]string{}
	for _, q := range node.Requests() {
		switch {
		case q.Is("SELECT"):
			in[q.Conn] = q.Args[1]
		case q.Is("GET"):
			db := in[q.Conn]
			if want := map[bool]string{true: "5", false: ""}[strings.Contains("ef", q.Args[1])]; db != want {
				t.Errorf("GET %s went to database %q, want %q", q.Args[1], db, want)
			}
		}
	}
}

func TestANodeThatNeverAnswersTheLoginIsGivenUp(t *testing.T) {
	var mute atomic.Bool
	mute.Store(true)
	silence := func(redistest.Request) (redistest.Answer, bool) { return redistest.Drop(), mute.Load() }
	r, _ := inFrontOf(t, before(silence, except(nil)), func(s *setup) {
		s.down = true
		s.backend.DialTimeout = 200 * time.Millisecond
	})
	c := r.login("root")
	began := time.Now()
	r.want(c, unavailable, "GET", "x")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("an answer after %v", took)
	}
	mute.Store(false)
	r.recovers(c, "x")
}

// A node that does wrong in every way its stream can show, and clients that
// pipeline meanwhile: everybody gets his own, an error, or the end.
func TestAMadNodeMixesNobodysReplies(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	lives := 60 // a node that keeps dying is dialled ever less often: many proxies see more than one
	if testing.Short() {
		lives = 30
	}
	var got outcomes
	for life := range lives {
		mad := madness{rnd: rand.New(rand.NewPCG(seed, uint64(life)))}
		r, node := inFrontOf(t, redistest.AfterHandshake(mad.answer), nil)
		const crowd = 6
		done := make(chan error, crowd)
		for i := range crowd {
			go func() { done <- r.pipelines(fmt.Sprint("c", i), 5, &got) }()
		}
		for range crowd {
			if err := <-done; err != nil {
				t.Errorf("life %d: %v", life, err)
			}
		}
		r.close()
		node.Close()
	}
	t.Logf("%d replies, %d errors, %d connections cut", got.own.Load(), got.failed.Load(), got.cut.Load())
	if got.own.Load() == 0 || got.failed.Load() == 0 || got.cut.Load() == 0 {
		t.Error("the node was not mad in every way")
	}
}

// madness answers with the name of the key, or worse.
type madness struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func (m *madness) answer(q redistest.Request) redistest.Answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := mirror(q)
	switch raw := string(a.Bytes); m.rnd.IntN(800) {
	case 0, 1, 21:
		return redistest.CutAt(m.rnd.IntN(len(raw)), raw)
	case 2:
		return redistest.Garbage()
	case 3:
		return redistest.Answer{Reset: true}
	case 4:
		return redistest.Hangup()
	case 5:
		return redistest.Reply(">1\r\n+stolen\r\n" + raw)
	case 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20:
		return redistest.SplitEvery(1+m.rnd.IntN(5), raw)
	default:
		return a
	}
}

// outcomes counts what clients of a mad node got.
type outcomes struct{ own, failed, cut atomic.Int64 }

// pipelines makes GETs in pipelines over one connection after the other and
// accepts its own keys, errors that say so, and a connection that ends.
func (r *rig) pipelines(name string, rounds int, got *outcomes) error {
	const depth = 10
	for n := range rounds {
		c, err := redistest.Dial("tcp", r.addr("plain"), nil)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Do("AUTH", "root", "root-pw"); err != nil {
			return err
		}
		key := func(j int) string { return fmt.Sprintf("%s-n%d-%d", name, n, j) }
		var all []byte
		for j := range depth {
			all = append(all, redistest.Encode("GET", key(j))...)
		}
		if err := c.Write(all); err != nil {
			return err
		}
		for j := range depth {
			v, err := c.Receive()
			refused, isError := v.(redistest.Error)
			switch {
			case err != nil:
				got.cut.Add(1)
			case v == key(j):
				got.own.Add(1)
				continue
			case isError && (string(refused) == unavailable || string(refused) == lost):
				got.failed.Add(1)
				continue
			default:
				return fmt.Errorf("GET %s got %v", key(j), v)
			}
			break
		}
		c.Close()
	}
	return nil
}

// What a client is owed when the proxy drains includes a SELECT that is still
// being asked of the node.
func TestADrainWaitsForASELECTUnderWay(t *testing.T) {
	gate := make(chan struct{})
	hold := func(q redistest.Request) (redistest.Answer, bool) {
		return redistest.When(gate, "+OK\r\n"), q.Is("SELECT")
	}
	r, node := inFrontOf(t, before(hold, except(nil)), nil)
	c := r.wire(t, nil).as("root")
	c.say("SELECT 5\r\n")
	eventually(t, patience, "the node is asked", func() bool {
		all := node.Requests()
		return len(all) > 0 && all[len(all)-1].Is("SELECT")
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- r.server.Drain(ctx) }()
	eventually(t, patience, "nobody new is let in", func() bool { return r.server.Addr("plain") == nil })
	r.scrape(t) // the loop has turned since
	r.scrape(t)
	close(gate)
	c.hear("+OK\r\n")
	c.ends()
	if err := <-drained; err != nil {
		t.Error(err)
	}
	r.await("close_conn", "client_port", c.port(), "reason", "drain")
}
