package tlsutil

import (
	"crypto/tls"
	"io/fs"
	"os"
	"testing"
	"time"
)

// next gives the options for another load after one that used p.
func (r *rig) next(p *Parsed) ServerOptions {
	o := r.opts
	o.Parsed = p.Next()
	return o
}

func TestParsed_what_has_not_changed_is_not_parsed_again(t *testing.T) {
	r := newRig(t)
	first := new(Parsed)
	r.opts.Parsed = first
	a := r.load(t)
	first.Settle()
	o := r.next(first)
	b, err := LoadServer(o)
	check(t, err)
	if a.Certificate() != b.Certificate() || a.current.Load().config.ClientCAs != b.current.Load().config.ClientCAs {
		t.Error("the same files were parsed twice")
	}
	if !a.Same(b) || !a.TrustsLike(b) {
		t.Error("the same files and settings make another server")
	}
	o.Parsed.Settle()
	r.install(t, r.serverPair(t))
	third := r.next(o.Parsed)
	c, err := LoadServer(third)
	check(t, err)
	if c.Certificate() == a.Certificate() || c.Same(a) || !c.TrustsLike(a) {
		t.Error("another certificate is taken for the old one, or for a change of whom to trust")
	}
	third.Parsed.Settle()
	if n := len(third.Parsed.used); n != 3 {
		t.Errorf("%d contents are kept, want chain, key and authorities: a replaced key is forgotten", n)
	}
}

func TestParsed_does_not_excuse_a_file_from_being_judged(t *testing.T) {
	r := newRig(t)
	first := new(Parsed)
	r.opts.Parsed = first
	r.load(t)
	for what, c := range map[string]struct{ spoil, mend func() error }{
		"a key that everybody may read": {func() error { return os.Chmod(r.opts.KeyFile, 0o666) }, func() error { return os.Chmod(r.opts.KeyFile, 0o600) }},
		"a CA file that is gone": {
			func() error { return os.Rename(r.opts.ClientCAFile, r.opts.ClientCAFile+".away") },
			func() error { return os.Rename(r.opts.ClientCAFile+".away", r.opts.ClientCAFile) },
		},
		"a certificate of another key": {
			func() error {
				check(t, os.Rename(r.opts.CertificateFile, r.opts.CertificateFile+".away"))
				return os.WriteFile(r.opts.CertificateFile, r.serverPair(t).CertPEM, 0o600)
			},
			func() error { return os.Rename(r.opts.CertificateFile+".away", r.opts.CertificateFile) },
		},
	} {
		check(t, c.spoil())
		// A mode is only a finding where a folder on the way keeps others out.
		if s, err := LoadServer(r.next(first)); err == nil && (len(s.Warnings()) == 0 || !sheltered(r.opts.KeyFile)) {
			t.Errorf("%s is taken", what)
		}
		check(t, c.mend())
		if _, err := LoadServer(r.next(first)); err != nil {
			t.Errorf("after %s: %v", what, err)
		}
	}
}

func TestParsed_judges_what_was_seen_and_looks_again_where_it_does_not_fit(t *testing.T) {
	r := newRig(t)
	old, err := os.ReadFile(r.opts.KeyFile)
	check(t, err)
	r.install(t, r.serverPair(t)) // after the look, as when a pair is being replaced
	asked := 0
	p := &Parsed{Seen: func(file string) ([]byte, fs.FileMode, bool) {
		asked++
		return old, 0o600, file == r.opts.KeyFile
	}}
	r.opts.Parsed = p
	s := r.load(t)
	if asked == 0 {
		t.Error("nobody asked for what was seen")
	}
	shake(t, s, r.client(r.clientPair(t, "app"))).accepted(t)
	p.Seen = func(file string) ([]byte, fs.FileMode, bool) {
		text, err := os.ReadFile(file)
		return text, 0o602, err == nil && file == r.opts.KeyFile
	}
	check(t, os.Chmod(r.opts.KeyFile, 0o602))
	if s, err := LoadServer(r.opts); err == nil && (len(s.Warnings()) == 0 || !sheltered(r.opts.KeyFile)) {
		t.Error("the mode that was seen is not judged")
	}
}

func TestParsed_what_depends_on_the_time_is_judged_at_each_load(t *testing.T) {
	r := newRig(t)
	p := new(Parsed)
	r.opts.Parsed = p
	if n := len(r.load(t).Warnings()); n != 0 {
		t.Fatalf("%d findings about a fresh certificate", n)
	}
	o := r.next(p)
	o.now = func() time.Time { return time.Now().Add(10 * 365 * 24 * time.Hour) }
	s, err := LoadServer(o)
	check(t, err)
	if len(s.Warnings()) == 0 {
		t.Error("an expired certificate is no finding, as it was none when it was parsed")
	}
}

func TestSame_tells_settings_and_names_apart(t *testing.T) {
	r := newRig(t)
	a := r.load(t)
	for what, change := range map[string]func(o *ServerOptions){
		"client_auth": func(o *ServerOptions) { o.ClientAuth = Optional },
		"min_version": func(o *ServerOptions) { o.MinVersion = tls.VersionTLS13 },
		"tickets":     func(o *ServerOptions) { o.NoTickets = true },
		"the file's name": func(o *ServerOptions) {
			check(t, os.Link(o.ClientCAFile, o.ClientCAFile+".too"))
			o.ClientCAFile += ".too"
		},
	} {
		o := r.opts
		change(&o)
		b, err := LoadServer(o)
		check(t, err)
		if b.Same(a) {
			t.Errorf("%s makes no difference", what)
		}
		if b.TrustsLike(a) != (what != "client_auth") {
			t.Errorf("%s: TrustsLike is %v", what, b.TrustsLike(a))
		}
	}
	check(t, os.WriteFile(r.opts.ClientCAFile, append(r.ca.CertPEM(), newCA(t).CertPEM()...), 0o600))
	if b := r.load(t); b.TrustsLike(a) || b.Same(a) {
		t.Error("one more CA makes no difference")
	}
}
