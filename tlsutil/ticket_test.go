package tlsutil

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// forEachVersion runs a promise about tickets for both versions, whose tickets
// travel differently. The client it gives keeps every ticket it gets.
func forEachVersion(t *testing.T, promise func(t *testing.T, r *rig, client *tls.Config)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(versionName(version), func(t *testing.T) {
			r := newRig(t)
			client := r.client(r.clientPair(t, "app", "spiffe://prod/app"))
			client.MinVersion, client.MaxVersion = version, version
			client.ClientSessionCache = tls.NewLRUClientSessionCache(8)
			promise(t, r, client)
		})
	}
}

// resumes wants the next handshake to come about, resumed or not as said.
func resumes(t *testing.T, s *Server, client *tls.Config, want bool, when string) outcome {
	t.Helper()
	o := shake(t, s, client)
	o.accepted(t)
	if o.state.Resumed != want || o.client.DidResume != want {
		t.Fatalf("%s: resumed %v (the client says %v), want %v", when, o.state.Resumed, o.client.DidResume, want)
	}
	return o
}

func TestTickets_keep_the_identity(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		s := r.load(t)
		full := resumes(t, s, client, false, "first time")
		for range 3 {
			again := resumes(t, s, client, true, "same server")
			if again.state.Identity == nil || !reflect.DeepEqual(full.state.Identity, again.state.Identity) {
				t.Fatalf("identity %+v became %+v", full.state.Identity, again.state.Identity)
			}
		}
	})
}

func TestTickets_of_one_listener_do_not_resume_at_another(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		a, b := r.load(t), r.load(t) // same files
		resumes(t, a, client, false, "first time")
		resumes(t, a, client, true, "at a")
		resumes(t, b, client, false, "at b with a's ticket")
		resumes(t, b, client, true, "at b with its own")
		resumes(t, a, client, false, "at a with b's ticket")
	})
}

// A listener with a weaker policy must not be a way around a stricter one.
func TestTickets_of_an_optional_listener_do_not_open_a_requiring_one(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		strict := r.load(t)
		r.opts.ClientAuth = Optional
		lax := r.load(t)
		client.GetClientCertificate = nil
		resumes(t, lax, client, false, "first time")
		resumes(t, lax, client, true, "optional")
		shake(t, strict, client).refusedWith(t, ReasonNoCertificate)
	})
}

func TestTickets_from_before_a_reload_do_not_resume(t *testing.T) {
	for what, change := range map[string]func(*testing.T, *rig){
		"new certificate": func(t *testing.T, r *rig) { r.install(t, r.serverPair(t)) },
		"longer CA file": func(t *testing.T, r *rig) {
			write(t, r.opts.ClientCAFile, append(r.ca.CertPEM(), newCA(t).CertPEM()...))
		},
	} {
		t.Run(what, func(t *testing.T) {
			forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
				s := r.load(t)
				resumes(t, s, client, false, "first time")
				resumes(t, s, client, true, "before")
				if changed, err := s.Reload(); changed || err != nil {
					t.Fatalf("reload of the same files: %v, %v", changed, err)
				}
				resumes(t, s, client, true, "after a reload of the same files")
				change(t, r)
				if changed, err := s.Reload(); !changed || err != nil {
					t.Fatalf("reload: %v, %v", changed, err)
				}
				o := resumes(t, s, client, false, "after the change")
				if o.state.Generation != 2 {
					t.Errorf("generation %d", o.state.Generation)
				}
				resumes(t, s, client, true, "with a new ticket")
			})
		})
	}
}

func TestTickets_do_not_outlive_the_trust_in_their_CA(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		s := r.load(t)
		resumes(t, s, client, false, "first time")
		write(t, r.opts.ClientCAFile, newCA(t).CertPEM())
		changed, err := s.Reload()
		check(t, err)
		if !changed {
			t.Fatal("nothing changed")
		}
		shake(t, s, client).refusedWith(t, ReasonUnknownCA)
	})
}

func TestTickets_do_not_outlive_the_certificate(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		now := time.Now()
		r.opts.now = func() time.Time { return now }
		s := r.load(t)
		resumes(t, s, client, false, "first time")
		resumes(t, s, client, true, "in date")
		now = now.Add(devLeafLifetime + time.Hour)
		client.Time = func() time.Time { return now.Add(-devLeafLifetime - time.Hour) } // the client still offers its ticket
		shake(t, s, client).refusedWith(t, ReasonExpiredCertificate)
	})
}

func TestTickets_are_forgotten_on_demand(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		s := r.load(t)
		resumes(t, s, client, false, "first time")
		s.ForgetTickets()
		resumes(t, s, client, false, "after ForgetTickets")
		resumes(t, s, client, true, "with a new ticket")
		if s.Generation() != 2 {
			t.Errorf("generation %d", s.Generation())
		}
	})
}

func TestTickets_keys_change_daily_and_the_last_one_is_kept(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		now := time.Now()
		r.opts.now = func() time.Time { return now }
		client.Time = r.opts.now
		s := r.load(t)
		resumes(t, s, client, false, "first time")
		first := s.current.Load().keys
		now = now.Add(ticketKeyAge + time.Minute)
		resumes(t, s, client, true, "a day later")
		if keys := s.current.Load().keys; len(keys) != 2 || keys[0] == first[0] || keys[1] != first[0] {
			t.Error("a day later there is not one new key before the old one")
		}
		// What was renewed with the new key lives on; after two days of silence
		// no key is left that opens it.
		resumes(t, s, client, true, "with the renewed ticket")
		now = now.Add(2*ticketKeyAge + time.Minute)
		resumes(t, s, client, false, "two days of silence later")
	})
}

func TestTickets_can_be_turned_off(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		r.opts.NoTickets = true
		s := r.load(t)
		for range 2 {
			resumes(t, s, client, false, "without tickets")
		}
	})
}

// Who keeps the configuration, as an http.Server does, gets each new
// generation, and its tickets don't leak through Clone or GetConfigForClient.
func TestConfig_may_be_kept_and_cloned(t *testing.T) {
	forEachVersion(t, func(t *testing.T, r *rig, client *tls.Config) {
		s := r.load(t)
		kept := s.Config().Clone()
		kept.NextProtos = []string{"http/1.1"}
		serve := func() outcome {
			server, conn := tcpPair(t)
			return shakeOver(server, conn, client, func(ctx context.Context, c net.Conn) (*tls.Conn, State, error) {
				tc := tls.Server(c, kept)
				return tc, State{}, tc.HandshakeContext(ctx)
			})
		}
		for i, want := range []bool{false, true} {
			o := serve()
			o.accepted(t)
			if o.server.DidResume != want {
				t.Fatalf("handshake %d: resumed %v", i, o.server.DidResume)
			}
		}
		next := r.serverPair(t)
		r.install(t, next)
		_, err := s.Reload()
		check(t, err)
		o := serve()
		o.accepted(t)
		if o.server.DidResume || !o.client.PeerCertificates[0].Equal(next.Certificate.Leaf) {
			t.Errorf("resumed %v, or not the new certificate", o.server.DidResume)
		}
		client.GetClientCertificate, client.ClientSessionCache = nil, nil
		if o := serve(); o.err == nil {
			t.Error("a client without certificate was let in")
		}
	})
}

// Trusts is for connections that are open already.
func TestTrusts(t *testing.T) {
	now := time.Now()
	r := newRig(t)
	r.opts.now = func() time.Time { return now }
	s := r.load(t)
	o := shake(t, s, r.client(r.clientPair(t, "app")))
	o.accepted(t)
	anonymous := tls.ConnectionState{}
	judge := func(cs tls.ConnectionState, want Reason) {
		t.Helper()
		if got := (outcome{err: s.Trusts(cs)}).reason(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	judge(o.server, "")
	judge(anonymous, ReasonNoCertificate)

	now = now.Add(devLeafLifetime + time.Hour)
	judge(o.server, ReasonExpiredCertificate)
	now = now.Add(-devLeafLifetime - time.Hour)

	write(t, r.opts.ClientCAFile, newCA(t).CertPEM())
	_, err := s.Reload()
	check(t, err)
	judge(o.server, ReasonUnknownCA)

	u, err := s.Prepare(ServerOptions{CertificateFile: r.opts.CertificateFile, KeyFile: r.opts.KeyFile, ClientAuth: Optional, ClientCAFile: filepath.Join(r.dir, "ca.crt")})
	check(t, err)
	u.Apply()
	judge(anonymous, "")
	judge(o.server, ReasonUnknownCA)
	if err := s.Trusts(o.server); !strings.HasPrefix(err.Error(), "TLS handshake: unknown_ca: ") {
		t.Error(err)
	}

	u, err = s.Prepare(ServerOptions{CertificateFile: r.opts.CertificateFile, KeyFile: r.opts.KeyFile, ClientAuth: None, ClientCAFile: r.opts.ClientCAFile})
	check(t, err)
	if len(u.Warnings()) != 1 {
		t.Errorf("%v", u.Warnings())
	}
	u.Apply()
	judge(anonymous, "")
	judge(o.server, "")
}
