package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// collect is a sink's end: it keeps what it gets, one entry a write.
type collect struct {
	mu     sync.Mutex
	writes [][]byte
}

func (c *collect) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, bytes.Clone(p))
	return len(p), nil
}

func (c *collect) all() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Join(c.writes, nil)
}

// stall is a sink that takes nothing until it is let go.
type stall struct {
	collect
	entered chan struct{} // one for each write that began
	let     chan struct{} // closed: go
}

func newStall() *stall {
	return &stall{entered: make(chan struct{}, 1000), let: make(chan struct{})}
}

func (s *stall) Write(p []byte) (int, error) {
	s.entered <- struct{}{}
	<-s.let
	return s.collect.Write(p)
}

// entry is what the tests read back of a line.
type entry struct {
	Seq      uint64
	Event    string
	User     string
	Dropped  uint64
	SeqFirst uint64 `json:"seq_first"`
	SeqLast  uint64 `json:"seq_last"`
}

// entries reads lines back and fails unless every event from 1 on is there or
// accounted for by a dropped line in its place.
func entries(t *testing.T, text []byte) []entry {
	t.Helper()
	if len(text) > 0 && text[len(text)-1] != '\n' {
		t.Fatalf("the last line has no end: …%q", text[max(0, len(text)-80):])
	}
	var all []entry
	var last uint64
	for line := range bytes.Lines(text) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if e.Event == "chain" {
			continue
		}
		first := e.Seq
		if e.Event == "dropped" {
			first = e.SeqFirst
			if e.SeqLast != e.Seq || e.Dropped != e.SeqLast-e.SeqFirst+1 {
				t.Fatalf("dropped line does not add up: %s", line)
			}
		}
		if first != last+1 {
			t.Fatalf("after %d comes %s", last, line)
		}
		last = e.Seq
		all = append(all, e)
	}
	return all
}

func open(t *testing.T, o Options) *Recorder {
	t.Helper()
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// finish closes r and fails if that loses anything.
func finish(t *testing.T, r *Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestEverySinkHasEveryEventOnceAndInOrder(t *testing.T) {
	var a, b collect
	r := open(t, Options{Sinks: []Sink{Writer("a", &a), Writer("b", &b)}, Buffer: 100_000})
	const writers, each = 8, 500
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			e := &Event{Time: noon, Kind: Refused, User: "app"}
			for range each {
				r.Record(e)
			}
		})
	}
	wg.Wait()
	finish(t, r)
	for name, c := range map[string]*collect{"a": &a, "b": &b} {
		if got := entries(t, c.all()); len(got) != writers*each {
			t.Errorf("sink %s has %d lines, want %d", name, len(got), writers*each)
		}
	}
}

func TestRecordTellsTheNumberItGave(t *testing.T) {
	r := open(t, Options{})
	for want := uint64(1); want <= 3; want++ {
		e := &Event{Time: noon, Kind: Admin}
		if r.Record(e); e.Seq != want {
			t.Errorf("seq %d, want %d", e.Seq, want)
		}
	}
	finish(t, r)
}

func TestRecordKeepsNothingOfTheEvent(t *testing.T) {
	s := newStall()
	r := open(t, Options{Sinks: []Sink{Writer("s", s)}})
	buffer := []byte("mine")
	e := &Event{Time: noon, Kind: Refused, Keys: [][]byte{buffer}}
	r.Record(e)
	copy(buffer, "XXXX")
	close(s.let)
	finish(t, r)
	if !bytes.Contains(s.all(), []byte(`"keys":["mine"]`)) {
		t.Errorf("got %s", s.all())
	}
}

func TestStalledSinkHoldsUpNobodyAndAccountsForWhatItLost(t *testing.T) {
	s := newStall()
	var well collect
	r := open(t, Options{Sinks: []Sink{Writer("stalled", s), Writer("well", &well)}, Buffer: 10})
	r.Record(&Event{Time: noon, Kind: Admin})
	<-s.entered // the sink's goroutine is stuck in Write from here on
	const more = 5000
	for i := range more { // returns, or the test's time is up
		r.Record(&Event{Time: noon, Kind: Admin})
		if i%5 == 0 { // give the healthy sink no reason to lose any
			waitFor(t, func() bool { return bytes.Count(well.all(), []byte{'\n'}) >= i+1 })
		}
	}
	if got := r.Dropped()["stalled"]; got != more-10 {
		t.Errorf("%d dropped, want %d", got, more-10)
	}
	if got := r.Dropped()["well"]; got != 0 {
		t.Errorf("the healthy sink lost %d", got)
	}
	close(s.let)
	waitFor(t, func() bool { return bytes.Contains(s.all(), []byte("dropped")) })
	r.Record(&Event{Time: noon, Kind: Admin}) // it has recovered
	finish(t, r)

	got := entries(t, s.all())
	if len(got) != 1+10+1+1 {
		t.Fatalf("%d lines: %+v", len(got), got)
	}
	if d := got[11]; d.Event != "dropped" || d.SeqFirst != 12 || d.SeqLast != more+1 || d.Dropped != more-10 {
		t.Errorf("dropped line %+v", d)
	}
	if len(entries(t, well.all())) != more+2 {
		t.Error("the healthy sink lost lines")
	}
}

// waitFor polls a condition until a deadline.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("did not happen in time")
		}
	}
}

func TestWhatWaitsForASinkIsBoundedInBytesToo(t *testing.T) {
	s := newStall()
	r := open(t, Options{Sinks: []Sink{Writer("s", s)}, Buffer: 100})
	r.Record(&Event{Time: noon, Kind: Admin})
	<-s.entered
	big := &Event{
		Time: noon, Kind: Refused, User: strings.Repeat("x", 2000), Rule: strings.Repeat("x", 2000),
		Command: strings.Repeat("x", 2000), TokenID: strings.Repeat("x", 2000),
	}
	for range 100 {
		r.Record(big)
	}
	if r.Dropped()["s"] == 0 {
		t.Error("100 lines of 4 KiB were taken by a buffer of 100 KiB")
	}
	close(s.let)
	finish(t, r)
	for _, w := range s.writes {
		if len(w) > 100*bytesPerLine+maxLine {
			t.Errorf("a batch of %d bytes", len(w))
		}
	}
	entries(t, s.all())
}

func TestWhatGatheredGoesOutInOneWrite(t *testing.T) {
	s := newStall()
	r := open(t, Options{Sinks: []Sink{Writer("s", s)}})
	r.Record(&Event{Time: noon, Kind: Admin})
	<-s.entered
	for range 50 {
		r.Record(&Event{Time: noon, Kind: Admin})
	}
	close(s.let)
	finish(t, r)
	if len(s.writes) != 2 || bytes.Count(s.writes[1], []byte{'\n'}) != 50 {
		t.Errorf("%d writes for 1 and 50 events", len(s.writes))
	}
}

func TestRecordAllocatesNothingOnceWarm(t *testing.T) {
	s := newStall() // stalled, so that only Record's own work is measured
	r := open(t, Options{Sinks: []Sink{Writer("s", s)}, Buffer: 2000})
	e := full()
	for range 4000 { // fill the buffer, then drop
		r.Record(e)
	}
	if n := testing.AllocsPerRun(1000, func() { r.Record(e) }); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
	close(s.let)
	finish(t, r)
}

// broken fails writes, taking a few bytes each time, until it is repaired.
type broken struct {
	collect
	take  int
	fixed atomic.Bool
}

func (b *broken) Write(p []byte) (int, error) {
	if b.fixed.Load() {
		return b.collect.Write(p)
	}
	n, _ := b.collect.Write(p[:min(b.take, len(p)-1)])
	return n, errors.New("no space left on device")
}

func TestFullDiskTearsAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broken{take: 13}
		core, logs := observer.New(zap.InfoLevel)
		r := open(t, Options{Sinks: []Sink{Writer("disk", b)}, Logger: zap.New(core)})
		for range 10 {
			r.Record(&Event{Time: noon, Kind: Admin})
		}
		<-time.After(35 * time.Second) // of the bubble's clock, not of ours
		if n := logs.Len(); n < 2 || n > 4 {
			t.Errorf("%d log lines in 35 s of failing writes, want one per 10 s", n)
		}
		if f := r.Failures()["disk"]; f < 30 {
			t.Errorf("%d failures counted in 35 s of retrying every second", f)
		}
		b.fixed.Store(true)
		<-time.After(2 * time.Second)
		finish(t, r)
		if got := entries(t, b.all()); len(got) != 10 {
			t.Errorf("%d lines, want 10", len(got))
		}
		if d := r.Dropped()["disk"]; d != 0 {
			t.Errorf("%d dropped", d)
		}
	})
}

func TestCloseGivesUpOnASinkThatFailsAndCountsTheLoss(t *testing.T) {
	b := &broken{}
	r := open(t, Options{Sinks: []Sink{Writer("disk", b)}})
	for range 3 {
		r.Record(&Event{Time: noon, Kind: Admin})
	}
	if err := r.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "3 events") {
		t.Errorf("error %v, want one that says 3 events are lost", err)
	}
	if d := r.Dropped()["disk"]; d != 3 {
		t.Errorf("%d dropped, want 3", d)
	}
}

func TestCloseEndsWithItsContextWhenASinkHangs(t *testing.T) {
	s := newStall()
	r := open(t, Options{Sinks: []Sink{Writer("s", s)}})
	r.Record(&Event{Time: noon, Kind: Admin})
	<-s.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	close(s.let)
	finish(t, r) // a second Close waits for the rest
}

func TestCloseUnblocksAPipeNobodyReads(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	r := open(t, Options{Sinks: []Sink{Writer("pipe", out)}, Buffer: 10_000})
	for range 3000 { // more than a pipe holds
		r.Record(full())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want context.DeadlineExceeded", err)
	}
	wait, done := context.WithTimeout(t.Context(), 10*time.Second)
	defer done()
	if err := r.Close(wait); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the write still hangs")
	}
}

func TestEventsAfterCloseCountAsDropped(t *testing.T) {
	var c collect
	r := open(t, Options{Sinks: []Sink{Writer("c", &c)}})
	finish(t, r)
	r.Record(&Event{Time: noon, Kind: Admin})
	if d := r.Dropped()["c"]; d != 1 {
		t.Errorf("%d dropped, want 1", d)
	}
	if len(c.all()) != 0 {
		t.Errorf("written after Close: %s", c.all())
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	var c collect
	tests := []struct {
		name  string
		sinks []Sink
		want  string
	}{
		{"a_sink_named_twice", []Sink{Writer("x", &c), Writer("x", &c)}, "twice"},
		{"a_file_named_twice", []Sink{File(filepath.Join(dir, "a"), 0), File(filepath.Join(dir, "a"), 0)}, "twice"},
		{"a_file_that_cannot_be_made", []Sink{File(filepath.Join(dir, "a"), 0), File(filepath.Join(dir, "none", "b"), 0)}, "none"},
		{"a_sink_without_an_end", []Sink{{}}, "nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := New(Options{Sinks: tt.sinks})
			if err == nil {
				finish(t, r)
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}
