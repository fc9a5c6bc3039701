package proxy

import (
	"fmt"
	"testing"
	"time"
)

func none() string { return "id=1" }

func TestACLLOGFoldsEqualEventsOfAMinuteIntoOneAtTheFront(t *testing.T) {
	var l aclLog
	now := time.Unix(1000, 0)
	add := func(after time.Duration, object string) {
		now = now.Add(after)
		l.add(now, deniedKey, false, object, "u", func() string { return fmt.Sprint("at ", now.Unix()) })
	}
	want := func(what string, lines ...string) {
		t.Helper()
		entries := l.newest(aclLogEntries)
		if len(entries) != len(lines) {
			t.Fatalf("%s: %d entries, want %d", what, len(entries), len(lines))
		}
		for i, e := range entries {
			if got := fmt.Sprintf("%d %s x%d %s", e.id, e.object, e.count, e.client); got != lines[i] {
				t.Errorf("%s: entry %d is %q, want %q", what, i, got, lines[i])
			}
		}
	}
	add(0, "a")
	add(time.Second, "b")
	add(time.Second, "a")
	want("within a minute", "0 a x2 at 1002", "1 b x1 at 1001")
	add(59*time.Second, "b")
	want("a minute after its last time, not its first", "1 b x2 at 1061", "0 a x2 at 1002")
	add(2*time.Second, "a")
	want("later than a minute", "2 a x1 at 1063", "1 b x2 at 1061", "0 a x2 at 1002")
	l.clear()
	for i := range 11 {
		add(0, fmt.Sprint("k", i))
	}
	add(0, "k0")
	if n := len(l.newest(aclLogEntries)); n != 12 {
		t.Errorf("an event equal to none of the ten newest is no entry of its own: %d", n)
	}
	add(0, "k1")
	if e := l.newest(1)[0]; e.object != "k1" || e.count != 1 {
		t.Error("k1 was the eleventh and yet folded:", e)
	}
	add(0, "k3")
	if e := l.newest(1)[0]; e.object != "k3" || e.count != 2 {
		t.Error("k3 was the tenth and did not fold:", e)
	}
	if d := l.denied(); d[deniedKey] != 19 || d[deniedAuth] != 0 {
		t.Error("counted", d)
	}
}

func TestACLLOGKeepsADistinctReasonObjectAndUserApart(t *testing.T) {
	var l aclLog
	now := time.Unix(1000, 0)
	l.add(now, deniedKey, false, "x", "u", none)
	l.add(now, deniedCommand, false, "x", "u", none)
	l.add(now, deniedKey, false, "y", "u", none)
	l.add(now, deniedKey, false, "x", "v", none)
	if n := len(l.newest(aclLogEntries)); n != 4 {
		t.Errorf("%d entries, want 4", n)
	}
}
