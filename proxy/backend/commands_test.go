package backend

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

func plainBackend(t *testing.T, address string) *Backend {
	t.Helper()
	b, err := New(Options{Name: "main", Nodes: []Endpoint{{"tcp", address}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestARealServerSaysWhichCommandsItHas(t *testing.T) {
	names, err := plainBackend(t, redistest.Start(t).Addr()).Commands(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"get", "set", "eval", "config", "client", "shutdown"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing among %d", name, len(names))
		}
	}
	if len(names) < 200 || slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "|") }) {
		t.Errorf("%d names, or subcommands among them", len(names))
	}
}

const getEntry = "*6\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"

// What a node may answer to mislead or to exhaust is an error, or a name.
func TestCommandNamesOfOddAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		reply string
		want  []string // nil: an error
	}{
		"one":                     {"*1\r\n" + getEntry, []string{"get"}},
		"none":                    {"*0\r\n", []string{}},
		"a_name_alone":            {"*1\r\n*1\r\n+my.get\r\n", []string{"my.get"}},
		"nested_behind_the_name":  {"*2\r\n*3\r\n$1\r\na\r\n*1\r\n*1\r\n*2\r\n$-1\r\n$2\r\nzz\r\n*-1\r\n*1\r\n$1\r\nb\r\n", []string{"a", "b"}},
		"odd_bytes_in_a_name":     {"*1\r\n*1\r\n$4\r\na\r\nb\r\n", []string{"a\r\nb"}},
		"an_error":                {"-ERR unknown command\r\n", nil},
		"a_null":                  {"*-1\r\n", nil},
		"a_string":                {"$3\r\nget\r\n", nil},
		"names_without_entries":   {"*1\r\n$3\r\nget\r\n", nil},
		"an_empty_entry":          {"*1\r\n*0\r\n", nil},
		"a_null_entry":            {"*1\r\n*-1\r\n", nil},
		"a_number_for_a_name":     {"*1\r\n*1\r\n:3\r\n", nil},
		"a_list_for_a_name":       {"*1\r\n*1\r\n*1\r\n+get\r\n", nil},
		"a_null_for_a_name":       {"*1\r\n*1\r\n$-1\r\n", nil},
		"an_endless_name":         {"*1\r\n*1\r\n$200\r\n" + strings.Repeat("x", 200) + "\r\n", nil},
		"an_endless_simple_name":  {"*1\r\n*1\r\n+" + strings.Repeat("x", 200) + "\r\n", nil},
		"more_than_it_has":        {"*2\r\n" + getEntry, nil},
		"more_than_anybody_has":   {"*9000\r\n" + strings.Repeat("*1\r\n+x\r\n", 9000), nil},
		"announced_without_bound": {"*999999999999\r\n", nil},
		"nested_without_bound":    {"*1\r\n" + strings.Repeat("*1\r\n", 200) + "+x\r\n", nil},
		"something_behind_it":     {"*1\r\n" + getEntry + "+OK\r\n", nil},
		"nothing":                 {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := commandNames([]byte(c.reply))
			if (err == nil) != (c.want != nil) || err == nil && !slices.Equal(got, c.want) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A node that answers without end, or not at all, costs no more than is allowed.
func TestCommandsIsBoundedInBytesAndTime(t *testing.T) {
	huge := fmt.Sprintf("*1\r\n*1\r\n$%d\r\n%s\r\n", maxCommandReply, strings.Repeat("x", maxCommandReply))
	for name, script := range map[string]redistest.Script{
		"huge":   redistest.AfterHandshake(redistest.Answers(redistest.Reply(huge))),
		"silent": redistest.AfterHandshake(redistest.Answers(redistest.Drop())),
		"gone":   redistest.AfterHandshake(redistest.Answers(redistest.CutAt(5, "*1\r\n"+getEntry))),
		"noise":  redistest.AfterHandshake(redistest.Answers(redistest.Garbage())),
		"denied": redistest.AfterHandshake(redistest.Answers(redistest.Reply("-NOPERM User x has no permissions to run the 'command' command\r\n"))),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if names, err := plainBackend(t, redistest.NewFake(t, script).Addr()).Commands(ctx); err == nil {
				t.Errorf("%d names", len(names))
			}
		})
	}
}

func FuzzCommandNames(f *testing.F) {
	f.Add([]byte("*1\r\n" + getEntry))
	f.Add([]byte("*2\r\n*3\r\n$1\r\na\r\n*1\r\n*1\r\n*2\r\n$-1\r\n$2\r\nzz\r\n*-1\r\n*1\r\n$1\r\nb\r\n"))
	f.Add([]byte("*1\r\n*1\r\n$4\r\na\r\nb\r\n"))
	f.Add([]byte("*999999999999\r\n"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		names, err := commandNames(reply)
		if err != nil {
			return
		}
		if len(names) > maxCommandNames || 4*len(names) > len(reply) {
			t.Fatalf("%d names in %d bytes", len(names), len(reply))
		}
		for _, name := range names {
			if len(name) > maxCommandName || !strings.Contains(string(reply), name) {
				t.Fatalf("a name that is not there: %q", name)
			}
		}
	})
}
