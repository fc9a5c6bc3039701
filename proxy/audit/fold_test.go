package audit

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
)

func TestFolder(t *testing.T) {
	t.Run("writes_so_many_a_second_and_counts_the_rest", func(t *testing.T) {
		f := Folder{PerSecond: 2}
		var written int
		for i := range 10 {
			if folded, ok := f.Write(noon.Add(time.Duration(i)*time.Millisecond), acl.Guarded); ok {
				written++
				if folded != 0 {
					t.Errorf("call %d carries %d", i, folded)
				}
			}
		}
		if written != 2 {
			t.Errorf("%d written, want 2", written)
		}
		if folded, ok := f.Write(noon.Add(time.Second), acl.Guarded); !ok || folded != 8 {
			t.Errorf("after a second: folded %d, written %v; want 8, true", folded, ok)
		}
		if folded, ok := f.Write(noon.Add(time.Second), acl.Guarded); !ok || folded != 0 {
			t.Errorf("the next one: folded %d, written %v; want 0, true", folded, ok)
		}
	})
	t.Run("reasons_do_not_share_a_limit", func(t *testing.T) {
		f := Folder{PerSecond: 1}
		f.Write(noon, acl.Guarded)
		if _, ok := f.Write(noon, acl.KeyNotAllowed); !ok {
			t.Error("another reason's first refusal was not written")
		}
	})
	t.Run("a_clock_that_goes_back_silences_nothing", func(t *testing.T) {
		f := Folder{PerSecond: 1}
		f.Write(noon, acl.Guarded)
		if _, ok := f.Write(noon.Add(-time.Hour), acl.Guarded); !ok {
			t.Error("not written")
		}
	})
	t.Run("the_zero_one_has_a_limit", func(t *testing.T) {
		var f Folder
		written := 0
		for range 100 {
			if _, ok := f.Write(noon, acl.Guarded); ok {
				written++
			}
		}
		if written != FoldLimit {
			t.Errorf("%d written, want %d", written, FoldLimit)
		}
	})
}

// Whatever the pace, every refusal is spoken for by exactly one event.
func TestFolderLosesNoRefusal(t *testing.T) {
	f := Folder{PerSecond: 3}
	refusals, spoken := map[acl.Reason]uint64{}, map[acl.Reason]uint64{}
	now := noon
	for i := range 5000 {
		reason := acl.Guarded
		if i%7 == 0 {
			reason = acl.Never
		}
		refusals[reason]++
		now = now.Add(time.Duration(i*i%97) * time.Millisecond)
		if folded, ok := f.Write(now, reason); ok {
			spoken[reason] += 1 + folded
		}
	}
	for range 10 { // leave something for Rest
		refusals[acl.Guarded]++
		if folded, ok := f.Write(now, acl.Guarded); ok {
			spoken[acl.Guarded] += 1 + folded
		}
	}
	rests := 0
	f.Rest(func(r acl.Reason, folded uint64) { spoken[r] += 1 + folded; rests++ })
	for r, n := range refusals {
		if spoken[r] != n {
			t.Errorf("%v: events speak for %d of %d refusals", r, spoken[r], n)
		}
	}
	if rests == 0 {
		t.Error("nothing was left for the end: the test shows nothing")
	}
	f.Rest(func(r acl.Reason, _ uint64) { t.Errorf("%v told twice", r) })
}
