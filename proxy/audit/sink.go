package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// FileMode is the permissions of an event file if none are asked for.
const FileMode fs.FileMode = 0o640

// Sink says where lines go. Make one with Stdout, Stderr, File or Writer.
type Sink struct {
	name string
	path string // of a file, opened by New and by Reopen
	mode fs.FileMode
	out  io.Writer
}

// Stdout writes to standard output.
func Stdout() Sink { return Sink{name: "stdout", out: os.Stdout} }

// Stderr writes to standard error.
func Stderr() Sink { return Sink{name: "stderr", out: os.Stderr} }

// File appends to the file at path, made with exactly these permissions if it
// isn't there (0: FileMode), whatever the umask. The permissions of a file that
// is there are left as they are.
func File(path string, mode fs.FileMode) Sink {
	if mode == 0 {
		mode = FileMode
	}
	return Sink{name: path, path: path, mode: mode}
}

// Writer writes to w with one call of Write per batch, from one goroutine. It
// is not closed by the Recorder.
func Writer(name string, w io.Writer) Sink { return Sink{name: name, out: w} }

// Name is what Dropped and log lines call the sink: stdout, stderr or the path.
func (s Sink) Name() string { return s.name }

// open opens a file sink's file for appending.
func (s Sink) open() (*os.File, error) {
	// A named pipe without a reader would hold the opener forever.
	if info, err := os.Stat(s.path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return nil, fmt.Errorf("open event file %s: is a named pipe", s.path)
	}
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE
	f, err := os.OpenFile(s.path, flags|os.O_EXCL, s.mode)
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(s.path, flags, s.mode)
	} else if err == nil {
		if err = f.Chmod(s.mode); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open event file: %w", err)
	}
	return f, nil
}

// queue is a sink at work. The fields under "recorder's lock" are shared; the
// rest belongs to the writing goroutine.
type queue struct {
	Sink
	wake chan struct{} // holds one: there is something to take

	// recorder's lock
	pending []byte // whole lines
	lines   int
	gap     gap      // lines not taken since the last one in pending
	dropped uint64   // lines that will never be written here
	failed  uint64   // writes that failed
	next    *os.File // from Reopen, to write to from the next batch on
	current io.Writer

	spare   []byte
	logged  time.Time
	unnamed uint64 // failures since the last one that was logged
}

// gap is a run of event numbers a sink could not take. Zero: none.
type gap struct {
	first, last uint64
	at          time.Time // of the last of them
}

// offer appends a line if there is room and opens or widens the gap if not.
// While a gap is open nothing is taken, so that it stays one range.
func (q *queue) offer(line []byte, e *Event, maxLines, maxBytes int) {
	if q.gap.first == 0 && q.lines < maxLines && len(q.pending)+len(line) <= maxBytes {
		q.pending = append(q.pending, line...)
		q.lines++
		return
	}
	if q.gap.first == 0 {
		q.gap.first = e.Seq
	}
	q.gap.last, q.gap.at = e.Seq, e.Time
	q.dropped++
}

// take hands over all pending lines and leaves an empty buffer. A gap is stated
// at the end of them, where the lost lines would have been.
func (q *queue) take() []byte {
	batch := q.pending
	if q.gap.first != 0 {
		batch = append(appendDropped(batch, q.gap.at, q.gap.first, q.gap.last), '\n')
		q.gap = gap{}
	}
	q.pending, q.spare, q.lines = q.spare[:0], nil, 0
	return batch
}

// signal tells the writing goroutine that there is something to take; it never waits.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
