package proxy

import (
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/loop"
)

// A single node is asked PING on the connection that clients' calls take, so that
// its time is the one that they wait: sallyport_backend_ping_seconds. Where there
// are several nodes, their health checks give it.

// heartbeats asks a loop's backends from time to time.
type heartbeats struct {
	w     *worker
	every time.Duration
	timer loop.Timer
	beats map[string]*heartbeat
}

// heartbeat is one backend's PING. It implements backend.Waiter.
type heartbeat struct {
	h    *heartbeats
	name string
	node string
	sent int64 // the turn it was sent in, Unix ns; 0: none is on its way
}

var ping = [][]byte{[]byte("PING")}

// beat begins to ask; it runs on the worker's loop.
func (w *worker) beat(every time.Duration) {
	h := &heartbeats{w: w, every: every, beats: make(map[string]*heartbeat)}
	w.arm(&h.timer, every, h.tick)
}

func (h *heartbeats) tick() {
	if h.w.draining {
		return
	}
	for name, b := range h.w.srv.backends.Load().now {
		pool := h.w.pools[name]
		if pool == nil || b.Checks() || len(b.State()) != 1 {
			continue
		}
		beat := h.beats[name]
		if beat == nil {
			beat = &heartbeat{h: h, name: name}
			h.beats[name] = beat
		}
		if beat.sent != 0 {
			continue // a slow node is not given more to do
		}
		beat.node = b.State()[0].Address // a backend of that name may have come back with another
		at := h.w.now().UnixNano()
		if pool.Pipeline(backend.Key{DB: 0, Proto: 2}).Send(beat, 0, at, ping) == 0 {
			beat.sent = at
		}
	}
	h.w.arm(&h.timer, h.every, h.tick)
}

// Reply implements backend.Waiter. Whatever the node says, it answers.
func (b *heartbeat) Reply(_ uint64, _ int, _ []byte, last bool) {
	if last {
		b.h.w.srv.metrics.Node(b.name, b.node).Pinged(time.Duration(b.h.w.now().UnixNano() - b.sent))
		b.sent = 0
	}
}

// Fail implements backend.Waiter.
func (b *heartbeat) Fail(uint64, backend.Failure) { b.sent = 0 }
