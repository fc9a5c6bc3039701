package proxy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// namesOf renames by pairs and disables what stands alone after "-".
func namesOf(t *testing.T, disable []string, pairs ...string) *command.Names {
	t.Helper()
	n := command.NewNames(command.Newest())
	for i := 0; i < len(pairs); i += 2 {
		if err := n.Rename(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range disable {
		if err := n.Disable(d); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func withNames(t *testing.T, node string, n *command.Names) *rig {
	return withRig(t, node, func(s *setup) {
		s.users = map[string]string{"app": "on ~app:* +@all -@dangerous", "root": everything + " +flushall +keys +config|get +config|set +acl|dryrun"}
		s.listen = func(_ *rig, l []proxy.ListenerOptions) { l[1].Names = n }
	})
}

func TestAListenersNamesReachTheRealCommand(t *testing.T) {
	node := redistest.Start(t)
	r := withNames(t, node.Addr(), namesOf(t, []string{"keys"}, "flushall", "wipe-it-all", "config|set", "put", "getset", "swap", "command|count", "how-many", "blpop", "pop"))
	c := r.login("root")
	r.want(c, "OK", "SET", "app:k", "1")
	r.want(c, "1", "SWAP", "app:k", "2")
	r.want(c, "2", "GET", "app:k")
	r.want(c, "ERR unknown command 'GETSET', with args beginning with: 'app:k' '3' ", "GETSET", "app:k", "3")
	r.want(c, "ERR unknown command 'keys', with args beginning with: '*' ", "keys", "*")
	r.want(c, "ERR wrong number of arguments for 'swap' command", "swap", "k")
	r.want(c, "OK", "CONFIG", "PUT", "maxmemory", "0")
	r.want(c, "ERR unknown subcommand 'SET'. Try CONFIG HELP.", "CONFIG", "SET", "maxmemory", "0")
	r.want(c, "OK", "wipe-it-all")
	if n, err := node.Do("DBSIZE"); fmt.Sprint(n) != "0" || err != nil {
		t.Error("after the renamed FLUSHALL the node holds", n, err)
	}
	// In one pipeline, the renamed ones held back like any.
	for _, cmd := range []string{"SET app:k 5", "SELECT 1", "swap app:k 6", "SELECT 0", "swap app:k 7", "GET app:k"} {
		if err := c.Send(strings.Fields(cmd)...); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"OK", "OK", "<nil>", "OK", "5", "7"} {
		if got, err := c.Receive(); err != nil || fmt.Sprint(got) != want {
			t.Errorf("answer %d is %v, %v; want %s", i, got, err, want)
		}
	}
	// In a transaction: queued by its new name, run by its own; an old name spoils it.
	r.want(c, "OK", "MULTI")
	r.want(c, "QUEUED", "swap", "app:k", "8")
	r.want(c, "QUEUED", "GET", "app:k")
	r.want(c, "[7 8]", "EXEC")
	r.want(c, "OK", "MULTI")
	r.want(c, "ERR unknown command 'GETSET', with args beginning with: 'app:k' '9' ", "GETSET", "app:k", "9")
	r.want(c, "EXECABORT", "EXEC")
	r.want(c, "8", "swap", "app:k", "7")
	// What waits for a connection of its own, or for earlier replies, is translated once.
	for _, cmd := range []string{"RPUSH app:l a", "pop app:l 1", "swap app:k 7"} {
		if err := c.Send(strings.Fields(cmd)...); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"1", "[app:l a]", "7"} {
		if got, err := c.Receive(); err != nil || fmt.Sprint(got) != want {
			t.Errorf("answer %d is %v, %v; want %s", i, got, err, want)
		}
	}
	// The other listener knows nothing of it.
	other := r.dial("gateway", r.clientTLS("root"))
	r.want(other, "OK", "AUTH", "root", "root-pw")
	r.want(other, "7", "GETSET", "app:k", "8")
	r.want(other, "ERR unknown command 'swap', with args beginning with: 'app:k' '9' ", "swap", "app:k", "9")
}

func TestANewNameWeakensNoDecision(t *testing.T) {
	node := redistest.Start(t)
	r := withNames(t, node.Addr(), namesOf(t, nil, "flushall", "wipe-it-all", "get", "fetch", "debug", "poke"))
	c := r.login("app")
	r.want(c, "NOPERM User app has no permissions to run the 'wipe-it-all' command", "wipe-it-all")
	r.want(c, "NOPERM No permissions to access a key", "fetch", "other")
	r.want(r.login("root"), "NOPERM User root has no permissions to run the 'poke' command", "poke", "sleep", "0")
	r.await("refused", "user", "app", "reason", "command_not_allowed", "command", "flushall") // the record speaks of what it is
	r.await("refused", "user", "app", "reason", "key_not_allowed", "command", "get")
	stranger := r.dial("plain", nil)
	r.want(stranger, "NOAUTH Authentication required.", "flushall")
	r.want(stranger, "NOAUTH Authentication required.", "wipe-it-all")
}

func TestCommandsAreListedAsTheListenerNamesThem(t *testing.T) {
	node := redistest.Start(t)
	r := withNames(t, node.Addr(), namesOf(t, []string{"keys", "acl|whoami"}, "flushall", "wipe-it-all", "config|get", "peek", "getset", "swap"))
	c := r.login("root")
	list, err := c.Do("COMMAND", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range list.([]any) {
		names = append(names, fmt.Sprint(n))
	}
	for name, want := range map[string]bool{
		"wipe-it-all": true, "flushall": false, "keys": false, "config|peek": true, "config|get": false, "config|set": true, "swap": true, "acl|whoami": false, "get": true,
	} {
		if slices.Contains(names, name) != want {
			t.Errorf("COMMAND LIST has %s: %v, want %v", name, !want, want)
		}
	}
	info, err := c.Do("COMMAND", "INFO", "wipe-it-all", "flushall", "config|peek", "keys")
	if got := fmt.Sprint(info); err != nil || !strings.HasPrefix(got, "[[wipe-it-all -1 ") || !strings.Contains(got, "<nil> [config|peek ") || !strings.HasSuffix(got, "<nil>]") {
		t.Error("COMMAND INFO:", got, err)
	}
	r.want(c, "[k]", "COMMAND", "GETKEYS", "swap", "k", "v")
	r.want(c, "ERR Invalid command specified", "COMMAND", "GETKEYS", "getset", "k", "v")
	r.want(c, "ERR Command 'keys' not found", "ACL", "DRYRUN", "root", "keys", "*")
	r.want(c, "OK", "ACL", "DRYRUN", "root", "swap", "k", "v")
	docs, err := c.Do("COMMAND", "DOCS", "swap", "getset")
	if got := fmt.Sprint(docs); err != nil || !strings.Contains(got, "swap") || strings.Contains(got, "getset") {
		t.Error("COMMAND DOCS:", got, err)
	}
}

func TestAReloadBringsNewNamesToOpenSessions(t *testing.T) {
	node := redistest.Start(t)
	r := withNames(t, node.Addr(), nil)
	c := r.login("root")
	r.want(c, "<nil>", "GET", "app:k")
	o := r.options
	o.Listeners = slices.Clone(o.Listeners)
	o.Listeners[1].Names = namesOf(t, nil, "get", "fetch")
	r.reload(o)
	r.want(c, "<nil>", "fetch", "app:k")
	r.want(c, "ERR unknown command 'GET', with args beginning with: 'app:k' ", "GET", "app:k")
	o.Listeners = slices.Clone(o.Listeners)
	o.Listeners[1].Names = nil
	r.reload(o)
	r.want(c, "<nil>", "GET", "app:k")
}

// A call that was queued by a name which a reload took away does not run, whatever
// is queued after; what the reload left alone does.
func TestWhatAReloadTakesFromAListenerDoesNotRunAtEXEC(t *testing.T) {
	node := redistest.Start(t)
	r := withNames(t, node.Addr(), namesOf(t, nil, "getset", "swap", "config|set", "put"))
	taken := map[string]struct{ queued, refusal string }{
		"disabled":              {"DEL app:k", "unknown command 'del', with args beginning with: 'app:k' "},
		"renamed":               {"GET app:k", "unknown command 'get', with args beginning with: 'app:k' "},
		"renamed once more":     {"swap app:k 2", "unknown command 'swap', with args beginning with: 'app:k' '2' "},
		"a disabled subcommand": {"CONFIG put maxmemory 0", "unknown subcommand 'put'. Try CONFIG HELP."},
		"a disabled container":  {"OBJECT ENCODING app:k", "unknown command 'object', with args beginning with: 'encoding' 'app:k' "},
	}
	begin := func(calls ...string) *redistest.Client {
		c := r.login("root")
		r.want(c, "OK", "MULTI")
		for _, call := range calls {
			r.want(c, "QUEUED", strings.Fields(call)...)
		}
		return c
	}
	open := make(map[string][2]*redistest.Client)
	for name, x := range taken {
		open[name] = [2]*redistest.Client{begin("SET app:k 1", x.queued), begin(x.queued, "SET app:k 2")}
	}
	kept := begin("SET app:other 1", "STRLEN app:other")
	o := r.options
	o.Listeners = slices.Clone(o.Listeners)
	o.Listeners[1].Names = namesOf(t, []string{"del", "config|set", "object"}, "get", "fetch", "getset", "exchange")
	r.reload(o)
	for name, x := range taken {
		for i, c := range open[name] {
			if i == 1 {
				r.want(c, "QUEUED", "fetch", "app:k") // by the new names, which are those of EXEC
			}
			r.want(c, "EXECABORT Transaction discarded because of: "+x.refusal, "EXEC")
			r.want(c, "PONG", "PING")
		}
	}
	r.want(kept, "[OK 1]", "EXEC")
	if n, err := node.Do("EXISTS", "app:k"); fmt.Sprint(n) != "0" || err != nil {
		t.Error("something of a transaction that was refused ran:", n, err)
	}
	r.await("refused", "user", "root", "reason", "unknown_subcommand")
}
