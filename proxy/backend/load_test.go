package backend

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestALoadIsWhatInfoSays(t *testing.T) {
	const info = "$300\r\n# Memory\r\nused_memory:1024\r\nmaxmemory:4096\r\n# Clients\r\nconnected_clients:7\r\n" +
		"instantaneous_ops_per_sec:12\r\nused_cpu_sys:1.5\r\nused_cpu_user:0.25\r\nused_memory_human:1K\r\n"
	want := Load{Memory: 1024, MemoryLimit: 4096, Commands: 12, CPU: 1750 * time.Millisecond, Clients: 7}
	if got, ok := parseLoad([]byte(info)); !ok || got != want {
		t.Errorf("%+v, %v; want %+v", got, ok, want)
	}
	for _, none := range []string{
		"", "-NOPERM this user has no permissions\r\n", "used_memory", "used_memory:-1\r\n", "used_memory:18446744073709551616\r\n",
		"used_cpu_sys:NaN\r\n", "used_cpu_sys:1e300\r\n", "used_memory:" + strings.Repeat("1", 40), "used_memory:5\r\n" + strings.Repeat(" ", mostInfo),
	} {
		if got, ok := parseLoad([]byte(none)); ok {
			t.Errorf("%.40q is taken for a load: %+v", none, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("used_memory:1024\r\nused_cpu_sys:1.5\r\nmaxmemory:0\r\n"))
	f.Add([]byte("used_cpu_user:1e9\nused_cpu_sys:-0\nconnected_clients:9223372036854775807\n"))
	f.Fuzz(func(t *testing.T, info []byte) {
		l, ok := parseLoad(info)
		if !ok && l != (Load{}) {
			t.Errorf("nothing, and %+v", l)
		}
		for _, n := range []int64{l.Memory, l.MemoryLimit, l.Commands, l.Clients, int64(l.CPU)} {
			if n < 0 || n > math.MaxInt64/2 {
				t.Errorf("%+v", l)
			}
		}
	})
}
