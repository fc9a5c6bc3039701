package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/proxy"
)

func TestTheCollectorWorksTowardsTheMemoryOfAllClients(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	l := proxy.Limits{Memory: 100 << 20, Connections: 1000}
	const want = 100<<20 + 10<<20 + 1000*perConnection + ownMemory
	if got := limitForClients(l); got != want {
		t.Fatalf("limit: %d, want %d", got, want)
	}
	boundCollector(l, before)
	if got := debug.SetMemoryLimit(-1); got != want {
		t.Fatalf("in force: %d, want %d", got, want)
	}
	t.Run("a reload raises it", func(t *testing.T) {
		more := l
		more.Memory *= 10
		boundCollector(more, before)
		if got := debug.SetMemoryLimit(-1); got != limitForClients(more) || got <= want {
			t.Fatalf("in force: %d", got)
		}
	})
	t.Run("the control group's stays above all", func(t *testing.T) {
		boundCollector(l, 64<<20)
		if got := debug.SetMemoryLimit(-1); got != 64<<20 {
			t.Fatalf("in force: %d", got)
		}
	})
	t.Run("GOMEMLIMIT has the last word", func(t *testing.T) {
		t.Setenv("GOMEMLIMIT", "off")
		debug.SetMemoryLimit(before)
		boundCollector(l, before)
		if got := debug.SetMemoryLimit(-1); got != before {
			t.Fatalf("in force: %d", got)
		}
	})
}

func TestMemoryOfABurstIsGivenBack(t *testing.T) {
	released := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		burst := make([]byte, 4*tidyBurst)
		for i := range burst {
			burst[i] = 1
		}
		before := released()
		burst = nil
		go tidy(ctx)
		time.Sleep(3 * tidyEvery) // of the bubble's clock: takes no time
		synctest.Wait()
		if got := released(); got < before+3*tidyBurst {
			t.Fatalf("released %d MiB, before %d MiB", got>>20, before>>20)
		}
	})
}
