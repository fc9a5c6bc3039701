package audit

import (
	"net/netip"
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

// foldSources is how many sources a SourceFolder tells apart.
const foldSources = 4096

// SourceFolder folds the refusals of connections: one event for a source and
// reason in ten seconds, the rest counted and carried by the next, or by those
// that Rest gives. Where more sources than it holds are at it, those it has no
// room for are one. Not safe for concurrent use; the zero value is ready.
type SourceFolder struct {
	sources map[sourceReason]*sourceWindow
}

type sourceReason struct {
	source   netip.Addr // invalid: all there was no room for
	listener string
	reason   acl.Reason
}

type sourceWindow struct {
	start  time.Time
	folded uint64
}

const foldEvery = 10 * time.Second

// Write says whether a refusal at now is to be written, and how many earlier ones
// that event must carry in Folded.
func (f *SourceFolder) Write(now time.Time, listener string, source netip.Addr, reason acl.Reason) (folded uint64, ok bool) {
	k := sourceReason{source, listener, reason}
	w := f.sources[k]
	if w == nil && len(f.sources) >= foldSources {
		k.source = netip.Addr{}
		w = f.sources[k]
	}
	if w == nil {
		if f.sources == nil {
			f.sources = make(map[sourceReason]*sourceWindow)
		}
		f.sources[k] = &sourceWindow{start: now}
		return 0, true
	}
	if since := now.Sub(w.start); since < foldEvery && since >= 0 {
		w.folded++
		return 0, false
	}
	folded, w.folded, w.start = w.folded, 0, now
	return folded, true
}

// Rest forgets the windows that are over, and calls write for each of them with
// refusals that no event speaks for yet; as with Folder.Rest, folded is one less.
func (f *SourceFolder) Rest(now time.Time, write func(listener string, source netip.Addr, reason acl.Reason, folded uint64)) {
	for k, w := range f.sources {
		if since := now.Sub(w.start); since < foldEvery && since >= 0 {
			continue
		}
		if w.folded > 0 {
			write(k.listener, k.source, k.reason, w.folded-1)
		}
		delete(f.sources, k)
	}
}
