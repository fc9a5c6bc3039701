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

// heartbeat is one backend's PING. It implements backend.Bystander: behind a big reply, it would otherwise have what
// its client does not read held in memory.
type heartbeat struct {
	h    *heartbeats
	name string
	node string
	sent int64             // the turn it was sent in, Unix ns; 0: none is on its way
	via  *backend.Pipeline // that took it
	no   uint64            // its number, by which it is known from one that is still held behind a big reply
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
		if beat.sent != 0 && !beat.via.Gone() {
			continue // a slow node is not given more to do
		}
		beat.node = b.State()[0].Address // a backend of that name may have come back with another
		at := h.w.now().UnixNano()
		beat.via = pool.Pipeline(backend.Key{DB: 0, Proto: 2})
		beat.sent, beat.no = 0, beat.no+2 // never next to the last one, or a queue would take the two for a run
		if beat.via.Send(beat, beat.no, at, ping) == 0 {
			beat.sent = at
		}
	}
	h.w.arm(&h.timer, h.every, h.tick)
}

// Reply implements backend.Waiter. Whatever the node says, it answers. Behind a big reply
// the time would be that of a client.
func (b *heartbeat) Reply(no uint64, _ int, _ []byte, last bool) {
	if !last || no != b.no {
		return
	}
	if !b.via.Gone() {
		b.h.w.srv.metrics.Node(b.name, b.node).Pinged(time.Duration(b.h.w.now().UnixNano() - b.sent))
	}
	b.sent = 0
}

// Fail implements backend.Waiter.
func (b *heartbeat) Fail(no uint64, _ backend.Failure) {
	if no == b.no {
		b.sent = 0
	}
}

// Bystander implements backend.Bystander.
func (b *heartbeat) Bystander() {}
