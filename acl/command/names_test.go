package command

import (
	"bytes"
	"strings"
	"testing"
)

func words(s string) [][]byte { return bytes.Fields([]byte(s)) }

func naming(t *testing.T, rename map[string]string, disable ...string) *Names {
	t.Helper()
	n := NewNames(Newest())
	for from, to := range rename {
		if err := n.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range disable {
		if err := n.Disable(name); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestARenamedCommandIsKnownByItsNewNameAlone(t *testing.T) {
	n := naming(t, map[string]string{"flushall": "wipe-it-all", "config|set": "config|put", "client": "cl", "xautoclaim": "Grab"}, "keys", "config|rewrite", "script")
	for _, c := range []struct {
		sent, means string
		fault       error
	}{
		{"WIPE-IT-ALL ASYNC", "flushall ASYNC", nil},
		{"grab a b", "xautoclaim a b", nil},
		{"flushall", "flushall", Unknown},
		{"FLUSHALL", "FLUSHALL", Unknown},
		{"keys *", "keys *", Unknown},
		{"KeYs", "KeYs", Unknown},
		{"get k", "get k", nil},
		{"CONFIG put a b", "CONFIG set a b", nil},
		{"config set a b", "config set a b", UnknownSubcommand},
		{"config rewrite", "config rewrite", UnknownSubcommand},
		{"config get a", "config get a", nil},
		{"put a b", "put a b", nil}, // unknown to Parse
		{"cl id", "client id", nil},
		{"client id", "client id", Unknown},
		{"script load x", "script load x", Unknown},
		{"nope", "nope", nil},
		{"", "", nil},
	} {
		args := words(c.sent)
		if err := n.Translate(args); err != c.fault {
			t.Errorf("%s: %v, want %v", c.sent, err, c.fault)
		}
		if got := string(bytes.Join(args, []byte(" "))); got != c.means {
			t.Errorf("%s means %q, want %q", c.sent, got, c.means)
		}
	}
}

func TestNamesAreListedAsTheListenerHasThem(t *testing.T) {
	n := naming(t, map[string]string{"config": "cfg", "config|set": "put"}, "keys", "config|rewrite", "script")
	for real, want := range map[string]string{
		"config": "cfg", "config|set": "cfg|put", "config|get": "cfg|get", "keys": "", "config|rewrite": "", "script": "", "script|load": "", "get": "get",
	} {
		got, ok := n.Name(Newest().ByName(real))
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s is %q, %v; want %q", real, got, ok, want)
		}
		if want != "" && n.ByName(Newest(), want) != Newest().ByName(real) {
			t.Errorf("%s is not found", want)
		}
		if want != real && n.ByName(Newest(), real) != nil {
			t.Errorf("%s is found by its old name", real)
		}
	}
	if got, ok := (*Names)(nil).Name(Newest().ByName("config|set")); got != "config|set" || !ok {
		t.Error("without names:", got, ok)
	}
	if got := n.Changed(); len(got) != 5 || got["config|set"] != "cfg|put" || got["keys"] != "" {
		t.Error("changed:", got)
	}
}

func TestFaultyNamesAreRefused(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"get", "set", `"set" is a command already`},
		{"get", "SET", `"set" is a command already`},
		{"get", "keys", `"keys" is a command already`}, // disabled or not
		{"config|get", "config|set", `"set" is a command already`},
		{"nope", "x", "unknown command"},
		{"config|nope", "x", "unknown command"},
		{"get", "", "can't be"},
		{"get", "a b", "can't be"},
		{"get", "a|b", "can't be"},
		{"get", "a\r\nb", "can't be"},
		{"get", strings.Repeat("x", 65), "can't be"},
		{"auth", "login", "no client would find it"},
		{"flushall", "y", "twice"},
		{"keys", "y", "twice"},
		{"get", "wipe", "the new name of flushall already"},
	} {
		n := naming(t, map[string]string{"flushall": "wipe"}, "keys")
		if err := n.Rename(c.from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %q: %v, want %q", c.from, c.to, err, c.want)
		}
	}
	if err := naming(t, nil, "auth").Disable("auth"); err == nil {
		t.Error("disabled twice")
	}
}

// Whatever is sent, only names that the listener has lead to a command, and
// never to another one than Parse decides on.
func FuzzNames(f *testing.F) {
	n := NewNames(Newest())
	for from, to := range map[string]string{"flushall": "wipe-it-all", "config|set": "put", "client": "cl", "geosearchstore": "a-name-that-is-longer-than-sixteen-bytes"} {
		if err := n.Rename(from, to); err != nil {
			f.Fatal(err)
		}
	}
	for _, name := range []string{"keys", "config|rewrite"} {
		if err := n.Disable(name); err != nil {
			f.Fatal(err)
		}
	}
	for _, s := range []string{"wipe-it-all", "flushall", "config put", "cl list", "a-name-that-is-longer-than-sixteen-bytes", "keys", "get"} {
		word, sub, _ := strings.Cut(s, " ")
		f.Add([]byte(word), []byte(sub))
	}
	f.Fuzz(func(t *testing.T, word, sub []byte) {
		args := [][]byte{word, sub}
		if n.Translate(args) != nil {
			if !bytes.Equal(args[0], word) || !bytes.Equal(args[1], sub) {
				t.Error("a fault changed the call")
			}
			return
		}
		var c Call
		Newest().Parse(args, &c)
		if c.Spec == nil {
			return
		}
		name, ok := n.Name(c.Spec)
		top, last, _ := strings.Cut(name, "|")
		if !ok || !strings.EqualFold(top, string(word)) || last != "" && !strings.EqualFold(last, string(sub)) {
			t.Errorf("%q %q leads to %s, which is %q here", word, sub, c.Spec.Name, name)
		}
	})
}

func TestTranslatingAllocatesNothing(t *testing.T) {
	n := naming(t, map[string]string{"flushall": "wipe-it-all", "config|set": "put"})
	a, b := []byte("WIPE-IT-ALL"), []byte("PUT")
	config, args := []byte("CONFIG"), make([][]byte, 2)
	if got := testing.AllocsPerRun(100, func() {
		args[0], args[1] = a, b
		_ = n.Translate(args)
		args[0], args[1] = config, b
		_ = n.Translate(args)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
