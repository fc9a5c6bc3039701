package command

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestADiscoveredCommandIsKnownByItsNameAlone(t *testing.T) {
	base := Newest()
	table := base.With([]string{"My.Get", "another_one", "my.get"})
	if got := table.Discovered(); !slices.Equal(got, []string{"another_one", "my.get"}) {
		t.Fatal(got)
	}
	if table.Base() != base || table.Label() != base.Label() || table.Len() != base.Len()+2 || base.Len() != len(base.Specs()) {
		t.Error("the table is another, or was changed")
	}
	var c Call
	if err := table.Parse([][]byte{[]byte("MY.get"), []byte("key"), []byte("x")}, &c); err != nil {
		t.Fatal(err)
	}
	if s := c.Spec; !s.Discovered() || c.Class != Pinned || s.Categories != 0 || s.Flags != FlagDiscovered || s.TakesKeys() || len(c.Keys) != 0 || int(s.ID) < base.Len() || table.Specs()[s.ID] != s {
		t.Errorf("%+v", s)
	}
	if base.Lookup([]byte("my.get")) != nil || base.With(nil) != base || table.With([]string{"another_one", "MY.GET"}) != table || table.With(nil) != base {
		t.Error("the same names give another table, or none do not give the base")
	}
	if less := table.With([]string{"my.get"}); !slices.Equal(less.Discovered(), []string{"my.get"}) || less.Base() != base {
		t.Error("what is no longer discovered stays")
	}
}

// What is known keeps its ID and its Spec, whatever a backend says it has.
func TestADiscoveryChangesNothingThatIsKnown(t *testing.T) {
	base := Newest()
	var names []string
	for _, s := range base.Specs() {
		names = append(names, strings.ToUpper(s.Name), s.Name+"x")
	}
	names = append(names, "get", "GET\x00", "config|new", "client|new", "newone|sub", "post", "POST", "host:", "host:example", "", " ", "a b", "@all", "+get", "ge\tt", "gét", strings.Repeat("a", 65))
	table := base.With(names)
	unchanged(t, base, table)
	for _, name := range []string{"get\x00", "config|new", "client|new", "newone|sub", "post", "host:", "host:example", "a b", "@all", "+get"} {
		if table.ByName(name) != nil {
			t.Errorf("%q is taken", name)
		}
	}
	var many []string
	for i := range 10 * maxDiscovered {
		many = append(many, fmt.Sprintf("cmd%d", i))
	}
	if n := len(base.With(many).Discovered()); n != maxDiscovered {
		t.Errorf("%d are taken", n)
	}
}

func unchanged(t testing.TB, base, table *Table) {
	t.Helper()
	for id, s := range base.Specs() {
		top := table.Lookup([]byte(s.Name))
		if table.Specs()[id] != s || table.ByName(s.Name) != s || s.Container == nil && top != s || s.Container != nil && s.Container.Sub([]byte(s.Name[len(s.Container.Name)+1:])) != s {
			t.Fatalf("%s is another", s.Name)
		}
	}
	for _, s := range table.Specs()[base.Len():] {
		if !s.Discovered() || s.Class != Pinned || s.Flags != FlagDiscovered || s.Categories != 0 || s.Subs != nil || s.Container != nil {
			t.Fatalf("%+v", s)
		}
	}
}

func FuzzWith(f *testing.F) {
	f.Add("get\nset\nmy.get\nMY.GET")
	f.Add("config|get\nclient|x\n|\n@all\nacl")
	f.Add("post\nhost:\nhello\x00\n\xff\xfe\n" + strings.Repeat("x", 70))
	f.Fuzz(func(t *testing.T, text string) {
		base := Newest()
		names := strings.Split(text, "\n")
		table := base.With(names)
		unchanged(t, base, table)
		if table.With(names) != table || len(table.Discovered()) > maxDiscovered || table.Base() != base {
			t.Fatal("not the same once more")
		}
	})
}
