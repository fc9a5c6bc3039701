package command

import (
	"os"
	"strings"
	"testing"
)

// What may be read from a replica is a list to be reviewed: a command that writes,
// or whose answer holds for one node, must not be in it.
func TestWhatMayBeReadFromAReplica(t *testing.T) {
	const golden = "testdata/spreads.golden"
	var b strings.Builder
	for _, s := range Newest().Specs() {
		if (&Call{Spec: s, Class: s.Class, Keys: make([]Key, 1)}).Spreads() && s.TakesKeys() {
			b.WriteString(s.Name + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Fatalf("the list has changed; if that is meant, run go test -run TestWhatMayBeReadFromAReplica -update and review the difference:\n%s", b.String())
	}
}

func TestEveryReasonToReadThePrimaryIsOfACommandThatReads(t *testing.T) {
	for name, reason := range atPrimary {
		container, sub, nested := strings.Cut(name, "|")
		spec := Newest().Lookup([]byte(container))
		if nested && spec != nil {
			spec = spec.Sub([]byte(sub))
		}
		if spec == nil || spec.Flags&FlagReadonly == 0 || spec.Flags&FlagAtPrimary == 0 || reason == "" {
			t.Errorf("%s: %v, reason %q", name, spec, reason)
		}
	}
}

func TestACallGoesToAReplicaByItsShape(t *testing.T) {
	for text, want := range map[string]bool{
		"GET k":                            true,
		"MGET a b":                         true,
		"XREAD COUNT 1 STREAMS s 0":        true,
		"XREAD BLOCK 5 STREAMS s 0":        false,
		"EVAL_RO script 0":                 false, // names no key
		"EVAL x 1 k":                       false,
		"GETEX k":                          false,
		"SORT k":                           false,
		"SORT_RO k":                        true,
		"GEORADIUS g 0 0 1 m":              false,
		"GEORADIUS_RO g 0 0 1 m":           true,
		"BITFIELD k GET u8 0":              false,
		"SCAN 0":                           false,
		"HSCAN h 0":                        false,
		"DBSIZE":                           false,
		"TIME":                             false,
		"RANDOMKEY":                        false,
		"TOUCH k":                          false,
		"PUBLISH c m":                      false,
		"OBJECT ENCODING k":                true,
		"OBJECT IDLETIME k":                false,
		"EVAL_RO script 1 k":               true,
		"FCALL_RO f 1 k":                   true,
		"CLUSTER COUNTKEYSINSLOT 1":        false,
		"XREADGROUP GROUP g c STREAMS s >": false,
		"WATCH k":                          false,
	} {
		var args [][]byte
		for _, w := range strings.Fields(text) {
			args = append(args, []byte(w))
		}
		var c Call
		if fault := Newest().Parse(args, &c); fault != nil {
			t.Fatalf("%s: %v", text, fault)
		}
		if c.Spreads() != want {
			t.Errorf("%s: %v", text, c.Spreads())
		}
	}
}
