package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
)

// office is a running proxy whose admin endpoints ask who somebody is.
type office struct {
	t   *testing.T
	dir string
	d   *daemon
	ca  *tlsutil.DevCA
	doc *openAPI
}

// secrets stand in the files, and in nothing that is answered.
var secrets = []string{"canary-backend-pw", "canary-user-pw", "canary-admin-token", acl.HashPassword([]byte("canary-user-pw")), acl.HashPassword([]byte("canary-admin-token")), "PRIVATE KEY"}

func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir()}
	node, err := redistest.Open(t.Context())
	must(t, err)
	t.Cleanup(func() { node.Close() })
	if o.ca, err = tlsutil.NewDevCA(); err != nil {
		t.Fatal(err)
	}
	server, err := o.ca.Server()
	must(t, err)
	list, err := o.ca.CRL(time.Hour)
	must(t, err)
	o.put("tls.crt", string(server.CertPEM))
	o.put("tls.key", string(server.KeyPEM))
	o.put("ca.crt", string(o.ca.CertPEM()))
	o.put("ca.crl", string(list))
	o.put("pw", "canary-backend-pw")
	o.put("sallyport.yaml", `
listeners:
  - name: gateway
    address: 127.0.0.1:0
    commands: { rename: { getset: swap }, disable: [keys] }
backends: { main: { nodes: ["`+node.Addr()+`"] } }
policy: { file: policy.yaml }
events: [{ sink: file, path: events.jsonl }]
admin:
  address: 127.0.0.1:0
  tls: { certificate: tls.crt, key: tls.key, client_ca: ca.crt, client_auth: optional, crl: ca.crl, crl_missing: allow }
  users:
    ann: { role: viewer, certificate: { cn: ann } }
    bob: { role: member, certificate: { cn: bob } }
    eve: { role: owner, tokens: [{ hash: "`+acl.HashPassword([]byte("canary-admin-token"))+`", expires: 2099-01-01 }] }
`)
	o.put("policy.yaml", `
users:
  app:
    rules: "on #`+acl.HashPassword([]byte("canary-user-pw"))+` ~app:* +@read +@write +@connection"
    why: the shop
    until: 2099-01-01
aclfile: users.acl
`)
	o.put("users.acl", "user root on #"+acl.HashPassword([]byte("canary-user-pw"))+" ~* &* +@all +acl|setuser\n")
	o.d = serving(t, o.dir)
	_, _, text := o.as("ann").ask("GET", "/openapi.json", "")
	o.doc = readOpenAPI(t, text)
	return o
}

func (o *office) put(name, content string) { put(o.t, filepath.Join(o.dir, name), content) }

// visitor speaks to the endpoints as somebody.
type visitor struct {
	o     *office
	conf  *tls.Config
	token string
}

func (o *office) as(name string) *visitor {
	v := &visitor{o: o, conf: &tls.Config{RootCAs: o.ca.Pool(), ServerName: "localhost"}}
	if name != "" {
		pair, err := o.ca.Client(name)
		must(o.t, err)
		v.conf.Certificates = []tls.Certificate{pair.Certificate}
	}
	return v
}

func (v *visitor) ask(method, path, body string) (status int, mediaType string, answer []byte) {
	t := v.o.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "https://"+v.o.d.adminAt.String()+path, strings.NewReader(body))
	must(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: v.conf, DisableKeepAlives: true}}
	w, err := client.Do(r)
	must(t, err)
	defer w.Body.Close()
	answer, err = io.ReadAll(w.Body)
	must(t, err)
	return w.StatusCode, w.Header.Get("Content-Type"), answer
}

// want asks, holds the answer against the document and looks for secrets.
func (v *visitor) want(status int, method, path, body string) []byte {
	t := v.o.t
	t.Helper()
	got, kind, answer := v.ask(method, path, body)
	if got != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, answer)
	}
	described, _, _ := strings.Cut(path, "?")
	if strings.HasPrefix(described, "/api/v1/sessions/") {
		described = "/api/v1/sessions/{id}"
	}
	if err := v.o.doc.judge(method, described, got, kind, answer); err != nil {
		t.Errorf("%s %s: %v\n%s", method, path, err, answer)
	}
	for _, secret := range secrets {
		if bytes.Contains(answer, []byte(secret)) {
			t.Errorf("%s %s tells a secret", method, path)
		}
	}
	return answer
}

func TestEveryAnswerIsAsTheDocumentSays(t *testing.T) {
	o := openOffice(t)
	at := o.d.server.Addr("gateway").String()
	eventuallyReady(t, o.d)
	clients := make([]*redistest.Client, 3)
	for i := range clients {
		c, err := redistest.Dial("tcp", at, nil)
		must(t, err)
		defer c.Close()
		_, err = c.Do("AUTH", "app", "canary-user-pw")
		must(t, err)
		_, err = c.Do("CLIENT", "SETNAME", fmt.Sprint("shop-", i))
		must(t, err)
		clients[i] = c
	}
	look, steer := o.as("ann"), o.as("bob")
	for path := range o.doc.root["paths"].(map[string]any) {
		if o.doc.at(o.doc.root, "paths", path, "get") != nil {
			look.want(200, "GET", path, "")
		}
	}
	if text := string(look.want(200, "GET", "/api/v1/listeners", "")); !strings.Contains(text, `"commands":{"getset":"swap","keys":""}`) {
		t.Errorf("listeners: %s", text)
	}
	if text := string(look.want(200, "GET", "/api/v1/users", "")); !strings.Contains(text, `"why":"the shop"`) || !strings.Contains(text, `"source":"aclfile"`) {
		t.Errorf("users: %s", text)
	}
	// Page by page, each session once.
	var page struct {
		Sessions []struct {
			ID   uint64
			Name string
			User string
		}
		Next uint64
	}
	var seen []uint64
	for more := true; more; more = page.Next != 0 {
		after := page.Next
		page.Next, page.Sessions = 0, nil
		must(t, json.Unmarshal(look.want(200, "GET", fmt.Sprint("/api/v1/sessions?limit=1&user=app&after=", after), ""), &page))
		for _, s := range page.Sessions {
			if s.User != "app" || s.Name != fmt.Sprint("shop-", len(seen)) {
				t.Errorf("session %+v", s)
			}
			seen = append(seen, s.ID)
		}
	}
	if len(seen) != 3 {
		t.Fatalf("sessions %v", seen)
	}
	steer.want(200, "DELETE", fmt.Sprint("/api/v1/sessions/", seen[1]), "")
	steer.want(404, "DELETE", fmt.Sprint("/api/v1/sessions/", seen[1]+1000), "")
	if _, err := clients[1].Do("PING"); err == nil {
		t.Error("the session that was ended goes on")
	}
	for _, i := range []int{0, 2} {
		if _, err := clients[i].Do("PING"); err != nil {
			t.Error("another session ended:", err)
		}
	}
	look.want(400, "GET", "/api/v1/sessions?limit=0", "")
	steer.want(200, "POST", "/api/v1/reload", "{}")
	o.put("policy.yaml", "users: { app: { rules: '+@raed' } }\n")
	if text := string(steer.want(422, "POST", "/api/v1/reload", "")); !strings.Contains(text, "policy.yaml:1:") {
		t.Errorf("the failed reload says %s", text)
	}
	if text := string(look.want(200, "GET", "/readyz", "")); !strings.Contains(text, `"status":"failed"`) || !strings.Contains(text, "policy.yaml:1:") {
		t.Errorf("readyz says %s", text)
	}
	look.want(400, "POST", "/api/v1/explain", `{"user":"app","command":["GET"],"listener":"none"}`)
	look.want(403, "POST", "/api/v1/drain", "")
	o.as("").want(401, "GET", "/api/v1/users", "")
	owner := o.as("")
	owner.token = "canary-admin-token"
	owner.want(202, "POST", "/api/v1/drain", "")
}

func TestTheAdminLogSaysWho(t *testing.T) {
	o := openOffice(t)
	o.as("bob").want(200, "POST", "/api/v1/reload", "")
	o.as("bob").want(404, "DELETE", "/api/v1/sessions/77", "")
	o.as("ann").want(403, "POST", "/api/v1/reload", "")
	log := filepath.Join(o.dir, "events.jsonl")
	for _, line := range []string{
		`"event":"reload","user":"bob","method":"api","status":"ok"`,
		`"user":"bob","method":"api","status":"failed","command":"end session 77"`,
		`"user":"ann","method":"api","status":"failed","command":"reload"`,
	} {
		waitForCount(t, log, line, 1)
	}
	text, err := os.ReadFile(log)
	must(t, err)
	for _, secret := range secrets {
		if bytes.Contains(text, []byte(secret)) {
			t.Error("the record tells a secret")
		}
	}
}

func TestWhoIsRevokedIsNobodyAtOnce(t *testing.T) {
	o := openOffice(t)
	pair, err := o.ca.Client("bob")
	must(t, err)
	bob := o.as("")
	bob.conf.Certificates = []tls.Certificate{pair.Certificate}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: bob.conf}} // one connection, kept
	status := func() int {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+o.d.adminAt.String()+"/api/v1/users", nil)
		must(t, err)
		w, err := client.Do(r)
		must(t, err)
		defer w.Body.Close()
		_, err = io.Copy(io.Discard, w.Body)
		must(t, err)
		return w.StatusCode
	}
	if got := status(); got != 200 {
		t.Fatalf("status %d", got)
	}
	list, err := o.ca.CRL(time.Hour, pair.Certificate.Leaf)
	must(t, err)
	replaced(t, filepath.Join(o.dir, "ca.crl"), string(list))
	must(t, o.d.reload(audit.MethodSignal))
	if got := status(); got != 401 {
		t.Errorf("on the connection of before: status %d", got)
	}
}

// Data credentials open nothing here, nor the reverse; nor does a role given in
// another configuration last.
func TestOnlyAdminUsersAreLetIn(t *testing.T) {
	o := openOffice(t)
	for name, v := range map[string]*visitor{
		"nobody": o.as(""), "a user of the data": o.as("app"),
		"a data password":                       {o: o, conf: o.as("").conf, token: "canary-user-pw"},
		"a bad token beside a good certificate": {o: o, conf: o.as("bob").conf, token: "wrong"},
	} {
		if status, _, _ := v.ask("GET", "/api/v1/users", ""); status != 401 {
			t.Errorf("%s: status %d", name, status)
		}
		if status, _, _ := v.ask("GET", "/livez", ""); status != 200 {
			t.Errorf("%s: /livez: status %d", name, status)
		}
	}
	c, err := redistest.Dial("tcp", o.d.server.Addr("gateway").String(), nil)
	must(t, err)
	defer c.Close()
	for _, login := range [][]string{{"AUTH", "eve", "canary-admin-token"}, {"AUTH", "canary-admin-token"}} {
		if _, err := c.Do(login...); err == nil {
			t.Error("an admin token opened the data")
		}
	}
	yaml, err := os.ReadFile(filepath.Join(o.dir, "sallyport.yaml"))
	must(t, err)
	o.put("sallyport.yaml", strings.Replace(string(yaml), "role: member", "role: viewer", 1))
	must(t, o.d.reload(audit.MethodSignal))
	o.as("bob").want(403, "POST", "/api/v1/reload", "")
}

// What explain says here is what serving the call says, users made at run time included.
func TestExplainAnswersByThePolicyInForce(t *testing.T) {
	o := openOffice(t)
	eventuallyReady(t, o.d)
	at := o.d.server.Addr("gateway").String()
	said := speak(t, at, nil, "AUTH root canary-user-pw", "ACL SETUSER made on >x ~m:* +get +set", "AUTH made x", "GET m:1", "GET other", "DEL m:1", "SWAP m:1 2", "KEYS *")
	for i, command := range []string{`["GET","m:1"]`, `["GET","other"]`, `["DEL","m:1"]`, `["SWAP","m:1","2"]`, `["KEYS","*"]`} {
		var e struct{ Decision, Reason string }
		must(t, json.Unmarshal(o.as("ann").want(200, "POST", "/api/v1/explain", `{"user":"made","listener":"gateway","command":`+command+`}`), &e))
		if refusedThere := strings.HasPrefix(said[i+3], "-"); refusedThere != (e.Decision == "refused") {
			t.Errorf("%s was answered %q, and explained as %s %s", command, said[i+3], e.Decision, e.Reason)
		}
	}
}

func eventuallyReady(t *testing.T, d *daemon) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for d.server.Ready() != nil {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal(d.server.Ready())
		}
	}
}
