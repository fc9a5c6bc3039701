package proxy

import (
	"bytes"

	"github.com/sallyport/sallyport/proxy/backend"
)

// slots keeps a session's replies in the order of its calls. Each call takes a
// slot and gets a tag, its running number within the session, which never
// repeats. Consecutive calls that went the same way in the same turn share one
// run, since their replies come back in order: a pipeline of a thousand calls
// costs no more memory than one call. The head run's bytes go straight out, the
// others' wait in their run.
type slots struct {
	ring  []run // length a power of two
	first uint  // of the head run
	n     uint  // runs
	tag   uint64
	next  uint64 // tag of the next call
	held  int    // bytes of replies waiting behind the head
	mute  bool   // the replies to calls made now are not wanted
	owed  int    // bytes of requests, and of answers made here, whose run is not over
}

// run is one or more consecutive calls.
type run struct {
	via  *backend.Pipeline // nil: answered here
	at   int64             // when they were made: the turn's clock, Unix ns
	size int               // bytes of the requests, or of the answer made here
	n    int32             // calls
	got  int32             // of these, calls whose reply is whole
	mute bool              // the replies are dropped as they come
	part bool              // a piece of the reply after those is here, or already out
	late bool              // an answer made here with nothing before it, which waits all the same: tag is still its own
	buf  []byte            // replies that wait for the ones before
}

// len is the number of calls whose replies have not all left.
func (q *slots) len() int { return int(q.next - q.tag) }

func (q *slots) at(i uint) *run { return &q.ring[(q.first+i)&uint(len(q.ring)-1)] }

// push takes the next slot for a call of size bytes, sent over a pipeline at a
// time with the tag next.
func (q *slots) push(via *backend.Pipeline, size int, at int64) { q.pushRun(via, 1, size, at) }

// pushRun is push for n calls in a row, of size bytes together.
func (q *slots) pushRun(via *backend.Pipeline, n, size int, at int64) {
	q.next += uint64(n)
	q.owed += size
	if q.n > 0 {
		if last := q.at(q.n - 1); last.via == via && last.at == at && last.mute == q.mute {
			last.n += int32(n)
			last.size += size
			return
		}
	}
	q.add(run{via: via, at: at, size: size, n: int32(n), mute: q.mute})
}

// alone is push for a call whose reply may come before those of earlier ones.
func (q *slots) alone(via *backend.Pipeline, size int, at int64) {
	q.next++
	q.owed += size
	q.add(run{via: via, at: at, size: size, n: 1, mute: q.mute})
}

// literal takes the next slot for a call whose whole reply is known. The reply
// counts as owed, so that a client can't have any number of answers made here
// pile up behind one that is slow to come.
func (q *slots) literal(reply []byte) {
	q.next++
	q.held += len(reply)
	q.owed += len(reply)
	q.add(run{size: len(reply), n: 1, got: 1, late: q.n == 0, buf: bytes.Clone(reply)})
}

func (q *slots) add(r run) {
	if q.n == uint(len(q.ring)) {
		bigger := make([]run, max(4, 2*len(q.ring)))
		for i := range q.n {
			bigger[i] = *q.at(i)
		}
		q.ring, q.first = bigger, 0
	}
	q.n++
	*q.at(q.n - 1) = r
}

// find gives the run that the reply to a call belongs to, and whether that is
// the head. nil: the call is owed none, or not yet.
func (q *slots) find(tag uint64, n int) (r *run, head bool) {
	at := q.tag
	for i := range q.n {
		r := q.at(i)
		got := uint64(r.got)
		if i == 0 && !r.late {
			got = 0 // the head's tag moves with what has left
		}
		left := uint64(r.n) - uint64(r.got)
		if tag < at+got+left {
			if tag != at+got || uint64(n) > left || r.via == nil {
				return nil, false
			}
			return r, i == 0
		}
		at += got + left
	}
	return nil, false
}

// hold keeps reply bytes for a run that is not the head.
func (q *slots) hold(r *run, n int, p []byte, last bool) {
	if !r.mute {
		r.buf = append(r.buf, p...)
		q.held += len(p)
	}
	r.take(n, last)
}

// left notes that n whole replies of the head run have gone out.
func (q *slots) left(n int) { q.tag += uint64(n) }

// take notes n whole replies, or a piece of one.
func (r *run) take(n int, last bool) {
	if r.part = !last; last {
		r.got += int32(n)
	}
}

// pop ends the head run.
func (q *slots) pop() {
	r := q.at(0)
	q.owed -= r.size
	if r.late {
		q.tag += uint64(r.got)
	}
	*r = run{}
	q.first++
	q.n--
	if q.n > 0 { // what the new head already has leaves with its buffer
		q.tag += uint64(q.at(0).got)
	}
}

// release gives back a ring that is empty, so that an idle client keeps little.
func (q *slots) release() {
	if q.n == 0 && len(q.ring) > 4 {
		q.ring = nil
	}
}
