package proxy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

const unknownText = "ERR unknown command"

// A command that nobody but the backend knows is learned from it, and is for
// whoever names it and may do everything.
func TestACommandTheTableLacksIsLearnedFromTheBackend(t *testing.T) {
	node := redistest.NewFake(t, redistest.AfterHandshake(func(q redistest.Request) redistest.Answer {
		if q.Is("COMMAND") {
			return redistest.Reply("*2\r\n*2\r\n$3\r\nget\r\n:2\r\n*7\r\n$12\r\ntheir.strlen\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n*1\r\n+@read\r\n")
		}
		return redistest.Reply(":1\r\n")
	}))
	r := withRig(t, node.Addr(), func(s *setup) {
		s.backend.Discover = true
		s.users["named"] = "on ~* &* +@read +their.strlen"
		s.users["narrow"] = "on ~app:* &* +@read +their.strlen"
		s.source = func(src *acl.Source) { src.Discovery = true }
	})
	root := r.login("root")
	eventually(t, 20*time.Second, "the command is known", func() bool {
		_, err := root.Do("THEIR.STRLEN", "k")
		return err != nil && !strings.HasPrefix(err.Error(), unknownText)
	})
	const noperm = " has no permissions to run the 'their.strlen' command"
	r.want(root, "NOPERM User root"+noperm, "their.strlen", "k")
	r.want(r.login("narrow"), "NOPERM User narrow"+noperm, "their.strlen", "app:k")
	if v, err := r.login("named").Do("THEIR.STRLEN", "k"); err != nil && (strings.HasPrefix(err.Error(), "NOPERM") || strings.HasPrefix(err.Error(), unknownText)) {
		t.Errorf("who names it gets %v, %v", v, err)
	}
	if !slices.Equal(r.server.Table().Discovered(), []string{"their.strlen"}) {
		t.Error("learned:", r.server.Table().Discovered())
	}
	r.want(root, "PONG", "PING")
	// Switched off, it is forgotten.
	o := r.options
	off := o.Backends["main"]
	off.Discover = false
	o.Backends = map[string]backend.Options{"main": off}
	if err := r.server.Reload(o); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the command is unknown again", func() bool { return len(r.server.Table().Discovered()) == 0 })
}

// Learning commands is no reload: what ACL SETUSER changed stays, sessions go on.
func TestLearningCommandsLosesNothing(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) { s.changeable = true })
	for _, c := range [][]string{{"made", "on", ">made-pw", "~*", "&*", "+get"}, {"app", "+set", "~more:*"}} {
		if err := r.server.SetUser(c[0], c[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	made, app := r.login("made"), r.login("app")
	r.want(made, "<nil>", "GET", "x")
	if err := r.server.Learn("main", "Their.Cmd", "get", "GET\x00", "client|their", "@all", "post"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "it is known", func() bool {
		_, err := made.Do("THEIR.CMD")
		return strings.HasPrefix(fmt.Sprint(err), "NOPERM")
	})
	r.want(made, "<nil>", "GET", "x")
	r.want(app, "OK", "SET", "more:x", "v")
	// A user can be given it by name from now on, and no other.
	if err := r.server.SetUser("made", "+their.cmd", "+@all", "+their.cmd"); err != nil {
		t.Fatal(err)
	}
	if err := r.server.SetUser("made", "+their.other"); err == nil {
		t.Error("a command nobody has is given")
	}
	// A reload keeps what was learned, and what a backend no longer has is gone.
	if err := r.server.Reload(r.options); err != nil {
		t.Fatal(err)
	}
	if got := r.server.Table().Discovered(); !slices.Equal(got, []string{"their.cmd"}) {
		t.Error("after a reload there is", got)
	}
	if err := r.server.Learn("other", "second.cmd"); err != nil {
		t.Fatal(err)
	}
	if err := r.server.Learn("main"); err != nil {
		t.Fatal(err)
	}
	if got := r.server.Table().Discovered(); !slices.Equal(got, []string{"second.cmd"}) {
		t.Error("in the end there is", got)
	}
	r.want(r.login("root"), "v", "GET", "more:x")
}

// A backend that answers COMMAND with nonsense is served, and teaches nothing.
func TestABackendThatAnswersNonsenseTeachesNothing(t *testing.T) {
	asked := make(chan struct{}, 16)
	fake := redistest.NewFake(t, redistest.AfterHandshake(func(q redistest.Request) redistest.Answer {
		switch {
		case q.Is("COMMAND"):
			asked <- struct{}{}
			return redistest.Reply("*3\r\n*2\r\n$3\r\nGET\r\n*1\r\n+admin\r\n*1\r\n$7\r\nmy.echo\r\n$3\r\nset\r\n")
		case q.Is("GET"):
			return redistest.Reply("$1\r\nv\r\n")
		}
		return redistest.Reply("+OK\r\n")
	}))
	r := withRig(t, fake.Addr(), func(s *setup) { s.backend.Discover = true })
	select {
	case <-asked:
	case <-time.After(20 * time.Second):
		t.Fatal("it was never asked")
	}
	root := r.login("root")
	r.want(root, "v", "GET", "k")
	if _, err := root.Do("MY.ECHO"); !strings.HasPrefix(fmt.Sprint(err), unknownText) {
		t.Error(err)
	}
	if got := r.server.Table().Discovered(); len(got) != 0 {
		t.Error("learned:", got)
	}
}
