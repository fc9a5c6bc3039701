package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	defaultBuffer = 8192
	bytesPerLine  = 1024 // average room per buffered line; a line is some 400 bytes
	keepBuffer    = 1 << 20

	retryFirst = 100 * time.Millisecond
	retryMost  = time.Second
	logEvery   = 10 * time.Second
)

// Options is what a Recorder is made of.
type Options struct {
	Sinks  []Sink      // each name once; none: events are numbered and go nowhere
	Logger *zap.Logger // for failing sinks; nil: silent
	// Buffer is how many lines wait for a sink at most, and as many KiB; 0: 8192.
	Buffer int
}

// Recorder numbers events and brings them to its sinks. All methods are safe
// for concurrent use.
type Recorder struct {
	log                *zap.Logger
	maxLines, maxBytes int

	mu      sync.Mutex
	seq     uint64
	closed  bool
	scratch []byte
	queues  []*queue

	closing chan struct{} // closed by Close: write what is there, then end
	writers sync.WaitGroup
}

// New opens the sinks and starts a goroutine for each, which Close ends. If a
// file can't be opened nothing is left behind.
func New(o Options) (*Recorder, error) {
	if o.Buffer <= 0 {
		o.Buffer = defaultBuffer
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	r := &Recorder{
		log:      o.Logger,
		maxLines: o.Buffer,
		maxBytes: max(o.Buffer*bytesPerLine, 2*maxLine),
		closing:  make(chan struct{}),
	}
	for _, s := range o.Sinks {
		if err := r.add(s); err != nil {
			for _, q := range r.queues {
				r.release(q)
			}
			return nil, err
		}
	}
	for _, q := range r.queues {
		r.writers.Go(func() { r.write(q) })
	}
	return r, nil
}

func (r *Recorder) add(s Sink) error {
	for _, q := range r.queues {
		if q.name == s.name {
			return fmt.Errorf("event sink %s: named twice", s.name)
		}
	}
	q := &queue{Sink: s, wake: make(chan struct{}, 1), current: s.out}
	if s.path != "" {
		f, err := s.open()
		if err != nil {
			return err
		}
		q.current = f
	}
	if q.current == nil {
		return fmt.Errorf("event sink %q: nowhere to write", s.name)
	}
	r.queues = append(r.queues, q)
	return nil
}

// Record numbers e, setting e.Seq, and passes its line to every sink. It does
// no I/O and never waits for a sink; it keeps nothing of e. Lines come in every
// sink in the order of their numbers. After Close events are counted as dropped.
func (r *Recorder) Record(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	e.Seq = r.seq
	if r.closed {
		for _, q := range r.queues {
			q.dropped++
		}
		return
	}
	if len(r.queues) == 0 {
		return
	}
	r.scratch = append(AppendJSON(r.scratch[:0], e), '\n')
	for _, q := range r.queues {
		q.offer(r.scratch, e, r.maxLines, r.maxBytes)
		q.signal()
	}
}

// Dropped says for each sink by name how many events it lost so far: those that
// found its buffer full, and those that could not be written before Close gave up.
func (r *Recorder) Dropped() map[string]uint64 {
	return r.counts(func(q *queue) uint64 { return q.dropped })
}

// Failures says for each sink by name how many writes failed so far. A failed
// write is tried again and loses nothing by itself.
func (r *Recorder) Failures() map[string]uint64 {
	return r.counts(func(q *queue) uint64 { return q.failed })
}

func (r *Recorder) counts(of func(*queue) uint64) map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := make(map[string]uint64, len(r.queues))
	for _, q := range r.queues {
		m[q.name] = of(q)
	}
	return m
}

// Reopen opens the files of all file sinks anew, for log rotation: events
// recorded after it returns go to the new files. A file that can't be opened
// leaves its sink writing to the old one; the errors are joined.
func (r *Recorder) Reopen() error {
	var errs []error
	for _, q := range r.queues {
		if q.path == "" {
			continue
		}
		f, err := q.open()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.mu.Lock()
		if q.next != nil {
			q.next.Close()
		}
		if q.next = f; r.closed {
			f.Close()
			q.next = nil
		}
		q.signal()
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Close writes what is buffered, ends the goroutines and closes the files. It
// gives up when ctx ends, or for a sink whose write fails then; the error says
// how many events were lost by that. A second call waits as the first does.
func (r *Recorder) Close(ctx context.Context) error {
	before := r.lost()
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.closing)
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.writers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		r.interrupt()
		return fmt.Errorf("close event sinks: %w", ctx.Err())
	}
	if n := r.lost() - before; n > 0 {
		return fmt.Errorf("close event sinks: %d events could not be written", n)
	}
	return nil
}

func (r *Recorder) lost() (n uint64) {
	for _, d := range r.Dropped() {
		n += d
	}
	return n
}

// interrupt ends writes that hang, where the system lets us (pipes, sockets).
func (r *Recorder) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.queues {
		if d, ok := q.current.(interface{ SetWriteDeadline(time.Time) error }); ok {
			_ = d.SetWriteDeadline(time.Unix(1, 0)) // a file without deadlines hangs on until the process ends
		}
	}
}

// write is a sink's goroutine: whatever has gathered is one batch.
func (r *Recorder) write(q *queue) {
	defer r.release(q)
	for last := false; !last; {
		select {
		case <-q.wake:
		case <-r.closing:
			last = true
		}
		for batch := r.take(q); len(batch) > 0; batch = r.take(q) {
			r.flush(q, batch)
			if cap(batch) <= keepBuffer {
				q.spare = batch
			}
		}
	}
}

// take hands over a batch and, under the same lock, goes over to a reopened
// file: an event recorded after Reopen is never in a batch taken before it.
func (r *Recorder) take(q *queue) []byte {
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
	if f, ok := q.current.(*os.File); ok {
		f.Close()
	}
	q.current, q.next = q.next, nil
	return true
}

// flush writes a batch. A write that fails goes on where it stopped, again and
// again, while new events wait in the bounded buffer: a full disk costs what
// doesn't fit there, not what was accepted, and leaves no half line behind.
func (r *Recorder) flush(q *queue, batch []byte) {
	wait := retryFirst
	for done := 0; ; {
		n, err := q.current.Write(batch[done:])
		done += min(max(n, 0), len(batch)-done)
		if done == len(batch) {
			return
		}
		if err == nil {
			err = io.ErrShortWrite
		}
		r.failed(q, err)
		if !r.pause(wait) {
			r.mu.Lock()
			q.dropped += uint64(bytes.Count(batch[done:], []byte{'\n'}))
			r.mu.Unlock()
			return
		}
		wait = min(2*wait, retryMost)
		r.mu.Lock()
		if r.turnOver(q) { // the new file begins with a whole line
			done = bytes.LastIndexByte(batch[:done], '\n') + 1
		}
		r.mu.Unlock()
	}
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
	if q.path == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, ok := q.current.(*os.File); ok {
		f.Close()
	}
	if q.next != nil {
		q.next.Close()
		q.next = nil
	}
}
