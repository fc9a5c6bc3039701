package audit

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// FileMode is the permissions of an event file if none are asked for.
const FileMode fs.FileMode = 0o640

// Sink says where lines go, and how they look there. Make one with Stdout,
// Stderr, File, Syslog or Writer.
type Sink struct {
	name   string
	path   string // of a file, opened by New and by Reopen
	mode   fs.FileMode
	out    io.Writer
	syslog *SyslogOptions
	set    Settings
	plain  bool // lines have no hash
}

// Settings is how a sink keeps its record. The zero value is the product's own
// format, all of a key's name, a chain without a key, and losing what there is no
// room for.
type Settings struct {
	Format Format
	Keys   KeyMode
	Key    *Key // of the chain; nil: plain SHA-256
	// Refuse lets nobody in while this sink can't keep the record; see Recorder.Keeps.
	Refuse bool
	Rotate Rotation // of a file
}

// Rotation is when a file sink begins a new file by itself. The file that was is
// renamed to its path with ".1" behind, that one to ".2", and so on; what is
// beyond Keep is removed. The zero value never does, which leaves it to others.
type Rotation struct {
	Size int64         // before the file would grow beyond this many bytes; 0: whatever its size
	Age  time.Duration // with the first event this long after the file's first; 0: whatever its age
	Keep int           // how many files besides the one being written; 0: DefaultKeep
}

// DefaultKeep is how many rotated files stay if nothing else is said.
const DefaultKeep = 10

// With gives the sink with other settings. Lines of every sink with settings
// have hashes.
func (s Sink) With(set Settings) Sink {
	s.set, s.plain = set, false
	return s
}

// Stdout writes to standard output.
func Stdout() Sink { return Sink{name: "stdout", out: os.Stdout} }

// Stderr writes to standard error.
func Stderr() Sink { return Sink{name: "stderr", out: os.Stderr} }

// File appends to the file at path, made with exactly these permissions if it
// isn't there (0: FileMode), whatever the umask. The permissions of a file that
// is there are left as they are. Its chain goes on where the file, or the one
// rotated last, ends.
func File(path string, mode fs.FileMode) Sink {
	if mode == 0 {
		mode = FileMode
	}
	return Sink{name: path, path: path, mode: mode}
}

// Syslog sends each event as an RFC 5424 message. Nothing is dialled before the
// first one; where the collector can't be reached, events wait in the sink's
// bounded queue while it is tried again.
func Syslog(name string, o SyslogOptions) Sink { return Sink{name: name, syslog: &o} }

// Writer writes to w with one call of Write per batch, from one goroutine. It
// is not closed by the Recorder. Its lines have no hash unless it is given
// settings.
func Writer(name string, w io.Writer) Sink { return Sink{name: name, out: w, plain: true} }

// Name is what Dropped and log lines call the sink: stdout, stderr, the path or
// the collector's address.
func (s Sink) Name() string { return s.name }
