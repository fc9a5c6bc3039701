package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/proxy/resp"
)

// twins are the proxy and, side by side, a redis-server with the same users,
// spoken to directly.
type twins struct {
	r      *rig
	node   *redistest.Server // behind the proxy
	direct *redistest.Server
}

func newTwins(t *testing.T) *twins {
	t.Helper()
	w := &twins{node: redistest.Start(t), direct: redistest.Start(t)}
	w.r = withRig(t, w.node.Addr(), func(s *setup) {
		s.users["tool"] = "on ~* &* +@all +config|get +client|list +client|info"
		s.users["narrow"] = "on ~app:* +get +set -client"
		s.users["lifted"] = everything
		for _, spec := range command.Newest().Specs() {
			if len(spec.Subs) == 0 && spec.Class != command.Refused {
				s.users["lifted"] += " +" + spec.Name
			}
		}
		for name, rules := range s.users {
			if name == "lifted" {
				continue // it names commands that this server lacks
			}
			args := append([]string{"ACL", "SETUSER", name, "reset", ">" + name + "-pw"}, strings.Fields(rules)...)
			if _, err := w.direct.Do(args...); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.direct.Do("ACL", "SETUSER", "default", "off", ">x"); err != nil {
			t.Fatal(err)
		}
	})
	return w
}

// talker reads replies as they are on the wire.
type talker struct {
	t    testing.TB
	conn net.Conn
	read resp.Framer
	rest []byte
}

func talk(t testing.TB, addr string) *talker {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { nc.Close() })
	tk := &talker{t: t, conn: nc}
	tk.read.Reset(3)
	return tk
}

// reply is the next reply, or "closed".
func (k *talker) reply() string {
	k.t.Helper()
	var whole []byte
	buf := make([]byte, 32<<10)
	for {
		for len(k.rest) > 0 {
			n, done, err := k.read.Next(k.rest)
			if err != nil {
				k.t.Fatalf("%v in %q", err, k.rest)
			}
			whole = append(whole, k.rest[:n]...)
			k.rest = k.rest[n:]
			if done {
				return string(whole)
			}
		}
		n, err := k.conn.Read(buf)
		k.rest = buf[:n:n]
		if n == 0 {
			if len(whole) > 0 {
				k.t.Fatalf("the connection ended within a reply: %q, %v", whole, err)
			}
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				k.t.Fatal("no reply came")
			}
			return "closed"
		}
	}
}

func (k *talker) ask(args ...string) string {
	k.t.Helper()
	k.conn.Write(redistest.Encode(args...))
	return k.reply()
}

// words cuts a line at blanks. "·" is a blank within a word, "∅" an empty word, "¶" a line end.
func words(line string) []string {
	args := strings.Split(line, " ")
	for i, a := range args {
		args[i] = strings.NewReplacer("·", " ", "∅", "", "¶", "\n").Replace(a)
	}
	return args
}

// comparable hides what two connections can't have in common, and that NOPERM
// names its user, and not its kind of key, since Redis 7.2.
func comparable(reply string) string {
	if reply == "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n" {
		return "-NOPERM No permissions to access a key\r\n"
	}
	reply = ownIDs.ReplaceAllString(reply, "$1:N")
	return noPerm.ReplaceAllString(reply, "-NOPERM $$USER has")
}

var (
	ownIDs = regexp.MustCompile(`(\r\nid\r\n):\d+`)
	noPerm = regexp.MustCompile(`^-NOPERM (?:this user|User \S+) has`)
)

// localLines are asked each on a connection of its own, as a stranger and as
// users, in RESP2 and RESP3. After each come PING and GETNAME, so that a
// difference in the state it leaves shows.
var localLines = strings.Split(strings.TrimSpace(`
PING
ping hello
PING ∅
PING a b
ECHO
ECHO a
ECHO ∅
ECHO a·b¶c
ECHO a b
QUIT
QUIT now
RESET
RESET x
AUTH
AUTH wrong
AUTH x
AUTH ∅
AUTH app wrong
AUTH app app-pw
AUTH nobody app-pw
AUTH APP app-pw
AUTH ∅ ∅
AUTH default x
AUTH app app-pw more
HELLO
HELLO 2
HELLO 3
HELLO 4
HELLO 1
HELLO 0
HELLO -3
HELLO +3
HELLO 03
HELLO 3.0
HELLO abc
HELLO ∅
HELLO 99999999999999999999
HELLO 3 AUTH app app-pw
HELLO 2 AUTH app app-pw
HELLO 3 auth app app-pw setname me
HELLO 3 SETNAME me AUTH app app-pw
HELLO 3 AUTH app wrong
HELLO 3 AUTH nobody wrong
HELLO 3 AUTH app
HELLO 3 AUTH
HELLO 4 AUTH app app-pw
HELLO abc AUTH app wrong
HELLO 3 SETNAME me
HELLO 2 SETNAME a·b
HELLO 3 SETNAME
HELLO 3 SETNAME ∅
HELLO 3 NOSUCH
HELLO 3 SETNAME me NOSUCH
HELLO AUTH app app-pw
HELLO 3 AUTH app wrong SETNAME me
HELLO 3 AUTH app app-pw AUTH root root-pw
SELECT
SELECT 0
SELECT 1
SELECT 15
SELECT 16
SELECT -1
SELECT -0
SELECT +1
SELECT 01
SELECT abc
SELECT ∅
SELECT 1·
SELECT 1 2
SELECT 2147483647
SELECT 2147483648
SELECT 4294967296
SELECT 99999999999999999999
CLIENT
CLIENT NOSUCH
CLIENT ID x
CLIENT GETNAME
CLIENT GETNAME x
CLIENT SETNAME
CLIENT SETNAME me
CLIENT SETNAME ∅
CLIENT SETNAME a·b
CLIENT SETNAME a¶b
CLIENT SETNAME ä
CLIENT SETNAME a!~
CLIENT SETNAME a b
CLIENT SETINFO
CLIENT SETINFO lib-name x
CLIENT SETINFO lib-ver a·b
CLIENT SETINFO nosuch x
COMMAND NOSUCH
COMMAND COUNT x
COMMAND INFO nosuch
COMMAND INFO ∅
COMMAND GETKEYS
COMMAND GETKEYS GET a
COMMAND GETKEYS MSET a 1 b 2
COMMAND GETKEYS GET
COMMAND GETKEYS NOSUCH a
COMMAND GETKEYS PING
COMMAND GETKEYS CONFIG GET save
COMMAND GETKEYS EVAL s 2 a b
COMMAND GETKEYS EVAL s x a b
COMMAND GETKEYS EVAL s 5 a b
COMMAND GETKEYS EVAL s 0
COMMAND GETKEYS SPUBLISH c m
COMMAND GETKEYS XREAD COUNT 1 STREAMS a b 0 0
COMMAND GETKEYS ZUNIONSTORE d 2 a b
COMMAND GETKEYS SORT a STORE d
COMMAND LIST FILTERBY
COMMAND LIST FILTERBY NOSUCH x
COMMAND LIST FILTERBY MODULE nosuch
COMMAND LIST FILTERBY ACLCAT nosuch
COMMAND LIST x
CONFIG
CONFIG GET
CONFIG NOSUCH
ACL
ACL NOSUCH
ACL WHOAMI
ACL WHOAMI x
`), "\n")

// intended is where the proxy answers otherwise than Redis 7.0.15 does, and
// why. as holds who sees it: "stranger", a user's name, or "" for everybody.
var intended = []struct {
	as, line string
	proxy    string // pattern of the proxy's reply
	redis    string // pattern of Redis's
	why      string
}{
	{"stranger", `.*`, `-NOAUTH Authentication required\.\r\n`, `-ERR (wrong number of arguments|unknown subcommand).*`,
		"a stranger learns nothing about commands"},
	{"stranger", `HELLO.*`, `-NOAUTH HELLO .* HELLO <proto> AUTH .*`, `-NOAUTH HELLO .* HELLO AUTH .*`,
		"the wording of Redis 7.2"},
	{"", `HELLO 3 SETNAME me (NOSUCH|AUTH app wrong), then CLIENT GETNAME`, `\$-1\r\n|_\r\n`, `\$2\r\nme\r\n`,
		"of a HELLO that fails nothing takes effect, as in Redis 7.2"},
	{"", `CLIENT SETINFO.*`, `\+OK\r\n|-ERR (wrong number|lib-ver cannot contain spaces|Unrecognized option).*`, `-ERR unknown subcommand 'SETINFO'.*`,
		"CLIENT SETINFO came with Redis 7.2"},
	{"narrow", `CLIENT SETINFO.*`, `-NOPERM \$USER has no permissions to run the 'client\|setinfo' command\r\n|-ERR wrong number.*`, `-ERR unknown subcommand 'SETINFO'.*`,
		"CLIENT SETINFO came with Redis 7.2, for those without rights, too"},
	{"", `COMMAND GETKEYS (GET|PING)`, `-ERR (Invalid number of arguments specified for command|The command has no key arguments)\r\n|-NOPERM.*`,
		`-ERR wrong number of arguments for 'command\|getkeys' command\r\n`, "COMMAND GETKEYS takes a command without arguments since Redis 7.2"},
}

func difference(as, line, proxy, redis string) (why string) {
	for _, d := range intended {
		if d.as != "" && d.as != as || !match(d.line, line) || !match(d.proxy, proxy) || !match(d.redis, redis) {
			continue
		}
		return d.why
	}
	return ""
}

func match(pattern, s string) bool {
	return regexp.MustCompile(`(?s)^(?:` + pattern + `)$`).MatchString(s)
}

func TestLocalAnswersAreRedissToTheByte(t *testing.T) {
	w := newTwins(t)
	used := map[string]bool{}
	for _, as := range []string{"stranger", "root", "app", "narrow"} {
		for _, proto := range []string{"2", "3"} {
			if as == "stranger" && proto == "3" {
				continue // it would have to log in first
			}
			t.Run(as+" RESP"+proto, func(t *testing.T) {
				for _, line := range localLines {
					both := [2]*talker{talk(t, w.r.addr("plain")), talk(t, w.direct.Addr())}
					var heard [2][]string
					for i, k := range both {
						if as != "stranger" {
							k.ask("HELLO", proto, "AUTH", as, as+"-pw")
						}
						for _, next := range []string{line, "PING", "CLIENT GETNAME"} {
							heard[i] = append(heard[i], comparable(k.ask(words(next)...)))
						}
						k.conn.Close()
					}
					for i, what := range []string{line, line + ", then PING", line + ", then CLIENT GETNAME"} {
						proxy, redis := heard[0][i], heard[1][i]
						if proxy == redis {
							continue
						}
						why := difference(as, what, proxy, redis)
						if why == "" {
							t.Errorf("%s:\nproxy %q\nRedis %q", what, proxy, redis)
						}
						used[why] = true
					}
				}
			})
		}
	}
	for _, d := range intended {
		if !used[d.why] {
			t.Errorf("no difference is left of this kind: %s", d.why)
		}
	}
}

// A user default that needs no password has AUTH with one word refused.
func TestAUTHWithOneWordWhereNoPasswordIsSet(t *testing.T) {
	w := newTwins(t)
	if _, err := w.direct.Do("ACL", "SETUSER", "default", "on", "nopass", "+@all", "~*", "&*"); err != nil {
		t.Fatal(err)
	}
	text := func(s string) acl.Text { return acl.Text{Value: s} }
	p, problems := acl.Compile(acl.Source{
		Table:     command.Newest(),
		Listeners: []acl.ListenerSource{{Name: text("plain"), Anonymous: true}, {Name: text("gateway"), Anonymous: true}},
		Users:     []acl.UserSource{{Name: text("default"), Rules: text("on nopass ~* &* +@all")}},
	})
	if p == nil {
		t.Fatal(problems)
	}
	w.r.server.SetPolicy(p)
	proxy, redis := talk(t, w.r.addr("plain")), talk(t, w.direct.Addr())
	for _, line := range []string{"PING", "AUTH x", "AUTH default x", "AUTH default ∅", "PING", "CLIENT SETNAME me", "SELECT 1", "RESET", "PING", "CLIENT GETNAME", "HELLO 3", "RESET", "HELLO"} {
		if got, want := comparable(proxy.ask(words(line)...)), comparable(redis.ask(words(line)...)); got != want {
			t.Errorf("%s:\nproxy %q\nRedis %q", line, got, want)
		}
	}
}

func TestCLIENTIDCountsAndNeverRepeats(t *testing.T) {
	w := newTwins(t)
	last := int64(0)
	for range 3 {
		c := w.r.login("root")
		id, err := c.Do("CLIENT", "ID")
		if n, ok := id.(int64); !ok || n <= last || err != nil {
			t.Fatalf("CLIENT ID is %v (%v) after %d", id, err, last)
		} else {
			last = n
		}
		w.r.want(c, fmt.Sprint(id), "CLIENT", "ID")
		hello, err := c.Do("HELLO", "2")
		if fields, ok := hello.([]any); !ok || err != nil || len(fields) != 14 || fields[7] != id {
			t.Fatalf("HELLO says %v, CLIENT ID %v", hello, id)
		}
	}
}

// fields is a line of CLIENT LIST, in its order.
func fields(t *testing.T, line string) (names []string, values map[string]string) {
	t.Helper()
	if !strings.HasSuffix(line, "\n") || strings.Count(line, "\n") != 1 {
		t.Fatalf("not one line: %q", line)
	}
	values = map[string]string{}
	for _, pair := range strings.Split(strings.TrimSuffix(line, "\n"), " ") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			t.Fatalf("%q in %q", pair, line)
		}
		names = append(names, name)
		values[name] = value
	}
	return names, values
}

// CLIENT INFO and LIST have Redis's fields in Redis's order, but for what the
// proxy does not know and what newer versions added.
func TestCLIENTINFOAndLISTHaveRedissShape(t *testing.T) {
	w := newTwins(t)
	for _, proto := range []string{"2", "3"} {
		for _, line := range []string{"CLIENT INFO", "CLIENT LIST"} {
			both := []*talker{talk(t, w.r.addr("plain")), talk(t, w.direct.Addr())}
			var names [2][]string
			var values [2]map[string]string
			for i, k := range both {
				k.ask("HELLO", proto, "AUTH", "root", "root-pw", "SETNAME", "me")
				k.ask("SELECT", "4")
				reply := k.ask(words(line)...)
				head, body, _ := strings.Cut(reply, "\r\n")
				body = strings.TrimSuffix(body, "\r\n")
				switch {
				case proto == "2" && !strings.HasPrefix(head, "$"), proto == "3" && !(strings.HasPrefix(head, "=") && strings.HasPrefix(body, "txt:")):
					t.Fatalf("%s in RESP%s is %q", line, proto, reply)
				}
				body = strings.TrimPrefix(body, "txt:")
				if line == "CLIENT LIST" { // Redis shows the rig's and the proxy's own connections, too
					for one := range strings.Lines(body) {
						if strings.Contains(one, " name=me ") {
							body = one
						}
					}
				}
				names[i], values[i] = fields(t, body)
				if local := k.conn.LocalAddr().String(); values[i]["addr"] != local {
					t.Errorf("addr is %s, want %s", values[i]["addr"], local)
				}
				if remote := k.conn.RemoteAddr().String(); values[i]["laddr"] != remote {
					t.Errorf("laddr is %s, want %s", values[i]["laddr"], remote)
				}
				k.conn.Close()
			}
			known := slices.DeleteFunc(names[1], func(n string) bool {
				return slices.Contains([]string{"fd", "qbuf-free", "argv-mem", "multi-mem", "rbs", "rbp", "oll", "omem", "tot-mem"}, n)
			})
			shared := slices.DeleteFunc(names[0], func(n string) bool { return slices.Contains([]string{"watch", "lib-name", "lib-ver"}, n) })
			if !slices.Equal(known, shared) {
				t.Errorf("%s has %v, Redis %v", line, shared, known)
			}
			for _, same := range []string{"name", "flags", "db", "sub", "psub", "multi", "user", "redir", "resp", "cmd"} {
				if values[0][same] != values[1][same] {
					t.Errorf("%s: %s=%s, Redis says %s", line, same, values[0][same], values[1][same])
				}
			}
		}
	}
}

// COMMAND speaks of the newest commands known, of which Redis 7.0's are a part.
func TestCOMMANDHoldsWhatRedisHas(t *testing.T) {
	w := newTwins(t)
	proxy := w.r.login("lifted")
	ask := func(args ...string) (mine, redis []any) {
		t.Helper()
		a, err := proxy.Do(args...)
		if err != nil {
			t.Fatal(err)
		}
		b, err := w.direct.Do(args...)
		if err != nil {
			t.Fatal(err)
		}
		return a.([]any), b.([]any)
	}
	list, theirs := ask("COMMAND", "LIST")
	count, err := proxy.Do("COMMAND", "COUNT")
	commands := slices.DeleteFunc(slices.Clone(list), func(name any) bool { return strings.Contains(name.(string), "|") })
	if err != nil || count != int64(len(commands)) {
		t.Errorf("COMMAND COUNT is %v (%v), COMMAND LIST has %d", count, err, len(commands))
	}
	for _, name := range theirs {
		if shown := slices.Contains(list, name); shown == neverRun(name.(string)) {
			t.Errorf("COMMAND LIST shows %v: %v", name, shown)
		}
	}
	acl, theirs := ask("COMMAND", "LIST", "FILTERBY", "ACLCAT", "hyperloglog")
	for _, name := range theirs {
		if !slices.Contains(acl, name) {
			t.Errorf("COMMAND LIST FILTERBY ACLCAT hyperloglog lacks %v", name)
		}
	}
	query := []string{"COMMAND", "INFO", "get", "SET", "del", "mset", "hset", "zadd", "xadd", "sort", "eval", "object",
		"config", "auth", "ping", "nosuch", "lmove", "rename", "bitop"}
	mine, theirs := ask(query...)
	for i, name := range query[2:] {
		if theirs[i] == nil || mine[i] == nil {
			if theirs[i] != mine[i] {
				t.Errorf("COMMAND INFO %s: %v, Redis says %v", name, mine[i], theirs[i])
			}
			continue
		}
		a, b := mine[i].([]any), theirs[i].([]any)
		if len(a) != len(b) {
			t.Fatalf("COMMAND INFO %s has %d parts, Redis's %d", name, len(a), len(b))
		}
		for part, what := range map[int]string{0: "name", 1: "arity", 3: "first key", 4: "last key", 5: "step"} {
			if a[part] != b[part] {
				t.Errorf("COMMAND INFO %s: %s is %v, Redis says %v", name, what, a[part], b[part])
			}
		}
		for part, what := range map[int]string{2: "flags", 6: "categories"} {
			for _, v := range b[part].([]any) {
				if !slices.Contains(a[part].([]any), v) {
					t.Errorf("COMMAND INFO %s: %s %v lack %v", name, what, a[part], v)
				}
			}
		}
	}
}

// neverRun is what the never list takes from everybody, and what no proxy can carry.
func neverRun(name string) bool {
	container, _, _ := strings.Cut(name, "|")
	return slices.Contains([]string{
		"shutdown", "debug", "module", "replicaof", "slaveof", "sync", "psync", "replconf", "failover", "monitor",
		"bgrewriteaof", "bgsave", "save", "swapdb", "migrate",
	}, container)
}

// redis-benchmark asks CONFIG GET before it begins. Who may, gets the node's own
// answer; who may not, one that says nothing about the node.
func TestCONFIGGETIsTheNodesOwnForThoseWhoMay(t *testing.T) {
	w := newTwins(t)
	if _, err := w.node.Do("CONFIG", "SET", "save", "900 1"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ user, proto, ask, want string }{
		{"tool", "2", "CONFIG GET save", "*2\r\n$4\r\nsave\r\n$5\r\n900 1\r\n"},
		{"tool", "3", "config get SAVE", "%1\r\n$4\r\nSAVE\r\n$5\r\n900 1\r\n"},
		{"tool", "2", "CONFIG GET maxclient?", "*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n"},
		{"app", "2", "CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"},
		{"app", "3", "CONFIG GET appendonly", "%1\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"},
		{"app", "2", "CONFIG GET save appendonly", "*4\r\n$10\r\nappendonly\r\n$2\r\nno\r\n$4\r\nsave\r\n$0\r\n\r\n"},
		{"root", "2", "CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"},
		{"app", "2", "CONFIG GET maxclient?", "*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n"},
		{"app", "2", "CONFIG GET timeout databases", "*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"},
		{"app", "3", "CONFIG GET maxmemory", "%0\r\n"},
		{"app", "2", "CONFIG GET requirepass", "-NOPERM User app has no permissions to run the 'config|get' command\r\n"},
		{"root", "2", "CONFIG GET save dir", "-NOPERM User root has no permissions to run the 'config|get' command\r\n"},
		{"root", "2", "CONFIG GET tls-*", "-NOPERM User root has no permissions to run the 'config|get' command\r\n"},
		{"tool", "2", "CONFIG SET save ∅", "-NOPERM User tool has no permissions to run the 'config|set' command\r\n"},
	} {
		k := talk(t, w.r.addr("plain"))
		k.ask("HELLO", c.proto, "AUTH", c.user, c.user+"-pw")
		if got := k.ask(words(c.ask)...); got != c.want {
			t.Errorf("%s asks %s in RESP%s: %q, want %q", c.user, c.ask, c.proto, got, c.want)
		}
		k.conn.Close()
	}
}

// pipelined sends all lines in one write and returns their replies.
func (k *talker) pipelined(lines ...string) []string {
	k.t.Helper()
	var all []byte
	for _, l := range lines {
		all = append(all, redistest.Encode(words(l)...)...)
	}
	k.conn.Write(all)
	replies := make([]string, len(lines))
	for i := range replies {
		replies[i] = comparable(k.reply())
	}
	return replies
}

func TestALocalAnswerKeepsItsPlaceInAPipeline(t *testing.T) {
	w := newTwins(t)
	lines := []string{
		"HELLO 2 AUTH root root-pw", "SET a 1", "PING", "GET a", "ECHO x", "INCR a", "CLIENT GETNAME", "GET a", "GET none", "PING y",
		"SELECT 1", "GET a", "SET a one", "SELECT 0", "GET a", "SELECT 16", "GET a", "SELECT abc", "GET a",
		"HELLO 3", "GET none", "CLIENT GETNAME", "GET a", "HGETALL none", "HELLO 4", "GET none", "HELLO 2", "GET none",
		"NOSUCH", "GET a", "GET", "GET a", "CLIENT SETNAME me", "GET a", "CLIENT GETNAME", "SELECT 1", "GET a", "HELLO 3", "SELECT 1",
		"RESET", "GET a", "AUTH root root-pw", "GET a", "GET none", "CLIENT GETNAME", "AUTH root wrong", "GET a", "SELECT 1", "GET a", "QUIT",
	}
	proxy, redis := talk(t, w.r.addr("plain")).pipelined(lines...), talk(t, w.direct.Addr()).pipelined(lines...)
	for i, l := range lines {
		if proxy[i] != redis[i] {
			t.Errorf("%d %s:\nproxy %q\nRedis %q", i, l, proxy[i], redis[i])
		}
	}
}

// Any pipeline gets what Redis gives, reply by reply, and leaves every database
// as Redis leaves it.
func TestPipelinesOfAnyMixtureAreAnsweredAsByRedis(t *testing.T) {
	w := newTwins(t)
	seed := rand.Uint64()
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	kinds := []string{
		"GET k%d", "SET k%d v%d", "INCR n%d", "APPEND k%d %d", "DEL k%d", "LPUSH l%d %d", "LRANGE l%d 0 3", "HSET h%d f %d", "HGETALL h%d", "EXISTS k%d",
		"ZADD z%d %d m", "ZSCORE z%d m", "GET k%d", "INCR k%d", "MGET k%d n%d",
		"PING", "PING %d", "ECHO %d", "SELECT %d", "SELECT %d", "SELECT 1%d", "HELLO 3", "HELLO 2", "HELLO", "HELLO 3 AUTH app app-pw", "AUTH root root-pw",
		"AUTH root %d", "CLIENT SETNAME n%d", "CLIENT GETNAME", "NOSUCH %d", "GET", "RESET", "HELLO 2 AUTH root root-pw", "AUTH app app-pw",
	}
	rounds := 300
	if testing.Short() {
		rounds = 100
	}
	for round := range rounds {
		lines := []string{"HELLO 2 AUTH root root-pw"}
		for range rnd.IntN(60) {
			kind := kinds[rnd.IntN(len(kinds))]
			args := make([]any, strings.Count(kind, "%d"))
			for i := range args {
				args[i] = rnd.IntN(4)
			}
			lines = append(lines, fmt.Sprintf(kind, args...))
		}
		a, b := talk(t, w.r.addr("plain")), talk(t, w.direct.Addr())
		proxy, redis := a.pipelined(lines...), b.pipelined(lines...)
		for i, l := range lines {
			if proxy[i] != redis[i] && difference("stranger", l, proxy[i], redis[i]) == "" {
				unknown := redis[i] == "-ERR unknown command 'NOSUCH', with args beginning with: '"+strings.TrimPrefix(l, "NOSUCH ")+"' \r\n"
				if unknown && proxy[i] == noAuth {
					continue // a stranger learns nothing about commands
				}
				t.Fatalf("round %d, %d of %v:\nproxy %q\nRedis %q", round, i, lines, proxy[i], redis[i])
			}
		}
		a.conn.Close()
		b.conn.Close()
	}
	for db := range 14 {
		mine, theirs := dump(t, w.node, db), dump(t, w.direct, db)
		if mine != theirs {
			t.Errorf("database %d holds\n%s\nRedis has\n%s", db, mine, theirs)
		}
	}
}

// dump is all that a database of the tests above holds.
func dump(t *testing.T, s *redistest.Server, db int) string {
	t.Helper()
	c, err := redistest.Dial("tcp", s.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Do("AUTH", "root", "root-pw") // one of the two has users
	if _, err := c.Do("SELECT", fmt.Sprint(db)); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, kind := range []string{"k", "n", "l", "h", "z"} {
		for i := range 4 {
			v, err := c.Do("DUMP", fmt.Sprint(kind, i))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%s%d=%q", kind, i, v))
		}
	}
	return strings.Join(all, "\n")
}

func TestSessionsInDifferentDatabasesDoNotMeet(t *testing.T) {
	w := newTwins(t)
	const dbs, rounds = 5, 100
	done := make(chan error, dbs)
	for db := range dbs {
		k := talk(t, w.r.addr("plain"))
		k.ask("HELLO", fmt.Sprint(2+db%2), "AUTH", "root", "root-pw")
		go func() {
			done <- func() error {
				for n := range rounds {
					// It moves away and back within each pipeline; what it finds is its own.
					mine, other := fmt.Sprintf("db%d-%d", db, n), 10+db
					got := k.pipelined(fmt.Sprint("SELECT ", db), "SET shared "+mine, fmt.Sprint("SELECT ", other), "SET shared away-"+mine, "GET shared", fmt.Sprint("SELECT ", db), "GET shared")
					want := []string{"+OK\r\n", "+OK\r\n", "+OK\r\n", "+OK\r\n", fmt.Sprintf("$%d\r\naway-%s\r\n", len(mine)+5, mine), "+OK\r\n", fmt.Sprintf("$%d\r\n%s\r\n", len(mine), mine)}
					if !slices.Equal(got, want) {
						return fmt.Errorf("database %d round %d: %q, want %q", db, n, got, want)
					}
				}
				return nil
			}()
		}()
	}
	for range dbs {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
