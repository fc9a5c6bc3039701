package proxy_test

import (
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// Inside a transaction nobody becomes somebody else: what would log in is not
// queued, and a right that is taken away before EXEC is gone at EXEC.
func TestEscalation_hello_and_auth_inside_multi(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) {
		s.changeable = true
		s.users["admin"] = everything + " +acl|setuser +acl|log"
		s.users["app"] = "on ~app:* &app:* +@read +@write +@connection +@transaction +@pubsub +acl|whoami"
	})
	const notHere = "ERR Command not allowed inside a transaction"
	for _, line := range [][]string{
		{"AUTH", "root", "root-pw"}, {"HELLO", "3", "AUTH", "root", "root-pw"}, {"HELLO", "2"},
		{"ACL", "WHOAMI"}, {"CLIENT", "SETNAME", "x"}, {"SUBSCRIBE", "app:c"}, {"CLIENT", "REPLY", "OFF"},
	} {
		c := r.login("app")
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "SET", "app:k", "v")
		r.want(c, notHere, line...)
		r.want(c, "EXECABORT", "EXEC")
		r.want(c, "app", "ACL", "WHOAMI")
		r.want(c, "<nil>", "GET", "app:k")
	}
	for _, end := range []string{"RESET", "DISCARD"} {
		c := r.login("app")
		r.want(c, "OK", "MULTI")
		r.want(c, "QUEUED", "SET", "app:k", "v")
		if _, err := c.Do(end); err != nil {
			t.Fatal(err)
		}
		if end == "RESET" {
			r.want(c, "NOAUTH", "GET", "app:k")
			r.want(c, "OK", "AUTH", "app", "app-pw")
		}
		r.want(c, "ERR EXEC without MULTI", "EXEC")
		r.want(c, "<nil>", "GET", "app:k")
	}

	admin := r.login("admin")
	c := r.login("app")
	r.want(c, "OK", "MULTI")
	r.want(c, "NOPERM", "SET", "other", "v")
	r.want(c, "EXECABORT Transaction discarded because of previous errors.", "EXEC")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "GET", "app:k")
	r.want(c, "QUEUED", "SET", "app:k", "v")
	r.want(admin, "OK", "ACL", "SETUSER", "app", "-set")
	r.want(c, "EXECABORT Transaction discarded because of: NOPERM User app has no permissions to run the 'set' command", "EXEC")
	r.want(c, "<nil>", "GET", "app:k")
	log, err := admin.Do("ACL", "LOG")
	if err != nil {
		t.Fatal(err)
	}
	multi := 0
	for _, entry := range log.([]any) {
		if fields := entry.([]any); fields[5] == "multi" {
			multi++
		}
	}
	if multi != 2 {
		t.Errorf("%d entries of ACL LOG are of a transaction: %v", multi, log)
	}
}

// Who may no longer hear a channel it has subscribed to is closed, as Redis does.
func TestARightToListenThatIsTakenAwayEndsTheSession(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) {
		s.changeable = true
		s.users["admin"] = everything + " +acl|setuser"
		s.users["app"] = "on ~app:* &app:* &also:* +@read +@write +@pubsub +@connection"
	})
	admin := r.login("admin")
	one, other, pattern := r.login("app"), r.login("app"), r.login("app")
	for c, words := range map[*redistest.Client][]string{one: {"SUBSCRIBE", "app:c"}, other: {"SUBSCRIBE", "also:c"}, pattern: {"PSUBSCRIBE", "also:*"}} {
		if _, err := c.Do(words...); err != nil {
			t.Fatal(err)
		}
	}
	r.want(admin, "OK", "ACL", "SETUSER", "app", "resetchannels", "&app:*")
	for _, c := range []*redistest.Client{other, pattern} {
		if got, err := c.Receive(); err == nil {
			t.Errorf("it still hears %v", got)
		}
	}
	r.want(admin, "1", "PUBLISH", "app:c", "x")
	if got, err := one.Receive(); err != nil {
		t.Errorf("who may go on does not: %v, %v", got, err)
	}
	r.await("close_conn", "reason=policy_changed")
}

// A node that refuses MULTI would run what follows call by call. The client
// hears that it may have, and the proxy's own user is said to need +multi.
func TestANodeThatRefusesMULTIIsNotTakenForOneThatRanIt(t *testing.T) {
	node := redistest.Start(t)
	if _, err := node.Do("ACL", "SETUSER", "proxy", "on", ">secret", "~*", "&*", "+@all", "-multi"); err != nil {
		t.Fatal(err)
	}
	r := withRig(t, node.Addr(), func(s *setup) {
		s.backend.User = "proxy"
		s.backend.Password = func() (string, error) { return "secret", nil }
	})
	c := r.login("root")
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "SET", "k", "v")
	r.want(c, "ERR backend connection lost, the command may have run", "EXEC")
	r.want(c, "PONG", "PING")
	r.want(c, "OK", "SET", "k", "w")
}
