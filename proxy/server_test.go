package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines left behind:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func TestCommandsTravelOverMutualTLSAndBack(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	c := r.dial("gateway", r.clientTLS("app"))
	r.want(c, "NOAUTH Authentication required.", "GET", "app:a")
	r.want(c, "OK", "AUTH", "app", "app-pw")
	r.want(c, "OK", "SET", "app:a", "1")
	r.want(c, "2", "INCR", "app:a")
	r.want(c, "[2 <nil>]", "MGET", "app:a", "app:none")
	if v, err := redis.Do("GET", "app:a"); v != "2" || err != nil {
		t.Fatal("Redis itself says", v, err)
	}
	ev := r.await("new_conn", "listener", "gateway")
	if ev["tls"] != "1.3" || ev["cert_subject"] != "CN=app" || ev["client_ip"] != "127.0.0.1" {
		t.Fatal("new_conn says", ev)
	}
	r.await("auth", "user", "app", "method", "password", "status", "ok", "conn", fmt.Sprint(ev["conn"]))
	r.await("refused", "reason", "not_authenticated", "command", "get")
}

func TestARefusalIsInRedisWordsAndCostsTheBackendNothing(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	app, root := r.login("app"), r.login("root")
	before, err := redis.CommandStats()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		as   *redistest.Client
		want string
		args string
	}{
		{app, "NOPERM User app has no permissions to run the 'flushall' command", "FLUSHALL"},
		{app, "NOPERM User app has no permissions to run the 'config|set' command", "CONFIG SET maxmemory 1"},
		{app, "NOPERM User app has no permissions to run the 'keys' command", "KEYS *"},
		{app, "NOPERM No permissions to access a key", "GET other"},
		{app, "NOPERM No permissions to access a key", "MSET app:a 1 other 2"},
		{app, "NOPERM User app has no permissions to run the 'publish' command", "PUBLISH app:c x"},
		{root, "NOPERM User root has no permissions to run the 'flushall' command", "FLUSHALL"},
		{root, "NOPERM User root has no permissions to run the 'config|set' command", "config set maxmemory 1"},
		{root, "NOPERM User root has no permissions to run the 'keys' command", "KEYS *"},
		{root, "NOPERM User root has no permissions to run the 'shutdown' command", "SHUTDOWN"},
		{root, "NOPERM User root has no permissions to run the 'eval' command", "EVAL return 0"},
		{root, "NOPERM User root has no permissions to run the 'debug' command", "DEBUG SLEEP 0"},
		{root, "ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ", "NOSUCH a b"},
		{root, "ERR unknown subcommand 'nope'. Try CONFIG HELP.", "config nope"},
		{root, "ERR wrong number of arguments for 'get' command", "GET"},
		{root, "ERR wrong number of arguments for 'config' command", "CONFIG"},
	} {
		args := strings.Fields(c.args)
		if args[0] == "EVAL" {
			args = []string{"EVAL", "return 1", "0"}
		}
		r.want(c.as, c.want, args...)
	}
	after, err := redis.CommandStats()
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range after {
		if name != "info" && n.Calls != before[name].Calls {
			t.Errorf("Redis executed %s %d times", name, n.Calls-before[name].Calls)
		}
	}
	r.await("refused", "reason", "key_not_allowed", "user", "app", "command", "get", "keys", "[other]")
	r.await("refused", "reason", "guarded", "user", "root", "command", "flushall")
	r.await("refused", "reason", "never", "user", "root", "command", "shutdown")
}

func TestWhoIsNotLetIn(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.allow["plain"] = []string{"10.0.0.0/8"} })
	foreign, err := tlsutil.NewDevCA()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := foreign.Client("app")
	if err != nil {
		t.Fatal(err)
	}
	good := r.clientTLS("app")
	for name, c := range map[string]struct {
		change func(*tls.Config)
		reason string
	}{
		"no certificate":                {func(c *tls.Config) { c.Certificates = nil }, "no_certificate"},
		"a certificate of a foreign CA": {func(c *tls.Config) { c.Certificates = []tls.Certificate{stranger.Certificate} }, "unknown_ca"},
		"TLS 1.1":                       {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, "unsupported_version"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := good.Clone()
			// Whatever CAs the server names, this client shows what it has.
			c.change(conf)
			if certs := conf.Certificates; len(certs) > 0 {
				conf.Certificates = nil
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
			}
			conn, err := tls.Dial("tcp", r.addr("gateway"), conf)
			if err == nil {
				defer conn.Close()
				conn.Write([]byte("PING\r\n"))
				_, err = conn.Read(make([]byte, 1))
			}
			if err == nil {
				t.Fatal("was let in")
			}
			r.await("refused", "listener", "gateway", "reason", c.reason)
		})
	}
	t.Run("an address that is not allowed", func(t *testing.T) {
		conn, err := net.Dial("tcp", r.addr("plain"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("PING\r\n"))
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Fatal(n, "bytes from a listener that should not talk")
		}
		r.await("refused", "listener", "plain", "reason", "address_not_allowed", "client_ip", "127.0.0.1")
	})
	t.Run("a wrong password, an unknown user", func(t *testing.T) {
		c := r.dial("gateway", good)
		r.want(c, "WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "app", "nope")
		r.want(c, "WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "nobody", "nope")
		r.want(c, "NOAUTH Authentication required.", "PING")
		r.await("auth", "user", "app", "status", "failed", "reason", "wrong_password")
		r.await("auth", "user", "nobody", "status", "failed", "reason", "no_such_user")
	})
}

func TestAPolicyChangeActsOnOpenConnections(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	app, root := r.login("app"), r.login("root")
	r.want(app, "OK", "SET", "app:a", "1")
	r.want(root, "OK", "SET", "x", "1")
	r.server.SetPolicy(compile(t, map[string]string{"app": "on ~app:* +@read"}, nil))
	eventually(t, 5*time.Second, "the narrower rules hold", func() bool {
		_, err := app.Do("SET", "app:a", "2")
		return err != nil && strings.HasPrefix(err.Error(), "NOPERM")
	})
	r.await("close_conn", "user", "root", "reason", "policy_changed")
	if _, err := root.Do("GET", "x"); err == nil {
		t.Fatal("a user that is gone still gets answers")
	}
}

func TestDrainDeliversWhatIsOwedAndEndsAtAReplyBoundary(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	c := r.login("root")
	r.want(c, "OK", "SET", "x", "1")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.server.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.server.Ready(); err == nil {
		t.Fatal("ready while draining")
	}
	r.await("close_conn", "reason", "drain")
	if n := r.server.Lingering(); n != 0 {
		t.Errorf("%d sockets are still open: the end of the process would reset them, and what they have not delivered is lost", n)
	}
	if _, err := net.Dial("tcp", "127.0.0.1:1"); err == nil {
		t.Fatal("unexpected listener")
	}
}

func TestConnectionLimits(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.Connections = 3 })
	var open []*redistest.Client
	for range 3 {
		open = append(open, r.login("root"))
	}
	c, err := redistest.Dial("tcp", r.addr("plain"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, err := c.Receive(); err != nil || fmt.Sprint(v) != "ERR max number of clients reached" {
		t.Fatal("the fourth client reads", v, err)
	}
	r.await("refused", "reason", "too_many_clients")
	open[0].Close()
	eventually(t, 5*time.Second, "a place that was given back", func() bool {
		c, err := redistest.Dial("tcp", r.addr("plain"), nil)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Do("AUTH", "root", "root-pw")
		return err == nil
	})
}

func TestResetGivesAStrangerNoMoreTimeToLogIn(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) { s.limits.AuthTimeout = 300 * time.Millisecond })
	keeps := func(c *redistest.Client) bool {
		began := time.Now()
		for time.Since(began) < 3*time.Second {
			if _, err := c.Do("RESET"); err != nil {
				return false
			}
		}
		return true
	}
	c := r.dial("plain", nil)
	if keeps(c) {
		t.Fatal("a stranger who sends RESET again and again stays")
	}
	r.await("close_conn", "listener", "plain", "reason", "auth_timeout")
	c = r.login("root")
	r.want(c, "RESET", "RESET")
	if keeps(c) {
		t.Fatal("somebody who became a stranger by RESET stays one for ever")
	}
}

func TestAStrangerHasTheAuthTimeoutAndNoMore(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) {
		s.limits.AuthTimeout = 100 * time.Millisecond
		s.limits.HandshakeTimeout = 100 * time.Millisecond
		s.limits.IdleTimeout = 300 * time.Millisecond
	})
	for _, listener := range []string{"plain", "gateway"} {
		conn, err := net.Dial("tcp", r.addr(listener))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
			t.Fatalf("%s: %d bytes, %v", listener, n, err)
		}
	}
	r.await("close_conn", "listener", "plain", "reason", "auth_timeout")
	r.await("refused", "listener", "gateway", "reason", "handshake_timeout")
	c := r.login("root")
	r.want(c, "PONG", "PING")
	if _, err := c.Receive(); err == nil {
		t.Fatal("an idle client was sent something")
	}
	r.await("close_conn", "user", "root", "reason", "idle")
}

// The record of many short connections: each new_conn has exactly one
// close_conn, with the same id.
func TestEveryNewConnHasExactlyOneCloseConn(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	total, secure := 20000, 2000
	if testing.Short() {
		total, secure = 2000, 200
	}
	conf := r.clientTLS("app")
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	work := make(chan int)
	done := make(chan error)
	const clients = 16
	for range clients {
		go func() {
			var failure error
			for i := range work {
				if err := short(r, i, i < secure, conf); err != nil && failure == nil {
					failure = fmt.Errorf("connection %d: %w", i, err)
				}
			}
			done <- failure
		}()
	}
	for i := range total {
		work <- i
	}
	close(work)
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	r.close()
	open, closed := map[any]int{}, map[any]int{}
	for _, ev := range r.events.all() {
		switch ev["event"] {
		case "new_conn":
			open[ev["conn"]]++
		case "close_conn":
			closed[ev["conn"]]++
		}
	}
	if len(open) != total {
		t.Errorf("%d new_conn for %d connections", len(open), total)
	}
	for id, n := range open {
		if n != 1 || closed[id] != 1 {
			t.Fatalf("connection %v: %d new_conn, %d close_conn", id, n, closed[id])
		}
	}
	if len(closed) != len(open) {
		t.Errorf("%d close_conn for %d new_conn", len(closed), len(open))
	}
}

// short is one short connection, ended in one of several ways.
func short(r *rig, i int, secure bool, conf *tls.Config) error {
	listener := "plain"
	if secure {
		listener = "gateway"
	} else {
		conf = nil
	}
	c, err := redistest.Dial("tcp", r.addr(listener), conf)
	if err != nil {
		return err
	}
	defer c.Close()
	switch i % 4 {
	case 0: // nothing but a byte, so that TLS 1.3 has certainly finished
		_, err = c.Do("PING")
		if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
			err = nil
		}
	case 1:
		_, err = c.Do("AUTH", "root", "root-pw")
		if err == nil {
			_, err = c.Do("PING")
		}
	case 2:
		if _, err = c.Do("AUTH", "root", "root-pw"); err == nil {
			_, err = c.Do("QUIT")
		}
	case 3: // leaves while a reply is owed
		if _, err = c.Do("AUTH", "root", "root-pw"); err == nil {
			err = c.Send("GET", "x")
		}
	}
	return err
}
