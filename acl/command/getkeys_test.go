package command_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// intended is where Parse is meant to say something else than the server's
// COMMAND GETKEYSANDFLAGS. Parse may only be stricter: it names every key the
// server names, with at least its access, or refuses.
type intended struct {
	commands string // separated by blanks; * for all
	kind     difference
	reason   string
}

// difference is how an answer departs from the server's.
type difference string

const (
	moreKeys   difference = "more keys"   // all of the server's and others
	moreAccess difference = "more access" // the same keys, asking for more
	otherKeys  difference = "other keys"  // not even all of the server's
	unseen     difference = "unseen"      // the server finds none and says so
	refusal    difference = "refusal"     // Parse refuses what the server finds keys in
)

var intendedDifferences = []intended{
	{"*", refusal, "the arguments are no proper call: the server finds keys in them by looser rules, and then answers with an error (each is tried)"},
	{"sort", moreKeys, "of several STORE the server names the last, which is the one it writes; all are checked"},
	{"georadius georadiusbymember", moreKeys, "of several STORE or STOREDIST the server names the first of each and writes the last; all are checked"},
	{"georadius georadiusbymember", otherKeys, "the server seeks STORE among the values of other options too (COUNT STORE), and takes what follows for a key"},
	{"xread xreadgroup", otherKeys, "the server seeks STREAMS from a fixed place on: a group, a consumer or a value of that name shifts the keys it finds"},
	{"set", moreAccess, "the conditions IFEQ and the like of later versions tell about the old value"},
	{"xreadgroup", unseen, "the server seeks STREAMS from the fourth argument on and finds no keys where the option comes first, without a group; the call fails there, and here its keys are asked for"},
	{"pfmerge", unseen, "without sources the server finds no key at all, and lets the destination be written unchecked"},
}

func intendedFor(name string, kind difference) bool {
	for _, d := range intendedDifferences {
		if d.kind == kind && (d.commands == "*" || contains(d.commands, name)) {
			return true
		}
	}
	return false
}

func contains(words, word string) bool {
	for w := range strings.FieldsSeq(words) {
		if w == word {
			return true
		}
	}
	return false
}

// keysBag counts keys by text and access: a request may name one several times.
type keysBag map[string]int

func bagKey(key string, a command.Access) string { return fmt.Sprintf("%q/%d", key, a) }

// serversKeys turns a COMMAND GETKEYSANDFLAGS reply into a bag; false for an error reply.
func serversKeys(t *testing.T, reply any) (bag keysBag, ok bool) {
	t.Helper()
	if _, isError := reply.(redistest.Error); isError {
		return nil, false
	}
	bag = keysBag{}
	for _, pair := range reply.([]any) {
		var a command.Access
		for _, flag := range pair.([]any)[1].([]any) {
			switch flag {
			case "access":
				a |= command.Read
			case "insert", "update", "delete":
				a |= command.Write
			}
		}
		bag[bagKey(pair.([]any)[0].(string), a)]++
	}
	return bag, true
}

// compare names the difference between the keys of a call and the server's, "" for none.
func compare(c *command.Call, theirs keysBag, found bool) difference {
	if !found {
		if len(c.Keys) > 0 {
			return unseen
		}
		return ""
	}
	ours, oursAnyAccess, theirsAnyAccess := keysBag{}, keysBag{}, keysBag{}
	for _, k := range c.Keys {
		ours[bagKey(string(c.Args[k.Arg]), k.Access)]++
		oursAnyAccess[string(c.Args[k.Arg])]++
	}
	if maps.Equal(ours, theirs) {
		return ""
	}
	atLeast := true
	for key, n := range theirs {
		text := key[:len(key)-2]
		theirsAnyAccess[text] += n
		missing := n
		for a := command.Access(0); a <= command.Read|command.Write; a++ {
			if their := command.Access(key[len(key)-1] - '0'); a&their == their {
				missing -= ours[text+fmt.Sprintf("/%d", a)]
			}
		}
		atLeast = atLeast && missing <= 0
	}
	switch {
	case !atLeast:
		return otherKeys
	case len(c.Keys) > sum(theirs):
		return moreKeys
	default:
		return moreAccess
	}
}

func sum(b keysBag) (n int) {
	for _, v := range b {
		n += v
	}
	return n
}

// TestKeysAreTheServers holds Parse against COMMAND GETKEYSANDFLAGS on
// generated requests of every command, and the grammar's own knowledge against
// both. The seed is fixed: a failure repeats.
func TestKeysAreTheServers(t *testing.T) {
	client, table := startServer(t)
	r := rand.New(rand.NewPCG(7, 15))
	var requests []request
	for _, s := range table.Specs() {
		if s.Subs != nil && s.Name != "command" {
			continue
		}
		n := 60
		if s.TakesKeys() {
			n = 240
		}
		for range n {
			requests = append(requests, random(r, s))
		}
		if grammars[s.Name] != nil {
			for range 1000 {
				requests = append(requests, proper(r, s), spoiled(r, s))
			}
		}
	}
	if len(requests) < 100_000 {
		t.Fatalf("only %d requests", len(requests))
	}
	seen := map[difference]int{}
	used := map[string]bool{}
	var c command.Call
	const batch = 500
	for len(requests) > 0 {
		some := requests[:min(batch, len(requests))]
		requests = requests[len(some):]
		replies := getKeys(t, client, some)
		for i, q := range some {
			theirs, found := serversKeys(t, replies[i])
			err := table.Parse(bytesOf(q.args), &c)
			if q.known {
				checkKnown(t, q, &c, err)
			}
			var kind difference
			switch {
			case err == nil:
				kind = compare(&c, theirs, found)
			case found:
				kind = refusal
				checkRefused(t, client, q)
			}
			if kind == "" {
				continue
			}
			seen[kind]++
			used[c.Spec.Name+" "+string(kind)] = true
			if !intendedFor(c.Spec.Name, kind) {
				t.Errorf("%s: %q: have %v, %v; the server: %v", kind, q.args, c.Keys, err, replies[i])
			}
		}
	}
	t.Logf("differences: %v", seen)
	for _, d := range intendedDifferences {
		for name := range strings.FieldsSeq(d.commands) {
			if name != "*" && !used[name+" "+string(d.kind)] {
				t.Errorf("%s: the intended difference %q never showed: strike it off the list", name, d.kind)
			}
		}
	}
}

func getKeys(t *testing.T, client *redistest.Client, requests []request) []any {
	t.Helper()
	var pipeline []byte
	for _, q := range requests {
		pipeline = append(pipeline, redistest.Encode(append([]string{"COMMAND", "GETKEYSANDFLAGS"}, q.args...)...)...)
	}
	if err := client.Write(pipeline); err != nil {
		t.Fatal(err)
	}
	replies := make([]any, len(requests))
	for i := range replies {
		reply, err := client.Receive()
		if err != nil {
			t.Fatal(err)
		}
		replies[i] = reply
	}
	return replies
}

// checkKnown holds a proper request's keys against what its grammar wrote.
func checkKnown(t *testing.T, q request, c *command.Call, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%q is refused: %v", q.args, err)
		return
	}
	got := map[string]command.Access{}
	for _, k := range c.Keys {
		got[string(c.Args[k.Arg])] |= k.Access
	}
	if !maps.Equal(got, q.want) {
		t.Errorf("%q: keys are %v, the grammar wrote %v", q.args, got, q.want)
	}
}

// checkRefused makes sure that a request refused for its form has no effect on
// the server either: it must answer with an error.
func checkRefused(t *testing.T, client *redistest.Client, q request) {
	t.Helper()
	reply, err := client.Do(q.args...)
	if reply == "NOKEY" { // MIGRATE with KEYS and none after it does nothing either
		return
	}
	if _, isError := err.(redistest.Error); !isError {
		t.Errorf("%q is refused, but the server answers %v, %v", q.args, reply, err)
	}
}
