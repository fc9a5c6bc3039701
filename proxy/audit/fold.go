package audit

import (
	"time"

	"github.com/sallyport/sallyport/acl"
)

// FoldLimit is how many refused events a session may write per second and
// reason if its Folder says nothing else.
const FoldLimit = 5

// Folder keeps a session that is refused over and over from flooding the
// record: at most PerSecond events a second for each reason, the rest counted
// and carried by the next one that is written, or by those Rest asks for when
// the session ends. The zero Folder is ready and costs nothing until the first
// refusal. It belongs to one session and is not safe for concurrent use.
type Folder struct {
	PerSecond int // 0: FoldLimit
	windows   []window
}

// window is one reason's second: it begins with the first event after the last
// second ended, so that no clock boundary lets twice the limit through.
type window struct {
	start   time.Time
	folded  uint64
	written int
	reason  acl.Reason
}

// Write says whether a refusal at now is to be written, and how many earlier
// ones that event must carry in Folded. If it is not to be written it has been
// counted. A clock that went back begins a new second.
func (f *Folder) Write(now time.Time, reason acl.Reason) (folded uint64, ok bool) {
	w := f.window(reason)
	if since := now.Sub(w.start); w.written == 0 || since >= time.Second || since < 0 {
		w.start, w.written = now, 0
	}
	limit := f.PerSecond
	if limit <= 0 {
		limit = FoldLimit
	}
	if w.written >= limit {
		w.folded++
		return 0, false
	}
	w.written++
	folded, w.folded = w.folded, 0
	return folded, true
}

// Rest calls write once for each reason with refusals no event speaks for yet,
// and forgets them. The event written for it is itself one of them, so folded is
// one less: over a session, events plus their Folded equal refusals. A session
// calls it before its close_conn event.
func (f *Folder) Rest(write func(reason acl.Reason, folded uint64)) {
	for i := range f.windows {
		if w := &f.windows[i]; w.folded > 0 {
			write(w.reason, w.folded-1)
			w.folded = 0
		}
	}
}

// window finds a reason's entry. A session meets a handful of reasons at most,
// so a short list beats an array of them all in every idle session.
func (f *Folder) window(reason acl.Reason) *window {
	for i := range f.windows {
		if f.windows[i].reason == reason {
			return &f.windows[i]
		}
	}
	f.windows = append(f.windows, window{reason: reason})
	return &f.windows[len(f.windows)-1]
}
