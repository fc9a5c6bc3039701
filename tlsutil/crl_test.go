package tlsutil

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each case spoils the one list of a listener that works.
func TestLoadServer_refuses_a_revocation_list(t *testing.T) {
	critical := func(id asn1.ObjectIdentifier) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: []byte{2, 1, 1}})
		}
	}
	entry := func(id asn1.ObjectIdentifier) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: id, Critical: true, Value: []byte{5, 0}}}
		}
	}
	for _, c := range []struct {
		name string
		what string
		list func(t *testing.T, w *world) []byte
	}{
		{"that is empty", "is empty", func(*testing.T, *world) []byte { return nil }},
		{"that is text", "holds no revocation list", func(*testing.T, *world) []byte { return []byte("no list\n") }},
		{"that is a certificate", `holds a "CERTIFICATE" block`, func(_ *testing.T, w *world) []byte { return w.root.pem() }},
		{"that is a certificate in DER", "is damaged, or no revocation list", func(_ *testing.T, w *world) []byte { return w.root.cert.Raw }},
		{"cut off in PEM", "half-written", func(t *testing.T, w *world) []byte {
			data := crlPEM(w.root.crl(t, nil))
			return data[:len(data)/2]
		}},
		{"cut off in DER", "half-written", func(t *testing.T, w *world) []byte {
			data := w.root.crl(t, nil)
			return data[:len(data)-1]
		}},
		{"with bytes after its end", "half-written or damaged", func(t *testing.T, w *world) []byte { return append(w.root.crl(t, nil), 0) }},
		{"of which the second is damaged", "list 2 is damaged", func(t *testing.T, w *world) []byte {
			return crlPEM(w.root.crl(t, nil), []byte{0x30, 0x00})
		}},
		{"that is a delta", "is a delta list", func(t *testing.T, w *world) []byte { return w.root.crl(t, nil, critical(oidDeltaCRL)) }},
		{"with an unknown critical extension", "unknown kind, 1.2.3", func(t *testing.T, w *world) []byte {
			return w.root.crl(t, nil, critical(asn1.ObjectIdentifier{1, 2, 3}))
		}},
		{"with entries of other CAs", "is an indirect list", func(t *testing.T, w *world) []byte {
			return w.root.crl(t, revoking(w.root.client(t)), entry(oidCertificateIssuer))
		}},
		{"with an entry it can't understand", "an entry with a critical extension", func(t *testing.T, w *world) []byte {
			return w.root.crl(t, revoking(w.root.client(t)), entry(asn1.ObjectIdentifier{1, 2, 3}))
		}},
		{"that says it is indirect", "is an indirect list", func(t *testing.T, w *world) []byte {
			return w.root.crl(t, nil, issuedFor(issuingPoint{Indirect: true}))
		}},
		{"of some reasons only", "for some reasons", func(t *testing.T, w *world) []byte {
			return w.root.crl(t, nil, issuedFor(issuingPoint{OnlyReasons: asn1.BitString{Bytes: []byte{0x60}, BitLength: 3}}))
		}},
		{"of attribute certificates", "attribute certificates only", func(t *testing.T, w *world) []byte {
			return w.root.crl(t, nil, issuedFor(issuingPoint{OnlyAttributes: true}))
		}},
		{"with a damaged scope", "damaged issuingDistributionPoint", func(t *testing.T, w *world) []byte {
			return w.root.crl(t, nil, critical(oidIssuingPoint))
		}},
		{"that somebody else signed in the CA's name", "is not signed by the CA", func(t *testing.T, w *world) []byte { return newRoot(t, "root").crl(t, nil) }},
		{"whose CA may not sign lists", "does not let it sign lists", func(t *testing.T, w *world) []byte {
			w.root = newRoot(t, "root", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
			w.cas = [][]byte{w.root.pem()}
			return w.root.crl(t, nil)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.crls = [][]byte{w.root.crl(t, nil)}
			w.install(t)
			good := w.load(t)
			w.crls = [][]byte{c.list(t, w)}
			w.install(t)
			_, err := LoadServer(w.opts)
			if !slices.ContainsFunc(Faults(err), func(f *Fault) bool {
				return f.Setting == "crl" && f.File == w.opts.CRLFiles[0] && strings.Contains(f.What, c.what) && f.Hint != ""
			}) {
				t.Fatalf("no fault says %q: %v", c.what, err)
			}
			if changed, err := good.Reload(); changed || err == nil {
				t.Errorf("a reload took it: %v", err)
			}
		})
	}
}

func TestLoadServer_refuses_a_missing_revocation_list(t *testing.T) {
	w := newWorld(t)
	w.opts.CRLFiles = []string{filepath.Join(w.dir, "none.crl")}
	if _, err := LoadServer(w.opts); err == nil || Faults(err)[0].Setting != "crl" {
		t.Errorf("%v", err)
	}
	w.opts.CRLFiles, w.opts.CRLMissing = nil, 7
	if _, err := LoadServer(w.opts); err == nil || Faults(err)[0].Setting != "crl_missing" {
		t.Errorf("%v", err)
	}
}

func TestLoadServer_warns_of_revocation_lists(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(t *testing.T, w *world)
	}{
		{"soon stale", "goes stale at", func(t *testing.T, w *world) { w.crls[0] = w.root.crl(t, nil, valid(-10*time.Hour, time.Hour)) }},
		{"stale", "is stale since", func(t *testing.T, w *world) { w.crls[0] = w.root.crl(t, nil, valid(-10*time.Hour, -time.Hour)) }},
		{"not yet in force", "is not valid before", func(t *testing.T, w *world) { w.crls[0] = w.root.crl(t, nil, valid(time.Hour, 2*time.Hour)) }},
		{"of a stranger", "not in client_ca", func(t *testing.T, w *world) { w.crls = append(w.crls, newRoot(t, "x").crl(t, nil)) }},
		{"that are not used", "is not used", func(t *testing.T, w *world) { w.opts.ClientAuth, w.opts.ClientCAFile = None, "" }},
		{"missing for a CA", `no list of the CA "CN=x": every client certificate it issued is refused`, func(t *testing.T, w *world) {
			w.cas = append(w.cas, newRoot(t, "x").pem())
		}},
		{"missing for a CA where that is allowed", "is never found revoked", func(t *testing.T, w *world) {
			w.opts.CRLMissing = AllowMissing
			w.cas = append(w.cas, newRoot(t, "x").pem())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.crls = [][]byte{w.root.crl(t, nil)}
			w.install(t)
			if got := w.load(t).Warnings(); len(got) > 0 {
				t.Fatalf("without cause: %v", got)
			}
			ca := w.opts.ClientCAFile
			c.make(t, w)
			w.opts.ClientCAFile, ca = ca, w.opts.ClientCAFile
			w.install(t)
			w.opts.ClientCAFile = ca
			got := w.load(t).Warnings()
			if len(got) != 1 || !strings.Contains(got[0].What, c.want) || got[0].Hint == "" || got[0].Setting != "crl" {
				t.Errorf("%v", got)
			}
		})
	}
	w := newWorld(t)
	w.crls = [][]byte{w.root.crl(t, nil)}
	w.install(t)
	w.opts.CRLFiles = append(w.opts.CRLFiles, w.opts.CRLFiles[0])
	if got := w.load(t).Warnings(); len(got) != 1 || !strings.Contains(got[0].What, "named twice") {
		t.Errorf("%v", got)
	}
}

// revocable is a listener with a list, and a client with tickets.
func revocable(t *testing.T, version uint16) (w *world, s *Server, pair *Pair, client *tls.Config) {
	w = newWorld(t)
	pair = w.root.client(t)
	w.crls = [][]byte{w.root.crl(t, nil)}
	w.install(t)
	client = w.client(pair)
	client.MinVersion, client.MaxVersion = version, version
	client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	return w, w.load(t), pair, client
}

func forBothVersions(t *testing.T, do func(t *testing.T, version uint16)) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(versionName(v), func(t *testing.T) { do(t, v) })
	}
}

func TestRevocation_by_reload_ends_resumption_and_trust(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		w, s, pair, client := revocable(t, version)
		resumes(t, s, client, false, "first time")
		open := resumes(t, s, client, true, "while the list does not name it")
		check(t, s.Trusts(open.server))
		w.crls = [][]byte{w.root.crl(t, revoking(pair))}
		w.install(t)
		if changed, err := s.Reload(); !changed || err != nil {
			t.Fatal(changed, err)
		}
		shake(t, s, client).refusedWith(t, ReasonRevoked)
		if got := (outcome{err: s.Trusts(open.server)}).reason(); got != ReasonRevoked {
			t.Errorf("an open connection: %q", got)
		}
	})
}

// Tickets are forgotten when a list changes; this is what holds if one is not.
func TestRevocation_is_checked_on_resumed_connections(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		w, s, pair, client := revocable(t, version)
		resumes(t, s, client, false, "first time")
		resumes(t, s, client, true, "before")
		list, f := parseCRL(w.root.crl(t, revoking(pair)))
		if f != nil {
			t.Fatal(f)
		}
		s.current.Load().crls.byIssuer[string(w.root.cert.RawSubject)] = []*crl{list}
		resumed := false
		client.VerifyConnection = func(cs tls.ConnectionState) error { resumed = cs.DidResume; return nil }
		shake(t, s, client).refusedWith(t, ReasonRevoked)
		if version == tls.VersionTLS13 && !resumed {
			t.Error("the connection was not a resumed one")
		}
	})
}

func TestRevocation_lists_that_go_stale_close_the_listener_resumed_or_not(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		w := newWorld(t)
		now := time.Now()
		w.opts.now = func() time.Time { return now }
		w.crls = [][]byte{w.root.crl(t, nil, valid(-time.Hour, 10*time.Minute))}
		w.install(t)
		client := w.client(w.root.client(t))
		client.MinVersion, client.MaxVersion = version, version
		client.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		s := w.load(t)
		resumes(t, s, client, false, "first time")
		resumes(t, s, client, true, "in force")
		now = now.Add(11 * time.Minute)
		shake(t, s, client).refusedWith(t, ReasonRevocationUnknown)
	})
}

func TestTickets_from_before_a_changed_revocation_list_do_not_resume(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version uint16) {
		w, s, _, client := revocable(t, version)
		resumes(t, s, client, false, "first time")
		resumes(t, s, client, true, "before")
		w.crls = [][]byte{w.root.crl(t, revoking(w.root.client(t)))}
		w.install(t)
		_, err := s.Reload()
		check(t, err)
		resumes(t, s, client, false, "after somebody else was revoked")
		s.ForgetTickets()
		w.opts.CRLMissing = AllowMissing
		resumes(t, s, client, false, "after ForgetTickets")
	})
}

func TestReload_takes_no_step_back_in_revocation(t *testing.T) {
	for _, c := range []struct {
		name     string
		mods     func(*x509.RevocationList)
		refusing string
	}{
		{"an older list", valid(-3*time.Hour, 24*time.Hour), "issued before the list in use"},
		{"a stale list", func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = time.Now().Add(-30*time.Minute), time.Now().Add(-time.Minute)
		}, "not in force now"},
		{"a newer list", valid(-time.Minute, 24*time.Hour), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, s, pair, client := revocable(t, tls.VersionTLS13)
			w.crls = [][]byte{w.root.crl(t, revoking(pair))}
			w.install(t)
			_, err := s.Reload()
			check(t, err)
			w.crls = [][]byte{w.root.crl(t, nil, c.mods)}
			w.install(t)
			other := w.load(t)
			changed, err := s.Reload()
			if c.refusing == "" {
				if !changed || err != nil {
					t.Errorf("%v, %v", changed, err)
				}
				shake(t, s, client).accepted(t)
				return
			}
			if changed || len(Faults(err)) != 1 || !strings.Contains(Faults(err)[0].What, c.refusing) {
				t.Errorf("%v, %v", changed, err)
			}
			shake(t, s, client).refusedWith(t, ReasonRevoked)
			if err := other.Succeeds(s); err == nil || !strings.Contains(err.Error(), c.refusing) {
				t.Errorf("a server in its place: %v", err)
			}
		})
	}
}

// A list half-way through being written leaves the one in use.
func TestReload_keeps_the_old_list_while_the_new_one_is_half_written(t *testing.T) {
	w, s, pair, client := revocable(t, tls.VersionTLS13)
	for _, list := range [][]byte{crlPEM(w.root.crl(t, revoking(pair))), w.root.crl(t, revoking(pair))} {
		whole := len(bytes.TrimRight(list, "\n"))
		for at := 0; at < whole; at += step(at, whole) {
			write(t, w.opts.CRLFiles[0], list[:at])
			if changed, err := s.Reload(); changed || err == nil {
				t.Fatalf("%d of %d bytes were taken", at, whole)
			}
		}
	}
	shake(t, s, client).accepted(t)
}

func TestServer_tells_of_its_revocation_lists(t *testing.T) {
	w, s, pair, _ := revocable(t, tls.VersionTLS13)
	if got := w.rig.load(t).CRLs(); len(got) != 1 {
		t.Errorf("%v", got)
	}
	w.crls = [][]byte{w.root.crl(t, revoking(pair, w.root.client(t)))}
	w.install(t)
	_, err := s.Reload()
	check(t, err)
	got := s.CRLs()
	if len(got) != 1 || got[0].File != w.opts.CRLFiles[0] || got[0].Issuer != "CN=root" || got[0].Number != "1" || got[0].Revoked != 2 ||
		!got[0].NextUpdate.After(time.Now()) || got[0].ThisUpdate.After(time.Now()) {
		t.Errorf("%+v", got)
	}
	if !slices.Contains(s.Files(), w.opts.CRLFiles[0]) {
		t.Errorf("files: %q", s.Files())
	}
	if w := newWorld(t); w.load(t).CRLs() != nil {
		t.Error("a listener without lists tells of some")
	}
}

func TestDevCA_revokes(t *testing.T) {
	w := newWorld(t)
	w.cas = [][]byte{w.ca.CertPEM()}
	gone, kept := w.clientPair(t, "gone"), w.clientPair(t, "kept")
	list, err := w.ca.CRL(time.Hour, gone.Certificate.Leaf)
	check(t, err)
	w.crls = [][]byte{list}
	w.install(t)
	s := w.load(t)
	shake(t, s, w.client(kept)).accepted(t)
	shake(t, s, w.client(gone)).refusedWith(t, ReasonRevoked)
}

func FuzzParseCRL(f *testing.F) {
	root := newRoot(f, "root")
	f.Add(root.crl(f, nil))
	f.Add(root.crl(f, revoking(root.client(f)), issuedFor(pointAt("http://ca/1.crl"))))
	f.Add(crlPEM(root.crl(f, nil)))
	f.Fuzz(func(t *testing.T, data []byte) {
		blobs, fault := crlBlobs(data)
		if fault != nil {
			return
		}
		for _, der := range blobs {
			c, fault := parseCRL(der)
			if (c == nil) == (fault == nil) {
				t.Fatal("a list or a fault, one of them")
			}
			if c != nil && !c.list.NextUpdate.After(c.list.ThisUpdate) {
				t.Error("a list that is never in force")
			}
		}
	})
}
