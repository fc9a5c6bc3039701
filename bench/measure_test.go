package main

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const statLine = `4711 (a (bad) name) S 1 4711 4711 0 -1 4194560 1063 0 0 0 250 75 9 9 20 0 5 0 12 62000000 1500 18446744073709551615`

func TestParseStat(t *testing.T) {
	t.Run("finds utime and stime behind a name with spaces and parentheses", func(t *testing.T) {
		got, err := parseStat(statLine)
		want := cpuTime{user: 2500 * time.Millisecond, system: 750 * time.Millisecond, total: 3250 * time.Millisecond}
		if err != nil || got != want {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	for name, stat := range map[string]string{
		"empty":         "",
		"no name":       "4711 S 1 2 3",
		"cut short":     "4711 (x) S 1 4711 4711 0 -1 4194560 1063 0 0 0 250",
		"not a number":  strings.Replace(statLine, " 250 ", " 2x0 ", 1),
		"negative time": strings.Replace(statLine, " 75 ", " -75 ", 1),
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			if got, err := parseStat(stat); err == nil {
				t.Fatalf("read as %+v", got)
			}
		})
	}
}

func TestReadCPU(t *testing.T) {
	t.Run("agrees with what the kernel tells the process itself", func(t *testing.T) {
		own := func() time.Duration {
			var u syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
				t.Fatal(err)
			}
			return time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
		start, before := own(), mustReadCPU(t, os.Getpid())
		for x := 1.0; own()-start < 100*time.Millisecond; {
			for range 100_000 {
				x = math.Sqrt(x + 1)
			}
			runtime.KeepAlive(x)
		}
		used, got := own()-start, mustReadCPU(t, os.Getpid()).minus(before).total
		if diff := (got - used).Abs(); diff > 30*time.Millisecond {
			t.Fatalf("used %v, read %v", used, got)
		}
	})
	t.Run("says so when the process is gone", func(t *testing.T) {
		if got, err := readCPU(1 << 30); err == nil {
			t.Fatalf("read %+v", got)
		}
	})
}

func mustReadCPU(t *testing.T, pid int) cpuTime {
	t.Helper()
	got, err := readCPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

const csvText = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"SET","71428.57","0.052","0.016","0.047","0.103","0.175","2.799"
"GET","73529.41","0.047","0.016","0.045","0.071","0.143","1.823"
`

func TestParseCSV(t *testing.T) {
	t.Run("takes the line of the command asked for", func(t *testing.T) {
		got, err := parseCSV(csvText, "get")
		if want := (load{p50: 45 * time.Microsecond, p99: 143 * time.Microsecond}); err != nil || got != want {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	for name, text := range map[string]string{
		"empty output":      "",
		"a head alone":      strings.SplitAfter(csvText, "\n")[0],
		"another command":   strings.Replace(csvText, `"GET"`, `"INCR"`, 1),
		"a missing column":  strings.Replace(csvText, "p99_latency_ms", "p98_latency_ms", 1),
		"a word for number": strings.Replace(csvText, `"0.143"`, `"nan?"`, 1),
		"a line too short":  csvText + `"GET","1"` + "\n",
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			if got, err := parseCSV(text, "get"); err == nil {
				t.Fatalf("read as %+v", got)
			}
		})
	}
}

func TestComplaints(t *testing.T) {
	t.Run("a refused CONFIG is none", func(t *testing.T) {
		if got := complaints("WARNING: Could not fetch server CONFIG\n\n"); got != "" {
			t.Fatalf("complaint: %s", got)
		}
	})
	t.Run("an error reply is one", func(t *testing.T) {
		const refused = "Error from server: NOPERM this user has no permissions to run the 'set' command"
		if got := complaints("WARNING: Could not fetch server CONFIG\n" + refused + "\n"); got != refused {
			t.Fatalf("complaint: %q", got)
		}
	})
}

func TestWatcher(t *testing.T) {
	at := time.Unix(0, 0)
	w := watcher{target: &target{name: "x"}}
	w.first = sample{at: at, requests: 25_000, proxy: cpuTime{total: time.Second}, redis: cpuTime{total: 2 * time.Second}}
	w.last = sample{
		at: at.Add(500 * time.Millisecond), requests: 75_000,
		proxy: cpuTime{user: 100 * time.Millisecond, system: 300 * time.Millisecond, total: 1400 * time.Millisecond},
		redis: cpuTime{total: 2100 * time.Millisecond},
	}
	l := load{p50: 300 * time.Microsecond, p99: 2 * time.Millisecond}
	t.Run("divides what lies between the samples", func(t *testing.T) {
		got, err := w.figures(100_000, 1, l)
		want := figures{Rate: 100_000, ProxyCPU: 8, ProxyUser: 0.25, RedisCPU: 2, P50: 300, P99: 2000}
		if err != nil || got != want {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	t.Run("refuses a window that saw too little of the run", func(t *testing.T) {
		if _, err := w.figures(1_000_000, 1, l); !errors.Is(err, errTooShort) {
			t.Fatalf("error: %v", err)
		}
		if _, err := (&watcher{target: w.target}).figures(10, 1, l); !errors.Is(err, errTooShort) {
			t.Fatalf("without a sample: %v", err)
		}
	})
}
