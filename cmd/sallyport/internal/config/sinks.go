package config

import (
	"crypto/tls"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/tlsutil"
)

// Sink is where events go, and how.
type Sink struct {
	Kind string      // "stdout", "stderr", "file" or "syslog"
	Path string      // absolute, of a file
	Mode fs.FileMode // of a file that has to be made

	network, address string // of a syslog collector
	facility         uint8
	client           *tlsutil.Client
	files            tlsutil.ClientOptions // what client was loaded from
	host             string

	format audit.Format
	keys   audit.KeyMode
	key    *audit.Key
	refuse bool
	rotate audit.Rotation
}

// same reports whether two configurations want the same of a sink. A key is the
// same if its content is.
func (s Sink) same(o Sink) bool {
	if s.key.ID() != o.key.ID() || (s.client == nil) != (o.client == nil) || s.files.CAFile != o.files.CAFile ||
		s.files.CertificateFile != o.files.CertificateFile || s.files.KeyFile != o.files.KeyFile || s.files.ServerName != o.files.ServerName {
		return false
	}
	return s.Kind == o.Kind && s.Path == o.Path && s.Mode == o.Mode && s.network == o.network && s.address == o.address &&
		s.facility == o.facility && s.format == o.format && s.keys == o.keys && s.refuse == o.refuse && s.rotate == o.rotate
}

// place tells sinks apart: two with the same would write to the same place.
func (s Sink) place() string { return s.Kind + " " + s.Path + s.network + " " + s.address }

// sink gives the audit package's word for it.
func (s Sink) sink() audit.Sink {
	set := audit.Settings{Format: s.format, Keys: s.keys, Key: s.key, Refuse: s.refuse, Rotate: s.rotate}
	switch s.Kind {
	case "stderr":
		return audit.Stderr().With(set)
	case "file":
		return audit.File(s.Path, s.Mode).With(set)
	case "syslog":
		o := audit.SyslogOptions{Network: s.network, Address: s.address, Facility: s.facility}
		if s.client != nil {
			// Loaded at each dial: certificates are renewed while the sink stays.
			o.TLS = func() (*tls.Config, error) {
				client, err := tlsutil.LoadClient(s.files)
				if err != nil {
					client = s.client
				}
				return client.Config(s.host)
			}
		}
		return audit.Syslog("syslog "+s.address, o).With(set)
	}
	return audit.Stdout().With(set)
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
			if s.Kind != "" && s.place() == other.place() && (s.Kind != "file" || s.Path != "") && (s.Kind != "syslog" || s.address != "") {
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
	kind, path, mode, rotate := s.required("sink"), s.get("path"), s.get("mode"), s.get("rotate")
	address, facility, secure, plain := s.get("address"), s.get("facility"), s.get("tls"), s.get("unsafe_plaintext")
	out := Sink{Kind: kind.nonempty().Value}
	r.keeping(s, &out)
	s.close()
	if out.Kind != "file" && out.Kind != "" && (path.present() || mode.present() || rotate.present()) {
		s.fault("only a file has a path, a mode and a rotation")
	}
	if out.Kind != "syslog" && out.Kind != "" && (address.present() || facility.present() || secure.present() || plain.present()) {
		s.fault("only syslog has an address, a facility and tls")
	}
	switch out.Kind {
	case "", "stdout", "stderr":
	case "file":
		r.fileSink(s, &out, path, mode)
		out.rotate = r.rotation(rotate.section())
	case "syslog":
		r.syslogSink(s, &out)
	default:
		kinds := []string{"stdout", "stderr", "file", "syslog"}
		hint := DidYouMean(out.Kind, kinds)
		if hint == "" {
			hint = "one of: " + strings.Join(kinds, ", ")
		}
		kind.faultHint(hint, "%s is not a sink", quoted(out.Kind))
	}
	return out
}

var (
	formats  = map[string]audit.Format{"json": audit.Native, "azure": audit.Azure, "redis-enterprise": audit.RedisEnterprise}
	keyModes = map[string]audit.KeyMode{"full": audit.KeysFull, "hash": audit.KeysHash, "prefix": audit.KeysPrefix, "off": audit.KeysOff}
)

// keeping reads what every sink may say of how it keeps the record.
func (r *reader) keeping(s *section, out *Sink) {
	out.format = formats[s.get("format").word("json", "json", "azure", "redis-enterprise")]
	keys := s.get("keys")
	out.keys = keyModes[keys.word("full", "full", "hash", "prefix", "off")]
	out.refuse = s.get("on_full").word("drop", "drop", "refuse") == "refuse"
	out.key = r.chainKey(s.get("chain_key_file"))
	if out.keys == audit.KeysHash && !s.get("chain_key_file").present() {
		keys.warn("add chain_key_file", "without a chain key the hashes have none, and names that can be guessed can be found")
	}
}

// chainKey reads the secret of a sink's chain: a file's only line.
func (r *reader) chainKey(v value) *audit.Key {
	n := v.named()
	if n.path == "" {
		return nil
	}
	secret, err := readPassword(n.path)
	if err != nil {
		v.fault("can't take the key from %s: %s", quoted(n.written), reasonOf(err))
		return nil
	}
	k, err := audit.NewKey([]byte(secret))
	if err != nil {
		v.faultHint("make one: openssl rand -hex 32 > "+n.written, "%s: %s", quoted(n.written), err)
		return nil
	}
	v.secretMode(n.path, n.written)
	return k
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

// rotation reads when a file is replaced by a new one; absent is never.
func (r *reader) rotation(s *section) audit.Rotation {
	if !s.present() {
		return audit.Rotation{}
	}
	size, age := s.get("size"), s.get("age")
	o := audit.Rotation{Size: size.size(0, 64<<10), Age: age.duration(0, false), Keep: s.get("keep").number(audit.DefaultKeep, 1, 1000)}
	if !size.present() && !age.present() {
		s.fault("wants a size, an age or both")
	}
	if age.present() && o.Age > 0 && o.Age < time.Minute {
		age.fault("a file lasts a minute at least")
	}
	s.close()
	return o
}

// facilities are those of RFC 5424, by the names everybody uses.
var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

func (r *reader) syslogSink(s *section, out *Sink) {
	word := s.get("facility").word("authpriv", facilities...)
	for i, f := range facilities {
		if f == word {
			out.facility = uint8(i)
		}
	}
	secure, plain := s.get("tls"), s.get("unsafe_plaintext")
	v := s.get("address")
	if !v.present() {
		s.faultHint("unix:/dev/log, or host:port", "%q is missing", "address")
		return
	}
	a := v.address(false)
	out.network, out.address, out.host = a.network, a.text, a.host
	switch {
	case a.network == "":
	case a.network == "unix" && secure.present():
		secure.fault("a unix socket has no tls")
	case a.network == "tcp":
		r.plaintext(plain, secure.present(), a, v.path, "a collector on another machine needs tls")
	}
	if f := r.clientFiles(secure.section()); f != nil && a.network == "tcp" {
		out.files = tlsutil.ClientOptions{CAFile: f.ca.path, CertificateFile: f.certificate.path, KeyFile: f.key.path, ServerName: f.serverName}
		client, err := tlsutil.LoadClient(out.files)
		if err != nil {
			r.tlsFaults(f.value, map[string]named{"certificate": f.certificate, "key": f.key, "ca": f.ca}, err)
			return
		}
		out.client = client
	}
}

// maxEventsOn bounds what every allowed call is held against.
const maxEventsOn = 64

// eventsOn reads the patterns of keys and channels whose calls are recorded.
func (r *reader) eventsOn(v value) []string {
	if !v.present() {
		return nil
	}
	items := v.list()
	if len(items) == 0 && !v.failedHere() {
		v.faultHint("leave it out", "is empty: no key is watched")
	}
	if len(items) > maxEventsOn {
		v.fault("%d patterns, at most %d are possible", len(items), maxEventsOn)
		return nil
	}
	var out []string
	for _, item := range items {
		t := item.nonempty()
		if t.Value == "" {
			continue
		}
		if trimmed := strings.TrimLeft(t.Value, "~&"); trimmed != t.Value {
			item.faultHint("write "+quoted(trimmed), "wants the pattern alone, without the ~ or & of a rule")
		}
		if t.Value == "*" {
			item.warn("name the keys that matter", "records every call that names a key")
		}
		out = append(out, t.Value)
	}
	return out
}

// snapshots reads how often it goes on record who is connected.
func (r *reader) snapshots(s *section) proxy.Snapshots {
	every, expected := s.get("every"), s.get("expected")
	o := proxy.Snapshots{Every: every.duration(10*time.Second, true)}
	if o.Every > 0 && o.Every < time.Second {
		every.fault("a snapshot a second is the most")
	}
	for _, item := range expected.list() {
		t := item.nonempty()
		if t.Value == "" {
			continue
		}
		if t.Value == "unix" {
			o.ExpectUnix = true
			continue
		}
		p, hint := parseNetwork(t.Value)
		if hint != "" {
			item.faultHint("like 10.0.0.0/8, 192.168.1.7, 2001:db8::/32, or the word unix", "%s is not a network", quoted(t.Value))
			continue
		}
		o.Expected = append(o.Expected, p)
	}
	if o.Every == 0 && expected.present() {
		expected.warn("remove it", "has no effect without snapshots")
	}
	s.close()
	return o
}
