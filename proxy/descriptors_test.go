package proxy

import (
	"math"
	"testing"
)

func TestACrowdAtTheDoorLeavesDescriptorsForNodesHealthAndFiles(t *testing.T) {
	for _, c := range []struct {
		connections int
		descriptors uint64
		want        int
	}{
		{10000, 1 << 20, 10000},
		{10000, 10128, 10000},
		{10000, 10127, 9999},
		{10000, 1024, 896},
		{10000, 256, 128},
		{10000, 20, 10},
		{10000, 1, 1},
		{10000, 0, 1},
		{5, 256, 5},
		{10000, math.MaxInt, 10000},
	} {
		if got := roomFor(c.connections, c.descriptors); got != c.want {
			t.Errorf("%d connections, %d descriptors: %d, want %d", c.connections, c.descriptors, got, c.want)
		}
	}
}
