package backend

import (
	"strings"
	"testing"
)

func TestSlotsWithoutOneOwnerAreRefused(t *testing.T) {
	nodes := []Endpoint{{"tcp", "a:1"}, {"tcp", "b:1"}}
	for _, c := range []struct {
		name   string
		ranges []SlotRange
		want   string
	}{
		{"whole", []SlotRange{{0, 99, 0}, {100, Slots - 1, 1}}, ""},
		{"several runs", []SlotRange{{200, Slots - 1, 1}, {0, 99, 0}, {100, 100, 1}, {101, 199, 0}}, ""},
		{"a gap", []SlotRange{{0, 99, 0}, {101, Slots - 1, 1}}, "slots 100 to 100 belong to nobody"},
		{"no end", []SlotRange{{0, 99, 0}, {100, Slots - 2, 1}}, "slots 16383 to 16383 belong to nobody"},
		{"twice", []SlotRange{{0, 100, 0}, {100, Slots - 1, 1}}, "claimed twice"},
		{"too high", []SlotRange{{0, 100, 0}, {101, Slots, 1}}, "slots 101 to 16384"},
		{"backwards", []SlotRange{{0, 100, 0}, {101, 50, 1}}, "slots 101 to 50"},
		{"no such node", []SlotRange{{0, 100, 0}, {101, Slots - 1, 2}}, "node 2 of 2"},
		{"a node without", []SlotRange{{0, Slots - 1, 0}}, "node 1 of 2 has no slots"},
		{"nothing", nil, "neither"},
	} {
		b, err := New(Options{Name: "x", Nodes: nodes, Routing: Routing{Kind: Sharded, Ranges: c.ranges}})
		switch {
		case c.want == "" && err == nil:
			if got := b.Topology().Covered(); got != Slots {
				t.Errorf("%s: %d slots", c.name, got)
			}
		case err == nil || c.want == "" || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestOtherSlotsAreAnotherBackend(t *testing.T) {
	nodes := []Endpoint{{"tcp", "a:1"}, {"tcp", "b:1"}}
	with := func(cut int) Options {
		return Options{Name: "x", Nodes: nodes, Routing: Routing{Kind: Sharded, Ranges: []SlotRange{{0, cut, 0}, {cut + 1, Slots - 1, 1}}}}
	}
	b, err := New(with(100))
	if err != nil {
		t.Fatal(err)
	}
	same, other := with(100), with(101)
	if !b.Same(&same) || b.Same(&other) {
		t.Error("a change of slots has to be noticed")
	}
}
