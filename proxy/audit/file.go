package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// fileState is what a file sink knows of the file it writes.
type fileState struct {
	size  int64
	born  time.Time // of its first event
	later time.Time // no rotation is tried before
}

// opened is a file ready to be appended to.
type opened struct {
	*os.File
	fileState
	newline bool // it ends inside a line
}

// open opens a file sink's file for appending.
func (s Sink) open() (*opened, error) {
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
	o := &opened{File: f}
	t := readTail(s.path)
	o.size, o.born, o.newline = t.size, t.born, t.torn > 0
	if o.born.IsZero() {
		o.born = time.Now()
	}
	return o, nil
}

// tail is how a file ends: where its chain stands, and how many bytes of a line
// that was never finished follow. The zero value is a file without lines.
type tail struct {
	sum   digest
	seq   uint64
	found bool // there is a whole line with a hash
	torn  int64
	size  int64
	born  time.Time // of the first line; zero: none says
}

// tailRoom is more than the last line and a torn one can take.
const tailRoom = 4 * maxLine

// readTail looks at a file's ends. What can't be read counts as not there: then
// the chain begins anew, and says so.
func readTail(path string) (t tail) {
	info, err := os.Stat(path) // before opening: a named pipe would wait
	if err != nil || !info.Mode().IsRegular() {
		return t
	}
	f, err := os.Open(path)
	if err != nil {
		return t
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil || info.Size() == 0 {
		return t
	}
	t.size = info.Size()
	text := make([]byte, min(t.size, tailRoom))
	if _, err := io.ReadFull(io.NewSectionReader(f, t.size-int64(len(text)), int64(len(text))), text); err != nil {
		return t
	}
	var start [64]byte
	n, _ := f.ReadAt(start[:], 0)
	t.born = timeOf(start[:n])
	end := bytes.LastIndexByte(text, '\n') + 1
	t.torn = int64(len(text) - end)
	if end == 0 {
		return t
	}
	line := text[bytes.LastIndexByte(text[:end-1], '\n')+1 : end-1]
	body, sum, err := unseal(line)
	if err != nil {
		return t
	}
	var number struct {
		Seq   uint64 `json:"seq"`
		Audit uint64 `json:"audit_seq"`
	}
	if json.Unmarshal(body, &number) == nil {
		t.sum, t.seq, t.found = sum, max(number.Seq, number.Audit), true
	}
	return t
}

// timeOf reads the time a line begins with, zero if it does with none.
func timeOf(line []byte) time.Time {
	const lead = `{"time":"`
	if len(line) < len(lead)+len(timeLayout) || string(line[:len(lead)]) != lead {
		return time.Time{}
	}
	at, err := time.Parse(timeLayout, string(line[len(lead):len(lead)+len(timeLayout)]))
	if err != nil {
		return time.Time{}
	}
	return at
}

// resume gives where the chain of a file sink stands when the process starts: at
// the file's end, or at that of the file rotated last if the file has no line.
func (s Sink) resume() tail {
	t := readTail(s.path)
	if !t.found && t.size == 0 {
		t = readTail(s.path + ".1")
	}
	return t
}

// due says that a file must be rotated before more bytes go into it.
func (f *fileState) due(r Rotation, more int, now time.Time) bool {
	if f.size == 0 || now.Before(f.later) {
		return false
	}
	return r.Size > 0 && f.size+int64(more) > r.Size || r.Age > 0 && now.Sub(f.born) >= r.Age
}

// shift renames the files and opens a new one. If that fails the old one has
// its name again.
func (s Sink) shift() (*opened, error) {
	keep := s.set.Rotate.Keep
	if keep <= 0 {
		keep = DefaultKeep
	}
	name := func(i int) string {
		if i == 0 {
			return s.path
		}
		return s.path + "." + strconv.Itoa(i)
	}
	for i := keep; i > 0; i-- {
		// Renaming onto the oldest removes it.
		if err := os.Rename(name(i-1), name(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("rotate event file: %w", err)
		}
	}
	f, err := s.open()
	if err != nil {
		_ = os.Rename(name(1), name(0)) // what made opening fail may make this fail, too
		return nil, err
	}
	return f, nil
}
