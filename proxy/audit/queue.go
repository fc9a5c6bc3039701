package audit

import (
	"io"
	"sync/atomic"
	"time"
)

// queue is a sink at work. The fields under "recorder's lock" are shared; the
// rest belongs to the writing goroutine.
type queue struct {
	Sink
	shape *shape
	wake  chan struct{} // holds one: there is something to take

	full    atomic.Bool  // ordinary events find no room
	failing atomic.Bool  // the last write failed
	busy    atomic.Int64 // when the write under way began, Unix ns; 0: none is

	// recorder's lock
	pending []byte   // whole lines
	seqs    []uint64 // their numbers
	gap     gap      // lines not taken since the last one in pending
	dropped uint64   // lines that will never be written here
	failed  uint64   // writes that failed
	written uint64   // lines written
	next    *opened  // from Reopen, to write to from the next batch on
	current io.Writer
	head    uint64 // number and hash of the last line written
	sum     digest

	spare     []byte
	spareSeqs []uint64
	work      work
	file      fileState
	logged    time.Time
	unnamed   uint64 // failures since the last one that was logged
	retryMost time.Duration
}

// gap is a run of event numbers a sink could not take. Zero: none.
type gap struct {
	first, last uint64
	at          time.Time // of the last of them
}

// room is what is kept for lines that state a gap.
const gapLine = 256

// offer appends the shape's line if there is room and opens or widens the gap if
// not. A quarter is kept for vital events. While a gap is open no other event is
// taken, so that it stays one range; a vital one ends it. false: it was dropped.
func (q *queue) offer(e *Event, maxLines, maxBytes int) bool {
	line, vital := q.shape.text, e.Kind.vital()
	if len(line) == 0 {
		return true // not for this sink's format
	}
	lines, bytes := len(q.seqs)+1, len(q.pending)+len(line)
	if q.gap.first != 0 {
		lines, bytes = lines+1, bytes+gapLine
	}
	fits := lines <= maxLines-maxLines/4 && bytes <= maxBytes-maxBytes/4
	if !fits {
		q.full.Store(true)
	}
	if fits && q.gap.first == 0 || vital && lines <= maxLines && bytes <= maxBytes {
		q.state()
		q.pending, q.seqs = append(q.pending, line...), append(q.seqs, e.Seq)
		return true
	}
	q.miss(e)
	return false
}

// miss counts an event that this sink will never have.
func (q *queue) miss(e *Event) {
	if q.gap.first == 0 {
		q.gap.first = e.Seq
	}
	q.gap.last, q.gap.at = e.Seq, e.Time
	q.dropped++
}

// state ends the gap, if one is open, with the line that states it, where the
// lost lines would have been.
func (q *queue) state() {
	if q.gap.first == 0 {
		return
	}
	q.pending = append(appendDropped(q.pending, q.gap.at, q.gap.first, q.gap.last), '\n')
	q.seqs = append(q.seqs, q.gap.last)
	q.gap = gap{}
}

// take hands over all pending lines with their numbers and leaves empty buffers.
func (q *queue) take() ([]byte, []uint64) {
	q.state()
	batch, seqs := q.pending, q.seqs
	q.pending, q.spare = q.spare[:0], nil
	q.seqs, q.spareSeqs = q.spareSeqs[:0], nil
	q.full.Store(false)
	return batch, seqs
}

// signal tells the writing goroutine that there is something to take; it never waits.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// stalled is how long a write may take before its sink counts as not keeping the record.
const stalled = time.Second

// keeps says that an event recorded now will be written as far as can be told.
func (q *queue) keeps(now time.Time) bool {
	if q.full.Load() || q.failing.Load() {
		return false
	}
	since := q.busy.Load()
	return since == 0 || now.UnixNano()-since < int64(stalled)
}

// work is the batch being written: as it came, and with hashes.
type work struct {
	chain  *chain // nil: lines have no hash
	seq    uint64 // of the last line sealed
	sealed []byte
	marks  []mark
	before mark // the state before the first line

	open    string // why a chain line is due; empty: none is
	torn    int64  // bytes of an unfinished line that it must state
	newline bool   // the file ends inside a line
	text    []byte
}

// mark is the state after a line.
type mark struct {
	raw, sealed int // where it ends in the batch, and in sealed
	seq         uint64
	sum         digest
	begun       bool
}

func (w *work) now() mark {
	m := mark{seq: w.seq}
	if w.chain != nil {
		m.sum, m.begun = w.chain.last, w.chain.begun
	}
	return m
}

// prepare seals a batch.
func (w *work) prepare(batch []byte, seqs []uint64, at time.Time) {
	w.sealed, w.marks, w.before = w.sealed[:0], w.marks[:0], w.now()
	if w.newline {
		w.sealed = append(w.sealed, '\n')
		w.before.sealed = 1
	}
	if w.open != "" && w.chain != nil {
		w.text = w.chain.appendChain(w.text[:0], at, w.seq, w.open, w.torn)
		w.add(w.text, w.seq, 0)
	}
	for start, i := 0, 0; start < len(batch); i++ {
		end := start
		for batch[end] != '\n' {
			end++
		}
		end++
		w.add(batch[start:end], seqs[i], end)
		start = end
	}
}

func (w *work) add(text []byte, seq uint64, raw int) {
	w.seq = seq
	if w.chain != nil {
		w.sealed = w.chain.seal(w.sealed, text)
	} else {
		w.sealed = append(w.sealed, text...)
	}
	m := w.now()
	m.raw, m.sealed = raw, len(w.sealed)
	w.marks = append(w.marks, m)
}

// reached gives the state after the last line of which done bytes hold the whole.
func (w *work) reached(done int) mark {
	m := w.before
	for _, next := range w.marks {
		if next.sealed > done {
			break
		}
		m = next
	}
	return m
}

// rewind goes back to a state.
func (w *work) rewind(m mark) {
	w.seq = m.seq
	if w.chain != nil {
		w.chain.last, w.chain.begun = m.sum, m.begun
	}
}

// done forgets what was asked to stand before the batch.
func (w *work) done() {
	w.open, w.torn, w.newline = "", 0, false
	if cap(w.sealed) > keepBuffer {
		w.sealed, w.marks = nil, nil
	}
}
