package audit

import (
	"bytes"
	"io"
	"os"
	"time"

	"go.uber.org/zap"
)

// write is a sink's goroutine: whatever has gathered is one batch.
func (r *Recorder) write(q *queue) {
	defer r.release(q)
	if q.work.chain != nil {
		q.signal() // the line that begins or continues the chain
	}
	for last := false; !last; {
		select {
		case <-q.wake:
		case <-r.closing:
			last = true
		}
		for r.batch(q) {
		}
	}
	if q.work.chain != nil && q.work.chain.begun && !q.failing.Load() {
		q.work.open = openClose
		r.flush(q, nil, nil)
	}
}

// batch writes what has gathered and what is due besides. false: there was nothing.
func (r *Recorder) batch(q *queue) bool {
	batch, seqs := r.take(q)
	if len(batch) == 0 && q.work.open == "" {
		return false
	}
	r.rotate(q, len(batch)+len(seqs)*hashRoom)
	r.flush(q, batch, seqs)
	if cap(batch) <= keepBuffer {
		q.spare, q.spareSeqs = batch, seqs
	}
	return true
}

// take hands over a batch and, under the same lock, goes over to a reopened
// file: an event recorded after Reopen is never in a batch taken before it.
func (r *Recorder) take(q *queue) ([]byte, []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turnOver(q)
	return q.take()
}

// turnOver replaces the file by a reopened one, if there is one. r.mu is held.
func (r *Recorder) turnOver(q *queue) bool {
	if q.next == nil {
		return false
	}
	r.replace(q, q.next, openReopen)
	q.next = nil
	return true
}

// replace goes over to another file. r.mu is held.
func (r *Recorder) replace(q *queue, f *opened, why string) {
	if old, ok := q.current.(*os.File); ok {
		old.Close()
	}
	q.current, q.file, q.work.newline = f.File, f.fileState, f.newline
	if q.work.chain != nil {
		q.work.open = why
	}
}

// rotate begins a new file if the batch should not go into the one there is.
func (r *Recorder) rotate(q *queue, more int) {
	now := time.Now()
	if q.path == "" || !q.file.due(q.set.Rotate, more, now) {
		return
	}
	f, err := q.shift()
	if err != nil {
		r.failed(q, err)
		q.file.later = now.Add(logEvery)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replace(q, f, openRotate)
}

// flush writes a batch. A write that fails goes on where it stopped, again and
// again, while new events wait in the bounded buffer: a full disk costs what
// doesn't fit there, not what was accepted, and leaves no half line behind.
func (r *Recorder) flush(q *queue, batch []byte, seqs []uint64) {
	w := &q.work
	defer w.done()
	w.prepare(batch, seqs, time.Now())
	wait := retryFirst
	for done := 0; ; {
		n, err := q.put(w.sealed[done:])
		done += n
		if done == len(w.sealed) {
			q.failing.Store(false)
			r.wrote(q, w.now(), len(w.marks))
			return
		}
		if err == nil {
			err = io.ErrShortWrite
		}
		q.failing.Store(true)
		r.failed(q, err)
		if !r.pause(wait) {
			at := w.reached(done)
			r.mu.Lock()
			q.dropped += uint64(bytes.Count(batch[at.raw:], []byte{'\n'}))
			r.mu.Unlock()
			return
		}
		wait = min(2*wait, q.retryMost)
		r.mu.Lock()
		turned := r.turnOver(q)
		r.mu.Unlock()
		if turned { // the new file begins with a whole line
			at := w.reached(done)
			r.wrote(q, at, 0)
			w.rewind(at)
			w.torn = int64(done - at.sealed)
			batch, seqs = batch[at.raw:], seqs[len(seqs)-bytes.Count(batch[at.raw:], []byte{'\n'}):]
			w.prepare(batch, seqs, time.Now())
			done = 0
		}
	}
}

// put is one write. It is timed, since one that hangs is one that fails.
func (q *queue) put(p []byte) (int, error) {
	q.busy.Store(time.Now().UnixNano())
	n, err := q.current.Write(p)
	q.busy.Store(0)
	n = min(max(n, 0), len(p))
	q.file.size += int64(n)
	return n, err
}

// wrote publishes how far the sink has come.
func (r *Recorder) wrote(q *queue, at mark, lines int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q.head, q.sum = at.seq, at.sum
	q.written += uint64(lines)
}

// pause waits before the next attempt, and says false if there must be none
// because the recorder is closing.
func (r *Recorder) pause(wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-r.closing:
		return false
	case <-timer.C:
		return true
	}
}

// failed counts a failed write and logs it, every ten seconds at most.
func (r *Recorder) failed(q *queue, err error) {
	r.mu.Lock()
	q.failed++
	r.mu.Unlock()
	q.unnamed++
	if now := time.Now(); q.logged.IsZero() || now.Sub(q.logged) >= logEvery {
		r.log.Error("events can't be written; retrying",
			zap.String("sink", q.name), zap.Uint64("failures", q.unnamed), zap.Error(err))
		q.logged, q.unnamed = now, 0
	}
}

// release closes what New or Reopen opened.
func (r *Recorder) release(q *queue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch end := q.current.(type) {
	case *os.File:
		if q.path != "" {
			end.Close()
		}
	case *syslogEnd:
		end.Close()
	}
	if q.next != nil {
		q.next.Close()
		q.next = nil
	}
}
