package proxy_test

import (
	"testing"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/redistest"
)

func TestAnOpenSessionEndsWhenThePasswordItGaveIsTakenFromItsUser(t *testing.T) {
	node := redistest.Start(t)
	hash := func(password string) string { return " #" + acl.HashPassword([]byte(password)) }
	const rules = "on ~app:* +@write"
	r := withRig(t, node.Addr(), func(s *setup) {
		s.users = map[string]string{
			"app":   rules + hash("lost") + hash("kept"),
			"loose": "on nopass ~app:* +@write",
		}
	})
	open := func(user, password string) *redistest.Client {
		t.Helper()
		c := r.dial("plain", nil)
		r.want(c, "OK", "AUTH", user, password)
		r.want(c, "OK", "SET", "app:k", "1")
		return c
	}
	lost, kept, loose, proved := open("app", "lost"), open("app", "kept"), open("loose", "any"), open("loose", "loose-pw")
	again := open("app", "lost")
	r.want(again, "OK", "AUTH", "app", "kept") // the last proof counts
	r.want(again, "WRONGPASS", "AUTH", "app", "wrong")
	r.server.SetPolicy(compile(t, map[string]string{"app": rules + hash("kept"), "loose": "on ~app:* +@write"}, nil))
	for what, c := range map[string]*redistest.Client{"lost": lost, "loose": loose} {
		if v, err := c.Receive(); err == nil {
			t.Errorf("the session of %s got %v", what, v)
		}
	}
	r.await("close_conn", "user", "app", "reason", "policy_changed")
	r.await("close_conn", "user", "loose", "reason", "policy_changed")
	for _, c := range []*redistest.Client{kept, proved, again} {
		r.want(c, "OK", "SET", "app:k", "2")
	}
}

func TestAReloadBesideAChangeAtRunTimeIsAsStrictAsAlone(t *testing.T) {
	node := redistest.Start(t)
	const rules = "on ~app:* +@write #"
	r := withRig(t, node.Addr(), func(s *setup) {
		s.users = map[string]string{"app": rules + acl.HashPassword([]byte("lost"))}
	})
	c := r.dial("plain", nil)
	r.want(c, "OK", "AUTH", "app", "lost")
	release := r.server.Hold() // the loops get to both at once
	if err := r.server.SetUser("other", "on"); err != nil {
		t.Fatal(err)
	}
	r.server.SetPolicy(compile(t, map[string]string{"app": rules + acl.HashPassword([]byte("kept"))}, nil))
	release()
	if v, err := c.Receive(); err == nil {
		t.Errorf("the session got %v", v)
	}
	r.await("close_conn", "user", "app", "reason", "policy_changed")
}
