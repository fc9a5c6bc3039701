package command

import (
	"slices"
	"testing"
)

func TestTables(t *testing.T) {
	for _, label := range Labels() {
		table, _ := For(label)
		t.Run(label, func(t *testing.T) {
			if table.Label() != label || table.Len() != len(table.Specs()) || table.Len() < 300 {
				t.Errorf("label %q, %d commands", table.Label(), table.Len())
			}
			names := func(which func(*Spec) bool) []string {
				var list []string
				for _, s := range table.Specs() {
					if which(s) {
						list = append(list, s.Name)
					}
				}
				return list
			}
			if got := names(func(s *Spec) bool { return s.Flags&FlagNoAuth != 0 }); !slices.Equal(got, []string{"auth", "hello", "quit", "reset"}) {
				t.Errorf("outside a user's rules are %v", got)
			}
			if got := names(func(s *Spec) bool { return s.keys.method == noWay }); got != nil {
				t.Errorf("no way to find the keys of %v", got)
			}
			for i, s := range table.Specs() {
				if int(s.ID) != i {
					t.Fatalf("%s has ID %d at place %d", s.Name, s.ID, i)
				}
				if s.Arity == 0 {
					t.Errorf("%s has no arity", s.Name)
				}
				if s.Subs == nil != (s.subs == nil) {
					t.Errorf("%s: Subs and their index disagree", s.Name)
				}
			}
		})
	}
	t.Run("an unknown label has no table", func(t *testing.T) {
		if table, ok := For("redis-1.0"); ok || table != nil {
			t.Error("there is a table")
		}
	})
	t.Run("no table holds what runs in sentinel mode only", func(t *testing.T) {
		if Newest().ByName("sentinel") != nil {
			t.Error("sentinel is in the table")
		}
	})
}

func TestCategories(t *testing.T) {
	for _, name := range Newest().Categories().Names() {
		bit, ok := CategoryByName(name)
		if !ok || !slices.Equal(bit.Names(), []string{name}) {
			t.Errorf("%s does not come back", name)
		}
	}
	if _, ok := CategoryByName("DANGEROUS"); !ok {
		t.Error("case counts")
	}
	for _, name := range []string{"", "all", "@read", "reads", "wr\u0131te"} {
		if _, ok := CategoryByName(name); ok {
			t.Errorf("%q is a category", name)
		}
	}
	if n := len(categoryNames[:]); n > 64 || catTdigest != 1<<(n-1) || categoryNames[20] != "scripting" || catScripting != 1<<20 {
		t.Error("names and bits are not in step")
	}
}

// namesNoData are commands flagged as reading or writing which neither name a
// key nor touch the data of any.
var namesNoData = []string{
	"_ft.config", "_ft.config|get", "_ft.config|help", // settings
	"ft.config", "ft.config|get", "ft.config|help", // settings
	"ft.cursor",                                                              // the container
	"function|delete", "function|flush", "function|load", "function|restore", // code, marked FlagScript
	"lolwut",
	"search.clusterinfo", "search.clusterrefresh", "timeseries.refreshcluster", // nodes
}

// A key pattern is the only fence between tenants, so whatever reads or writes
// without naming a key must be known to.
func TestKeyspaceWide(t *testing.T) {
	table := Newest()
	var unmarked []string
	for name := range keyspaceWide {
		if s := table.ByName(name); s == nil || s.Flags&FlagKeyspaceWide == 0 {
			t.Errorf("%s is listed but not in the table, or not marked", name)
		}
	}
	for _, s := range table.Specs() {
		if s.Flags&(FlagWrite|FlagReadonly) == 0 || s.TakesKeys() || s.Flags&FlagKeyspaceWide != 0 {
			continue
		}
		unmarked = append(unmarked, s.Name)
	}
	if !slices.Equal(unmarked, namesNoData) {
		t.Errorf("these read or write, name no key and are not keyspace-wide: %v\nreviewed were: %v", unmarked, namesNoData)
	}
	for _, name := range []string{"flushall", "flushdb", "swapdb", "keys", "scan", "randomkey", "dbsize",
		"cluster|getkeysinslot", "cluster|countkeysinslot", "ft.search", "ts.mget", "ts.queryindex"} {
		if table.ByName(name).Flags&FlagKeyspaceWide == 0 {
			t.Errorf("%s is not keyspace-wide", name)
		}
	}
	for _, name := range []string{"get", "info", "mget", "sort", "eval"} {
		if table.ByName(name).Flags&FlagKeyspaceWide != 0 {
			t.Errorf("%s is keyspace-wide", name)
		}
	}
}

func TestScriptFlag(t *testing.T) {
	want := []string{"eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro", "function|delete", "function|flush",
		"function|load", "function|restore", "script|load"}
	var got []string
	for _, s := range Newest().Specs() {
		if s.Flags&FlagScript != 0 {
			got = append(got, s.Name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("scripts are %v", got)
	}
	for _, label := range Labels() {
		table, _ := For(label)
		for _, s := range table.Specs() {
			if s.Flags&FlagScriptRunner != 0 && s.Flags&FlagScript == 0 {
				t.Errorf("%s: %s runs scripts and is not marked", label, s.Name)
			}
		}
	}
}
