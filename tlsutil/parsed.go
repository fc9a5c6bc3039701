package tlsutil

import (
	"crypto/sha256"
	"io/fs"
	"maps"
	"sync"
)

// Parsed holds what files were parsed to, by their content, so that a reload
// parses only what has changed: a key costs more to check than the rest of a
// configuration. Whether a file is there, may be read and has a mode fit for
// secrets is judged at each load, and so is everything that depends on the time.
// Faults are not kept. Safe for concurrent use; a nil Parsed knows nothing.
type Parsed struct {
	Seen Seen // set before the load that it serves, if at all

	mu   sync.Mutex
	was  map[parsedKey]any // of the load before
	used map[parsedKey]any // of this one
}

// Seen gives a regular file that was read a moment ago, by the name it is asked for,
// and its mode at that time; false if it was not. The text is not changed.
type Seen func(file string) (text []byte, mode fs.FileMode, ok bool)

// seen asks Seen.
func (p *Parsed) seen(file string) ([]byte, fs.FileMode, bool) {
	if p == nil || p.Seen == nil {
		return nil, 0, false
	}
	return p.Seen(file)
}

// parsedKey tells contents apart, and what they were read as.
type parsedKey struct {
	as  string
	sum [sha256.Size]byte
}

// fileData is what was read of a file.
type fileData struct {
	data []byte
	sum  [sha256.Size]byte
}

// Next is for the next load: it knows what this one has used.
func (p *Parsed) Next() *Parsed {
	next := &Parsed{}
	if p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		next.was = maps.Clone(p.used)
	}
	return next
}

// Settle ends a load: what it did not use, such as a key that was replaced, is forgotten.
func (p *Parsed) Settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.was, p.Seen = nil, nil
}

// once parses a content unless that was done. What it gives is shared by
// whoever loads the same content, and must not be changed.
func once[T any](p *Parsed, as string, c fileData, parse func([]byte) (T, *Fault)) (T, *Fault) {
	key := parsedKey{as, c.sum}
	if p != nil {
		p.mu.Lock()
		known, ok := p.used[key]
		if !ok {
			known, ok = p.was[key]
		}
		if ok {
			p.keep(key, known)
		}
		p.mu.Unlock()
		if ok {
			return known.(T), nil
		}
	}
	v, f := parse(c.data)
	if f == nil && p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.keep(key, v)
	}
	return v, f
}

// keep notes what the load uses. p.mu is held.
func (p *Parsed) keep(key parsedKey, v any) {
	if p.used == nil {
		p.used = make(map[parsedKey]any)
	}
	p.used[key] = v
}
