package proxy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// persons are users of the policy who may do everything here, and have at the
// node a user each who may not: only ~NAME:* and &NAME:*. So what a call is
// allowed at the node tells whose connection it travelled on.
var persons = []string{"alice", "bob", "carol"}

// cast makes the persons' users at nodes and gives their logins. The passwords
// are in files of dir.
func cast(t testing.TB, dir string, nodes ...*redistest.Server) map[string]backend.UserLogin {
	t.Helper()
	logins := make(map[string]backend.UserLogin)
	for _, name := range persons {
		file := filepath.Join(dir, name)
		writeSecret(t, file, name+"-at-the-node")
		for _, n := range nodes {
			told(t, n, "ACL", "SETUSER", "node-"+name, "reset", "on", ">"+name+"-at-the-node", "+@all", "~"+name+":*", "~{"+name+"*", "&"+name+":*")
		}
		logins[name] = backend.UserLogin{User: "node-" + name, Source: file, Password: func() (string, error) { return readSecret(file) }}
	}
	return logins
}

func readSecret(file string) (string, error) {
	b, err := os.ReadFile(file)
	return string(b), err
}

func writeSecret(t testing.TB, file, secret string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command asks a node directly.
func told(t testing.TB, n *redistest.Server, args ...string) any {
	t.Helper()
	reply, err := n.Do(args...)
	if err != nil {
		t.Fatalf("%v: %v", args[:2], err)
	}
	return reply
}

func personal(logins map[string]backend.UserLogin) func(*setup) {
	return func(s *setup) {
		s.backend.Logins = logins
		for _, name := range persons {
			s.users[name] = everything
		}
		s.source = func(src *acl.Source) { src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{} }
	}
}

// usersAt gives the users of the proxy's connections at a node.
func usersAt(t testing.TB, n *redistest.Server) map[string]int {
	t.Helper()
	out := make(map[string]int)
	for line := range strings.Lines(fmt.Sprint(told(t, n, "CLIENT", "LIST"))) {
		if !strings.Contains(line, " name=sallyport ") {
			continue
		}
		_, rest, _ := strings.Cut(line, " user=")
		user, _, _ := strings.Cut(rest, " ")
		out[user]++
	}
	return out
}

const noPermission = "NOPERM this user has no permissions to access one of the keys used as arguments"

func TestEveryCallOfAUserRunsAsItsOwnBackendUser(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), personal(cast(t, t.TempDir(), node)))
	root := r.login("root")
	for _, name := range persons[:2] {
		c := r.login(name)
		other := map[string]string{"alice": "bob", "bob": "alice"}[name]
		r.want(c, name, "ACL", "WHOAMI") // the proxy's, not the node's
		r.want(c, "OK", "SET", name+":k", "v")
		r.want(c, noPermission, "SET", other+":k", "v")
		r.want(c, "OK", "SELECT", "3")
		r.want(c, "OK", "SET", name+":k", "three")
		r.want(c, noPermission, "GET", other+":k")
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "SET", name+":m", "1")
		r.want(c, "[OK]", "EXEC")
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "SET", other+":m", "1")
		r.want(c, "EXECABORT", "EXEC")
		r.want(c, "<nil>", "BLPOP", name+":l", "0.01")
		r.want(c, noPermission, "BLPOP", other+":l", "0.01")
		r.want(c, "OK", "SET", name+":big", strings.Repeat("b", 3<<20))
		r.want(c, noPermission, "SET", other+":big", strings.Repeat("b", 3<<20))
		if got, err := c.Do("GET", name+":big"); err != nil || len(fmt.Sprint(got)) != 3<<20 {
			t.Fatal("a big value came back otherwise")
		}
		if _, err := c.Do("HELLO", "3"); err != nil {
			t.Fatal(err)
		}
		r.want(c, "three", "GET", name+":k")
		r.want(c, noPermission, "GET", other+":k")
		r.want(c, "[subscribe "+name+":c 1]", "SUBSCRIBE", name+":c")
		r.want(c, "NOPERM this user has no permissions to access one of the channels used as arguments", "SUBSCRIBE", other+":c")
		seen := usersAt(t, node)
		if seen["node-"+name] == 0 {
			t.Errorf("nobody is there as %s: %v", name, seen)
		}
	}
	r.want(root, "OK", "SET", "alice:k", "root may") // who has no login of its own goes as the proxy's user
	for _, entry := range told(t, node, "ACL", "LOG").([]any) {
		if text := fmt.Sprint(entry); !strings.Contains(text, "node-alice") && !strings.Contains(text, "node-bob") {
			t.Errorf("refused to somebody else: %s", text)
		}
	}
}

func TestAnotherUserOfASessionTravelsOnAnotherConnection(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), personal(cast(t, t.TempDir(), node)))
	c := r.login("alice")
	const turns = 300
	// All of it at once: what was sent as one user is still on its way when the
	// session becomes the other.
	var raw []byte
	for i := range turns {
		who, other := persons[i%2], persons[1-i%2]
		raw = append(raw, redistest.Encode("AUTH", who, who+"-pw")...)
		raw = append(raw, redistest.Encode("SET", who+":n", fmt.Sprint(i))...)
		raw = append(raw, redistest.Encode("SET", other+":n", "x")...)
	}
	if err := c.Write(raw); err != nil {
		t.Fatal(err)
	}
	for i := range turns {
		for _, want := range []any{"OK", "OK", redistest.Error(noPermission)} {
			if got, err := c.Receive(); err != nil || got != want {
				t.Fatalf("turn %d: %v %v, want %v", i, got, err, want)
			}
		}
	}
	r.want(c, fmt.Sprint(turns-1), "GET", persons[(turns-1)%2]+":n")
}

func TestWhatIsBoundToAConnectionStaysItsUsers(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), personal(cast(t, t.TempDir(), node)))
	c := r.login("alice")
	r.want(c, "OK", "WATCH", "alice:k")
	r.want(c, "ERR this connection is bound to the backend as another user", "AUTH", "bob", "bob-pw")
	r.await("auth", "status", "failed", "reason", "backend_login_bound", "user", "bob")
	r.want(c, "alice", "ACL", "WHOAMI")
	r.want(c, "OK", "AUTH", "alice", "alice-pw") // the same one may prove itself again
	r.want(c, "OK", "UNWATCH")
	r.want(c, "OK", "AUTH", "bob", "bob-pw")
	r.want(c, noPermission, "GET", "alice:k")
	r.want(c, "OK", "SET", "bob:k", "v")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "GET", "bob:k")
	r.want(c, "[v]", "EXEC")
	r.want(c, "RESET", "RESET")
	r.want(c, "OK", "AUTH", "alice", "alice-pw")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "GET", "alice:none")
	r.want(c, "[<nil>]", "EXEC")
}

func TestALoginThatCanNotBeMadeIsAnErrorAndNeverTheSharedOne(t *testing.T) {
	node := redistest.Start(t)
	dir := t.TempDir()
	logins := cast(t, dir, node)
	r := withRig(t, node.Addr(), personal(logins))
	const failed = "ERR backend login of this user failed: the command was not sent"
	for _, spoil := range []func(){
		func() { writeSecret(t, filepath.Join(dir, "alice"), "") },
		func() { writeSecret(t, filepath.Join(dir, "alice"), "wrong") },
		func() {
			if err := os.Remove(filepath.Join(dir, "alice")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		spoil()
		c := r.login("alice")
		r.want(c, failed, "SET", "alice:k", "v")
		r.want(c, failed, "GET", "alice:k")
		r.want(c, failed, "SELECT", "2")
		r.want(c, failed, "BLPOP", "alice:l", "1")
		r.want(c, failed, "SET", "alice:big", strings.Repeat("b", 2<<20))
		r.want(c, failed, "SUBSCRIBE", "alice:c")
		r.want(c, "PONG", "PING")
		r.want(r.login("bob"), "OK", "SET", "bob:k", "others are well")
	}
	if n := told(t, node, "EXISTS", "alice:k", "alice:big"); n != int64(0) {
		t.Error("something of it has run")
	}
	// The file is right again: nobody has to restart anything.
	writeSecret(t, filepath.Join(dir, "alice"), "alice-at-the-node")
	c := r.login("alice")
	eventually(t, 10*time.Second, "alice is let in", func() bool { _, err := c.Do("SET", "alice:k", "v"); return err == nil })
}

func TestARotatedPasswordOfALoginDropsNobody(t *testing.T) {
	node := redistest.Start(t)
	dir := t.TempDir()
	r := withRig(t, node.Addr(), personal(cast(t, dir, node)))
	c := r.login("alice")
	r.want(c, "OK", "SET", "alice:k", "v")
	told(t, node, "ACL", "SETUSER", "node-alice", "<alice-at-the-node", ">rotated")
	writeSecret(t, filepath.Join(dir, "alice"), "rotated")
	r.want(c, "v", "GET", "alice:k")
	r.want(c, "OK", "SELECT", "4") // dials
	r.want(c, "<nil>", "BLPOP", "alice:l", "0.01")
	told(t, node, "CLIENT", "KILL", "USER", "node-alice")
	eventually(t, 10*time.Second, "alice goes on with the new password", func() bool { _, err := c.Do("SET", "alice:k", "w"); return err == nil })
}

func TestAReloadMovesOpenSessionsToTheirNewLogin(t *testing.T) {
	node := redistest.Start(t)
	logins := cast(t, t.TempDir(), node)
	r := withRig(t, node.Addr(), personal(logins))
	c, watching := r.login("alice"), r.login("alice")
	r.want(c, "OK", "SET", "alice:k", "v")
	r.want(watching, "OK", "WATCH", "alice:k")
	next := r.options
	next.Backends = map[string]backend.Options{"main": r.options.Backends["main"]}
	o := next.Backends["main"]
	o.Logins = map[string]backend.UserLogin{"alice": logins["bob"]}
	next.Backends["main"] = o
	if err := r.server.Reload(next); err != nil {
		t.Fatal(err)
	}
	r.want(c, noPermission, "GET", "alice:k")
	r.want(c, "OK", "SET", "bob:k", "v")
	if _, err := watching.Do("GET", "alice:k"); err == nil {
		t.Error("a session goes on that is bound to a connection of the login it had")
	}
	r.await("close_conn", "reason", "policy_changed", "user", "alice")
}

func TestConnectionsOfLoginsAreBounded(t *testing.T) {
	node := redistest.Start(t)
	logins := cast(t, t.TempDir(), node)
	r := withRig(t, node.Addr(), func(s *setup) {
		personal(logins)(s)
		s.workers = 1
		s.backend.Connections.Logins = 2
	})
	a, b, c := r.login("alice"), r.login("bob"), r.login("carol")
	r.want(a, "OK", "SET", "alice:k", "v")
	r.want(b, "OK", "SET", "bob:k", "v")
	r.want(c, "OK", "SET", "carol:k", "v") // in the place of one that is idle
	r.want(a, "v", "GET", "alice:k")
	r.want(b, "v", "GET", "bob:k")
	if seen := usersAt(t, node); seen["node-alice"]+seen["node-bob"]+seen["node-carol"] > 2 {
		t.Errorf("more connections than may be: %v", seen)
	}
	// As long as two wait for what the node does not answer, there is no third.
	told(t, node, "CLIENT", "PAUSE", "400", "ALL")
	for who, s := range map[string]*redistest.Client{"alice": a, "bob": b} {
		if err := s.Send("GET", who+":k"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, "a third is refused", func() bool {
		_, err := c.Do("GET", "carol:k")
		return err != nil && err.Error() == "ERR backend connection limit reached"
	})
	// A reload that allows more takes effect at once.
	next := r.options
	o := next.Backends["main"]
	o.Connections.Logins = 3
	next.Backends = map[string]backend.Options{"main": o}
	if err := r.server.Reload(next); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the third is let in", func() bool { _, err := c.Do("GET", "carol:k"); return err == nil })
}

func TestManySessionsOfManyUsersNeverMix(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) {
		personal(cast(t, t.TempDir(), node))(s)
		s.workers = 2
	})
	var all sync.WaitGroup
	for n := range 24 {
		c := r.dial("plain", nil)
		all.Go(func() {
			if err := mingle(c, rand.New(rand.NewPCG(uint64(n), 7))); err != nil {
				t.Errorf("session %d: %v", n, err)
			}
		})
	}
	all.Wait()
	for user := range usersAt(t, node) {
		if user != "default" && !strings.HasPrefix(user, "node-") {
			t.Errorf("somebody is there as %s", user)
		}
	}
}

// mingle plays one session that changes its user, database, protocol and way, and
// knows at each call what its user may at the node.
func mingle(c *redistest.Client, r *rand.Rand) error {
	me := ""
	become := func() error {
		me = persons[r.IntN(len(persons))]
		if r.IntN(4) == 0 {
			_, err := c.Do("HELLO", fmt.Sprint(2+r.IntN(2)), "AUTH", me, me+"-pw")
			return err
		}
		_, err := c.Do("AUTH", me, me+"-pw")
		return err
	}
	if err := become(); err != nil {
		return err
	}
	for range 150 {
		whose := persons[r.IntN(len(persons))]
		key := fmt.Sprintf("%s:%d", whose, r.IntN(8))
		var err error
		switch r.IntN(9) {
		case 0:
			if err = become(); err == nil {
				continue
			}
		case 1:
			_, err = c.Do("SELECT", fmt.Sprint(r.IntN(3)))
			if err == nil {
				continue
			}
			return err
		case 2:
			_, err = c.Do("BLPOP", key+"l", "0.001")
		case 3:
			err = transact(c, key)
		case 4:
			_, err = c.Do("SET", key, strings.Repeat("b", 1100<<10))
		case 5:
			if _, err = c.Do("WATCH", key); err == nil {
				_, err = c.Do("UNWATCH")
			}
		default:
			_, err = c.Do("SET", key, whose)
		}
		var said redistest.Error
		switch {
		case err == nil && whose == me:
		case errors.As(err, &said) && whose != me && (strings.HasPrefix(string(said), "NOPERM") || strings.HasPrefix(string(said), "EXECABORT")):
		default:
			return fmt.Errorf("as %s on %s: %v", me, key, err)
		}
	}
	return nil
}

func transact(c *redistest.Client, key string) error {
	for _, call := range [][]string{{"MULTI"}, {"INCR", key + "n"}, {"EXEC"}} {
		if _, err := c.Do(call...); err != nil {
			return err
		}
	}
	return nil
}

func TestUsersOfTheirOwnOverAClusterNeverMix(t *testing.T) {
	c := redistest.StartCluster(t, 3, 0)
	r := withRig(t, "", func(s *setup) {
		personal(cast(t, t.TempDir(), c.Servers...))(s)
		s.backend.Nodes = endpoints(c.Addrs()[:1])
		s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 10 * time.Second}
	})
	alice := r.login("alice")
	r.want(alice, "OK", "MSET", "alice:1", "a", "alice:2", "b", "alice:3", "c") // over all nodes
	r.want(alice, "[a b c]", "MGET", "alice:1", "alice:2", "alice:3")
	r.want(alice, "[ssubscribe alice:news 1]", "SSUBSCRIBE", "alice:news")
	var all sync.WaitGroup
	for n := range 9 {
		s := r.dial("plain", nil)
		all.Go(func() {
			if err := mingleOver(s, rand.New(rand.NewPCG(uint64(n), 11))); err != nil {
				t.Errorf("session %d: %v", n, err)
			}
		})
	}
	all.Wait()
	// A slot that moves takes its calls with it, as the user they are of.
	slot := backend.SlotOf([]byte("alice:1"))
	from, err := c.Owner(slot)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range c.Servers {
		if to != from {
			if err := c.MoveSlot(slot, from, to); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	as := r.login("alice")
	for i := range 200 {
		if err := as.Send("SET", fmt.Sprintf("alice:%d", i%7), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		if got, err := as.Receive(); err != nil || got != "OK" {
			t.Fatal(got, err)
		}
	}
	r.want(as, "197", "GET", "alice:1")
	r.want(as, "OK", "SET", "alice:1", "a")
	r.want(as, "OK", "AUTH", "bob", "bob-pw")
	r.want(as, noPermission, "GET", "alice:1")
}

// mingleOver is mingle without databases, which a cluster has not.
func mingleOver(c *redistest.Client, r *rand.Rand) error {
	me := ""
	for range 100 {
		if me == "" || r.IntN(5) == 0 {
			me = persons[r.IntN(len(persons))]
			if _, err := c.Do("AUTH", me, me+"-pw"); err != nil {
				return err
			}
		}
		whose := persons[r.IntN(len(persons))]
		key := fmt.Sprintf("%s:%d", whose, r.IntN(30))
		var err error
		switch r.IntN(4) {
		case 0:
			_, err = c.Do("BLPOP", key+"l", "0.001")
		case 1:
			err = transact(c, key)
		default:
			_, err = c.Do("SET", key, whose)
		}
		var said redistest.Error
		refused := errors.As(err, &said) && (strings.HasPrefix(string(said), "NOPERM") || strings.HasPrefix(string(said), "EXECABORT"))
		if (err == nil) != (whose == me) || err != nil && !refused {
			return fmt.Errorf("as %s on %s: %v", me, key, err)
		}
	}
	return nil
}

func TestALoginIsItsUsersHoweverThatProvesItself(t *testing.T) {
	p, node := newIDP(t), redistest.Start(t)
	logins := cast(t, t.TempDir(), node)
	r := withRig(t, node.Addr(), func(s *setup) {
		personal(logins)(s)
		s.auth.Tokens = p.verifier
		s.source = func(src *acl.Source) {
			src.Modes.Guard, src.Guard.Never = acl.Off, []acl.Text{}
			src.Roles = append(src.Roles, acl.RoleSource{Name: text("reader"), Rules: text("+@all ~*")})
			src.Tokens = []acl.TokenSource{{Name: text("corp"), Roles: texts("reader")}}
			edit(src, "alice").Token = &acl.TokenUserSource{Issuer: text("corp"), Subject: text("oid-alice")}
			edit(src, "bob").Certificates = []acl.CertificateSource{{CN: texts("bob")}}
			src.Users = slices.DeleteFunc(src.Users, func(u acl.UserSource) bool { return u.Name.Value == "carol" })
		}
	})
	c := r.dial("plain", nil)
	r.want(c, "OK", "AUTH", "oid-alice", p.sign("k1", "oid-alice", time.Hour))
	r.want(c, "OK", "SET", "alice:k", "v")
	r.want(c, noPermission, "SET", "bob:k", "v")
	c = r.dial("gateway", r.clientTLS("bob")) // by the certificate alone
	r.want(c, "OK", "SET", "bob:k", "v")
	r.want(c, noPermission, "SET", "alice:k", "v")
	// A name that nothing but a token claims is no user of the policy, and has not
	// the login of one that it once had.
	c = r.dial("plain", nil)
	r.want(c, "OK", "AUTH", "carol", p.sign("k1", "carol", time.Hour, "roles", []string{"readers"}))
	r.want(c, "OK", "SET", "anybody:k", "as the backend's user")
	for line := range strings.Lines(fmt.Sprint(told(t, node, "CLIENT", "LIST"))) {
		if strings.Contains(line, "user=node-carol") {
			t.Error("the login of a user that there is not is in use")
		}
	}
}
