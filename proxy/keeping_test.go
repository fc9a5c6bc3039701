package proxy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/redistest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// gateSink is a sink that takes nothing while it is shut.
type gateSink struct {
	events
	let chan struct{}
}

func (g *gateSink) Write(p []byte) (int, error) {
	<-g.let
	return g.events.Write(p)
}

// With on_full: refuse, every login that was granted is on record, and none is
// granted while the record stalls.
func TestNoLoginGoesUnrecorded(t *testing.T) {
	gate := &gateSink{let: make(chan struct{})}
	open := sync.OnceFunc(func() { close(gate.let) })
	defer open()
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.sinks = []audit.Sink{audit.Writer("kept", gate).With(audit.Settings{Refuse: true})}
		s.buffer = 64
	})
	before, early := r.dial("plain", nil), r.login("app")
	var mu sync.Mutex
	granted, refused := 1, 0
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 40 {
				c, err := redistest.Dial("tcp", r.addr("plain"), nil)
				if err != nil {
					continue
				}
				got, err := c.Do("AUTH", "app", "app-pw")
				c.Close()
				mu.Lock()
				if err == nil && fmt.Sprint(got) == "OK" {
					granted++
				} else {
					refused++
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if refused == 0 {
		t.Fatal("320 logins found room in a queue of 64 lines that nobody empties")
	}
	// Right or wrong, nothing is judged meanwhile; who is in stays in.
	unrecorded := "ERR nobody can log in now: the record of events can't be kept"
	r.want(before, unrecorded, "AUTH", "app", "app-pw")
	r.want(before, unrecorded, "AUTH", "app", "wrong")
	r.want(before, unrecorded, "HELLO", "2", "AUTH", "app", "app-pw")
	r.want(early, "OK", "SET", "app:1", "x")
	if c, err := net.Dial("tcp", r.addr("plain")); err == nil {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		line := make([]byte, 100)
		if n, _ := c.Read(line); string(line[:n]) != "-"+unrecorded+"\r\n" {
			t.Errorf("a new connection is told %q", line[:n])
		}
		c.Close()
	}
	open()
	eventually(t, 10*time.Second, "logins are judged again", func() bool {
		got, err := before.Do("AUTH", "app", "app-pw")
		return err == nil && fmt.Sprint(got) == "OK"
	})
	granted++
	r.close()
	written := 0
	for _, e := range gate.all() {
		if e.is("auth", "status", "ok", "user", "app") {
			written++
		}
	}
	if written != granted {
		t.Errorf("%d logins were granted, %d are on record", granted, written)
	}
}

// While the record must be kept, a source that is turned away over and over
// has one event in ten seconds, and loses no count.
func TestConnectionsTurnedAwayAreFoldedWhereTheRecordMustBeKept(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.sinks = []audit.Sink{audit.Writer("kept", &events{}).With(audit.Settings{Refuse: true})}
		s.allow["plain"] = []string{"192.0.2.1"}
	})
	for range 50 {
		if c, err := net.Dial("tcp", r.addr("plain")); err == nil {
			c.Read(make([]byte, 1))
			c.Close()
		}
	}
	r.close()
	n, folded := 0, 0.0
	for _, e := range r.events.all() {
		if e.is("refused", "reason", "address_not_allowed") {
			n++
			if f, ok := e["folded"].(float64); ok {
				folded += f
			}
		}
	}
	if n == 0 || n > 5 {
		t.Errorf("%d events of 50 refusals", n)
	}
}

func TestCallsOnWatchedKeysAreRecordedWithAllTheirKeys(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) { s.eventsOn = []string{"app:card:*"} })
	c := r.login("app")
	r.want(c, "OK", "SET", "app:plain", "canary-value")
	r.want(c, "OK", "MSET", "app:other", "canary-value", "app:card:1", "canary-value")
	r.want(c, "canary-value", "GET", "app:card:1")
	r.want(c, "NOPERM No permissions to access a key", "GET", "card:1")
	r.close()
	var got []string
	for _, e := range r.events.all() {
		if e.is("access") {
			got = append(got, fmt.Sprint(e["command"], e["keys"], e["user"]))
		}
		if strings.Contains(fmt.Sprint(e), "canary") {
			t.Errorf("a value is on record: %v", e)
		}
	}
	if want := "[mset[app:other app:card:1]app get[app:card:1]app]"; fmt.Sprint(got) != want {
		t.Errorf("access events %v, want %s", got, want)
	}
}

func TestWatchedKeysChangeWithAReload(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), nil)
	c := r.login("app")
	r.want(c, "OK", "SET", "app:1", "x")
	o := r.options
	o.EventsOn = []string{"app:*"}
	if err := r.server.Reload(o); err != nil {
		t.Fatal(err)
	}
	r.want(c, "OK", "SET", "app:2", "x")
	e := r.await("access")
	if fmt.Sprint(e["keys"]) != "[app:2]" {
		t.Errorf("%v", e)
	}
}

func TestTheFirstLoginFromANetworkIsNoted(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), nil)
	for range 3 {
		r.login("app").Close()
	}
	r.login("root").Close()
	c := r.dial("plain", nil)
	r.want(c, "WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "app", "wrong")
	r.close()
	var got []string
	for _, e := range r.events.all() {
		if e.is("first_seen") {
			got = append(got, fmt.Sprint(e["user"], " ", e["method"], " ", e["client_ip"]))
		}
	}
	if want := "[app password 127.0.0.1 root password 127.0.0.1]"; fmt.Sprint(got) != want {
		t.Errorf("first seen %v, want %s", got, want)
	}
}

var shortConnections = flag.Int("record.connections", 2000, "how many short connections TestEveryConnectionBeginsAndEndsOnceOnRecord makes")

func TestEveryConnectionBeginsAndEndsOnceOnRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.sinks = []audit.Sink{audit.File(path, 0).With(audit.Settings{})}
	})
	made := make(chan int, 8)
	for range 8 {
		go func() {
			n := 0
			for range *shortConnections / 8 {
				c, err := net.Dial("tcp", r.addr("plain"))
				if err != nil {
					continue
				}
				if n++; n%2 == 0 {
					c.Write([]byte("QUIT\r\n"))
					c.Read(make([]byte, 16))
				}
				c.(*net.TCPConn).SetLinger(0) // so many at once would use up the ports
				c.Close()
			}
			made <- n
		}()
	}
	total := 0
	for range 8 {
		total += <-made
	}
	ended := func() int {
		n := 0
		for _, e := range r.events.all() {
			if e.is("close_conn") {
				n++
			}
		}
		return n
	}
	// One that was reset before it was accepted never was one.
	last := -1
	eventually(t, 60*time.Second, "every connection has ended", func() bool {
		now := ended()
		settled := now == last && now > 0 && now >= total*9/10
		last = now
		return settled
	})
	body := httptest.NewRecorder()
	r.server.Metrics().ServeHTTP(body, httptest.NewRequest("GET", "/metrics", nil))
	r.close()
	began, over := make(map[any]int), make(map[any]int)
	for _, e := range r.events.all() {
		switch {
		case e.is("new_conn"):
			began[e["conn"]]++
		case e.is("close_conn"):
			over[e["conn"]]++
		}
	}
	for id, n := range began {
		if n != 1 || over[id] != 1 {
			t.Fatalf("connection %v began %d times and ended %d times", id, n, over[id])
		}
	}
	if len(over) != len(began) || len(began) > total {
		t.Errorf("of %d connections %d began and %d ended", total, len(began), len(over))
	}
	if want := fmt.Sprintf(`sallyport_connections_total{listener="plain",result="accepted"} %d`, len(began)); !strings.Contains(body.Body.String(), want) {
		t.Errorf("no %s among the metrics", want)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tamper := range []bool{false, true} {
		if tamper {
			lines := bytes.SplitAfter(text, []byte{'\n'})
			text = bytes.Join(append(lines[:len(lines)/2:len(lines)/2], lines[len(lines)/2+1:]...), nil)
		}
		v := audit.NewVerifier(audit.VerifierOptions{})
		if err := v.File("events.jsonl", bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		if got := v.Verdict(); (got.Count == 1) != tamper || got.Count > 1 {
			t.Errorf("a line removed %v: %+v", tamper, got)
		}
	}
}

// Nothing secret that a client sends comes out anywhere.
func TestSecretsAreNowhere(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.log = zap.New(core)
		s.eventsOn = []string{"*"}
		s.source = func(src *acl.Source) { src.Modes.Guard = acl.Report }
	})
	secret := func(name string) string { return "canary-" + name + "\r\n\x1b[31m\xff" }
	stranger, app, root := r.dial("plain", nil), r.login("app"), r.login("root")
	stranger.Do("AUTH", "app", secret("password"))
	stranger.Do("AUTH", secret("onlypassword"))
	stranger.Do("HELLO", "3", "AUTH", "app", secret("hello"))
	stranger.Do("AUTH", "app", "eyJhbGciOiJIUzI1NiJ9.canary-token.canary-signature")
	stranger.Do("GET", secret("early"))
	for _, c := range []*redistest.Client{app, root} {
		c.Do("SET", "app:1", secret("value"), "EX", "100")
		c.Do("HSET", "app:h", "field", secret("field"))
		c.Do("CONFIG", "SET", "requirepass", "canary-config")
		c.Do("CONFIG", "SET", "requirepass", "")
		c.Do("EVAL", "return '"+"canary-script"+"'", "1", "app:1", secret("argument"))
		c.Do("ACL", "SETUSER", "x", ">"+"canary-acl", "on")
		c.Do("MIGRATE", "10.0.0.1", "6379", "app:1", "0", "10", "AUTH", "canary-migrate")
		c.Do("NOSUCHCOMMAND", secret("unknown"))
		c.Do("SET", "app:1")
		c.Do("CLIENT", "SETNAME", "canary name")
	}
	stranger.Do("canary-inline")
	body := httptest.NewRecorder()
	r.server.Metrics().ServeHTTP(body, httptest.NewRequest("GET", "/metrics", nil))
	log, err := root.Do("ACL", "LOG")
	r.close()
	shown := map[string]string{"metrics": body.Body.String(), "ACL LOG": fmt.Sprint(log, err), "the last events": string(bytes.Join(r.rec.Recent(10_000, audit.Filter{}), nil))}
	for _, e := range r.events.all() {
		text, _ := json.Marshal(e)
		shown["events"] += string(text)
	}
	for _, l := range logs.All() {
		shown["the log"] += l.Message + fmt.Sprint(l.ContextMap())
	}
	for where, text := range shown {
		if i := strings.Index(text, "canary"); i >= 0 {
			t.Errorf("%s: …%.120s", where, text[max(0, i-60):])
		}
	}
	if n := len(r.events.all()); n < 20 {
		t.Errorf("only %d events, the test shows nothing", n)
	}
}
