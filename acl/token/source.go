package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// When keys are read. A rotated key is known within refreshEvery and the
// fetch's time-out, together less than a minute; nobody can make an issuer be
// asked more often than once in fetchAtMost, whatever tokens he sends.
const (
	refreshEvery = 45 * time.Second
	fetchAtMost  = 30 * time.Second
	fetchTimeout = 10 * time.Second
)

// Report tells of an attempt to read an issuer's keys that changed something.
type Report struct {
	Issuer string // its name
	Keys   KeyInfo
	Err    error // nil: the keys were read, and are others than before
}

// Status is what is known of an issuer's keys.
type Status struct {
	Issuer string
	Keys   int       // usable ones
	Loaded time.Time // when they could last be read; zero: never
	Until  time.Time // after this the issuer's tokens are refused; zero: they are now
	Err    error     // of the last attempt
}

// source keeps one issuer's key set. The set is read without a lock; one
// goroutine at a time reads it anew.
type source struct {
	name   string
	where  Keys
	report func(Report)
	keys   atomic.Pointer[keySet]
	wanted chan struct{} // wakes the goroutine of Run
	dial   dialFunc      // nil outside tests

	reading sync.Mutex // held while the keys are read

	mu      sync.Mutex
	asked   time.Time     // when the last attempt began
	err     error         // of the last attempt
	pending chan struct{} // closed when the attempt that is wanted or under way ends; nil: none
	stopped bool
}

func newSource(name string, where Keys, report func(Report)) *source {
	return &source{name: name, where: where, report: report, wanted: make(chan struct{}, 1)}
}

// Load reads the keys of all issuers that were not asked just now, side by
// side, and returns when all have answered or failed, at the latest after ten
// seconds. The error joins the failures; those issuers' tokens are refused, the
// others' are not.
func (v *Verifier) Load(ctx context.Context) error {
	errs := make([]error, len(v.order))
	var wg sync.WaitGroup
	for n, i := range v.order {
		wg.Go(func() { errs[n] = i.attempt(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Run keeps the keys fresh until ctx ends, and serves Refresh meanwhile. It
// returns when all its goroutines have ended, nil always. Call it once.
func (v *Verifier) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, i := range v.order {
		wg.Go(func() { i.run(ctx) })
	}
	wg.Wait()
	return nil
}

// run is the goroutine of one issuer; Run owns it.
func (s *source) run(ctx context.Context) {
	defer s.stop()
	for {
		timer := time.NewTimer(time.Until(s.due()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.wanted:
			timer.Stop()
		}
		_ = s.attempt(ctx) // kept in s.err
	}
}

// due is when the keys are to be read next without anybody asking.
func (s *source) due() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys.Load() == nil || s.err != nil {
		return s.asked.Add(fetchAtMost)
	}
	return s.asked.Add(refreshEvery)
}

func (s *source) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.pending != nil {
		s.err = ErrStopped
		close(s.pending)
		s.pending = nil
	}
}

// attempt reads the keys, unless that was done just now, and gives the outcome
// of the last attempt.
func (s *source) attempt(ctx context.Context) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	now := time.Now()
	s.mu.Lock()
	if !s.asked.IsZero() && now.Sub(s.asked) < fetchAtMost {
		defer s.mu.Unlock()
		s.finish()
		return s.err
	}
	s.asked = now
	if s.pending == nil {
		s.pending = make(chan struct{})
	}
	before := s.err
	s.mu.Unlock()

	text, err := s.where.read(ctx, s.dial)
	var set *keySet
	var info KeyInfo
	if err == nil {
		set, info, err = parseKeys(text)
	}
	if err != nil {
		err = fmt.Errorf("keys of %s: %w", s.name, err)
	}
	changed := err != nil && (before == nil || before.Error() != err.Error())
	if err == nil {
		set.loaded = time.Now()
		old := s.keys.Swap(set)
		changed = before != nil || old == nil || old.digest != set.digest
	}
	s.mu.Lock()
	s.err = err
	s.finish()
	s.mu.Unlock()
	if changed && s.report != nil && !errors.Is(ctx.Err(), context.Canceled) {
		s.report(Report{Issuer: s.name, Keys: info, Err: err})
	}
	return err
}

// finish lets those go who wait for an attempt. mu is held.
func (s *source) finish() {
	if s.pending != nil {
		close(s.pending)
		s.pending = nil
	}
}

// CanRefresh tells whether Refresh could bring newer keys now, so that an event
// loop starts no goroutine only to hear ErrTooSoon. issuer is a name.
func (v *Verifier) CanRefresh(issuer string, now time.Time) bool {
	i := v.names[issuer]
	if i == nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.stopped && (i.pending != nil || now.Sub(i.asked) >= fetchAtMost)
}

// Refresh has the keys of one issuer, by its name, read anew and waits for it,
// or joins the wait where that is already happening. All callers together cause
// one fetch in 30 seconds; between, the answer is ErrTooSoon at once. Whatever
// the answer, it is worth asking Verify once more: another caller may have had
// the keys read a moment ago. A caller whose ctx ends does not end the fetch for
// the others. It needs Run running.
func (v *Verifier) Refresh(ctx context.Context, issuer string) error {
	i := v.names[issuer]
	if i == nil {
		return ErrNoSuchName
	}
	i.mu.Lock()
	switch {
	case i.stopped:
		i.mu.Unlock()
		return ErrStopped
	case i.pending == nil && !i.asked.IsZero() && time.Since(i.asked) < fetchAtMost:
		i.mu.Unlock()
		return ErrTooSoon
	case i.pending == nil:
		i.pending = make(chan struct{})
		select {
		case i.wanted <- struct{}{}:
		default: // run has yet to take the last one
		}
	}
	pending := i.pending
	i.mu.Unlock()
	select {
	case <-pending:
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Inherit takes over what an older Verifier knows of issuers whose keys come
// from the same place, so that a reload neither forgets keys nor asks a server
// anew; files are read again. Call it before Load and Run.
func (v *Verifier) Inherit(old *Verifier) {
	if old == nil {
		return
	}
	for _, i := range v.order {
		from := old.names[i.Name]
		if from == nil || from.Issuer.Issuer != i.Issuer.Issuer || !from.where.sameAs(i.where) {
			continue
		}
		from.mu.Lock()
		asked, err := from.asked, from.err
		if from.pending != nil {
			// Under way there, its outcome is not known here.
			err = nil
		}
		i.keys.Store(from.keys.Load())
		from.mu.Unlock()
		if i.where.File != "" {
			continue
		}
		i.mu.Lock()
		i.asked, i.err = asked, err
		i.mu.Unlock()
	}
}

// Status says how the keys of each issuer stand, in the order of configuration.
func (v *Verifier) Status() []Status {
	out := make([]Status, len(v.order))
	for n, i := range v.order {
		i.mu.Lock()
		out[n] = Status{Issuer: i.Name, Err: i.err}
		i.mu.Unlock()
		if set := i.keys.Load(); set != nil {
			out[n].Keys, out[n].Loaded, out[n].Until = len(set.keys), set.loaded, set.loaded.Add(i.Keys.MaxAge)
		}
	}
	return out
}
