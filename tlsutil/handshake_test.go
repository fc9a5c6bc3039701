package tlsutil

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Each case says what a client brings and what becomes of it where a
// certificate is required and where it is optional.
func TestHandshake(t *testing.T) {
	r := newRig(t)
	other := newCA(t)
	past, future := time.Now().Add(-2*time.Hour), time.Now().Add(2*time.Hour)
	clientUsage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	issue := func(template *x509.Certificate) *Pair {
		p, err := r.ca.Issue(template)
		check(t, err)
		return p
	}
	good := r.clientPair(t, "app", "spiffe://prod/app")
	server := r.serverPair(t)
	stolen := r.clientPair(t, "stolen")
	stolen.Certificate.PrivateKey = good.Certificate.PrivateKey
	garbage := &Pair{Certificate: tls.Certificate{Certificate: [][]byte{[]byte("no DER")}, PrivateKey: good.Certificate.PrivateKey, Leaf: good.Certificate.Leaf}}

	for _, c := range []struct {
		name               string
		config             *tls.Config
		require, optional_ Reason
	}{
		{"a certificate of the CA is accepted", r.client(good), "", ""},
		{"a certificate with any usage is accepted", r.client(issue(&x509.Certificate{Subject: pkix.Name{CommonName: "any"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})), "", ""},
		{"no certificate", r.client(), ReasonNoCertificate, ""},
		{"a certificate of a foreign CA", r.client(issueClient(t, other, "app")), ReasonUnknownCA, ReasonUnknownCA},
		{"a foreign certificate that sends its own CA along", r.client(withChain(issueClient(t, other, "app"), other)), ReasonUnknownCA, ReasonUnknownCA},
		{"a foreign CA with the trusted CA's name", r.client(issueClient(t, impostor(t, r.ca), "app")), ReasonUnknownCA, ReasonUnknownCA},
		{"an expired certificate", r.client(issue(&x509.Certificate{ExtKeyUsage: clientUsage, NotBefore: past.Add(-time.Hour), NotAfter: past})), ReasonExpiredCertificate, ReasonExpiredCertificate},
		{"a certificate from the future", r.client(issue(&x509.Certificate{ExtKeyUsage: clientUsage, NotBefore: future})), ReasonNotYetValid, ReasonNotYetValid},
		{"a server's certificate", r.client(server), ReasonWrongUsage, ReasonWrongUsage},
		{"a code signing certificate", r.client(issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})), ReasonWrongUsage, ReasonWrongUsage},
		{"a certificate issued by a client", r.client(issuedBy(t, good)), ReasonUnknownCA, ReasonUnknownCA},
		{"a certificate without its key", r.client(stolen), ReasonBadCertificate, ReasonBadCertificate},
		{"a certificate that is none", r.client(garbage), ReasonBadCertificate, ReasonBadCertificate},
		{"a certificate with a NUL in its CN", r.client(issue(&x509.Certificate{ExtKeyUsage: clientUsage, Subject: pkix.Name{CommonName: "admin\x00.evil"}})), ReasonBadName, ReasonBadName},
		{"a certificate with an unknown critical extension", r.client(issue(&x509.Certificate{ExtKeyUsage: clientUsage,
			ExtraExtensions: []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}}})), ReasonBadCertificate, ReasonBadCertificate},
	} {
		for auth, want := range map[ClientAuth]Reason{Require: c.require, Optional: c.optional_} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				t.Run(c.name+"/"+auth.String()+"/"+versionName(version), func(t *testing.T) {
					opts := r.opts
					opts.ClientAuth = auth
					s, err := LoadServer(opts)
					check(t, err)
					config := c.config.Clone()
					config.MinVersion, config.MaxVersion = version, version
					o := shake(t, s, config)
					if want != "" {
						o.refusedWith(t, want)
						return
					}
					o.accepted(t)
					if o.state.Version != versionName(version) {
						t.Errorf("State.Version = %q", o.state.Version)
					}
					if shown := len(o.server.PeerCertificates) > 0; shown != (o.state.Identity != nil) {
						t.Errorf("certificate shown: %v, identity: %v", shown, o.state.Identity)
					}
				})
			}
		}
	}
}

// withChain sends the CA's own certificate after the leaf.
func withChain(p *Pair, ca *DevCA) *Pair {
	p.Certificate.Certificate = append(p.Certificate.Certificate, ca.cert.Raw)
	return p
}

// impostor is another CA with the same name and key identifier.
func impostor(t *testing.T, ca *DevCA) *DevCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := *ca.cert
	template.PublicKey = key.Public()
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return &DevCA{cert: cert, key: key}
}

// issuedBy is what the holder of a client certificate could make with it.
func issuedBy(t *testing.T, p *Pair) *Pair {
	t.Helper()
	ca := &DevCA{cert: p.Certificate.Leaf, key: p.Certificate.PrivateKey.(*ecdsa.PrivateKey)}
	forged := issueClient(t, ca, "admin")
	forged.Certificate.Certificate = append(forged.Certificate.Certificate, p.Certificate.Leaf.Raw)
	return forged
}

func TestHandshake_reports_what_was_agreed(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	o := shake(t, s, r.client(r.clientPair(t, "app", "spiffe://prod/app")))
	o.accepted(t)
	st := o.state
	if st.Version != "TLSv1.3" || !strings.HasPrefix(st.Cipher, "TLS_") || st.Resumed || st.ServerName != "localhost" || st.Generation != 1 {
		t.Errorf("state: %+v", st)
	}
	if id := st.Identity; id == nil || id.Subject != "CN=app" || !slices.Equal(id.URI, []string{"spiffe://prod/app"}) {
		t.Errorf("identity: %+v", id)
	}
}

func TestHandshake_agrees_on_a_post_quantum_group_with_a_Go_client(t *testing.T) {
	r := newRig(t)
	o := shake(t, r.load(t), r.client(r.clientPair(t, "app")))
	o.accepted(t)
	if o.state.Group != "X25519MLKEM768" || o.client.CurveID != tls.X25519MLKEM768 {
		t.Errorf("group: %s, client %v", o.state.Group, o.client.CurveID)
	}
}

func TestHandshake_still_serves_clients_without_post_quantum_groups(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	for _, group := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384} {
		config := r.client(r.clientPair(t, "app"))
		config.CurvePreferences = []tls.CurveID{group}
		shake(t, s, config).accepted(t)
	}
}

func TestHandshake_refuses_TLS_before_1_2(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		config := r.client(r.clientPair(t, "app"))
		config.MinVersion, config.MaxVersion = version, version
		shake(t, s, config).refusedWith(t, ReasonUnsupportedVersion)
	}
}

func TestHandshake_refuses_TLS_1_2_where_1_3_is_the_minimum(t *testing.T) {
	r := newRig(t)
	r.opts.MinVersion = tls.VersionTLS13
	s := r.load(t)
	config := r.client(r.clientPair(t, "app"))
	shake(t, s, config).accepted(t)
	config.MaxVersion = tls.VersionTLS12
	shake(t, s, config).refusedWith(t, ReasonUnsupportedVersion)
}

// Every suite Go knows is offered alone, to an ECDSA and to an RSA server.
func TestHandshake_takes_only_ephemeral_authenticated_suites_in_TLS_1_2(t *testing.T) {
	r := newRig(t)
	taken := make(map[uint16]bool)
	for _, pair := range []*Pair{r.serverPair(t), rsaServer(t, r.ca)} {
		r.install(t, pair)
		s := r.load(t)
		for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
			if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
				continue
			}
			config := r.client(r.clientPair(t, "app"))
			config.MaxVersion = tls.VersionTLS12
			config.CipherSuites = []uint16{suite.ID}
			o := shake(t, s, config)
			if o.err != nil {
				o.refusedWith(t, ReasonNoSharedCipher)
				continue
			}
			o.accepted(t)
			taken[suite.ID] = true
			if !strings.HasPrefix(suite.Name, "TLS_ECDHE_") || !strings.Contains(suite.Name, "GCM") && !strings.Contains(suite.Name, "POLY1305") {
				t.Errorf("%s was taken", suite.Name)
			}
		}
	}
	if len(taken) != len(cipherSuites12()) {
		t.Errorf("%d suites were taken, %d are on offer", len(taken), len(cipherSuites12()))
	}
}

func rsaServer(t *testing.T, ca *DevCA) *Pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "rsa"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SerialNumber: big.NewInt(7),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	check(t, err)
	pair, err := newPair(der, key)
	check(t, err)
	return pair
}

// The name asked for selects nothing, so there is no name with a weaker policy.
func TestHandshake_is_the_same_policy_for_every_server_name(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	for _, name := range []string{"localhost", "LOCALHOST", "LocalHost.", "other.example", "*.example", "x.localhost", "127.0.0.1", "::1", "", "a..b", strings.Repeat("a", 63) + ".example"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := r.client()
			config.ServerName, config.InsecureSkipVerify = name, true
			config.MinVersion, config.MaxVersion = version, version
			shake(t, s, config).refusedWith(t, ReasonNoCertificate)
			config = r.client(issueClient(t, newCA(t), "app"))
			config.ServerName, config.InsecureSkipVerify = name, true
			shake(t, s, config).refusedWith(t, ReasonUnknownCA)
		}
		config := r.client()
		config.ServerName, config.InsecureSkipVerify = name, true
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		shake(t, s, config).refusedWith(t, ReasonUnsupportedVersion)
	}
}

// A ClientHello cut anywhere, into packets or into TLS records, meets the
// policy it would have met whole.
func TestHandshake_is_the_same_policy_for_a_fragmented_hello(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	anonymous, known := r.client(), r.client(r.clientPair(t, "app"))
	for _, config := range []*tls.Config{anonymous, known} {
		config.CurvePreferences = []tls.CurveID{tls.X25519} // a hello of some 250 bytes instead of 1,800
		config.SessionTicketsDisabled = true
	}
	judge := func(t *testing.T, what string, at, packet int, cut func([]byte) [][]byte) {
		t.Helper()
		for _, config := range []*tls.Config{anonymous, known} {
			server, client := tcpPair(t)
			o := shakeOver(server, &cutting{Conn: client, cut: cut}, config, func(ctx context.Context, c net.Conn) (*tls.Conn, State, error) {
				return Handshake(ctx, &sipping{Conn: c, first: at, most: packet}, s)
			})
			if config == anonymous && o.reason() != ReasonNoCertificate {
				t.Fatalf("%s cut at %d, without certificate: %q, %v", what, at, o.reason(), o.err)
			}
			if config == known && (o.err != nil || o.state.Identity.Subject != "CN=app") {
				t.Fatalf("%s cut at %d, with certificate: %v", what, at, o.err)
			}
		}
	}
	size := len(helloOf(t, anonymous))
	if size < 150 || size > 600 {
		t.Fatalf("the hello has %d bytes", size)
	}
	whole := func(b []byte) [][]byte { return [][]byte{b} }
	for at := 1; at < size; at++ {
		judge(t, "packet", at, 0, whole)
	}
	for at := 1; at < size-recordHeader; at++ {
		judge(t, "record", 0, 0, func(b []byte) [][]byte { return records(b, at, len(b)) })
	}
	judge(t, "every byte a packet", 1, 1, whole)
	judge(t, "every byte a record", 0, 0, func(b []byte) [][]byte { return records(b, 1, 1) })
	known.CurvePreferences, anonymous.CurvePreferences = nil, nil
	judge(t, "post-quantum hello, every byte a record", 1, 1, func(b []byte) [][]byte { return records(b, 1, 1) })
}

// sipping is a connection whose first read gives first bytes, and each after it
// most bytes at most (0: as many as there are), however they were sent.
type sipping struct {
	net.Conn
	first, most int
}

func (s *sipping) Read(b []byte) (int, error) {
	n := s.most
	if s.first > 0 {
		n = s.first
	}
	if n == 0 || n > len(b) {
		n = len(b)
	}
	got, err := s.Conn.Read(b[:n])
	s.first = max(0, s.first-got)
	return got, err
}

const recordHeader = 5

// records cuts one TLS record into several: the first with n bytes, the others
// with m at most.
func records(record []byte, n, m int) [][]byte {
	head, body := record[:3], record[recordHeader:]
	var out [][]byte
	for len(body) > 0 {
		n = min(n, len(body))
		r := binary.BigEndian.AppendUint16(bytes.Clone(head), uint16(n))
		out = append(out, append(r, body[:n]...))
		body, n = body[n:], m
	}
	return out
}

// helloOf gives the first thing a client with the configuration sends.
func helloOf(t *testing.T, config *tls.Config) []byte {
	t.Helper()
	server, client := net.Pipe()
	var hello []byte
	shakeOver(server, &cutting{Conn: client, cut: func(b []byte) [][]byte { hello = b; return [][]byte{b} }}, config,
		func(ctx context.Context, c net.Conn) (*tls.Conn, State, error) {
			buf := make([]byte, 16<<10)
			_, err := c.Read(buf)
			if err == nil {
				err = net.ErrClosed
			}
			return nil, State{}, err
		})
	return hello
}

// The deadline holds wherever a client falls silent.
func TestHandshake_ends_at_its_deadline_after_any_number_of_bytes(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	hello := helloOf(t, r.client())
	for at := 0; at <= len(hello); at += 1 + at/64 {
		synctest.Test(t, func(t *testing.T) {
			server, client := net.Pipe()
			defer client.Close()
			go func() {
				client.Write(hello[:at])
				for buf := make([]byte, 4096); ; { // the server's flight, to which nothing is answered
					if _, err := client.Read(buf); err != nil {
						return
					}
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			begin := time.Now()
			_, _, err := Handshake(ctx, server, s)
			if got := (outcome{err: err}).reason(); got != ReasonTimeout {
				t.Fatalf("after %d bytes: %q, %v", at, got, err)
			}
			if took := time.Since(begin); took != 10*time.Second {
				t.Errorf("after %d bytes it took %v", at, took)
			}
			if _, err := server.Write([]byte("x")); err == nil {
				t.Error("the connection is still open")
			}
		})
	}
}

func TestHandshake_names_what_is_not_a_handshake(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	for _, c := range []struct {
		name, bytes string
		want        Reason
	}{
		{"a plaintext Redis client", "*1\r\n$4\r\nPING\r\n", ReasonNotTLS},
		{"an inline command", "PING\r\n", ReasonNotTLS},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ReasonNotTLS},
		{"a probe that closes", "", ReasonClientClosed},
		{"half a record header", "\x16\x03\x01", ReasonClientClosed},
		{"an SSLv2 hello", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", ReasonUnsupportedVersion},
		{"an alert", "\x15\x03\x01\x00\x02\x02\x28", ReasonClientRefused},
		{"a damaged hello", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", ReasonProtocolError},
		{"an oversized record", "\x16\x03\x01\xff\xff", ReasonProtocolError},
		{"data before the handshake", "\x16\x03\x01\x00\x00", ReasonProtocolError},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, client := tcpPair(t)
			defer client.Close()
			_, err := client.Write([]byte(c.bytes))
			check(t, err)
			check(t, client.(*net.TCPConn).CloseWrite())
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, _, err = Handshake(ctx, server, s)
			if got := (outcome{err: err}).reason(); got != c.want {
				t.Errorf("%q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func TestHandshake_says_when_the_client_refused_us(t *testing.T) {
	r := newRig(t)
	config := r.client(r.clientPair(t, "app"))
	config.RootCAs = newCA(t).Pool()
	o := shake(t, r.load(t), config)
	if o.reason() != ReasonClientRefused {
		t.Errorf("%q, %v", o.reason(), o.err)
	}
}

func TestHandshake_ends_when_cancelled(t *testing.T) {
	r := newRig(t)
	server, client := tcpPair(t)
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := Handshake(ctx, server, r.load(t))
	if got := (outcome{err: err}).reason(); got != ReasonCancelled {
		t.Errorf("%q, %v", got, err)
	}
}

// A TLS 1.3 client has sent its first commands before we refuse its certificate.
// It still learns the reason, and not just that the connection was reset.
func TestHandshake_lets_a_refused_client_read_the_alert(t *testing.T) {
	r := newRig(t)
	s := r.load(t)
	const tries = 20
	told := 0
	for range tries {
		server, client := tcpPair(t)
		done := make(chan error, 1)
		go func() {
			_, _, err := Handshake(t.Context(), server, s)
			done <- err
		}()
		tc := tls.Client(client, r.client())
		check(t, tc.HandshakeContext(t.Context()))
		var err error
		for range 12 {
			if _, err = tc.Write(make([]byte, 4<<10)); err != nil {
				break
			}
		}
		if err == nil {
			_, err = tc.Read(make([]byte, 1))
		}
		if err != nil && strings.Contains(err.Error(), "certificate required") {
			told++
		}
		client.Close()
		if err := <-done; (outcome{err: err}).reason() != ReasonNoCertificate {
			t.Fatal(err)
		}
	}
	if told < tries*3/4 { // a client that is not run for a quarter of a second misses it
		t.Errorf("%d of %d clients were told", told, tries)
	}
}

func TestReasons_are_listed_once_each(t *testing.T) {
	all := Reasons()
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) || slices.Contains(all, "") {
		t.Errorf("%q", all)
	}
}
