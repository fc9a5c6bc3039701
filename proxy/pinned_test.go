package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// transparent is a rig that refuses nothing that Redis would do: no guard, and
// one user who may do everything.
func transparent(t *testing.T, node string) *rig {
	return withRig(t, node, func(s *setup) {
		s.users = map[string]string{"default": "on nopass ~* &* +@all"}
		s.source = func(src *acl.Source) {
			src.Modes.Guard = acl.Off
			src.Guard.Never = []acl.Text{}
			src.Listeners[0].Anonymous, src.Listeners[1].Anonymous = true, true
		}
	})
}

// voice is a raw connection of a scenario.
type voice struct {
	t    *testing.T
	conn net.Conn
}

func (c *voice) say(line string) {
	c.t.Helper()
	words := strings.Fields(line)
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, "_", " ")
	}
	if _, err := c.conn.Write(redistest.Encode(words...)); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads n bytes, or with n < 0 what comes until it is quiet for a moment.
func (c *voice) hear(n int) string {
	c.t.Helper()
	buf := make([]byte, 64<<10)
	var got []byte
	for n < 0 || len(got) < n {
		wait := 10 * time.Second
		if n < 0 {
			if wait = 60 * time.Millisecond; len(got) == 0 {
				wait = 150 * time.Millisecond
			}
		}
		c.conn.SetReadDeadline(time.Now().Add(wait))
		m, err := c.conn.Read(buf)
		got = append(got, buf[:m]...)
		if err != nil {
			break
		}
	}
	return string(got)
}

// varying are parts of replies that differ from run to run.
var varying = regexp.MustCompile(`(id=|addr=|laddr=|fd=|age=|idle=|qbuf=|qbuf-free=|argv-mem=|multi-mem=|rbs=|rbp=|obl=|oll=|omem=|tot-mem=|events=|cmd=|user=|sub=|lib-name=|lib-ver=)[^ \r\n]*`)

// The scenarios are lines "connection> command"; a connection begins with its
// first line. After each, what every connection hears is compared byte for byte.
var pinnedScenarios = map[string]string{
	"a transaction":                      "a> MULTI|a> SET k v|a> GET k|a> INCR n|a> EXEC|a> GET n",
	"an empty transaction":               "a> MULTI|a> EXEC",
	"a discarded transaction":            "a> MULTI|a> SET k v|a> DISCARD|a> GET k|a> EXEC|a> DISCARD",
	"nested MULTI":                       "a> MULTI|a> MULTI|a> SET k v|a> EXEC",
	"WATCH inside MULTI":                 "a> MULTI|a> WATCH k|a> SET k v|a> EXEC",
	"an unknown command inside":          "a> MULTI|a> NOSUCH x|a> SET k v|a> EXEC|a> GET k",
	"a wrong arity inside":               "a> MULTI|a> GET|a> EXEC",
	"an error at execution":              "a> SET s x|a> MULTI|a> INCR s|a> SET t y|a> EXEC",
	"PING and ECHO inside":               "a> MULTI|a> PING|a> ECHO hi|a> PING hi|a> EXEC",
	"SELECT inside":                      "a> MULTI|a> SELECT 1|a> SET k v|a> EXEC|a> GET k|a> SELECT 0|a> GET k",
	"a blocking call inside":             "a> MULTI|a> BLPOP l 0|a> EXEC",
	"UNWATCH inside":                     "a> WATCH k|a> MULTI|a> UNWATCH|a> SET k v|a> EXEC",
	"WATCH and no conflict":              "a> WATCH k|a> GET k|a> MULTI|a> SET k v|a> EXEC",
	"WATCH and a conflict":               "a> WATCH k|b> SET k other|a> MULTI|a> SET k v|a> EXEC|a> GET k",
	"WATCH, UNWATCH, no conflict":        "a> WATCH k|b> SET k other|a> UNWATCH|a> MULTI|a> SET k v|a> EXEC",
	"WATCH and DISCARD":                  "a> WATCH k|a> MULTI|a> SET k v|a> DISCARD|b> SET k o|a> MULTI|a> GET k|a> EXEC",
	"WATCH and a dirty EXEC":             "a> WATCH k|b> SET k o|a> MULTI|a> GET|a> EXEC|a> MULTI|a> GET k|a> EXEC",
	"WATCH and SELECT":                   "a> WATCH k|a> SELECT 1|a> SET k v|a> MULTI|a> GET k|a> EXEC|a> SELECT 99|a> SELECT 0",
	"UNWATCH alone":                      "a> UNWATCH",
	"RESET within MULTI":                 "a> MULTI|a> SET k v|a> RESET|a> GET k|a> EXEC",
	"BLPOP finds":                        "b> RPUSH l x|a> BLPOP l 0|a> PING",
	"BLPOP waits":                        "a> BLPOP l 0|b> RPUSH l x y|a> LRANGE l 0 -1",
	"BLPOP times out":                    "a> BLPOP l 0.05|a> PING",
	"BLPOP on a wrong type":              "b> SET l x|a> BLPOP l 0",
	"XREAD BLOCK":                        "a> XREAD BLOCK 0 STREAMS s $|b> XADD s 1-1 f v|a> XLEN s",
	"SUBSCRIBE":                          "a> SUBSCRIBE c d|b> PUBLISH c hello|b> PUBLISH x no|a> PING|a> PING hi|a> UNSUBSCRIBE c|b> PUBLISH c bye|b> PUBLISH d yes|a> UNSUBSCRIBE|a> GET k|a> SET k v",
	"PSUBSCRIBE":                         "a> PSUBSCRIBE c* d?|b> PUBLISH cc hello|b> PUBLISH dd h|a> SUBSCRIBE cc|b> PUBLISH cc twice|a> PUNSUBSCRIBE|a> UNSUBSCRIBE",
	"SSUBSCRIBE":                         "a> SSUBSCRIBE c|b> SPUBLISH c hello|a> SUNSUBSCRIBE c|a> SUNSUBSCRIBE",
	"what is not allowed when listening": "a> SUBSCRIBE c|a> GET k|a> SET k v|a> CLIENT ID|a> MULTI|a> SUBSCRIBE c|a> QUIT",
	"UNSUBSCRIBE from nothing":           "a> UNSUBSCRIBE|a> UNSUBSCRIBE x y|a> PUNSUBSCRIBE|a> SUNSUBSCRIBE",
	"RESET when listening":               "a> SUBSCRIBE c|a> RESET|a> GET k|b> PUBLISH c x",
	"RESP3 SUBSCRIBE":                    "a> CLIENT REPLY OFF|a> HELLO 3|a> CLIENT REPLY ON|a> SUBSCRIBE c d|a> GET k|b> PUBLISH c hello|a> PING|a> MULTI|a> SET k v|a> EXEC|a> UNSUBSCRIBE|b> PUBLISH c hello",
	"RESP3 messages to oneself":          "a> CLIENT REPLY OFF|a> HELLO 3|a> CLIENT REPLY ON|a> SUBSCRIBE c|a> PUBLISH c me",
	"RESP3 tracking":                     "a> CLIENT REPLY OFF|a> HELLO 3|a> CLIENT REPLY ON|a> CLIENT TRACKING ON|a> GET k|b> SET k v|a> CLIENT TRACKINGINFO|a> CLIENT GETREDIR|a> CLIENT TRACKING OFF|a> GET k|b> SET k w|a> CLIENT TRACKINGINFO",
	"RESP3 tracking with prefixes":       "a> CLIENT REPLY OFF|a> HELLO 3|a> CLIENT REPLY ON|a> CLIENT TRACKING ON BCAST PREFIX p: PREFIX q: NOLOOP|b> SET p:1 v|a> SET p:2 w|b> SET r:1 x|a> CLIENT TRACKINGINFO",
	"RESP3 tracking by opting in":        "a> CLIENT REPLY OFF|a> HELLO 3|a> CLIENT REPLY ON|a> CLIENT TRACKING ON OPTIN|a> GET k|b> SET k v|a> CLIENT CACHING YES|a> GET k|b> SET k w|a> CLIENT TRACKINGINFO",
	"tracking without RESP3":             "a> CLIENT TRACKING ON|a> CLIENT TRACKINGINFO|a> CLIENT TRACKING OFF|a> CLIENT TRACKING maybe|a> CLIENT CACHING YES|a> CLIENT GETREDIR",
	"CLIENT REPLY":                       "a> CLIENT REPLY SKIP|a> SET k v|a> GET k|a> CLIENT REPLY OFF|a> GET k|a> PING|a> NOSUCH|a> CLIENT REPLY ON|a> GET k|a> CLIENT REPLY no",
	"CLIENT REPLY and EXEC":              "a> CLIENT REPLY OFF|a> MULTI|a> SET k v|a> EXEC|a> CLIENT REPLY ON|a> GET k",
	"NO-EVICT and NO-TOUCH":              "a> CLIENT NO-EVICT on|a> GET k|a> CLIENT NO-EVICT off|a> CLIENT NO-EVICT no|a> GET k",
	"READONLY and friends":               "a> READONLY|a> READWRITE|a> ASKING",
	"WAIT":                               "a> SET k v|a> WAIT 0 10|a> WAIT 1 10|a> MULTI|a> SET k w|a> WAIT 0 0|a> EXEC",
	"SCRIPT KILL":                        "a> SCRIPT KILL|a> FUNCTION KILL|a> PING",
	"HELLO while watching":               "a> WATCH k|a> CLIENT REPLY OFF|a> HELLO 3|a> CLIENT REPLY ON|a> GET k|a> MULTI|a> GET k|a> EXEC|a> GET k",
}

func TestPinnedCallsAnswerAsRedisDoes(t *testing.T) {
	srv := redistest.Start(t)
	r := transparent(t, srv.Addr())
	for name, script := range pinnedScenarios {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			direct := play(t, srv.Addr(), script, nil)
			through := play(t, r.addr("plain"), script, direct)
			for i := range direct {
				for who, want := range direct[i] {
					got := through[i][who]
					if varying.ReplaceAllString(got, "$1") != varying.ReplaceAllString(want, "$1") {
						t.Errorf("after %q, %s hears\n%q through the proxy, and of Redis\n%q", strings.Split(script, "|")[i], who, got, want)
					}
				}
			}
		})
	}
}

// play runs a scenario and gives what each connection heard after each line.
// like is what another run heard, to know how much there is to wait for.
func play(t *testing.T, addr, script string, like []map[string]string) (all []map[string]string) {
	t.Helper()
	conns := map[string]*voice{}
	defer func() {
		for _, c := range conns {
			c.conn.Close()
		}
	}()
	open := func(who string) *voice {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns[who] = &voice{t: t, conn: conn}
		return conns[who]
	}
	fresh := open("fresh")
	fresh.say("FLUSHALL")
	if got := fresh.hear(5); got != "+OK\r\n" {
		t.Fatalf("FLUSHALL: %q", got)
	}
	for fresh.say("PUBSUB CHANNELS"); fresh.hear(4) != "*0\r\n"; fresh.say("PUBSUB CHANNELS") {
		fresh.hear(-1) // who listened in the last scenario is still leaving
	}
	delete(conns, "fresh")
	fresh.conn.Close()
	for i, line := range strings.Split(script, "|") {
		who, call, _ := strings.Cut(line, "> ")
		c := conns[who]
		if c == nil {
			c = open(who)
		}
		c.say(call)
		heard := map[string]string{}
		for name, c := range conns {
			n := -1
			if like != nil {
				if n = len(like[i][name]); varying.MatchString(like[i][name]) || strings.Contains(call, "BLOCK") {
					n = -1
				}
			}
			heard[name] = c.hear(n)
		}
		all = append(all, heard)
	}
	if like != nil { // and nothing else
		for name, c := range conns {
			c.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			buf := make([]byte, 1024)
			if n, _ := c.conn.Read(buf); n > 0 {
				t.Errorf("%s hears %q at the end", name, buf[:n])
			}
		}
	}
	return all
}

// WAIT answers for what its session has written, over whatever connection:
// while the replica stands still nobody has it, and afterwards the replica has.
func TestWaitSpeaksOfTheWritesOfItsSession(t *testing.T) {
	primary := redistest.Start(t)
	host, port, _ := net.SplitHostPort(primary.Addr())
	replica := redistest.Start(t, redistest.Args("--replicaof", host, port))
	eventually(t, 20*time.Second, "the replica is in step", func() bool {
		info, err := replica.Info("replication")
		return err == nil && info["master_link_status"] == "up"
	})
	r := transparent(t, primary.Addr())
	for _, before := range []string{"", "MULTI", "GET k", "WATCH k"} {
		t.Run("after_"+strings.ReplaceAll(before, " ", "_"), func(t *testing.T) {
			c := r.dial("plain", nil)
			if before != "" {
				if _, err := c.Do(strings.Fields(before)...); err != nil {
					t.Fatal(err)
				}
			}
			c.Do("SET", "k", "before")
			if before == "MULTI" {
				c.Do("EXEC")
			}
			r.want(c, "1", "WAIT", "1", "10000")
			if err := replica.Pause(); err != nil {
				t.Fatal(err)
			}
			if before == "MULTI" {
				c.Do("MULTI")
			}
			c.Do("SET", "k", "after")
			if before == "MULTI" {
				c.Do("EXEC")
			}
			r.want(c, "0", "WAIT", "1", "100")
			if err := replica.Continue(); err != nil {
				t.Fatal(err)
			}
			r.want(c, "1", "WAIT", "1", "10000")
		})
	}
}

// A client that hangs up while it waits for an element must not take it from
// those who are still there.
func TestWhoHangsUpWhileBlockedTakesNothing(t *testing.T) {
	node := redistest.Start(t)
	r := transparent(t, node.Addr())
	for range 20 {
		gone := r.dial("plain", nil)
		if err := gone.Send("BLPOP", "queue", "0"); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "the call blocks", func() bool {
			info, err := node.Info("clients")
			return err == nil && info["blocked_clients"] == "1"
		})
		gone.Close()
		eventually(t, 10*time.Second, "the node knows", func() bool {
			info, err := node.Info("clients")
			return err == nil && info["blocked_clients"] == "0"
		})
		c := r.dial("plain", nil)
		r.want(c, "1", "RPUSH", "queue", "x")
		r.want(c, "x", "LPOP", "queue")
	}
}

// Nor must one that has hung up before that call was even looked at, because others
// it sent before came first.
func TestWhoHangsUpBeforeItBlocksTakesNothing(t *testing.T) {
	node := redistest.Start(t)
	r := transparent(t, node.Addr())
	block := redistest.Encode("BLPOP", "queue", "0")
	for name, before := range map[string][]byte{
		"a call that is answered elsewhere": redistest.Encode("CLIENT", "LIST"),
		"more calls than a turn serves":     bytes.Repeat(redistest.Encode("PING"), 3000),
		"a transaction":                     append(redistest.Encode("MULTI"), redistest.Encode("EXEC")...),
	} {
		gone, err := net.Dial("tcp", r.addr("plain"))
		if err != nil {
			t.Fatal(err)
		}
		defer gone.Close()
		gone.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := gone.Write(append(before, block...)); err != nil {
			t.Fatal(err)
		}
		gone.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, gone); err != nil {
			t.Errorf("behind %s: it blocks although nobody is there: %v", name, err)
		}
		c := r.dial("plain", nil)
		r.want(c, "1", "RPUSH", "queue", "x")
		if got, err := c.Do("LPOP", "queue"); err != nil || got != "x" {
			t.Errorf("behind %s: the element went to somebody who had left: %v, %v", name, got, err)
		}
	}
}

// How many connections of their own sessions may have is bounded, and a place
// that is free again is had at once.
func TestOwnConnectionsAreBounded(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) {
		s.backend.Connections.Pinned, s.backend.Connections.PerUser = 5, 3
		s.users["b"] = everything
	})
	var a []*redistest.Client
	for range 3 {
		c := r.login("root")
		r.want(c, "OK", "WATCH", "k")
		a = append(a, c)
	}
	over := r.login("root")
	r.want(over, "ERR backend connection limit reached", "WATCH", "k")
	r.want(over, "ERR backend connection limit reached", "BLPOP", "l", "1")
	r.want(over, "OK", "SET", "k", "v")
	r.want(over, "OK", "MULTI")
	r.want(over, "QUEUED", "SET", "k", "v")
	r.want(over, "ERR backend connection limit reached", "EXEC")
	for range 2 {
		r.want(r.login("b"), "OK", "WATCH", "k")
	}
	r.want(r.login("b"), "ERR backend connection limit reached", "WATCH", "k")
	r.want(a[0], "OK", "UNWATCH")
	r.want(over, "OK", "WATCH", "k")
	a[1].Close()
	eventually(t, 10*time.Second, "a place is free", func() bool {
		c := r.login("root")
		defer c.Close()
		said, err := c.Do("WATCH", "k")
		return err == nil && said == "OK"
	})
}

// A connection that invalidations were sent to is nobody else's afterwards: the
// names of one user's keys are not for another.
func TestInvalidationsReachNoOtherUser(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) {
		s.users["b"] = everything
		s.source = func(src *acl.Source) { src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{} }
	})
	target := r.login("root")
	target.Do("HELLO", "3")
	id, err := target.Do("CLIENT", "ID")
	if err != nil {
		t.Fatal(err)
	}
	r.want(target, "OK", "WATCH", "k")
	tracking := r.login("root")
	r.want(tracking, "OK", "CLIENT", "TRACKING", "ON", "REDIRECT", fmt.Sprint(id), "BCAST")
	r.want(target, "OK", "UNWATCH")
	var others []*redistest.Client
	for range 8 { // on all loops, whatever is to be had there
		c := r.login("b")
		c.Do("HELLO", "3")
		r.want(c, "OK", "WATCH", "k")
		others = append(others, c)
	}
	r.want(r.login("root"), "OK", "SET", "secret", "v")
	for _, c := range others {
		r.want(c, "v", "GET", "secret")
	}
}

// Who hears what others do is heard no more once the policy takes that away,
// and whoever may still goes on.
func TestWhoMayListenNoMoreIsEnded(t *testing.T) {
	node := redistest.Start(t)
	open := func(src *acl.Source) { src.Guard.Never = []acl.Text{} }
	for call, rights := range map[string]string{
		"MONITOR": "~* +monitor", "SUBSCRIBE news": "+subscribe &*", "BLPOP mine 0": "~mine +blpop", "CLIENT TRACKING ON BCAST PREFIX mine:": "~mine:*",
	} {
		t.Run(strings.Fields(call)[0], func(t *testing.T) {
			users := map[string]string{"root": everything, "b": "on +@connection " + rights, "c": "on +@connection " + rights}
			r := withRig(t, node.Addr(), func(s *setup) { s.users, s.source = users, open })
			for _, name := range []string{"b", "c"} {
				c := r.login(name)
				c.Do("HELLO", "3")
				if err := c.Send(strings.Fields(call)...); err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(call, "BLPOP") {
					eventually(t, 10*time.Second, "the call blocks", func() bool {
						info, err := node.Info("clients")
						return err == nil && info["blocked_clients"] != "0"
					})
				} else if said, err := c.Receive(); err != nil {
					t.Fatal(said, err)
				}
			}
			users["b"] = "on +@connection ~others"
			r.server.SetPolicy(compileWith(t, users, nil, open))
			r.await("close_conn", "user", "b", "reason", "policy_changed")
			for _, s := range r.events.all() {
				if s.is("close_conn", "user", "c") {
					t.Fatal("one that still may listen was ended, too")
				}
			}
		})
	}
}

// Connections that are under way to a node which does not answer count as any. Who
// leaves has them end at once, and the places are free again.
func TestWhoLeavesHasNothingUnderWayToANodeThatDoesNotAnswer(t *testing.T) {
	node := redistest.Start(t)
	before, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	var silent atomic.Bool
	var asked, open atomic.Int32 // and not answered
	go func() {
		for {
			in, err := before.Accept()
			if err != nil {
				return
			}
			defer in.Close()
			if silent.Load() {
				asked.Add(1)
				open.Add(1)
				go func() {
					io.Copy(io.Discard, in)
					open.Add(-1)
				}()
				continue
			}
			out, err := net.Dial("tcp", node.Addr())
			if err != nil {
				return
			}
			defer out.Close()
			go io.Copy(in, out)
			go io.Copy(out, in)
		}
	}()
	r := withRig(t, before.Addr().String(), func(s *setup) {
		s.backend.Connections.PerUser = 3
		s.backend.DialTimeout = time.Minute
	})
	silent.Store(true)
	begin := []byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2097152\r\nx") // half a big request
	var waiting []net.Conn
	for i := range int32(3) {
		conn, err := net.Dial("tcp", r.addr("plain"))
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, conn)
		c := redistest.NewClient(conn)
		r.want(c, "OK", "AUTH", "root", "root-pw")
		call := redistest.Encode("WATCH", "k")
		if i == 2 {
			call = begin
		}
		if err := c.Write(call); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "it is under way", func() bool { return asked.Load() == i+1 })
	}
	r.want(r.login("root"), "ERR backend connection limit reached", "WATCH", "k")
	for _, conn := range waiting {
		conn.(*net.TCPConn).SetLinger(0) // by a reset: nothing is owed to it any more
		conn.Close()
	}
	eventually(t, 10*time.Second, "nothing is under way any more", func() bool { return open.Load() == 0 })
	if err := r.login("root").Send("WATCH", "k"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the next one has a place", func() bool { return asked.Load() == 4 })
}
