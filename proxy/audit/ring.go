package audit

import "slices"

const (
	recentLines = 1024
	recentBytes = 1 << 20
)

// ring holds the last lines, bounded in number and bytes. It reuses their
// buffers, so that it costs a copy and no allocation.
type ring struct {
	most     int
	mostByte int
	bytes    int
	first, n int
	slots    []slot
}

type slot struct {
	kind Kind
	seq  uint64
	text []byte
}

func newRing(lines, bytes int) ring { return ring{most: lines, mostByte: bytes} }

func (g *ring) add(kind Kind, seq uint64, text []byte) {
	if len(g.slots) == 0 {
		g.slots = make([]slot, g.most)
	}
	for g.n == g.most || g.n > 0 && g.bytes+len(text) > g.mostByte {
		g.bytes -= len(g.slots[g.first].text)
		g.first, g.n = (g.first+1)%g.most, g.n-1
	}
	s := &g.slots[(g.first+g.n)%g.most]
	if cap(s.text) > 4096 && len(text) <= 4096 {
		s.text = nil // one huge line must not keep its room for ever
	}
	s.kind, s.seq, s.text = kind, seq, append(s.text[:0], text...)
	g.n++
	g.bytes += len(text)
}

// Filter picks events of the recent past; its zero value picks all.
type Filter struct {
	Kinds []Kind // none: all kinds
	After uint64 // numbers above it
}

// Recent gives the last events that the filter picks, n at most, oldest first,
// each as one JSON object of the native format. Some thousand are held, admin
// and reload events apart from the others; they show of keys what the most
// sparing sink shows. The caller owns them.
func (r *Recorder) Recent(n int, f Filter) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []slot
	for _, g := range []*ring{&r.recent, &r.admin} {
		for i := range g.n {
			s := g.slots[(g.first+i)%g.most]
			if s.seq > f.After && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, s.kind)) {
				found = append(found, s)
			}
		}
	}
	slices.SortFunc(found, func(a, b slot) int { return int(int64(a.seq - b.seq)) })
	found = found[max(0, len(found)-max(n, 0)):]
	out := make([][]byte, len(found))
	for i, s := range found {
		out[i] = slices.Clone(s.text)
	}
	return out
}

// remember keeps the event for Recent. r.mu is held, the shapes are encoded.
func (r *Recorder) remember(e *Event) {
	text := r.sparing(e)
	g := &r.recent
	if e.Kind == Admin || e.Kind == Reload {
		g = &r.admin
	}
	g.add(e.Kind, e.Seq, text)
}

// sparing is the event's line that says least of keys. A hash says less than a
// prefix only to who can't guess, so it counts as saying more.
func (r *Recorder) sparing(e *Event) []byte {
	var best *shape
	for _, s := range r.shapes {
		if s.format == Native && (best == nil || spares(s.keys) > spares(best.keys)) {
			best = s
		}
	}
	if best == nil {
		best = &r.own
		best.encode(e)
	}
	return best.text[:len(best.text)-1]
}

func spares(k KeyMode) int {
	switch k {
	case KeysOff:
		return 3
	case KeysPrefix:
		return 2
	case KeysHash:
		return 1
	}
	return 0
}
