package proxy_test

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// Of deleted users only those are remembered whom the ACL file may still hold:
// whoever may make and delete users can't make the proxy remember names for ever.
func TestDeletedUsersAreRememberedOnlyWhereAFileHoldsThem(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) {
		s.changeable = true
		s.users["ruler"] = "on ~* &* +@all +acl|setuser +acl|deluser"
	})
	c := r.login("ruler")
	for i := range 50 {
		name := fmt.Sprint("passing", i)
		r.want(c, "OK", "ACL", "SETUSER", name, "on")
		r.want(c, "1", "ACL", "DELUSER", name)
	}
	if n := r.server.Deleted(); n != 0 {
		t.Errorf("%d users are remembered whom no file holds", n)
	}
	r.want(c, "OK", "ACL", "SETUSER", "app", "+get") // changed, and still in the file
	r.want(c, "1", "ACL", "DELUSER", "app", "nobody")
	if n := r.server.Deleted(); n != 1 {
		t.Errorf("%d are remembered, want the one of the file", n)
	}
	r.server.SetPolicy(compileFile(t, map[string]string{"root": everything}))
	r.await("admin", "command", "reload drops runtime changes of user app")
	if n := r.server.Deleted(); n != 0 {
		t.Errorf("%d are remembered after a reload", n)
	}
}
