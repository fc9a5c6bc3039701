package audit

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFileMode(t *testing.T) {
	tests := []struct {
		name         string
		existing     fs.FileMode // 0: no file
		asked, wants fs.FileMode
	}{
		{"0640_by_default", 0, 0, 0o640},
		{"as_asked_whatever_the_umask", 0, 0o666, 0o666},
		{"an_existing_file_keeps_its_own", 0o600, 0o640, 0o600},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events.jsonl")
			if tt.existing != 0 {
				if err := os.WriteFile(path, []byte("before\n"), tt.existing); err != nil {
					t.Fatal(err)
				}
			}
			r := open(t, Options{Sinks: []Sink{File(path, tt.asked)}})
			r.Record(&Event{Time: noon, Kind: Admin})
			finish(t, r)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != tt.wants {
				t.Errorf("mode %o, want %o", info.Mode().Perm(), tt.wants)
			}
			text := read(t, path)
			if tt.existing != 0 && !strings.HasPrefix(text, "before\n") {
				t.Error("what was in the file is gone")
			}
			if strings.Count(text, `"event":"admin"`) != 1 {
				t.Errorf("file holds %q", text)
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReopenAfterRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	r := open(t, Options{Sinks: []Sink{File(path, 0)}})
	r.Record(&Event{Time: noon, Kind: Admin, User: "before"})
	waitFor(t, func() bool { return strings.Contains(read(t, path), "before") })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	r.Record(&Event{Time: noon, Kind: Admin, User: "between"})
	waitFor(t, func() bool { return strings.Contains(read(t, path+".1"), "between") })
	if err := r.Reopen(); err != nil {
		t.Fatal(err)
	}
	r.Record(&Event{Time: noon, Kind: Admin, User: "after"})
	finish(t, r)
	if text := read(t, path); strings.Count(text, `"event":"admin"`) != 1 || !strings.Contains(text, "after") {
		t.Errorf("the new file holds %q", text)
	}
	if got := entries(t, []byte(read(t, path+".1")+read(t, path))); len(got) != 3 {
		t.Errorf("%d lines in both files, want 3", len(got))
	}
}

func TestReopenLosesNothingUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	r := open(t, Options{Sinks: []Sink{File(path, 0)}, Buffer: 100_000})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20_000 {
			r.Record(&Event{Time: noon, Kind: Admin})
		}
	}()
	var old []string
	for i := range 20 {
		moved := path + "." + string(rune('a'+i))
		if err := os.Rename(path, moved); err != nil {
			t.Fatal(err)
		}
		if err := r.Reopen(); err != nil {
			t.Fatal(err)
		}
		old = append(old, moved)
	}
	<-done
	finish(t, r)
	var all bytes.Buffer
	for _, p := range append(old, path) {
		all.WriteString(read(t, p))
	}
	if got := entries(t, all.Bytes()); len(got) != 20_000 {
		t.Errorf("%d lines, want 20000", len(got))
	}
}

func TestReopenThatFailsKeepsTheOldFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "events.jsonl")
	r := open(t, Options{Sinks: []Sink{File(path, 0)}})
	if err := os.Rename(dir, dir+".1"); err != nil {
		t.Fatal(err)
	}
	if err := r.Reopen(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one naming the file", err)
	}
	r.Record(&Event{Time: noon, Kind: Admin, User: "still here"})
	finish(t, r)
	if text := read(t, filepath.Join(dir+".1", "events.jsonl")); !strings.Contains(text, "still here") {
		t.Errorf("the old file holds %q", text)
	}
}

// A failing disk may have taken half a line when the file is changed: the new
// file begins with that line whole.
func TestReopenWhileFailingBeginsWithAWholeLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	r := open(t, Options{})
	b := &broken{take: 100}
	q := &queue{Sink: File(path, 0), wake: make(chan struct{}, 1), current: b, retryMost: retryMost}
	f, err := q.open()
	if err != nil {
		t.Fatal(err)
	}
	q.next = f
	batch := append(AppendJSON(nil, &Event{Time: noon, Seq: 1, Kind: Admin}), '\n')
	batch = append(append(batch, AppendJSON(nil, &Event{Time: noon, Seq: 2, Kind: Admin})...), '\n')
	r.flush(q, batch, []uint64{1, 2})
	r.release(q)
	finish(t, r)
	if got, want := read(t, path), batch[bytes.LastIndexByte(batch[:100], '\n')+1:]; got != string(want) {
		t.Errorf("new file holds %q, want %q", got, want)
	}
}

func TestNamedPipeIsRefusedInsteadOfWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Sinks: []Sink{File(path, 0)}}); err == nil || !strings.Contains(err.Error(), "named pipe") {
		t.Errorf("error %v, want one about a named pipe", err)
	}
}
