package proxy

// slots keeps a session's replies in the order of its calls. Each call takes
// one slot; a slot is done when its whole reply is known. The head's bytes go
// straight out, the others wait in their slot.
//
// A tag is the running number of a call within its session and never repeats.
type slots struct {
	ring  []slot // length a power of two
	first uint64 // tag of the head
	n     uint64
	held  int // bytes of replies waiting behind the head
	owed  int // bytes of requests whose reply is owed
}

type slot struct {
	buf  []byte
	at   int64 // when the call was sent, Unix ns by the turn's clock; 0: answered here
	size int32 // bytes of the request
	done bool
}

func (q *slots) len() int { return int(q.n) }

// push takes the next slot for a request of size bytes made at a time, and
// gives its tag.
func (q *slots) push(size int, at int64) uint64 {
	if q.n == uint64(len(q.ring)) {
		q.grow()
	}
	tag := q.first + q.n
	q.ring[tag&uint64(len(q.ring)-1)] = slot{size: int32(min(size, 1<<30)), at: at}
	q.n++
	q.owed += int(min(size, 1<<30))
	return tag
}

func (q *slots) grow() {
	bigger := make([]slot, max(16, 2*len(q.ring)))
	for i := range q.n {
		tag := q.first + i
		bigger[tag&uint64(len(bigger)-1)] = q.ring[tag&uint64(len(q.ring)-1)]
	}
	q.ring = bigger
}

// owes reports whether the n calls from tag on still wait for (more of) their replies.
func (q *slots) owes(tag uint64, n int) bool {
	if tag-q.first >= q.n || uint64(n) > q.n-(tag-q.first) {
		return false
	}
	for i := range uint64(n) {
		if q.ring[(tag+i)&uint64(len(q.ring)-1)].done {
			return false
		}
	}
	return true
}

// hold keeps reply bytes for n calls from tag on, none of them the head: whole
// replies, or with !last a piece of one. Whole ones leave together, so the first
// slot may keep them for all.
func (q *slots) hold(tag uint64, n int, p []byte, last bool) {
	for i := range uint64(n) {
		q.ring[(tag+i)&uint64(len(q.ring)-1)].done = last
	}
	s := &q.ring[tag&uint64(len(q.ring)-1)]
	s.buf = append(s.buf, p...)
	q.held += len(p)
}

// pop ends the head and gives when its call was made.
func (q *slots) pop() (at int64) {
	s := &q.ring[q.first&uint64(len(q.ring)-1)]
	q.owed -= int(s.size)
	at = s.at
	*s = slot{}
	q.first++
	q.n--
	return at
}

// next gives the head's held bytes if there are any, and whether the head is done.
func (q *slots) next() (buf []byte, done bool) {
	s := &q.ring[q.first&uint64(len(q.ring)-1)]
	buf, s.buf = s.buf, nil
	q.held -= len(buf)
	return buf, s.done
}

// release gives back a ring that is empty, so that an idle client keeps none.
func (q *slots) release() {
	if q.n == 0 && len(q.ring) > 64 {
		q.ring = nil
	}
}
