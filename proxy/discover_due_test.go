package proxy

import (
	"context"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
)

type sourceOf struct{ info *backend.Info }

func (s *sourceOf) Info() *backend.Info                        { return s.info }
func (s *sourceOf) Commands(context.Context) ([]string, error) { return nil, nil }

// A backend is asked once it can be reached, after another version, after a new
// connection but not after each of many, and when its time has come.
func TestWhenABackendIsAskedForItsCommands(t *testing.T) {
	source := new(sourceOf)
	d := &discovery{source: source}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	if d.due(now) {
		t.Error("before it was ever reached")
	}
	source.info = &backend.Info{Version: "7.0.15"}
	if !d.due(now) {
		t.Error("not at the first connection")
	}
	d.asked, d.seen, d.every = now, source.info, discoverEvery
	for _, c := range []struct {
		what  string
		info  *backend.Info
		after time.Duration
		want  bool
	}{
		{"nothing happened", source.info, time.Minute, false},
		{"its time has come", source.info, discoverEvery, true},
		{"another connection soon after", &backend.Info{Version: "7.0.15"}, time.Second, false},
		{"another connection later", &backend.Info{Version: "7.0.15"}, discoverAtLeast, true},
		{"another version at once", &backend.Info{Version: "8.0.0"}, time.Second, true},
	} {
		source.info = c.info
		if got := d.due(now.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}
