package audit

import (
	"context"
	"errors"
	"fmt"
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

	checkpointEvery = time.Minute
)

// Options is what a Recorder is made of.
type Options struct {
	Sinks  []Sink      // each name once; none: events are numbered and go nowhere
	Logger *zap.Logger // for failing sinks; nil: silent
	// Buffer is how many lines wait for a sink at most, and as many KiB; 0: 8192. A
	// quarter of it takes auth, close_conn, admin and reload only.
	Buffer int
}

// Recorder numbers events and brings them to its sinks. All methods are safe
// for concurrent use.
type Recorder struct {
	log                *zap.Logger
	maxLines, maxBytes int

	mu      sync.Mutex
	seq     uint64
	noted   uint64 // seq after the last checkpoints
	closed  bool
	shapes  []*shape
	own     shape // of Recent, where no sink has the native format
	queues  []*queue
	keeping []*queue // those that refuse
	recent  ring
	admin   ring // of admin and reload events, which a flood of others must not push out

	closing chan struct{} // closed by Close: write what is there, then end
	writers sync.WaitGroup
}

// New opens the sinks and starts a goroutine for each, which Close ends. If a
// file can't be opened nothing is left behind. Numbers go on where the furthest
// file ends.
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
		maxBytes: max(o.Buffer*bytesPerLine, 4*maxLine),
		recent:   newRing(recentLines, recentBytes),
		admin:    newRing(recentLines/4, recentBytes/4),
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
	r.begin(time.Now())
	return r, nil
}

func (r *Recorder) add(s Sink) error {
	for _, q := range r.queues {
		if q.name == s.name {
			return fmt.Errorf("event sink %s: named twice", s.name)
		}
	}
	q := &queue{Sink: s, shape: r.shapeOf(s.set), wake: make(chan struct{}, 1), current: s.out, retryMost: retryMost}
	if !s.plain {
		q.work.chain = &chain{links: newLinks(s.set.Key)}
		q.work.open = openStart
	}
	switch {
	case s.path != "":
		t := s.resume()
		f, err := s.open()
		if err != nil {
			return err
		}
		q.current, q.file, q.work.newline, q.work.torn = f.File, f.fileState, f.newline, t.torn
		if c := q.work.chain; c != nil && t.found {
			c.last, c.begun, q.work.seq = t.sum, true, t.seq
			r.seq = max(r.seq, t.seq)
		}
	case s.syslog != nil:
		q.current, q.retryMost = newSyslogEnd(*s.syslog), syslogRetryMost
	}
	if q.current == nil {
		return fmt.Errorf("event sink %q: nowhere to write", s.name)
	}
	r.queues = append(r.queues, q)
	return nil
}

// shapeOf finds or makes the way of encoding that settings ask for.
func (r *Recorder) shapeOf(set Settings) *shape {
	secret := set.Key
	if set.Keys != KeysHash {
		secret = nil
	}
	for _, s := range r.shapes {
		if s.format == set.Format && s.keys == set.Keys && s.secret == secret {
			return s
		}
	}
	r.shapes = append(r.shapes, &shape{format: set.Format, keys: set.Keys, secret: secret})
	return r.shapes[len(r.shapes)-1]
}

// begin starts the writers. A file that ends before the furthest one states what
// it has not.
func (r *Recorder) begin(now time.Time) {
	chained := 0
	for _, q := range r.queues {
		if c := q.work.chain; c != nil {
			chained++
			if q.work.seq < r.seq && c.begun && q.set.Format == Native {
				q.gap = gap{q.work.seq + 1, r.seq, now}
				q.signal()
			} else {
				q.work.seq = r.seq
			}
		}
		if q.set.Refuse {
			r.keeping = append(r.keeping, q)
		}
	}
	r.noted = r.seq
	for _, q := range r.queues {
		r.writers.Go(func() { r.write(q) })
	}
	if chained > 1 {
		r.writers.Go(r.checkpoints)
	}
}

// Record numbers e, setting e.Seq, and passes its line to every sink. It does
// no I/O and never waits for a sink; it keeps nothing of e. Lines come in every
// sink in the order of their numbers. After Close events are counted as dropped.
//
// kept is false if a sink that must keep the record had no room: what the event
// speaks of should not happen then.
func (r *Recorder) Record(e *Event) (kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	e.Seq = r.seq
	kept = true
	if r.closed {
		for _, q := range r.queues {
			q.dropped++
			kept = kept && !q.set.Refuse
		}
		return kept
	}
	for _, s := range r.shapes {
		s.encode(e)
	}
	for _, q := range r.queues {
		if !q.offer(e, r.maxLines, r.maxBytes) && q.set.Refuse {
			kept = false
		}
		q.signal()
	}
	r.remember(e)
	return kept
}

// Keeps says whether every sink that must keep the record can do so now: it has
// room, its last write did not fail, and none has been under way for a second.
// While it says no, nobody should be let in, nor a login be judged.
func (r *Recorder) Keeps() bool {
	if len(r.keeping) == 0 {
		return true
	}
	now := time.Now()
	for _, q := range r.keeping {
		if !q.keeps(now) {
			return false
		}
	}
	return true
}

// Refuses says whether there is a sink that must keep the record.
func (r *Recorder) Refuses() bool { return len(r.keeping) > 0 }

// Stats is what a sink has done so far.
type Stats struct {
	Written uint64 // lines
	Dropped uint64 // events that it will never have
	Failed  uint64 // writes; one that failed is tried again and loses nothing by itself
	Waiting int    // lines that it has not been given yet
}

// Stats says for each sink by name what it has done.
func (r *Recorder) Stats() map[string]Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := make(map[string]Stats, len(r.queues))
	for _, q := range r.queues {
		m[q.name] = Stats{Written: q.written, Dropped: q.dropped, Failed: q.failed, Waiting: len(q.seqs)}
	}
	return m
}

// Dropped says for each sink by name how many events it lost so far: those that
// found its buffer full, and those that could not be written before Close gave up.
func (r *Recorder) Dropped() map[string]uint64 {
	m := make(map[string]uint64)
	for name, s := range r.Stats() {
		m[name] = s.Dropped
	}
	return m
}

// Failures says for each sink by name how many writes failed so far. A failed
// write is tried again and loses nothing by itself.
func (r *Recorder) Failures() map[string]uint64 {
	m := make(map[string]uint64)
	for name, s := range r.Stats() {
		m[name] = s.Failed
	}
	return m
}

// Heads says for each sink with a chain where that stands: what audit verify can
// be told to expect.
func (r *Recorder) Heads() map[string]Head {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := make(map[string]Head)
	for _, q := range r.queues {
		if q.work.chain != nil && q.written > 0 {
			m[q.name] = Head{q.head, q.sum.String()}
		}
	}
	return m
}

// checkpoints tells each sink where the chains of the others stand, every minute
// in which anything else happened: who cuts off the end of one would have to
// cut off that of the others.
func (r *Recorder) checkpoints() {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.closing:
			return
		case now := <-tick.C:
			r.checkpoint(now)
		}
	}
}

func (r *Recorder) checkpoint(now time.Time) {
	r.mu.Lock()
	idle := r.noted == r.seq
	r.mu.Unlock()
	if idle {
		return
	}
	heads := r.Heads()
	for _, q := range r.queues { // in the configuration's order
		if h, ok := heads[q.name]; ok {
			r.Record(&Event{Time: now, Kind: Checkpoint, Sink: q.name, Head: h})
		}
	}
	r.mu.Lock()
	r.noted = r.seq
	r.mu.Unlock()
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

// Close writes what is buffered, ends the chains and the goroutines and closes
// the files. It gives up when ctx ends, or for a sink whose write fails then; the
// error says how many events were lost by that. A second call waits as the first
// does.
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
