package proxy_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// logOf asks for the whole ACL LOG and gives its entries, newest first.
func logOf(t *testing.T, c interface{ Do(...string) (any, error) }) []map[string]string {
	t.Helper()
	v, err := c.Do("ACL", "LOG", "128")
	if err != nil {
		t.Fatal(err)
	}
	var entries []map[string]string
	for _, e := range v.([]any) {
		entry := map[string]string{}
		parts := e.([]any)
		for i := 0; i+1 < len(parts); i += 2 {
			entry[fmt.Sprint(parts[i])] = fmt.Sprint(parts[i+1])
		}
		entries = append(entries, entry)
	}
	return entries
}

// summary is what of an entry does not depend on the clock and the connection.
func summary(e map[string]string) string {
	return strings.Join([]string{e["count"], e["reason"], e["context"], e["object"], e["username"]}, " ")
}

func TestACLLOGTellsWhatRedissTells(t *testing.T) {
	r, direct := newACLTwins(t, nil)
	var logs [2][]map[string]string
	for i, addr := range []string{r.addr("plain"), direct.Addr()} {
		c, err := redistest.Dial("tcp", addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, line := range []string{
			"AUTH app wrong", "AUTH nobody x", "AUTH app wrong", "HELLO 3 AUTH app nope",
			"AUTH app app-pw", "SET other 1", "SET other 1", "GET other", "PUBLISH elsewhere x", "CONFIG SET save x", "MSET app:1 1 b 2",
			"SET other 1", "NOSUCH", "GET", "AUTH", "SET app:1 1",
		} {
			c.Do(strings.Fields(line)...) // refused, most of them
		}
		if _, err := c.Do("AUTH", "admin", "admin-pw"); err != nil {
			t.Fatal(err)
		}
		logs[i] = logOf(t, c)
	}
	if len(logs[0]) != len(logs[1]) {
		t.Errorf("%d entries, Redis has %d", len(logs[0]), len(logs[1]))
	}
	for i := range min(len(logs[0]), len(logs[1])) {
		if mine, theirs := summary(logs[0][i]), summary(logs[1][i]); mine != theirs {
			t.Errorf("entry %d: %s, Redis says %s", i, mine, theirs)
		}
	}
	first := logs[0][0]
	for field, form := range map[string]string{
		"age-seconds": `\d+(\.\d+)?`, "client-info": `id=\d+ addr=127.0.0.1:\d+ .* user=app .*`,
		"entry-id": `\d+`, "timestamp-created": `\d{13}`, "timestamp-last-updated": `\d{13}`,
	} {
		if !regexp.MustCompile("^" + form + "$").MatchString(first[field]) {
			t.Errorf("%s is %q", field, first[field])
		}
	}
}

func TestACLLOGInRESP3IsMapsWithADouble(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	k := talk(t, r.addr("plain"))
	k.ask("HELLO", "3", "AUTH", "app", "app-pw")
	k.ask("GET", "other")
	k.ask("HELLO", "3", "AUTH", "admin", "admin-pw")
	if got := k.ask("ACL", "LOG", "1"); !regexp.MustCompile(`^\*1\r\n%10\r\n\$5\r\ncount\r\n:1\r\n(?s:.*)\$11\r\nage-seconds\r\n,[0-9.]+\r\n`).MatchString(got) {
		t.Errorf("ACL LOG is %q", got)
	}
}

func TestACLLOGIsOneForAllLoopsAndBounded(t *testing.T) {
	r, _ := newACLTwins(t, func(s *setup) { s.workers = 3 })
	for i := range 3 {
		c := r.login("app")
		for n := range 60 {
			if _, err := c.Do("GET", fmt.Sprintf("other:%d:%d", i, n)); err == nil {
				t.Fatal("allowed")
			}
		}
	}
	admin := r.login("admin")
	entries := logOf(t, admin)
	if len(entries) != 128 {
		t.Fatalf("%d entries, want 128", len(entries))
	}
	if o := entries[0]["object"]; o != "other:2:59" {
		t.Errorf("the newest is %s", o)
	}
	v, err := admin.Do("ACL", "LOG")
	if err != nil || len(v.([]any)) != 10 {
		t.Errorf("ACL LOG shows %d entries, want 10 (%v)", len(v.([]any)), err)
	}
	r.want(admin, "OK", "ACL", "LOG", "RESET")
	if entries := logOf(t, admin); len(entries) != 0 {
		t.Errorf("after RESET there are %v", entries)
	}
	app := r.login("app")
	if _, err := app.Do("GET", strings.Repeat("k", 1<<20)); err == nil {
		t.Fatal("allowed")
	}
	if o := logOf(t, admin)[0]["object"]; len(o) != 1024 {
		t.Errorf("of a key of a megabyte the log keeps %d bytes", len(o))
	}
}

func TestWhatIsAnsweredHereIsNoDenial(t *testing.T) {
	r, _ := newACLTwins(t, nil)
	root := r.login("root")
	for _, line := range []string{"INFO", "ROLE", "CONFIG GET save", "CLIENT LIST", "CLUSTER INFO"} {
		root.Do(strings.Fields(line)...)
	}
	if entries := logOf(t, r.login("admin")); len(entries) != 0 {
		t.Error(entries)
	}
}
