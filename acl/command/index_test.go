package command

import (
	"bytes"
	"strings"
	"testing"
)

func TestLower(t *testing.T) {
	t.Run("folds capitals and nothing else", func(t *testing.T) {
		for b := range 256 {
			for at := range 8 {
				want := uint64(b)
				if b >= 'A' && b <= 'Z' {
					want += 'a' - 'A'
				}
				// 0xff and 0x7f neighbours would show a carry from one byte into the next.
				for _, around := range []uint64{0, 0x7f7f7f7f7f7f7f7f, 0xffffffffffffffff} {
					mask := uint64(0xff) << (8 * at)
					got := lower(around&^mask|uint64(b)<<(8*at)) & mask >> (8 * at)
					if got != want {
						t.Fatalf("byte %#x at %d among %#x: got %#x, want %#x", b, at, around, got, want)
					}
				}
			}
		}
	})
}

func TestLookup(t *testing.T) {
	for _, label := range Labels() {
		table, ok := For(label)
		if !ok {
			t.Fatalf("no table %s", label)
		}
		t.Run(label+"/finds every name whatever its case", func(t *testing.T) {
			for _, s := range table.Specs() {
				container, sub, isSub := strings.Cut(s.Name, "|")
				if table.ByName(s.Name) != s || table.ByName(strings.ToUpper(s.Name)) != s {
					t.Errorf("ByName(%s) is another command", s.Name)
				}
				if !isSub {
					if table.Lookup([]byte(s.Name)) != s || table.Lookup([]byte(strings.ToUpper(s.Name))) != s {
						t.Errorf("Lookup(%s) is another command", s.Name)
					}
					continue
				}
				if got := table.Lookup([]byte(container)).Sub([]byte(strings.ToUpper(sub))); got != s {
					t.Errorf("Sub(%s) of %s is another command", sub, container)
				}
				if s.Container == nil || s.Container.Name != container {
					t.Errorf("%s is in another container", s.Name)
				}
			}
		})
		t.Run(label+"/finds no name that is nearly one", func(t *testing.T) {
			for _, s := range table.Specs() {
				for _, near := range nearly(s.Name) {
					if table.ByName(near) != nil {
						continue // another command's name
					}
					if got := table.Lookup([]byte(near)); got != nil {
						t.Errorf("Lookup(%q) finds %s", near, got.Name)
					}
				}
			}
		})
		t.Run(label+"/takes no subcommand for a command", func(t *testing.T) {
			for _, s := range table.Specs() {
				if s.Container != nil && table.Lookup([]byte(s.Name)) != nil {
					t.Errorf("Lookup(%q) finds a command", s.Name)
				}
			}
		})
	}
}

// nearly gives texts that differ from a name by a byte.
func nearly(name string) []string {
	list := []string{"", name + "\x00", name + "\x00x", "\x00" + name, name + " ", " " + name, name + name, name + "|",
		name[:len(name)-1], name[1:]}
	for i := range name {
		b := []byte(name)
		for _, c := range []byte{0, b[i] ^ 0x80, b[i] ^ 0x20 ^ 0x40, b[i] + 1} {
			b[i] = c
			list = append(list, string(b))
		}
	}
	return list
}

func TestLookupOfLongNames(t *testing.T) {
	t.Run("compares the middle that is not in the folded words", func(t *testing.T) {
		table := Newest()
		for _, name := range []string{"georadiusbymember", "georadiusbymember_ro", "timeseries.refreshcluster"} {
			b := []byte(name)
			b[9] ^= 1
			if got := table.Lookup(b); got != nil {
				t.Errorf("Lookup(%q) finds %s", b, got.Name)
			}
		}
	})
	t.Run("costs nothing for a megabyte", func(t *testing.T) {
		huge := bytes.Repeat([]byte("get"), 1<<20)
		if Newest().Lookup(huge) != nil {
			t.Error("found a command")
		}
	})
	t.Run("knows no letters beyond ASCII", func(t *testing.T) {
		for _, name := range []string{"\u212aeys", "\u017fet", "G\xc5T"} { // Kelvin sign, long s
			if Newest().ByName(name) != nil || Newest().Lookup([]byte(name)) != nil {
				t.Errorf("%q is taken for a command", name)
			}
		}
	})
}

// What was found last is found again for the same spelling in the same index, and for no other.
func TestARememberedNameIsNoOther(t *testing.T) {
	var l lookup
	top := Newest().top
	wider := newIndex([]string{"get", "gex"}, []*Spec{{Name: "wider get"}, {Name: "gex"}})
	for range 2 {
		for _, name := range []string{"get", "GET", "gEt", "gex", "", "ge", "gett", "get\x00", "getdel", "bitfield_ro", "bitfield", "georadiusbymember", "georadiusbymember_ro", "georadiusbymembex_ro"} {
			for _, x := range []*index{top, wider} {
				for range 2 {
					if got, want := l.find(x, []byte(name)), x.find([]byte(name)); got != want {
						t.Fatalf("%q: %v instead of %v", name, got, want)
					}
				}
			}
		}
	}
}
