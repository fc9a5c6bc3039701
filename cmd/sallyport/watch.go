package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"go.uber.org/zap"
)

// watch asks for a reload when a file that the configuration read has changed.
//
// It looks at content, not at events: the kernel's events only say when to look,
// and where there are none (a network file system, a container's mount) a look
// every pollEvery does. Folders are watched, not files, since a file is
// replaced by renaming another over it, and a Kubernetes volume by renaming the
// link ..data. A change counts once two looks in a row, settle apart, see the
// same, so that a pair that is being replaced is mostly read when it is
// whole; where it is not, the reload fails, the old one stays, and the next
// change is another try.
type watch struct {
	settle    time.Duration
	pollEvery time.Duration
	reload    func() error // reports on itself; calls tried
	log       *zap.Logger
	hits      *acl.Hits     // of the first load
	poke      chan struct{} // other files may be watched now; holds one

	mu    sync.Mutex
	files []string              // absolute
	known map[string]contentSum // as of the last reload that was tried
	force map[string]contentSum // as of the last one that succeeded
	under bool                  // a reload is: what it read may be older than what is written now
	texts map[string]*seen      // small files as before saw them, until done
}

// contentSum is what tells one state of a file from another. The zero value is
// of no file.
type contentSum [sha256.Size]byte

const (
	watchSettle = 150 * time.Millisecond
	watchPoll   = 30 * time.Second
	// watchLooks bounds how long a file that never comes to rest puts a reload off.
	watchLooks = 20
	// maxWatched is more than any file that is read may hold.
	maxWatched = 65 << 20
)

// look gives the state of files now.
func look(files []string) map[string]contentSum {
	sums := make(map[string]contentSum, len(files))
	for _, f := range files {
		sums[f], _ = seenNow(f, 0)
	}
	return sums
}

// sumOf covers the content, and the mode, which keys are judged by.
func sumOf(file string) contentSum {
	sum, _ := seenNow(file, 0)
	return sum
}

// seen is a regular file as it was read.
type seen struct {
	text []byte
	mode fs.FileMode
}

// seenNow gives a file's state, and the file if it has no more than most bytes.
func seenNow(file string, most int) (sum contentSum, s *seen) {
	h := sha256.New()
	defer func() { h.Sum(sum[:0]) }()
	info, err := os.Stat(file) // before opening: a named pipe would wait
	if err != nil || !info.Mode().IsRegular() {
		io.WriteString(h, "unreadable")
		if errors.Is(err, fs.ErrPermission) {
			io.WriteString(h, ": permission")
		}
		return sum, nil
	}
	f, err := os.Open(file)
	if err != nil {
		binary.Write(h, binary.BigEndian, uint32(info.Mode()))
		io.WriteString(h, "unreadable")
		return sum, nil
	}
	defer f.Close()
	if now, err := f.Stat(); err == nil {
		info = now // of what is read
	}
	var mode [4]byte
	binary.BigEndian.PutUint32(mode[:], uint32(info.Mode()))
	h.Write(mode[:])
	buf := lookBuffers.Get().(*[lookBuffer]byte)
	defer func() {
		clear(buf[:]) // it held keys
		lookBuffers.Put(buf)
	}()
	var text []byte
	for total := 0; ; {
		n, err := f.Read(buf[:min(len(buf), maxWatched-total)])
		h.Write(buf[:n])
		if total += n; total <= most {
			text = append(text, buf[:n]...)
		}
		switch {
		case err == io.EOF || err == nil && total >= maxWatched:
			if total <= most {
				s = &seen{text, info.Mode()}
			}
			return sum, s
		case err != nil:
			io.WriteString(h, "unreadable")
			return sum, nil
		}
	}
}

// lookBuffer is what is read of a file at a time. The buffers are kept: they would
// be most of the garbage that a reload makes.
const lookBuffer = 16 << 10

var lookBuffers = sync.Pool{New: func() any { return new([lookBuffer]byte) }}

func newWatch(log *zap.Logger) *watch {
	return &watch{settle: watchSettle, pollEvery: watchPoll, log: log, hits: acl.NewHits(), poke: make(chan struct{}, 1), force: make(map[string]contentSum)}
}

// load reads the configuration for the first time.
func (w *watch) load(std streams, path string) (*config.Config, config.Problems, error) {
	began := time.Now()
	cfg, problems, named := config.LoadNaming(path, config.Keep{Hits: w.hits})
	w.tried(nil, began, named)
	w.taken()
	return usable(std, path, cfg, problems)
}

// before notes the state that a reload is about to read. Whoever reloads calls
// it first, tried when the files are read, and done when they are in force or not.
func (w *watch) before() map[string]contentSum {
	w.mu.Lock()
	files := w.files
	w.under = true
	w.mu.Unlock()
	sums, texts := make(map[string]contentSum, len(files)), make(map[string]*seen, len(files))
	for _, f := range files {
		var s *seen
		if sums[f], s = seenNow(f, mostSeen); s != nil {
			texts[f] = s
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = texts
	return sums
}

// mostSeen bounds the files that are read once for the look and the load.
const mostSeen = 64 << 10

// seen gives a file as before saw it, by its absolute path: what is loaded is then
// what counts as known, and no file is read twice for one reload.
func (w *watch) seen(file string) (text []byte, mode fs.FileMode, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.texts[file]; s != nil {
		return s.text, s.mode, true
	}
	return nil, 0, false
}

// done ends what before began.
func (w *watch) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.under, w.texts = false, nil
}

// taken notes that what was tried last is in force.
func (w *watch) taken() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.force = maps.Clone(w.known)
}

// only reports whether of the files that state is about none has changed since the
// last reload that succeeded, but some of those listed.
func (w *watch) only(state map[string]contentSum, listed []string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(state) != len(w.force) {
		return false
	}
	for file, sum := range state {
		if was, known := w.force[file]; !known || was != sum && !slices.Contains(listed, file) {
			return false
		}
	}
	return true
}

// tried notes that a reload has read files. What it read for the first time
// may have changed since: such a file, if it is that young, counts as changed.
func (w *watch) tried(before map[string]contentSum, began time.Time, files []string) {
	var fresh []string
	for _, f := range files {
		if _, seen := before[f]; !seen {
			fresh = append(fresh, f)
		}
	}
	now := look(fresh)
	defer func() {
		select {
		case w.poke <- struct{}{}:
		default:
		}
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files, w.known = files, make(map[string]contentSum, len(files))
	for _, f := range files {
		sum, seen := before[f]
		if !seen {
			sum = now[f]
			if info, err := os.Stat(f); err == nil && info.ModTime().After(began) {
				sum = contentSum{}
			}
		}
		w.known[f] = sum
	}
}

// quietly runs a change of ours to one of the files, which is no reason to reload;
// but during a reload it is, as that one is about to put the older state in force.
func (w *watch) quietly(file string, change func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	untouched := sumOf(file) == w.known[file]
	err := change()
	if untouched && !w.under {
		now := sumOf(file)
		if w.force[file] == w.known[file] { // what is in force was written down
			w.force[file] = now
		}
		w.known[file] = now
	}
	return err
}

// changed gives the state of the files if it is not the one known.
func (w *watch) changed() (now map[string]contentSum, differs bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now = look(w.files)
	return now, !maps.Equal(now, w.known)
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	kernel, err := fsnotify.NewWatcher()
	if err != nil {
		w.log.Warn("files are looked at from time to time only: the system gives no notice of changes", zap.Duration("every", w.pollEvery), zap.Error(err))
		kernel = &fsnotify.Watcher{} // nil channels: never ready
	} else {
		defer kernel.Close()
	}
	eyes := &folders{kernel: kernel, log: w.log}
	poll := time.NewTicker(w.pollEvery)
	defer poll.Stop()
	var last map[string]contentSum
	again := time.After(0) // when to look next; nil: nothing is afoot
	looks := 0
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-kernel.Events:
			if again == nil && eyes.concerns(e.Name) {
				again = time.After(w.settle)
			}
			continue
		case err := <-kernel.Errors: // events were lost
			w.log.Debug("watch", zap.Error(err))
		case <-poll.C:
		case <-w.poke:
		case <-again:
		}
		again = nil
		eyes.follow(w.list()) // before the look: what changes after it is told
		now, differs := w.changed()
		if !differs {
			last, looks = nil, 0
			continue
		}
		if looks++; !maps.Equal(now, last) && looks < watchLooks {
			last, again = now, time.After(w.settle)
			continue
		}
		last, looks = nil, 0
		_ = w.reload() // logged and on record; pokes, as something may have changed meanwhile
	}
}

func (w *watch) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.files
}

// folders are what the kernel is asked to tell about.
type folders struct {
	kernel  *fsnotify.Watcher
	log     *zap.Logger
	watched []string
	names   map[string]bool // the files and every link on their way
	failed  bool
}

// follow watches the folder of each file, and of each link that leads to it.
// Links may lead elsewhere after a change, so it is called again after each.
func (f *folders) follow(files []string) {
	if f.kernel.Events == nil {
		return
	}
	f.names = make(map[string]bool)
	var dirs []string
	for _, file := range files {
		for _, name := range onTheWay(file) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(name))
			if err != nil {
				continue // not there now; the next look by the clock finds it
			}
			f.names[filepath.Join(dir, filepath.Base(name))] = true
			if !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	for _, dir := range f.watched {
		if !slices.Contains(dirs, dir) {
			f.kernel.Remove(dir)
		}
	}
	var failed error
	for _, dir := range dirs {
		// Added each time: a folder that was removed and made anew is another one.
		if err := f.kernel.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	}
	if failed != nil && !f.failed {
		f.log.Warn("some files are looked at from time to time only: their folder can't be watched", zap.Error(failed))
	}
	f.watched, f.failed = dirs, failed != nil
}

// concerns keeps the noise of busy folders out: a log that is written next to
// the configuration is no reason to look.
func (f *folders) concerns(name string) bool {
	return f.names[filepath.Clean(name)] || strings.HasPrefix(filepath.Base(name), "..")
}

// onTheWay gives a path and every link that is followed to what it names.
func onTheWay(path string) []string {
	const most = 64 // links to themselves end
	names := []string{path}
	for i := 0; i < len(names) && len(names) < most; i++ {
		name := names[i]
		// A link may be any part of the path, not just its end.
		for part := name; ; part = filepath.Dir(part) {
			if to, err := os.Readlink(part); err == nil {
				if !filepath.IsAbs(to) {
					to = filepath.Join(filepath.Dir(part), to)
				}
				rest, _ := filepath.Rel(part, name)
				for _, n := range []string{part, filepath.Join(to, rest)} {
					if !slices.Contains(names, n) {
						names = append(names, n)
					}
				}
			}
			if part == filepath.Dir(part) {
				break
			}
		}
	}
	return names
}
