package proxy_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// aclAdmin names what the guard keeps even from +@all.
const aclAdmin = "on ~* &* +@all +acl|cat +acl|deluser +acl|dryrun +acl|getuser +acl|list +acl|load +acl|log +acl|save +acl|setuser +acl|users" +
	" +client|list +client|kill +client|unblock"

// aclLines are asked one after the other, by an administrator who has named
// the commands, of the proxy and of a redis-server with the same users.
var aclLines = strings.Split(strings.TrimSpace(`
ACL WHOAMI
ACL CAT nosuch
ACL CAT @read
ACL CAT a b
ACL GENPASS 0
ACL GENPASS 4097
ACL GENPASS -1
ACL GENPASS x
ACL GENPASS 1 2
ACL LOG x
ACL LOG 0 1
ACL LOG RESET x
ACL LOG reset
ACL LOG -1
ACL LOG 0
ACL LOG
ACL USERS
ACL USERS x
ACL LIST x
ACL LOAD
ACL SAVE
ACL LOAD x
ACL GETUSER nosuch
ACL GETUSER
ACL SETUSER
ACL SETUSER new sanitize-payload
ACL GETUSER new
ACL SETUSER new on >pw ~a* &c +get
ACL GETUSER new
ACL SETUSER new nopass %R~r %W~w ~a* -@all +@read
ACL GETUSER new
ACL SETUSER new (~sel +set) (%R~b·&d·-@all·+@stream)
ACL GETUSER new
ACL SETUSER new +nosuch
ACL SETUSER new +@nosuch
ACL SETUSER new bogus
ACL SETUSER new ~a·b
ACL SETUSER new <nopw
ACL SETUSER new !abc
ACL SETUSER new #abc
ACL SETUSER new on off +get|x|y
ACL SETUSER new allkeys ~x
ACL SETUSER new allchannels &x
ACL SETUSER new (~sel
ACL SETUSER new ∅
ACL SETUSER a·b on
ACL GETUSER new
ACL SETUSER all sanitize-payload on nopass ~* &* +@all
ACL GETUSER all
ACL SETUSER all reset
ACL GETUSER all
ACL SETUSER all skip-sanitize-payload off
ACL GETUSER all
ACL DRYRUN nosuch get a
ACL DRYRUN new nosuch
ACL DRYRUN new get
ACL DRYRUN new config
ACL DRYRUN new get a1
ACL DRYRUN new GET b1
ACL DRYRUN new get r
ACL DRYRUN new mget r w
ACL DRYRUN new set sel 1
ACL DRYRUN new set a1 1
ACL DRYRUN new del a1
ACL DRYRUN new config get save
ACL DRYRUN new config·get
ACL DRYRUN new auth x
ACL DRYRUN root publish c m
ACL DRYRUN app publish d m
ACL DRYRUN app publish app:1 m
ACL DRYRUN app
ACL USERS
ACL DELUSER default
ACL DELUSER new default
ACL DELUSER nosuch
ACL DELUSER new nosuch all new
ACL USERS
ACL DELUSER
ACL NOSUCH
`), "\n")

var (
	bulkHead = regexp.MustCompile(`\$\d+\r\n`)
	whoMay   = regexp.MustCompile(`(?:[Tt]his user|User \S+) has no permissions`)
)

// asOf72 hides what Redis 7.0 words otherwise than 7.2.
func asOf72(reply string) string {
	return whoMay.ReplaceAllString(bulkHead.ReplaceAllString(reply, "$$\r\n"), "$$USER has no permissions")
}

func newACLTwins(t *testing.T, change func(*setup)) (*rig, *redistest.Server) {
	t.Helper()
	node, direct := redistest.Start(t), redistest.Start(t)
	users := map[string]string{"admin": aclAdmin, "root": everything, "app": "on ~app:* &app:* +@read +@write +@connection +publish"}
	r := withRig(t, node.Addr(), func(s *setup) {
		s.users, s.changeable = users, true
		if change != nil {
			change(s)
		}
	})
	for name, rules := range users {
		args := append([]string{"ACL", "SETUSER", name, "reset", ">" + name + "-pw"}, strings.Fields(rules)...)
		if _, err := direct.Do(args...); err != nil {
			t.Fatal(err)
		}
	}
	return r, direct
}

func TestACLAnswersAreRedissToTheByte(t *testing.T) {
	for _, proto := range []string{"2", "3"} {
		t.Run("RESP"+proto, func(t *testing.T) {
			r, direct := newACLTwins(t, nil)
			mine, theirs := talk(t, r.addr("plain")), talk(t, direct.Addr())
			for _, k := range []*talker{mine, theirs} {
				k.ask("HELLO", proto, "AUTH", "admin", "admin-pw")
			}
			for _, line := range aclLines {
				got, want := asOf72(mine.ask(words(line)...)), asOf72(theirs.ask(words(line)...))
				if line == "ACL USERS" { // the proxy has no default user unless somebody makes one
					want = strings.Replace(strings.Replace(want, "*4", "*3", 1), "*6", "*5", 1)
					want = strings.Replace(want, "$\r\ndefault\r\n", "", 1)
				}
				if got != want {
					t.Errorf("%s:\nproxy %q\nRedis %q", line, got, want)
				}
			}
		})
	}
}

// The order of a user's commands is only fixed since Redis 7.2, so that the
// lines here have one command rule each.
func TestACLLISTHasRedissLines(t *testing.T) {
	r, direct := newACLTwins(t, nil)
	admin := r.login("admin")
	for _, rules := range []string{
		"on >pw ~a %R~b %W~c &d +get", "off nopass ~* &* +@all", "on", "on allkeys resetchannels -@all +@read", "on (~x +get) (&c %RW~y +@list)",
		"skip-sanitize-payload on >a >b resetkeys", "on ~a ~a %R~a &x &x +config|get",
	} {
		args := append([]string{"ACL", "SETUSER", "one", "reset"}, strings.Fields(rules)...)
		r.want(admin, "OK", args...)
		if _, err := direct.Do(args...); err != nil {
			t.Fatal(err)
		}
		var line [2]string
		for i, c := range []interface{ Do(...string) (any, error) }{admin, direct} {
			list, err := c.Do("ACL", "LIST")
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range list.([]any) {
				if strings.HasPrefix(l.(string), "user one ") {
					line[i] = l.(string)
				}
			}
		}
		if line[0] != line[1] || line[0] == "" {
			t.Errorf("%s:\nproxy %s\nRedis %s", rules, line[0], line[1])
		}
	}
}

func TestACLCATHoldsWhatRedisHas(t *testing.T) {
	r, direct := newACLTwins(t, nil)
	app := r.login("app") // ACL CAT is @slow alone; app has no such right
	r.want(app, "NOPERM User app has no permissions to run the 'acl|cat' command", "ACL", "CAT")
	root := r.login("root")
	contains := func(args ...string) {
		t.Helper()
		mine, err := root.Do(args...)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := direct.Do(args...)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range theirs.([]any) {
			if !slices.Contains(mine.([]any), name) {
				t.Errorf("%v lacks %v", args, name)
			}
		}
	}
	contains("ACL", "CAT")
	for _, cat := range []string{"keyspace", "hash", "connection", "dangerous", "SCRIPTING", "transaction"} {
		contains("ACL", "CAT", cat)
	}
}

func TestHELPNamesWhatRedisNames(t *testing.T) {
	r, direct := newACLTwins(t, nil)
	root := r.login("root")
	for _, c := range []struct {
		container string
		absent    []string // of Redis's lines: not offered, or worded otherwise
	}{
		{"ACL", nil},
		{"COMMAND", nil},
		{"CLIENT", []string{"CACHING", "PAUSE", "UNPAUSE", "REPLY", "TRACKING (ON", "NO-EVICT"}},
	} {
		mine, err := root.Do(c.container, "HELP")
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := direct.Do(c.container, "HELP")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range theirs.([]any) {
			l := line.(string)
			if strings.HasPrefix(l, " ") || slices.ContainsFunc(c.absent, func(a string) bool { return strings.HasPrefix(l, a) }) {
				continue
			}
			if !slices.Contains(mine.([]any), line) {
				t.Errorf("%s HELP lacks %q", c.container, l)
			}
		}
	}
}

func TestGENPASSMakesAsManyDigitsAsAsked(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), nil)
	root := r.login("root")
	seen := map[any]bool{}
	for _, c := range []struct {
		bits   string
		digits int
	}{{"", 64}, {"1", 1}, {"4", 1}, {"5", 2}, {"256", 64}, {"4096", 1024}} {
		args := []string{"ACL", "GENPASS"}
		if c.bits != "" {
			args = append(args, c.bits)
		}
		for range 2 {
			v, err := root.Do(args...)
			if err != nil || len(fmt.Sprint(v)) != c.digits || strings.Trim(fmt.Sprint(v), "0123456789abcdef") != "" {
				t.Fatalf("GENPASS %s: %v %v", c.bits, v, err)
			}
			if c.digits >= 64 && seen[v] {
				t.Errorf("GENPASS %s gave %v twice", c.bits, v)
			}
			seen[v] = true
		}
	}
}

func TestDRYRUNIncludesTheGuard(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	admin := r.login("admin")
	r.want(admin, "User root has no permissions to run the 'flushall' command", "ACL", "DRYRUN", "root", "FLUSHALL")
	r.want(admin, "User root has no permissions to run the 'debug' command", "ACL", "DRYRUN", "root", "DEBUG", "SLEEP", "0")
	r.want(admin, "User root has no permissions to run the 'acl|setuser' command", "ACL", "DRYRUN", "root", "ACL", "SETUSER", "x")
	r.want(admin, "OK", "ACL", "DRYRUN", "admin", "ACL", "SETUSER", "x")
	r.want(admin, "User app has no permissions to run the 'eval' command", "ACL", "DRYRUN", "app", "EVAL", "return 1", "0")
	r.want(admin, "OK", "ACL", "DRYRUN", "root", "GET", "x")
	r.want(admin, "ERR syntax error", "ACL", "DRYRUN", "root", "ZUNION", "+1", "a")
}

func TestOnlyWhoNamesThemChangesUsers(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	root := r.login("root")
	for _, line := range []string{"SETUSER x on", "DELUSER app", "LIST", "GETUSER app", "USERS", "LOG", "LOAD", "SAVE", "DRYRUN app GET a"} {
		sub := strings.ToLower(strings.Fields(line)[0])
		r.want(root, "NOPERM User root has no permissions to run the 'acl|"+sub+"' command", append([]string{"ACL"}, strings.Fields(line)...)...)
	}
	if e := r.await("refused", "command", "acl|setuser"); e["reason"] != "guarded" {
		t.Error(e)
	}
}

func TestSETUSERActsAtOnceOnLiveSessionsOfAllLoops(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) { s.workers = 3 })
	admin := r.login("admin")
	var apps []*redistest.Client
	for range 6 {
		apps = append(apps, r.login("app"))
	}
	for i, c := range apps {
		r.want(c, "OK", "SET", "app:1", fmt.Sprint(i))
	}
	// What comes behind it in the same pipeline meets the new rules already.
	k := talk(t, r.addr("plain"))
	k.ask("AUTH", "admin", "admin-pw")
	got := k.pipelined("GET other", "ACL SETUSER admin resetkeys ~app:*", "GET other", "GET app:1", "ACL SETUSER admin allkeys", "GET other")
	want := []string{"$-1\r\n", "+OK\r\n", "-NOPERM No permissions to access a key\r\n", "$1\r\n5\r\n", "+OK\r\n", "$-1\r\n"}
	if !slices.Equal(got, want) {
		t.Errorf("a pipeline that changes its own rules: %q, want %q", got, want)
	}
	r.want(admin, "OK", "ACL", "SETUSER", "app", "-set")
	for _, c := range apps {
		eventually(t, 5*time.Second, "SET is refused", func() bool {
			_, err := c.Do("SET", "app:1", "x")
			return err != nil && strings.HasPrefix(err.Error(), "NOPERM")
		})
		r.want(c, "5", "GET", "app:1")
	}
	r.want(admin, "OK", "ACL", "SETUSER", "app", "+set")
	r.await("admin", "command", "acl|setuser app", "user", "admin", "status", "ok", "rule", "-set")
	r.want(admin, "OK", "ACL", "SETUSER", "fresh", "on", ">a secret", "#"+acl.HashPassword([]byte("other")), "~x")
	if e := r.await("admin", "command", "acl|setuser fresh"); e["rule"] != "on >… #… ~x" {
		t.Errorf("the record says %v", e["rule"])
	}
	fresh := r.dial("plain", nil)
	r.want(fresh, "OK", "AUTH", "fresh", "a secret")
	r.want(fresh, "OK", "AUTH", "fresh", "other")
	if _, err := admin.Do("ACL", "SETUSER", "fresh", ">more", "nonsense"); err == nil {
		t.Fatal("nonsense is a rule")
	}
	if e := r.await("admin", "command", "acl|setuser fresh", "status", "failed"); e["rule"] != nil {
		t.Errorf("the record of a failed change says %v", e["rule"])
	}
}

func TestDELUSEREndsTheUsersSessionsAndTheCallersAfterItsReply(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) { s.workers = 2 })
	admin, app, other := r.login("admin"), r.login("app"), r.login("root")
	r.want(admin, "1", "ACL", "DELUSER", "app", "nobody")
	if v, err := app.Do("PING"); err == nil {
		t.Errorf("a session of a deleted user answers %v", v)
	}
	r.await("close_conn", "user", "app", "reason", "policy_changed")
	r.want(other, "PONG", "PING")
	k := talk(t, r.addr("plain"))
	k.ask("AUTH", "admin", "admin-pw")
	if got := k.ask("ACL", "DELUSER", "admin"); got != ":1\r\n" {
		t.Errorf("who deletes himself hears %q", got)
	}
	if got := k.reply(); got != "closed" {
		t.Errorf("and then %q", got)
	}
	c := r.dial("plain", nil)
	r.want(c, "WRONGPASS invalid username-password pair or user is disabled.", "AUTH", "admin", "admin-pw")
}

// Redis lets the sessions of a user who is switched off go on. Here they end,
// as they do when the operator's files say so; a new password ends none.
func TestAUserWhoIsSwitchedOffLosesItsSessionsAndANewPasswordEndsNone(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	admin, app := r.login("admin"), r.login("app")
	r.want(admin, "OK", "ACL", "SETUSER", "app", "resetpass", ">other")
	r.want(app, "PONG", "PING")
	r.want(admin, "OK", "ACL", "SETUSER", "app", "off")
	r.await("close_conn", "user", "app", "reason", "policy_changed")
	if v, err := app.Do("PING"); err == nil {
		t.Errorf("a session of a user that is off answers %v", v)
	}
	r.want(admin, "admin", "ACL", "WHOAMI")
}

func TestRuntimeUsersAreLostAtReloadAndNamed(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	admin := r.login("admin")
	r.want(admin, "OK", "ACL", "SETUSER", "temp", "on", ">pw")
	r.want(admin, "OK", "ACL", "SETUSER", "app", "-get")
	temp := r.dial("plain", nil)
	r.want(temp, "OK", "AUTH", "temp", "pw")
	r.server.SetPolicy(r.policy)
	r.await("admin", "command", "reload drops runtime changes of user temp")
	r.await("admin", "command", "reload drops runtime changes of user app")
	r.await("close_conn", "user", "temp", "reason", "policy_changed")
	r.want(admin, "<nil>", "ACL", "GETUSER", "temp")
	r.server.SetPolicy(r.policy)
	r.want(admin, "admin", "ACL", "WHOAMI")
	n := 0
	for _, e := range r.events.all() {
		if e.is("admin") && strings.HasPrefix(fmt.Sprint(e["command"]), "reload drops") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d events name lost users, want 2", n)
	}
}

func TestLOADAndSAVEGoThroughTheACLFile(t *testing.T) {
	file := &textFile{}
	r, _ := newACLTwins(t, func(s *setup) {
		s.aclFile = &proxy.ACLFile{
			Name: "users.acl", Read: file.read, Write: file.write,
		}
	})
	admin := r.login("admin")
	r.want(admin, "OK", "ACL", "SETUSER", "temp", "on", ">pw", "+get")
	temp := r.dial("plain", nil)
	r.want(temp, "OK", "AUTH", "temp", "pw")
	r.want(admin, "OK", "ACL", "SAVE")
	r.await("admin", "command", "acl|save", "status", "ok", "user", "admin")
	good, _ := file.read()
	if lines := strings.Split(good, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[3], "user temp on sanitize-payload #") {
		t.Errorf("saved %q", lines)
	}
	file.set(good+"user temp on\nuser x +nosuch ~*\nnonsense\n", nil)
	_, err := admin.Do("ACL", "LOAD")
	for _, part := range []string{"ERR users.acl:5:", "users.acl:6:", "users.acl:7:", ". WARNING: ACL errors detected, no change to the previously active ACL rules was performed"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("a faulty file: %v lacks %q", err, part)
		}
	}
	r.await("admin", "command", "acl|load", "status", "failed")
	file.set("", errors.New("disk full"))
	r.want(admin, "ERR There was an error trying to save the ACLs. Please check the server logs for more information", "ACL", "SAVE")
	r.want(admin, "ERR disk full", "ACL", "LOAD")
	r.want(temp, "NOPERM User temp has no permissions to run the 'ping' command", "PING")

	file.set(strings.Replace(good, "+get", "+ping", 1), nil)
	r.want(admin, "OK", "ACL", "LOAD")
	r.want(temp, "PONG", "PING")
	without := slices.DeleteFunc(strings.SplitAfter(good, "\n"), func(l string) bool { return strings.HasPrefix(l, "user temp") })
	file.set(strings.Join(without, ""), nil)
	r.want(admin, "OK", "ACL", "LOAD")
	r.await("close_conn", "user", "temp", "reason", "policy_changed")
	r.want(admin, "admin", "ACL", "WHOAMI")
}

// textFile is an ACL file that may fail.
type textFile struct {
	mu   sync.Mutex
	text string
	fail error
}

func (f *textFile) set(text string, fail error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text, f.fail = text, fail
}

func (f *textFile) read() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text, f.fail
}

func (f *textFile) write(text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		f.text = text
	}
	return f.fail
}

func TestUsersOfThePolicyAreNotChangedAtRunTime(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) { s.users["admin"] = aclAdmin })
	admin := r.login("admin")
	for _, line := range []string{"ACL SETUSER app on", "ACL DELUSER app", "ACL DELUSER nobody app"} {
		r.want(admin, "ERR User 'app' is defined in policy.yaml", strings.Fields(line)...)
	}
	r.want(admin, "OK", "ACL", "SETUSER", "temp", "on")
	r.want(admin, "ERR User 'app' is defined in policy.yaml", "ACL", "DELUSER", "temp", "app")
	r.want(admin, "[admin app root temp]", "ACL", "USERS")
	r.await("admin", "command", "acl|setuser app", "status", "failed", "user", "admin")
}

func TestChangesFromManyLoopsAllCount(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) { s.workers = 3 })
	done := make(chan error)
	const each = 20
	for i := range 6 {
		c := r.login("admin")
		go func() {
			for n := range each {
				if _, err := c.Do("ACL", "SETUSER", fmt.Sprintf("u%d-%d", i, n), "on"); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 6 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	users, err := r.login("admin").Do("ACL", "USERS")
	if err != nil || len(users.([]any)) != 6*each+3 {
		t.Errorf("%d users, want %d (%v)", len(users.([]any)), 6*each+3, err)
	}
}

func TestCOMMANDShowsWhatTheUserMayRun(t *testing.T) {
	r, direct := newACLTwins(t, func(s *setup) {
		s.users["few"] = "on ~a* +get +config|get +select|0 +scan +keys"
		s.users["none"] = "on"
	})
	list := func(c interface{ Do(...string) (any, error) }, args ...string) []string {
		t.Helper()
		v, err := c.Do(args...)
		if err != nil {
			t.Fatal(args, err)
		}
		var names []string
		for _, name := range v.([]any) {
			names = append(names, fmt.Sprint(name))
		}
		return names
	}
	admin := r.login("admin")
	r.want(admin, "OK", "ACL", "SETUSER", "few", "+command|list", "+command|info", "+command|count", "+command|docs")
	few := r.login("few")
	got := list(few, "COMMAND", "LIST")
	want := []string{"auth", "command", "command|count", "command|docs", "command|info", "command|list", "config", "config|get", "get", "hello", "keys", "quit", "reset", "scan", "select"}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("COMMAND LIST: %v, want %v", got, want)
	}
	r.want(few, "10", "COMMAND", "COUNT")
	v, err := few.Do("COMMAND", "INFO", "get", "set", "config", "info", "select")
	if err != nil {
		t.Fatal(err)
	}
	for i, shown := range []bool{true, false, true, false, true} {
		if (v.([]any)[i] != nil) != shown {
			t.Errorf("COMMAND INFO, entry %d: %v", i, v.([]any)[i])
		}
	}
	subs := v.([]any)[2].([]any)[9].([]any)
	if len(subs) != 1 || subs[0].([]any)[0] != "config|get" {
		t.Errorf("the subcommands of config: %v", subs)
	}
	if docs, err := few.Do("COMMAND", "DOCS", "get", "set"); err != nil || len(docs.([]any)) != 2 {
		t.Errorf("COMMAND DOCS get set: %v %v", docs, err)
	}
	wantDocs := "[config [summary Takes at least 1 arguments; @slow. group server subcommands [config|get [summary Takes at least 1 arguments; @admin @slow @dangerous. group server]]]]"
	if docs, err := few.Do("COMMAND", "DOCS", "config"); fmt.Sprint(docs) != wantDocs {
		t.Errorf("COMMAND DOCS config: %v %v", docs, err)
	}
	root := r.login("root")
	groups := 0
	ours := docGroupsOf(t, root)
	for name, theirs := range docGroupsOf(t, direct) {
		if mine := ours[name]; mine != "" && mine != theirs {
			t.Errorf("COMMAND DOCS puts %s in group %s, Redis in %s", name, mine, theirs)
		} else if mine != "" {
			groups++
		}
	}
	if groups < 100 {
		t.Errorf("only %d commands have a group", groups)
	}
	for _, filter := range [][]string{{"ACLCAT", "hash"}, {"PATTERN", "H[GS]ET*"}, {"PATTERN", "*client*|*"}, {"PATTERN", "nosuch"}} {
		mine := list(root, append([]string{"COMMAND", "LIST", "FILTERBY"}, filter...)...)
		for _, name := range list(direct, append([]string{"COMMAND", "LIST", "FILTERBY"}, filter...)...) {
			spec := command.Newest().ByName(name)
			guarded := spec.Categories.Names()
			if slices.Contains(guarded, "admin") || slices.Contains(guarded, "dangerous") {
				continue
			}
			if !slices.Contains(mine, name) {
				t.Errorf("COMMAND LIST FILTERBY %v lacks %s", filter, name)
			}
		}
	}
	if names := list(root, "COMMAND", "LIST"); slices.Contains(names, "flushall") || slices.Contains(names, "shutdown") || slices.Contains(names, "acl|setuser") {
		t.Error("COMMAND LIST shows root what the guard keeps from it")
	}
}

func TestGETKEYSANDFLAGSSaysHowKeysAreUsed(t *testing.T) {
	r, direct := newACLTwins(t, nil)
	for _, proto := range []string{"2", "3"} {
		mine, theirs := talk(t, r.addr("plain")), talk(t, direct.Addr())
		for _, k := range []*talker{mine, theirs} {
			k.ask("HELLO", proto, "AUTH", "root", "root-pw")
		}
		for _, line := range []string{"GET a", "MGET a b", "SET a 1", "GETSET a 1", "EXISTS a", "NOSUCH a", "CONFIG GET a", "BITFIELD_RO a GET u1 0", "STRLEN a"} {
			ask := words("COMMAND GETKEYSANDFLAGS " + line)
			if got, want := mine.ask(ask...), theirs.ask(ask...); got != want {
				t.Errorf("GETKEYSANDFLAGS %s in RESP%s:\nproxy %q\nRedis %q", line, proto, got, want)
			}
		}
	}
}

// docGroupsOf gives the group of each command by COMMAND DOCS.
func docGroupsOf(t *testing.T, c interface{ Do(...string) (any, error) }) map[string]string {
	t.Helper()
	v, err := c.Do("COMMAND", "DOCS")
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string]string{}
	list := v.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		entry := list[i+1].([]any)
		for j := 0; j+1 < len(entry); j += 2 {
			if entry[j] == "group" {
				groups[list[i].(string)] = entry[j+1].(string)
			}
		}
	}
	return groups
}
