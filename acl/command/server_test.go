package command_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// serverLabel is the version these tests hold the table against: Debian's redis-server.
const serverLabel = "redis-7.0.15"

// startServer runs a redis-server of serverLabel's version and a connection to it.
func startServer(t *testing.T) (*redistest.Client, *command.Table) {
	t.Helper()
	server := redistest.Start(t) // fails, saying what to install, where there is none
	info, err := server.Info("server")
	if err != nil {
		t.Fatal(err)
	}
	if version := "redis-" + info["redis_version"]; version != serverLabel {
		t.Fatalf("redis-server is %s; these tests need %s (Debian 12: apt-get install redis-server)", version, serverLabel)
	}
	client, err := redistest.Dial(server.Network(), server.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	table, ok := command.For(serverLabel)
	if !ok {
		t.Fatalf("no table for %s", serverLabel)
	}
	return client, table
}

// described is one command as a COMMAND reply, or our table, describes it.
type described struct {
	arity             int
	first, last, step int
	flags, categories string
}

func (d described) String() string {
	return fmt.Sprintf("arity %d, keys %d %d %d, flags %s, categories %s", d.arity, d.first, d.last, d.step, d.flags, d.categories)
}

func sortedWords(words []string) string {
	slices.Sort(words)
	return strings.Join(words, " ")
}

// describe reads one element of a COMMAND reply, and its subcommands.
func describe(t *testing.T, reply any, into map[string]described) {
	t.Helper()
	entry := reply.([]any)
	texts := func(list any) []string {
		var words []string
		for _, w := range list.([]any) {
			words = append(words, strings.TrimPrefix(w.(string), "@"))
		}
		return words
	}
	number := func(i int) int { return int(entry[i].(int64)) }
	into[entry[0].(string)] = described{
		arity: number(1), first: number(3), last: number(4), step: number(5),
		flags: sortedWords(texts(entry[2])), categories: sortedWords(texts(entry[6])),
	}
	for _, sub := range entry[9].([]any) {
		describe(t, sub, into)
	}
}

func TestTableIsTheServers(t *testing.T) {
	client, table := startServer(t)
	reply, err := client.Do("COMMAND")
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]described{}
	for _, entry := range reply.([]any) {
		describe(t, entry, theirs)
	}

	t.Run("names, arity, flags, key range and categories equal COMMAND", func(t *testing.T) {
		if len(theirs) != table.Len() {
			t.Errorf("the server has %d commands, the table %d", len(theirs), table.Len())
		}
		for _, s := range table.Specs() {
			want, ok := theirs[s.Name]
			if !ok {
				t.Errorf("the server has no %s", s.Name)
				continue
			}
			got := described{s.Arity, s.FirstKey, s.LastKey, s.KeyStep, sortedWords(s.Flags.Names()), sortedWords(s.Categories.Names())}
			if got != want {
				t.Errorf("%s: have %s; the server: %s", s.Name, got, want)
			}
		}
	})

	t.Run("the members of each category equal ACL CAT", func(t *testing.T) {
		reply, err := client.Do("ACL", "CAT")
		if err != nil {
			t.Fatal(err)
		}
		var categories []string
		for _, c := range reply.([]any) {
			categories = append(categories, c.(string))
		}
		if got := table.Categories().Names(); sortedWords(got) != sortedWords(categories) || len(got) != 21 {
			t.Errorf("categories are %v; the server: %v", got, categories)
		}
		for _, name := range categories {
			bit, ok := command.CategoryByName(name)
			if !ok {
				t.Errorf("%s is unknown", name)
				continue
			}
			reply, err := client.Do("ACL", "CAT", name)
			if err != nil {
				t.Fatal(err)
			}
			var want, got []string
			for _, c := range reply.([]any) {
				want = append(want, c.(string))
			}
			for _, s := range table.Specs() {
				if s.Categories&bit != 0 {
					got = append(got, s.Name)
				}
			}
			if sortedWords(got) != sortedWords(want) {
				t.Errorf("@%s: have %v; the server: %v", name, got, want)
			}
		}
	})
}

// C strings: what the server compares only up to a NUL, and what it does not.
func TestNULAsTheServerTreatsIt(t *testing.T) {
	client, table := startServer(t)
	do := func(args ...string) any {
		t.Helper()
		reply, err := client.Do(args...)
		if err != nil {
			return err
		}
		return reply
	}
	parse := func(args ...string) error {
		var c command.Call
		return table.Parse(bytesOf(args), &c)
	}

	t.Run("it stores for STORE with a NUL; here the call is refused", func(t *testing.T) {
		do("GEOADD", "s", "0", "0", "m")
		args := []string{"GEORADIUS", "s", "0", "0", "1", "km", "STORE\x00x", "dst"}
		if got := do(args...); got != int64(1) {
			t.Errorf("the server answers %v", got)
		}
		if err := parse(args...); err != command.NoKeys {
			t.Errorf("Parse says %v", err)
		}
	})
	t.Run("it returns the value for GET with a NUL; here the call is refused", func(t *testing.T) {
		do("SET", "k", "old")
		args := []string{"SET", "k", "new", "GET\x00x"}
		if got := do(args...); got != "old" {
			t.Errorf("the server answers %v", got)
		}
		if err := parse(args...); err != command.NoKeys {
			t.Errorf("Parse says %v", err)
		}
	})
	// The server hashes a name in whole length but compares it up to the NUL, so
	// whether it takes "CONFIG GET\x00x" for CONFIG GET depends on the seed of
	// the process. What it might take for a command must be none here.
	t.Run("a name with a NUL is unknown, whatever the server makes of it", func(t *testing.T) {
		for _, test := range []struct {
			args []string
			want command.Fault
		}{
			{[]string{"GET\x00x", "k"}, command.Unknown},
			{[]string{"GET\x00", "k"}, command.Unknown},
			{[]string{"CONFIG", "GET\x00x", "save"}, command.UnknownSubcommand},
			{[]string{"CONFIG", "GET\x00", "save"}, command.UnknownSubcommand},
		} {
			if err := parse(test.args...); err != test.want {
				t.Errorf("%q: Parse says %v", test.args, err)
			}
		}
	})
}

func bytesOf(args []string) [][]byte {
	list := make([][]byte, len(args))
	for i, a := range args {
		list[i] = []byte(a)
	}
	return list
}
