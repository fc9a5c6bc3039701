package proxy_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/zap"
)

// readings are what one scrape says, by series.
type readings struct {
	t      testing.TB
	series map[string]float64
}

func (r *rig) scrape(t testing.TB) readings {
	t.Helper()
	rec := httptest.NewRecorder()
	r.server.Metrics().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	m := readings{t: t, series: map[string]float64{}}
	for line := range strings.Lines(rec.Body.String()) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
		m.series[line[:at]] = v
	}
	return m
}

// value is a series that must be there.
func (m readings) value(series string) float64 {
	m.t.Helper()
	v, ok := m.series[series]
	if !ok {
		m.t.Fatalf("no series %s", series)
	}
	return v
}

// nonzero are the series of a metric that count something.
func (m readings) nonzero(metric string) map[string]float64 {
	counted := map[string]float64{}
	for series, v := range m.series {
		if rest, ok := strings.CutPrefix(series, "sallyport_"+metric+"{"); ok && v != 0 {
			counted[strings.ReplaceAll(strings.TrimSuffix(rest, "}"), `"`, "")] = v
		}
	}
	return counted
}

// sum adds up a metric's series.
func (m readings) sum(metric string) (total float64) {
	for _, v := range m.nonzero(metric) {
		total += v
	}
	return total
}

// counts compares all of a metric that is not zero.
func (m readings) counts(metric string, want map[string]float64) {
	m.t.Helper()
	got := m.nonzero(metric)
	for labels, v := range want {
		if got[labels] != v {
			m.t.Errorf("%s{%s} is %v, want %v", metric, labels, got[labels], v)
		}
	}
	for labels, v := range got {
		if _, ok := want[labels]; !ok {
			m.t.Errorf("%s{%s} is %v, want none", metric, labels, v)
		}
	}
}

// meter counts what passes a connection, below RESP and above TLS.
type meter struct {
	net.Conn
	in, out *atomic.Int64
}

func (m meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.in.Add(int64(n))
	return n, err
}

func (m meter) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.out.Add(int64(n))
	return n, err
}

// What clients did, counted by them, is what the metrics say.
func TestMetricsSayWhatHappened(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) {
		s.users["gone"] = "off ~* +@all"
		s.users["tool"] = "on ~* &* +@all +config|get +cluster|syncslots"
		s.users["chan"] = "on ~* &only +publish"
		s.users["root"] = everything + " +script|debug +client|unpause"
		s.users["wide"] = "on ~app:* +dbsize"
		s.users["script"] = "on ~app:* &* +@all +eval"
		s.users["noping"] = "on ~* +@all -config"
		s.log = zap.NewNop()
	})
	var in, out atomic.Int64
	open := func(conf *tls.Config) *redistest.Client {
		w := r.wire(t, conf)
		return redistest.NewClient(meter{w.Conn, &in, &out})
	}
	calls := 0
	do := func(c *redistest.Client, line string) {
		t.Helper()
		calls++
		if _, err := c.Do(words(line)...); err != nil {
			if _, refused := err.(redistest.Error); !refused {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	app, root, secure, failing := open(nil), open(nil), open(r.clientTLS("app")), open(nil)

	do(app, "GET app:a") // NOAUTH
	do(app, "NOSUCH")    // NOAUTH
	do(app, "HELLO 3")   // NOAUTH
	do(app, "AUTH app app-pw")
	do(root, "AUTH root root-pw")
	do(secure, "HELLO 3 AUTH app app-pw")
	do(failing, "AUTH app wrong")
	do(failing, "AUTH nobody x")
	do(failing, "AUTH gone gone-pw")
	do(failing, "HELLO 3 AUTH root wrong")
	for range 7 {
		do(app, "SET app:a 1")
		do(secure, "GET app:a")
	}
	do(root, "LPUSH a 1") // an error of Redis's own is an allowed call
	do(root, "INCR a")
	do(root, "PING")
	do(root, "ECHO x")
	do(root, "PING a b") // wrong_arity
	// Held back until the replies before them are there, and counted once.
	for _, line := range []string{"GET x", "SELECT 1", "GET x", "HELLO 3", "SELECT 0", "GET x"} {
		if err := root.Send(words(line)...); err != nil {
			t.Fatal(err)
		}
		calls++
	}
	for range 6 {
		if _, err := root.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	do(root, "NOSUCH")
	do(root, "CONFIG NOSUCH")
	do(root, "GET")
	do(root, "GET a b")
	do(root, "SINTERCARD x a")
	do(root, "SCRIPT DEBUG YES") // of class Pinned, and not offered
	do(root, "SCRIPT DEBUG NO")
	do(root, "SCRIPT DEBUG SYNC")
	do(root, "CLIENT UNPAUSE") // local, but not offered
	do(root, "FLUSHALL")
	do(root, "SHUTDOWN")
	do(root, "CONFIG GET save") // answered
	do(root, "CONFIG GET dir")  // guarded
	do(app, "FLUSHALL")
	do(app, "GET other")
	do(app, "CLIENT LIST") // answered
	for user, lines := range map[string][]string{
		"tool": {"CONFIG GET save", "CLUSTER SYNCSLOTS x"}, "chan": {"PUBLISH other m", "PUBLISH only m"}, "wide": {"DBSIZE"}, "script": {"EVAL s 0"},
		"noping": {"CONFIG GET save", "CLIENT ID"},
	} {
		c := open(nil)
		do(c, "AUTH "+user+" "+user+"-pw")
		for _, line := range lines {
			do(c, line)
		}
		do(c, "QUIT")
	}
	garbage := open(nil)
	garbage.Write([]byte("*1\r\n$x\r\n"))
	garbage.Receive()
	http := open(nil)
	http.Write([]byte("GET / HTTP/1.1\r\n"))
	http.Receive()

	eventually(t, patience, "seven connections have ended", func() bool { return r.scrape(t).value(`sallyport_connections{listener="plain"}`) == 3 })
	m := r.scrape(t)
	m.counts("connections", map[string]float64{"listener=plain": 3, "listener=gateway": 1})
	m.counts("connections_total", map[string]float64{"listener=plain,result=accepted": 10, "listener=gateway,result=accepted": 1})
	m.counts("auth_total", map[string]float64{"method=password,result=ok": 8, "method=password,result=failed": 4})
	m.counts("refused_total", map[string]float64{
		"listener=plain,reason=not_authenticated": 3, "listener=plain,reason=unknown_command": 1, "listener=plain,reason=unknown_subcommand": 1,
		"listener=plain,reason=wrong_arity": 3, "listener=plain,reason=keys_not_found": 1, "listener=plain,reason=command_unsupported": 4,
		"listener=plain,reason=wrong_password": 2, "listener=plain,reason=user_disabled": 1, "listener=plain,reason=no_such_user": 1,
		"listener=plain,reason=guarded": 3, "listener=plain,reason=never": 1, "listener=plain,reason=command_not_allowed": 1,
		"listener=plain,reason=key_not_allowed": 1, "listener=plain,reason=channel_not_allowed": 1, "listener=plain,reason=keyspace_wide": 1,
		"listener=plain,reason=script_confined": 1, "listener=plain,reason=command_refused": 1,
		"listener=plain,reason=protocol_error": 1, "listener=plain,reason=cross_protocol": 1,
	})
	class := func(name string) string {
		return map[command.Class]string{command.Shared: "shared", command.Pinned: "pinned", command.Local: "local", command.Refused: "refused"}[command.Newest().ByName(name).Class]
	}
	if class("config|get") != "shared" {
		t.Fatal("CONFIG GET is", class("config|get"))
	}
	m.counts("commands_total", map[string]float64{
		// 14 SET and GET, LPUSH, INCR, three GETs among others, CONFIG GET and PUBLISH of those who may
		"class=shared,decision=allowed": 14 + 2 + 3 + 2,
		// AUTH 2 + 3 refused by a password, which is an answer, + 5; HELLO 1 + 1 + 1; PING, ECHO, SELECT twice; QUIT five times; CLIENT ID
		"class=local,decision=allowed":   5 + 5 + 3 + 2 + 2 + 5 + 1,
		"class=shared,decision=answered": 1, "class=local,decision=answered": 1,
		// GET before login, FLUSHALL twice, CONFIG GET twice, GET other, PUBLISH, DBSIZE, EVAL
		"class=shared,decision=refused": 9,
		// HELLO, PING a b, CLIENT TRACKING
		"class=local,decision=refused":  3,
		"class=pinned,decision=refused": 4, // MULTI, SUBSCRIBE, BLPOP, SHUTDOWN
		// NOSUCH twice, CONFIG NOSUCH, GET, GET a b, SINTERCARD x a, CLUSTER SYNCSLOTS
		"class=refused,decision=refused": 7,
	})
	if n := m.sum("commands_total"); n != float64(calls) {
		t.Errorf("%v calls are counted, %d were made", n, calls)
	}
	if n := m.value("sallyport_received_bytes_total"); n != float64(out.Load()) {
		t.Errorf("received %v bytes, clients sent %d", n, out.Load())
	}
	if n := m.value("sallyport_sent_bytes_total"); n != float64(in.Load()) {
		t.Errorf("sent %v bytes, clients received %d", n, in.Load())
	}
	for _, name := range []string{"command_seconds", "backend_seconds"} {
		if n := m.value("sallyport_" + name + "_count"); n != 14+2+3+2 {
			t.Errorf("%s counts %v calls", name, n)
		}
		if sum := m.value("sallyport_" + name + "_sum"); sum <= 0 || sum > 10 {
			t.Errorf("%s sums up to %v", name, sum)
		}
	}
	if n := m.value("sallyport_handshake_seconds_count"); n != 1 {
		t.Errorf("%v handshakes", n)
	}
	at := fmt.Sprintf("backend=main,node=%s", node.Addr())
	m.counts("backend_up", map[string]float64{at: 1})
	if m.nonzero("backend_connections")[at] < 1 {
		t.Error("no backend connection is counted")
	}
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the backend is counted as down", func() bool {
		m := r.scrape(t)
		return m.sum("backend_up") == 0 && m.sum("backend_connections") == 0
	})
	was := r.scrape(t).nonzero("commands_total")["class=shared,decision=allowed"]
	do(secure, "GET app:a") // unavailable; allowed all the same
	if now := r.scrape(t).nonzero("commands_total")["class=shared,decision=allowed"]; now != was+1 {
		t.Errorf("an allowed call without a backend counts %v", now-was)
	}
	for _, c := range []*redistest.Client{app, root, secure, failing} {
		c.Close()
	}
	eventually(t, patience, "nobody is connected", func() bool { return r.scrape(t).sum("connections") == 0 })
}

func TestMetricsOfWhoIsNotLetIn(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) {
		s.allow["plain"] = []string{"10.0.0.0/8"}
		s.limits.Connections = 2
		s.limits.HandshakeTimeout = 300 * time.Millisecond
		s.log = zap.NewNop()
	})
	foreign, err := tlsutil.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := foreign.Client("app")
	if err != nil {
		t.Fatal(err)
	}
	good := r.clientTLS("app")
	want := map[string]float64{}
	reasons := map[string]float64{}
	failed := func(failure, reason string) {
		t.Helper()
		want["reason="+failure]++
		reasons["listener=gateway,reason="+reason]++
		eventually(t, patience, failure+" is counted", func() bool {
			return r.scrape(t).nonzero("handshake_failures_total")["reason="+failure] == want["reason="+failure]
		})
	}
	for _, c := range []struct {
		failure, reason string
		change          func(*tls.Config)
	}{
		{"no_certificate", "no_certificate", func(c *tls.Config) { c.Certificates = nil }},
		{"certificate", "unknown_ca", func(c *tls.Config) {
			c.Certificates = nil
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger.Certificate, nil }
		}},
		{"protocol", "unsupported_version", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }},
		{"rejected", "handshake_failed", func(c *tls.Config) { c.RootCAs = foreign.Pool() }},
	} {
		conf := good.Clone()
		c.change(conf)
		if conn, err := tls.Dial("tcp", r.addr("gateway"), conf); err == nil {
			conn.Write([]byte("PING\r\n"))
			conn.Read(make([]byte, 1))
			conn.Close()
		}
		failed(c.failure, c.reason)
	}
	raw := func() net.Conn {
		nc, err := net.Dial("tcp", r.addr("gateway"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	plain := raw()
	plain.Write([]byte("*1\r\n$4\r\nPING\r\n"))
	failed("not_tls", "not_tls")
	raw().Close()
	failed("closed", "handshake_failed")
	slow := raw()
	slow.Write([]byte("\x16\x03\x01"))
	failed("timeout", "handshake_timeout")

	nc, err := net.Dial("tcp", r.addr("plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	r.await("refused", "reason", "address_not_allowed")
	first, second := r.wire(t, good).as("app"), r.wire(t, good).as("app")
	raw()
	r.await("refused", "reason", "too_many_clients")
	reasons["listener=plain,reason=address_not_allowed"] = 1
	reasons["listener=gateway,reason=too_many_clients"] = 1

	m := r.scrape(t)
	m.counts("handshake_failures_total", want)
	m.counts("refused_total", reasons)
	m.counts("connections_total", map[string]float64{
		"listener=gateway,result=accepted": 2, "listener=gateway,result=refused": 1, "listener=gateway,result=failed": float64(7), "listener=plain,result=refused": 1,
	})
	m.counts("connections", map[string]float64{"listener=gateway": 2})
	first.Close()
	second.Close()
}

// In report mode a call that would have been refused counts as that, once, even
// if it had to wait for its turn.
func TestMetricsOfReportMode(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	text := func(s string) acl.Text { return acl.Text{Value: s} }
	p, problems := acl.Compile(acl.Source{
		Table: command.Newest(), Modes: acl.Modes{ACL: acl.Report},
		Listeners: []acl.ListenerSource{{Name: text("plain")}, {Name: text("gateway")}},
		Users:     []acl.UserSource{{Name: text("app"), Rules: text("on ~app:* +get #" + acl.HashPassword([]byte("app-pw")))}},
	})
	if p == nil {
		t.Fatal(problems)
	}
	r.server.SetPolicy(p)
	k := talk(t, r.addr("plain"))
	k.ask("AUTH", "app", "app-pw")
	got := k.pipelined("GET app:a", "SET app:a 1", "GET other", "SELECT 1", "GET app:a", "PING")
	if want := "$-1\r\n +OK\r\n $-1\r\n +OK\r\n $-1\r\n +PONG\r\n"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.scrape(t).counts("commands_total", map[string]float64{
		"class=shared,decision=allowed": 2, "class=shared,decision=reported": 2, "class=local,decision=allowed": 1, "class=local,decision=reported": 2,
	})
	k.conn.Close()
	r.close()
	reported := map[string]int{}
	for _, ev := range r.events.all() {
		if ev["mode"] == "report" {
			reported[fmt.Sprint(ev["command"])]++
		}
	}
	for _, name := range []string{"set", "get", "select", "ping"} {
		if reported[name] != 1 {
			t.Errorf("%s was reported %d times", name, reported[name])
		}
	}
}
