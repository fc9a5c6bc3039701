package command

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/classes.golden anew, to be reviewed line by line")

// The class decides whether one client's command may travel on a connection
// that others use. The golden file shows every outcome to whoever reviews a
// change; a line marked "unreviewed" is Pinned because nobody has looked.
func TestClasses(t *testing.T) {
	const golden = "testdata/classes.golden"
	var b strings.Builder
	unreviewed := 0
	for _, s := range Newest().Specs() {
		mark := ""
		if _, ok := classes()[s.Name]; !ok && !strings.HasPrefix(s.Name, "_ft.debug") {
			mark = " unreviewed"
			unreviewed++
		}
		fmt.Fprintf(&b, "%s %s%s\n", s.Name, s.Class, mark)
	}
	fmt.Fprintf(&b, "# %d of %d commands are unreviewed\n", unreviewed, Newest().Len())
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		var got, want string
		if i < len(gotLines) {
			got = gotLines[i]
		}
		if i < len(wantLines) {
			want = wantLines[i]
		}
		if got != want {
			t.Fatalf("line %d: have %q, reviewed was %q; if that is meant, run go test -run TestClasses -update and review the difference", i+1, got, want)
		}
	}
}

func TestReviewedColumn(t *testing.T) {
	t.Run("names each command once and only commands there are", func(t *testing.T) {
		seen := map[string]bool{}
		for _, r := range reviewed {
			for _, name := range strings.Fields(r.names) {
				if seen[name] {
					t.Errorf("%s is listed twice", name)
				}
				seen[name] = true
				if Newest().ByName(name) == nil {
					t.Errorf("%s is not in the table", name)
				}
			}
		}
	})
	t.Run("a command nobody reviewed is pinned", func(t *testing.T) {
		if got := classOf("brandnew"); got != Pinned {
			t.Errorf("it is %s", got)
		}
	})
	t.Run("no command that may block or subscribe is shared", func(t *testing.T) {
		for _, s := range Newest().Specs() {
			mayBlock := s.Flags&FlagBlocking != 0 && s.Name != "xread" && s.Name != "xreadgroup" // by shape
			subscribes := s.Flags&FlagPubsub != 0 && s.Flags&FlagNoScript != 0
			if s.Class == Shared && (mayBlock || subscribes) {
				t.Errorf("%s is shared", s.Name)
			}
		}
	})
	t.Run("whatever keeps state on a connection is not shared", func(t *testing.T) {
		for _, name := range strings.Fields(`multi exec discard watch unwatch subscribe psubscribe ssubscribe unsubscribe
			punsubscribe sunsubscribe wait waitaof select readonly readwrite asking monitor script|debug himport|set
			himport|prepare client|no-touch client|capa client|import-source client|reply client|tracking hello auth
			reset shutdown debug failover script|kill function|kill`) {
			if s := Newest().ByName(name); s.Class == Shared {
				t.Errorf("%s is shared", name)
			}
		}
	})
	t.Run("what does not answer in RESP is refused", func(t *testing.T) {
		for _, name := range []string{"sync", "psync", "replconf", "cluster|syncslots", "_ft.debug|info"} {
			if s := Newest().ByName(name); s.Class != Refused {
				t.Errorf("%s is %s", name, s.Class)
			}
		}
	})
	t.Run("the whole of ACL, CLIENT and COMMAND is ours", func(t *testing.T) {
		for _, s := range Newest().Specs() {
			family, _, _ := strings.Cut(s.Name, "|")
			if ours := family == "acl" || family == "client" || family == "command"; ours && s.Class != Local {
				t.Errorf("%s is %s", s.Name, s.Class)
			}
		}
	})
}
