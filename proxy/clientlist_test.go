package proxy_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// usersIn gives the user of each line of CLIENT LIST, and checks that ids rise.
func usersIn(t *testing.T, list string) []string {
	t.Helper()
	var users []string
	last := 0
	for line := range strings.Lines(list) {
		_, values := fields(t, line)
		id, err := strconv.Atoi(values["id"])
		if err != nil || id <= last {
			t.Errorf("id %s comes after %d", values["id"], last)
		}
		last = id
		users = append(users, values["user"])
	}
	return users
}

func idOf(t *testing.T, c *redistest.Client) string {
	t.Helper()
	v, err := c.Do("CLIENT", "ID")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(v)
}

func TestCLIENTLISTShowsOnesOwnUserAndEverybodyToWhoNamesIt(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) { s.workers = 3 })
	var apps []*redistest.Client
	for range 4 {
		apps = append(apps, r.login("app"))
	}
	root, admin, stranger := r.login("root"), r.login("admin"), r.dial("plain", nil)
	if _, err := stranger.Do("PING"); err == nil {
		t.Fatal("a stranger is served")
	}
	if got := usersIn(t, answer(apps[0], "CLIENT LIST")); !slices.Equal(got, []string{"app", "app", "app", "app"}) {
		t.Errorf("app sees %v", got)
	}
	if got := usersIn(t, answer(root, "CLIENT LIST")); !slices.Equal(got, []string{"root"}) {
		t.Errorf("root sees %v", got)
	}
	if got := usersIn(t, answer(admin, "CLIENT LIST")); !slices.Equal(got, []string{"app", "app", "app", "app", "root", "admin", "(none)"}) {
		t.Errorf("admin sees %v", got)
	}
	if got := usersIn(t, answer(admin, "CLIENT LIST ID "+idOf(t, apps[1])+" "+idOf(t, root)+" 999999")); !slices.Equal(got, []string{"app", "root"}) {
		t.Errorf("CLIENT LIST ID shows %v", got)
	}
	if got := answer(apps[0], "CLIENT LIST ID "+idOf(t, root)); got != "" {
		t.Errorf("app sees of root's session %q", got)
	}
	if got := usersIn(t, answer(admin, "client list type NORMAL")); len(got) != 7 {
		t.Errorf("of type normal are %v", got)
	}
	if got := answer(admin, "CLIENT LIST TYPE pubsub"); got != "" {
		t.Errorf("of type pubsub are %q", got)
	}
}

func TestCLIENTKILLEndsOnesOwnUsersSessionsAndAnyForWhoNamesIt(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) {
		s.workers = 3
		s.users["few"] = "on ~* +get +ping"
	})
	gone := func(c *redistest.Client) {
		t.Helper()
		if v, err := c.Do("PING"); err == nil {
			t.Errorf("a killed session answers %v", v)
		}
	}
	admin, one, two := r.login("admin"), r.login("root"), r.login("root")
	var apps []*redistest.Client
	for range 3 {
		apps = append(apps, r.login("app"))
	}
	// Only the guard keeps root from CLIENT KILL: within its own user it may.
	for _, id := range []string{idOf(t, admin), idOf(t, apps[0])} {
		r.want(one, "0", "CLIENT", "KILL", "ID", id)
	}
	r.want(one, "0", "CLIENT", "KILL", "USER", "app")
	r.want(one, "0", "CLIENT", "KILL", "USER", "nosuch") // nor does it learn who else there is
	r.want(admin, "ERR No such user 'nosuch'", "CLIENT", "KILL", "USER", "nosuch")
	r.want(one, "1", "CLIENT", "KILL", "ID", idOf(t, two))
	gone(two)
	r.await("close_conn", "user", "root", "reason", "killed")
	// few's rules do not hold it at all.
	few := r.login("few")
	r.want(few, "NOPERM User few has no permissions to run the 'client|kill' command", "CLIENT", "KILL", "USER", "few")
	r.want(admin, "1", "CLIENT", "KILL", "ID", idOf(t, apps[0]))
	gone(apps[0])
	r.want(admin, "2", "CLIENT", "KILL", "USER", "app", "SKIPME", "no", "TYPE", "normal")
	gone(apps[1])
	gone(apps[2])
	r.want(admin, "0", "CLIENT", "KILL", "USER", "admin")
	list := answer(admin, "CLIENT LIST")
	for line := range strings.Lines(list) {
		if _, values := fields(t, line); values["user"] == "root" {
			r.want(admin, "OK", "CLIENT", "KILL", values["addr"])
		}
	}
	gone(one)
	r.want(admin, "ERR No such client", "CLIENT", "KILL", "127.0.0.1:1")
	r.want(admin, "ERR No such client", "CLIENT", "KILL", "")
	r.want(admin, "0", "CLIENT", "KILL", "ADDR", "", "SKIPME", "no")
	k := talk(t, r.addr("plain"))
	k.ask("AUTH", "admin", "admin-pw")
	id := strings.TrimSpace(strings.TrimPrefix(k.ask("CLIENT", "ID"), ":"))
	if got := k.ask("CLIENT", "KILL", "ID", id, "SKIPME", "no"); got != ":1\r\n" {
		t.Errorf("who kills himself hears %q", got)
	}
	if got := k.reply(); got != "closed" {
		t.Errorf("and then %q", got)
	}
}

// clientLines have answers that do not depend on who else is there.
var clientLines = strings.Split(strings.TrimSpace(`
CLIENT LIST x
CLIENT LIST TYPE
CLIENT LIST TYPE nosuch
CLIENT LIST TYPE pubsub
CLIENT LIST TYPE normal x
CLIENT LIST ID
CLIENT LIST ID x
CLIENT LIST ID 0
CLIENT LIST ID -1
CLIENT LIST ID 999999999
CLIENT KILL
CLIENT KILL 127.0.0.1:1
CLIENT KILL ID
CLIENT KILL ID 0
CLIENT KILL ID x
CLIENT KILL ID 999999999
CLIENT KILL TYPE nosuch
CLIENT KILL TYPE pubsub
CLIENT KILL USER nosuch
CLIENT KILL ADDR 1.2.3.4:5
CLIENT KILL LADDR 1.2.3.4:5
CLIENT KILL SKIPME maybe
CLIENT KILL ADDR 1.2.3.4:5 SKIPME yes
CLIENT KILL ADDR 1.2.3.4:5 SKIPME
CLIENT KILL NOSUCH x
CLIENT GETREDIR
CLIENT GETREDIR x
CLIENT TRACKINGINFO
CLIENT CACHING yes
CLIENT CACHING maybe
CLIENT UNBLOCK 999999999
CLIENT UNBLOCK x
CLIENT UNBLOCK 1 TIMEOUT
CLIENT UNBLOCK 999999999 error
CLIENT UNBLOCK 999999999 nosuch
CLIENT UNBLOCK 1 TIMEOUT x
CLIENT TRACKING off
CLIENT REPLY on
CLIENT NO-EVICT off
`), "\n")

func TestCLIENTAnswersAreRedissToTheByte(t *testing.T) {
	r, direct := newACLTwins(t, func(s *setup) { s.users["admin"] += " +client|no-evict" })
	for _, proto := range []string{"2", "3"} {
		for _, line := range clientLines {
			mine, theirs := talk(t, r.addr("plain")), talk(t, direct.Addr())
			var said [2]string
			for i, k := range []*talker{mine, theirs} {
				k.ask("HELLO", proto, "AUTH", "admin", "admin-pw")
				said[i] = k.ask(words(line)...)
				k.conn.Close()
			}
			if said[0] != said[1] {
				t.Errorf("%s in RESP%s:\nproxy %q\nRedis %q", line, proto, said[0], said[1])
			}
		}
	}
}

func TestWhatCLIENTCanNotPromiseIsNotOffered(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) { s.users["admin"] += " +client|no-evict +client|pause" })
	admin := r.login("admin")
	for _, line := range []string{"CLIENT PAUSE 1"} {
		name := strings.ToLower(strings.Fields(line)[1])
		r.want(admin, "ERR 'client|"+name+"' is not offered by this proxy", strings.Fields(line)...)
	}
	r.want(admin, "OK", "CLIENT", "CAPA", "redirect")
	r.want(admin, "OK", "CLIENT", "NO-TOUCH", "OFF")
}

func TestAnswersMadeElsewhereKeepTheirPlaceInAPipeline(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) { s.workers = 2 })
	k := talk(t, r.addr("plain"))
	k.ask("AUTH", "admin", "admin-pw")
	var lines, want []string
	for i := range 50 {
		n := strconv.Itoa(i)
		lines = append(lines, "SET k "+n, "CLIENT KILL ID 999999999", "GET k", "ACL SETUSER x on", "INCR k", "CLIENT LIST ID 999999999", "GET k")
		up := strconv.Itoa(i + 1)
		want = append(want, "+OK\r\n", ":0\r\n", "$"+strconv.Itoa(len(n))+"\r\n"+n+"\r\n", "+OK\r\n", ":"+up+"\r\n", "$0\r\n\r\n", "$"+strconv.Itoa(len(up))+"\r\n"+up+"\r\n")
	}
	if got := k.pipelined(lines...); !slices.Equal(got, want) {
		t.Errorf("replies are out of order:\n%q\nwant\n%q", got, want)
	}
}

func TestASessionThatLeavesWhileItsAnswerIsMadeHarmsNobody(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) { s.workers = 2 })
	for range 30 {
		k := talk(t, r.addr("plain"))
		k.ask("AUTH", "admin", "admin-pw")
		k.conn.Write(redistest.Encode("CLIENT", "LIST"))
		k.conn.Write(redistest.Encode("ACL", "SETUSER", "x", "on"))
		k.conn.Close()
	}
	admin := r.login("admin")
	eventually(t, 5*time.Second, "all have left", func() bool { return len(usersIn(t, answer(admin, "CLIENT LIST"))) == 1 })
	// Half-closed, a client still hears what it asked for.
	w := r.wire(t, nil).as("admin")
	w.say("ACL SETUSER y on\r\nCLIENT LIST ID 999999999\r\n")
	if err := w.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	w.hear("+OK\r\n$0\r\n\r\n")
	w.ends()
}
