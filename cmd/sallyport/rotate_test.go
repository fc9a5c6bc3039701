package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/tlsutil"
)

// speak sends inline commands and gives the first line of each answer.
func speak(t *testing.T, address string, conf *tls.Config, lines ...string) []string {
	t.Helper()
	var d net.Dialer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", address)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	if conf != nil {
		c = tls.Client(c, conf)
	}
	in := bufio.NewReader(c)
	var said []string
	for _, line := range lines {
		_, err := fmt.Fprintf(c, "%s\r\n", line)
		must(t, err)
		answer, err := in.ReadString('\n')
		must(t, err)
		said = append(said, strings.TrimSpace(answer))
	}
	return said
}

// Whoever rotates certificates every hour must not lose users that were made at
// run time; whoever changes the policy, or asks by hand, gets the files.
func TestARotatedCertificateKeepsUsersMadeAtRunTime(t *testing.T) {
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	dir := t.TempDir()
	pair := func() {
		server, err := ca.Server()
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "both.new"), append(server.CertPEM, server.KeyPEM...), 0o600))
		must(t, os.Rename(filepath.Join(dir, "both.new"), filepath.Join(dir, "both.pem")))
	}
	pair()
	put(t, filepath.Join(dir, "sallyport.yaml"), `
listeners:
  - name: gateway
    address: 127.0.0.1:0
    tls: { certificate: both.pem, key: both.pem }
backends: { main: { nodes: ["127.0.0.1:1"] } }
policy: { file: policy.yaml }
events: [{ sink: file, path: events.jsonl }]
`)
	put(t, filepath.Join(dir, "policy.yaml"), "aclfile: users.acl\n")
	put(t, filepath.Join(dir, "users.acl"), "user root on #"+acl.HashPassword([]byte("pw"))+" ~* &* +@all +acl|setuser\n")
	d := serving(t, dir)
	at := d.server.Addr("gateway").String()
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}
	became := func(what string, reloads int) {
		t.Helper()
		waitForCount(t, filepath.Join(dir, "events.jsonl"), `"event":"reload"`, reloads)
		if said := speak(t, at, conf, "AUTH made made-pw"); said[0] != what {
			t.Fatalf("the user made at run time was told %q, want %q", said[0], what)
		}
	}
	if said := speak(t, at, conf, "AUTH root pw", "ACL SETUSER made on >made-pw ~* +@all"); said[1] != "+OK" {
		t.Fatal(said)
	}
	for n := range 3 {
		pair()
		became("+OK", n+1)
	}
	must(t, d.reload(audit.MethodSignal))
	became("-WRONGPASS invalid username-password pair or user is disabled.", 4)

	if said := speak(t, at, conf, "AUTH root pw", "ACL SETUSER made on >made-pw ~* +@all"); said[1] != "+OK" {
		t.Fatal(said)
	}
	// A policy that came together with a half rotated pair is taken over with the other half.
	must(t, os.WriteFile(filepath.Join(dir, "both.pem"), []byte("half"), 0o600))
	put(t, filepath.Join(dir, "policy.yaml"), "aclfile: users.acl\nusers: { late: { rules: on } }\n")
	waitForCount(t, filepath.Join(dir, "events.jsonl"), `"status":"failed"`, 1)
	pair()
	waitForCount(t, filepath.Join(dir, "events.jsonl"), `"method":"watch","status":"ok"`, 4)
	if d.server.Policy().User("late") == nil || d.server.Policy().User("made") != nil {
		t.Error("the policy that came with a half rotated pair is not in force")
	}
}

// A reload that finds nothing changed is one all the same, on record and for tickets,
// but the policy goes on, and with it whatever stands on it; not what was made at run
// time, as whoever asks gets the files.
func TestAReloadThatChangesNothingIsOne(t *testing.T) {
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	dir := t.TempDir()
	server, err := ca.Server()
	must(t, err)
	put(t, filepath.Join(dir, "both.pem"), string(server.CertPEM)+string(server.KeyPEM))
	put(t, filepath.Join(dir, "sallyport.yaml"), `
listeners:
  - name: gateway
    address: 127.0.0.1:0
    tls: { certificate: both.pem, key: both.pem }
backends: { main: { nodes: ["127.0.0.1:1"] } }
policy: { file: policy.yaml }
events: [{ sink: file, path: events.jsonl }]
`)
	put(t, filepath.Join(dir, "policy.yaml"), "users: { root: { rules: 'on #"+acl.HashPassword([]byte("pw"))+" ~* &* +@all +acl|setuser' } }\n")
	d := unwatched(t, dir)
	at := d.server.Addr("gateway").String()
	conf := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MaxVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	resumed := func(want bool, when string) {
		t.Helper()
		dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: conf}
		c, err := dialer.DialContext(t.Context(), "tcp", at)
		must(t, err)
		defer c.Close()
		if got := c.(*tls.Conn).ConnectionState().DidResume; got != want {
			t.Errorf("%s: resumed %v", when, got)
		}
	}
	resumed(false, "first")
	resumed(true, "again")
	before := d.server.Policy()
	must(t, d.reload(audit.MethodSignal))
	if d.server.Policy() != before {
		t.Error("the policy was put in force again")
	}
	resumed(false, "after a reload")
	resumed(true, "with a new ticket")
	if said := speak(t, at, conf, "AUTH root pw", "ACL SETUSER made on >made-pw ~* +@all"); said[1] != "+OK" {
		t.Fatal(said)
	}
	must(t, d.reload(audit.MethodSignal))
	if d.server.Policy().User("made") != nil {
		t.Error("a user made at run time outlived a reload by hand")
	}
	waitForCount(t, filepath.Join(dir, "events.jsonl"), `"event":"reload","method":"signal","status":"ok"`, 2)
}

// waitForCount waits until a text stands in a file so many times.
func waitForCount(t *testing.T, file, text string, n int) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		content, err := os.ReadFile(file)
		must(t, err)
		if strings.Count(string(content), text) >= n {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%q is not there %d times in\n%s", text, n, content)
		}
	}
}
