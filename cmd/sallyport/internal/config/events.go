package config

import (
	"io/fs"
	"path/filepath"
)

// Sink is where events go.
type Sink struct {
	Kind string      // "stdout", "stderr" or "file"
	Path string      // absolute, of a file
	Mode fs.FileMode // of a file that has to be made
}

// sinks reads events; absent is stdout.
func (r *reader) sinks(v value) []Sink {
	if !v.present() {
		return []Sink{{Kind: "stdout"}}
	}
	var out []Sink
	for _, item := range v.list() {
		s := r.sink(item.section())
		for _, other := range out {
			if s.Kind != "" && s.Kind == other.Kind && s.Path == other.Path && (s.Kind != "file" || s.Path != "") {
				item.fault("events would be written there twice")
			}
		}
		out = append(out, s)
	}
	if len(out) == 0 && !v.failedHere() {
		v.faultHint("leave it out for stdout", "is empty: no event would be written")
	}
	return out
}

func (r *reader) sink(s *section) Sink {
	kind, path, mode := s.required("sink"), s.get("path"), s.get("mode")
	s.close("format", "on_full", "keys", "chain_key_file", "address", "facility")
	out := Sink{Kind: kind.nonempty().Value}
	switch out.Kind {
	case "":
	case "stdout", "stderr":
		if path.present() || mode.present() {
			s.fault("only a file has a path and a mode")
		}
	case "file":
		r.fileSink(s, &out, path, mode)
	case "syslog":
		kind.faultHint("stdout, stderr or file", "syslog is not supported in this version")
	default:
		kind.faultHint(DidYouMean(out.Kind, []string{"stdout", "stderr", "file"}), "%s is not a sink", quoted(out.Kind))
	}
	return out
}

func (r *reader) fileSink(s *section, out *Sink, path, mode value) {
	out.Mode = mode.fileMode(0o640)
	if mode.present() && out.Mode&0o200 == 0 {
		mode.fault("the file could not be written")
	}
	if mode.present() && out.Mode&0o004 != 0 {
		mode.warn(`write "0640"`, "everyone on this machine could read the events")
	}
	if !path.present() {
		s.fault("%q is missing", "path")
		return
	}
	t := path.nonempty()
	if t.Value == "" {
		return
	}
	out.Path = path.doc.path(t.Value)
	if err := folderExists(filepath.Dir(out.Path)); err != nil {
		path.fault("can't write %s: its folder: %s", quoted(t.Value), reasonOf(err))
	}
}
