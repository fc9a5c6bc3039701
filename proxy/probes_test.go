package proxy_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// probing are what clients and tools ask while they connect, and what those
// hear who may not run it.
var probing = []struct{ line, want string }{
	{"ROLE", "[master 0 []]"},
	{"CLUSTER INFO", "ERR This instance has cluster support disabled"},
	{"CLUSTER NODES", "ERR This instance has cluster support disabled"},
	{"CLUSTER SLOTS", "ERR This instance has cluster support disabled"},
	{"CLUSTER SHARDS", "ERR This instance has cluster support disabled"},
	{"CLUSTER MYID", "ERR This instance has cluster support disabled"},
	{"CLUSTER KEYSLOT x", "ERR This instance has cluster support disabled"},
	{"CLUSTER COUNTKEYSINSLOT 0", "ERR This instance has cluster support disabled"},
	{"CONFIG GET save", "[save ]"},
	{"CONFIG GET appendonly", "[appendonly no]"},
	{"CONFIG GET timeout", "[timeout 0]"},
	{"CONFIG GET databases", "[]"},
	{"INFO nosuch", ""},
	{"INFO cluster", "# Cluster\r\ncluster_enabled:0\r\n"},
	{"INFO keyspace modules", "# Modules\r\n\r\n# Keyspace\r\n"},
	{"INFO replication", "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"},
}

func answer(c interface{ Do(...string) (any, error) }, line string) string {
	v, err := c.Do(strings.Fields(line)...)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(v)
}

func TestProbesAreAnsweredAndNotRefused(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	for _, user := range []string{"app", "root"} {
		c := r.login(user)
		for _, p := range probing {
			if strings.HasPrefix(p.line, "CLUSTER") && user == "root" && !strings.Contains(p.line, "COUNT") {
				continue // allowed, and the node's own answer
			}
			if got := answer(c, p.line); got != p.want {
				t.Errorf("%s asks %s: %q, want %q", user, p.line, got, p.want)
			}
		}
	}
	m := r.scrape(t)
	if n := m.value(`sallyport_commands_total{class="shared",decision="answered"}`); n < float64(len(probing)) {
		t.Errorf("%v commands counted as answered", n)
	}
	for _, e := range r.events.all() {
		if e.is("refused") {
			t.Errorf("a probe is on record: %v", e)
		}
	}
}

func TestProbesAreRefusedWhereTheRulesOrTheSettingSaySo(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) {
		s.users["wary"] = "on ~* &* +@all -info -role -config|get -client|list -cluster"
	})
	wary, nobody := r.login("wary"), r.dial("plain", nil)
	for _, line := range []string{"INFO", "ROLE", "CONFIG GET save", "CLIENT LIST", "CLUSTER INFO"} {
		if got := answer(wary, line); !strings.HasPrefix(got, "NOPERM User wary has no permissions to run the '") {
			t.Errorf("who is denied %s by name hears %q", line, got)
		}
		if got := answer(nobody, line); got != "NOAUTH Authentication required." {
			t.Errorf("a stranger asking %s hears %q", line, got)
		}
	}
	strict := withRig(t, redistest.Start(t).Addr(), func(s *setup) { s.refuseProbes = true })
	root := strict.login("root")
	for _, line := range []string{"INFO", "ROLE", "CONFIG GET save", "CLIENT LIST"} {
		if got := answer(root, line); !strings.HasPrefix(got, "NOPERM") {
			t.Errorf("with probes refused, %s is answered %q", line, got)
		}
	}
}

func TestWhatIsNoHarmlessProbeStaysRefused(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	root := r.login("root")
	for _, line := range []string{
		"LATENCY LATEST", "LATENCY DOCTOR", "SLOWLOG GET", "SLOWLOG LEN", "DEBUG SLEEP 0", "DEBUG OBJECT x",
		"CONFIG GET requirepass", "CONFIG GET tls-key-file", "CONFIG SET timeout 1", "CONFIG RESETSTAT",
		"CLUSTER RESET", "MODULE LIST", "LASTSAVE", "ACL LOG",
	} {
		if got := answer(root, line); !strings.HasPrefix(got, "NOPERM User root has no permissions to run the '") {
			t.Errorf("%s is answered %q", line, got)
		}
	}
	app := r.login("app")
	for _, line := range []string{"MEMORY DOCTOR", "MEMORY STATS", "LATENCY LATEST", "SLOWLOG GET"} {
		if got := answer(app, line); !strings.HasPrefix(got, "NOPERM User app has no permissions to run the '") {
			t.Errorf("%s is answered %q", line, got)
		}
	}
}

func TestWhoMayRunAProbeHearsTheNode(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), func(s *setup) { s.users["tool"] = everything + " +info +role +config|get" })
	tool := r.login("tool")
	if got := answer(tool, "INFO server"); !strings.Contains(got, "redis_git_sha1:") {
		t.Errorf("INFO is %q", got)
	}
	if got := answer(tool, "CONFIG GET dir"); got != "[dir "+node.Dir()+"]" {
		t.Errorf("CONFIG GET dir is %q", got)
	}
	if got, err := node.Do("ROLE"); err != nil || answer(tool, "ROLE") != fmt.Sprint(got) {
		t.Errorf("ROLE is %q, the node says %v (%v)", answer(tool, "ROLE"), got, err)
	}
}

// Every field is one that Redis has, but for the one that says who answers, and
// the sections come in Redis's order.
func TestINFOHasRedissSectionsAndNames(t *testing.T) {
	r, direct := newACLTwins(t, nil)
	app := r.login("app")
	theirs, err := direct.Do("INFO", "everything")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"proxy": true}
	for line := range strings.Lines(theirs.(string)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		known[name] = true
	}
	// Since Redis 7.2.
	for _, name := range []string{"acl_access_denied_auth", "acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel"} {
		known[name] = true
	}
	sections := func(info string) (names []string) {
		for line := range strings.Lines(info) {
			if strings.HasPrefix(line, "#") {
				names = append(names, strings.TrimSpace(line))
			}
		}
		return names
	}
	for _, ask := range []string{"INFO", "INFO default", "INFO all", "INFO everything", "INFO server clients memory stats replication cpu modules keyspace", "info SERVER"} {
		mine := answer(app, ask)
		theirs, err := direct.Do(strings.Fields(ask)...)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(sections(theirs.(string)), func(n string) bool { return ask == "INFO all" && n == "# Modules" })
		got := slices.DeleteFunc(sections(mine), func(n string) bool { return ask == "INFO all" && n == "# Modules" })
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, Redis %v", ask, got, want)
		}
		for line := range strings.Lines(mine) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			if !known[name] || !strings.HasSuffix(line, "\r\n") {
				t.Errorf("%s has %q", ask, line)
			}
		}
	}
	info := answer(app, "INFO")
	for _, want := range []string{`redis_version:7\.0\.15`, `redis_mode:standalone`, `run_id:[0-9a-f]{40}`, `tcp_port:` + portOf(r.addr("plain")), `connected_clients:1`, `loading:0`, `maxclients:10000`} {
		if !regexp.MustCompile(`(?m)^` + want + `\r$`).MatchString(info) {
			t.Errorf("INFO lacks %s:\n%s", want, info)
		}
	}
	k := talk(t, r.addr("plain"))
	k.ask("HELLO", "3", "AUTH", "app", "app-pw")
	if got := k.ask("INFO", "cluster"); got != "=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n" {
		t.Errorf("in RESP3 INFO is %q", got)
	}
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// What libraries send while they connect must meet no error that they would
// take for a broken server, for a user with ordinary rights.
func TestConnectionSequencesOfClients(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	for _, c := range []struct {
		client string
		lines  []string // an error is one of the client's own expectations, behind "→"
	}{
		{"StackExchange.Redis", []string{
			"HELLO 3 AUTH app app-pw", "CLIENT SETNAME me", "CLIENT SETINFO lib-name SE.Redis", "CLIENT SETINFO lib-ver 2.8", "CLIENT ID",
			"CONFIG GET timeout", "CONFIG GET replica-read-only", "CONFIG GET databases", "INFO replication", "INFO server",
			"CLUSTER NODES → ERR This instance has cluster support disabled", "ECHO x",
		}},
		{"ioredis", []string{"AUTH app app-pw", "INFO", "CLIENT SETINFO LIB-NAME ioredis"}},
		{"lettuce", []string{"HELLO 3 AUTH app app-pw", "CLIENT SETINFO lib-name Lettuce", "PING", "ROLE", "INFO replication"}},
		{"redis-benchmark", []string{"AUTH app app-pw", "CONFIG GET save", "CONFIG GET appendonly"}},
		{"a browser of data", []string{"AUTH app app-pw", "INFO", "CLIENT LIST", "CONFIG GET databases", "CONFIG GET maxmemory"}},
	} {
		k, err := redistest.Dial("tcp", r.addr("plain"), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range c.lines {
			line, want, fails := strings.Cut(line, " → ")
			_, err := k.Do(strings.Fields(line)...)
			if fails && (err == nil || err.Error() != want) || !fails && err != nil {
				t.Errorf("%s sends %s: %v", c.client, line, err)
			}
		}
		k.Close()
	}
}

func TestRedisCLIStartsInteractivelyAndHelps(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	cli := r.program(t, "redis-cli", "app")
	// Before its first prompt it asks COMMAND DOCS, for HELP and completion.
	out := cli("HELP GET\nINFO server\nSET app:1 x\nGET app:1\nCLIENT LIST\n")
	for _, want := range []string{"Takes exactly 1 arguments; @read @string @fast.", "redis_mode:standalone", "OK", "x", "user=app"} {
		if !strings.Contains(out, want) {
			t.Errorf("redis-cli's output lacks %q:\n%s", want, out)
		}
	}
}

func TestGoRedisGetsItsProbesAnswered(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, protocol := range []int{2, 3} {
		c := r.goRedis(t, protocol, r.clientTLS("probing"), func(o *redis.Options) { o.Username, o.Password = "app", "app-pw" })
		if v, err := c.Info(ctx, "replication").Result(); err != nil || !strings.Contains(v, "role:master") {
			t.Errorf("Info: %q %v", v, err)
		}
		if v, err := c.ConfigGet(ctx, "save").Result(); err != nil || v["save"] != "" {
			t.Errorf("ConfigGet: %v %v", v, err)
		}
		if v, err := c.ClientList(ctx).Result(); err != nil || !strings.Contains(v, "user=app") {
			t.Errorf("ClientList: %q %v", v, err)
		}
		if err := c.ClusterInfo(ctx).Err(); err == nil || err.Error() != "ERR This instance has cluster support disabled" {
			t.Errorf("ClusterInfo: %v", err)
		}
		// The library ends a session's part in CLIENT INFO by reading every field.
		if v, err := c.Do(ctx, "ACL", "WHOAMI").Text(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("WHOAMI without the right: %q %v", v, err)
		}
	}
	root := r.goRedis(t, 3, r.clientTLS("probing"), func(o *redis.Options) { o.Username, o.Password = "admin", "admin-pw" })
	infos, err := root.Command(ctx).Result()
	if err != nil || infos["get"] == nil || infos["shutdown"] != nil {
		t.Errorf("Command: %d entries, %v", len(infos), err)
	}
	if v, err := root.ACLList(ctx).Result(); err != nil || len(v) != 3 {
		t.Errorf("ACLList: %v %v", v, err)
	}
	if err := root.ACLSetUser(ctx, "lib", "on", ">pw", "~x", "+get").Err(); err != nil {
		t.Error("ACLSetUser:", err)
	}
	if v, err := root.ACLDryRun(ctx, "lib", "get", "y").Result(); err != nil || v != "User lib has no permissions to access the 'y' key" {
		t.Errorf("ACLDryRun: %q %v", v, err)
	}
	if v, err := root.ACLDelUser(ctx, "lib").Result(); err != nil || v != 1 {
		t.Errorf("ACLDelUser: %v %v", v, err)
	}
	if v, err := root.ACLLog(ctx, 5).Result(); err != nil || len(v) == 0 || v[0].Username != "app" {
		t.Errorf("ACLLog: %v %v", v, err)
	}
}
