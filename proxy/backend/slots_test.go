package backend

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// oddKeys are keys with hash tags, broken ones and any bytes, beside plain ones.
func oddKeys(n int) []string {
	r := rand.New(rand.NewPCG(7, 7))
	keys := []string{"", "{}", "{}a", "{a}", "a{b}c", "a{}{b}", "{{b}}", "}{", "foo{{bar}}zap", "foo{bar}{zap}", "\xff\xfe{\x80}"}
	for len(keys) < n {
		k := make([]byte, r.IntN(24))
		for i := range k {
			if k[i] = byte(r.IntN(256)); r.IntN(6) == 0 {
				k[i] = "{}"[r.IntN(2)]
			}
		}
		keys = append(keys, string(k))
	}
	return keys
}

func TestSlotsAreRedisOwn(t *testing.T) {
	s := redistest.Start(t, redistest.Args("--cluster-enabled", "yes", "--cluster-port", "0"))
	c, err := redistest.Dial(s.Network(), s.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	keys := oddKeys(5000)
	for _, k := range keys {
		if err := c.Send("CLUSTER", "KEYSLOT", k); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range keys {
		got, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if got != int64(SlotOf([]byte(k))) {
			t.Fatalf("key %q: slot %d here, %v in Redis", k, SlotOf([]byte(k)), got)
		}
	}
}

func BenchmarkSlotOf(b *testing.B) {
	keys := make([][]byte, 64)
	for i := range keys {
		keys[i] = []byte("key:{user" + strconv.Itoa(i) + "}:profile")
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		SlotOf(keys[i&63])
		i++
	}
}
