package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
)

// mark is in every secret of these tests, and in nothing else.
const mark = "CaNaRy"

// canary is a secret that says by itself where it stood.
func canary(of string) string { return mark + "-" + of + "-0123456789abcdef0123456789" }

// nest is a running proxy with a canary in every secret field, and what was heard of it.
type nest struct {
	t                 *testing.T
	s                 *served
	dir, redis        string
	gateway, admin    string
	events            *lockedBuffer // of the sink stdout
	collected         *lockedBuffer // what syslog was sent
	token             string        // a JSON Web Token
	hidden            []string      // besides what holds a mark
	heard             map[string]string
	policy, sallyport string
}

// openNest serves a configuration that has every kind of secret.
func openNest(t *testing.T, format string) *nest {
	t.Helper()
	n := &nest{t: t, dir: shortDir(t), events: &lockedBuffer{}, collected: &lockedBuffer{}, heard: map[string]string{}}
	redis := redistest.Start(t)
	n.redis = redis.Addr()
	direct, err := redistest.Dial("tcp", redis.Addr(), nil)
	must(t, err)
	defer direct.Close()
	_, err = direct.Do("CONFIG", "SET", "requirepass", canary("backend-password"))
	must(t, err)
	n.gateway, n.admin = "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	n.files()
	n.collect()
	put(t, n.path("sallyport.yaml"), n.sallyport)
	put(t, n.path("policy.yaml"), n.policy)
	n.s = runs(t, n.dir, n.sallyport, func(cmd *exec.Cmd) {
		cmd.Stdout = n.events
		cmd.Args = append(cmd.Args[:len(cmd.Args)-2], "--log-format", format, "--log-level", "debug")
		cmd.Env = append(cmd.Env, "CANARY_CONTROL="+canary("environment"), "CANARY_WRONG="+canary("wrong-backend-password"), "GOTRACEBACK=all")
	})
	n.s.says("started")
	eventually(t, func() error {
		c, err := n.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err = c.Do("AUTH", "app", canary("user-password")); err == nil {
			_, err = c.Do("GET", "app:1")
		}
		return err
	})
	return n
}

func (n *nest) path(name string) string { return filepath.Join(n.dir, name) }

func (n *nest) dial() (*redistest.Client, error) { return redistest.Dial("tcp", n.gateway, nil) }

// files writes what the configuration names, and makes its text.
func (n *nest) files() {
	t := n.t
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	server, err := ca.Server()
	must(t, err)
	put(t, n.path("tls.crt"), string(server.CertPEM))
	put(t, n.path("tls.key"), string(server.KeyPEM))
	put(t, n.path("ca.crt"), string(ca.CertPEM()))
	n.hide(string(server.KeyPEM))
	put(t, n.path("backend"), canary("backend-password"))
	put(t, n.path("sentinel"), canary("sentinel-password"))
	put(t, n.path("bearer"), canary("bearer"))
	put(t, n.path("chain"), canary("chain-key-of-thirty-two-characters"))
	n.token = printed(t, "", "token", "issue", "--new-key", n.path("jwt.key"), "--key-set", n.path("jwks.json"),
		"--issuer", "https://dev.example", "--audience", "redis", "--subject", "svc")
	key, err := os.ReadFile(n.path("jwt.key"))
	must(t, err)
	n.hide(string(key))
	parts := strings.Split(n.token, ".")
	n.hidden = append(n.hidden, parts[1], parts[2])
	argon, err := acl.HashArgon2id([]byte(canary("argon-password")), rand.Reader)
	must(t, err)
	n.hidden = append(n.hidden, argon[strings.LastIndexByte(argon, '$')+1:])
	hash := func(of string) string {
		h := acl.HashPassword([]byte(canary(of)))
		n.hidden = append(n.hidden, h)
		return h
	}
	n.policy = `
users:
  app: { rules: "on #` + hash("user-password") + ` ~app:* &app:* +@read +@write +@pubsub +@connection +@transaction" }
  root: { rules: "on #` + hash("root-password") + ` ~* &* +@all +eval +acl|log +acl|list +acl|setuser +client|list +config|set +acl|whoami" }
  plain: { rules: "on >` + canary("clear-password") + ` ~plain:* +@read" }
  slow: { rules: "on ~slow:* +@read", password_hashes: ["` + argon + `"] }
  opaque: { rules: "on ~opaque:* +@read", tokens: [{ hash: "` + hash("opaque-token") + `", expires: 2099-01-01 }] }
  svc: { rules: "on ~svc:* +@read", token: { issuer: dev, subject: svc } }
tokens:
  - { name: dev, issuer: "https://dev.example", audience: [redis], algorithms: [ES256], keys: { file: jwks.json }, user_claim: sub, roles: { claim: roles, map: {} } }
  - { name: away, issuer: "https://away.example", audience: [redis], algorithms: [ES256], keys: { url: "https://127.0.0.1:1/keys", bearer_file: bearer }, user_claim: sub, roles: { claim: roles, map: {} } }
aclfile: users.acl
`
	put(t, n.path("users.acl"), "user filed on #"+hash("aclfile-password")+" ~filed:* +@read\n")
	n.sallyport = `
listeners:
  - { name: gateway, address: "` + n.gateway + `", backend: main }
  - { name: secure, address: 127.0.0.1:0, backend: wrong, tls: { certificate: tls.crt, key: tls.key, client_ca: ca.crt, client_auth: optional } }
  - { name: watched, address: 127.0.0.1:0, backend: sentinels }
  - { name: split, address: 127.0.0.1:0, backend: replicated }
backends:
  main: { nodes: ["` + n.redis + `"], password_file: backend, discover: true }
  wrong: { nodes: ["` + n.redis + `"], password: "${CANARY_WRONG}" }
  sentinels: { topology: sentinel, sentinel: { name: mymaster, nodes: ["127.0.0.1:1", "` + n.redis + `"], user: watcher, password_file: sentinel } }
  replicated: { topology: replicated, nodes: ["` + n.redis + `", "127.0.0.1:1"], password_file: backend, control: { user: control, password: "${CANARY_CONTROL}" } }
policy: { file: policy.yaml }
events:
  - { sink: stdout, chain_key_file: chain }
  - { sink: file, path: azure.jsonl, format: azure }
  - { sink: file, path: enterprise.jsonl, format: redis-enterprise }
  - { sink: file, path: hash.jsonl, keys: hash, chain_key_file: chain }
  - { sink: file, path: prefix.jsonl, keys: prefix, on_full: refuse }
  - { sink: file, path: off.jsonl, keys: "off" }
  - { sink: syslog, address: "unix:` + n.path("log") + `" }
events_on: ["app:*"]
client_snapshots: { every: 1s }
admin:
  address: "` + n.admin + `"
  users:
    eve: { role: owner, tokens: [{ hash: "` + hash("admin-token") + `", expires: 2099-01-01 }] }
`
}

// hide has the lines of a PEM block looked for.
func (n *nest) hide(pem string) {
	for line := range strings.Lines(pem) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "---") {
			n.hidden = append(n.hidden, line)
		}
	}
}

// collect is a syslog collector: one message a line.
func (n *nest) collect() {
	conn, err := net.ListenPacket("unixgram", n.path("log"))
	must(n.t, err)
	n.t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 256<<10)
		for {
			size, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = n.collected.Write(append(buf[:size:size], '\n')) // never fails
		}
	}()
}

// says lets a client say things, whatever the answers: those to the one who knew
// the secret tell nobody anything.
func (n *nest) says(login string, calls ...[]string) {
	n.t.Helper()
	c, err := n.dial()
	must(n.t, err)
	defer c.Close()
	if login != "" {
		_, err = c.Do("AUTH", login, canary(map[string]string{"app": "user-password", "root": "root-password"}[login]))
		must(n.t, err)
	}
	for _, call := range calls {
		must(n.t, c.Send(call...))
		if _, err := c.Receive(); err != nil {
			return // refused with the connection, which is an answer, too
		}
	}
}

// sends lets a client write bytes, and waits until the proxy hangs up or answers.
func (n *nest) sends(login string, raw string) {
	n.t.Helper()
	c, err := n.dial()
	must(n.t, err)
	defer c.Close()
	if login != "" {
		_, err = c.Do("AUTH", login, canary("user-password"))
		must(n.t, err)
	}
	must(n.t, c.Write([]byte(raw)))
	must(n.t, c.Send("PING"))
	_, _ = c.Receive() // an error, a closed connection: either will do
}

// ask asks an admin endpoint and keeps the answer.
func (n *nest) ask(method, path, token, body string) string {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, "http://"+n.admin+path, strings.NewReader(body))
	must(n.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	w, err := client.Do(r)
	must(n.t, err)
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	must(n.t, err)
	n.heard[method+" "+path+" "+fmt.Sprint(len(n.heard))] = w.Status + "\n" + string(text)
	return string(text)
}

// runs gives a command line to another process and keeps what it prints.
func (n *nest) runs(args ...string) {
	n.t.Helper()
	cmd := exec.Command("sallyport", args...)
	cmd.Dir, cmd.Stdin = n.dir, strings.NewReader(n.token+"\n")
	cmd.Env = append(os.Environ(), "CANARY_CONTROL="+canary("environment"), "CANARY_WRONG="+canary("wrong-backend-password"))
	text, _ := cmd.CombinedOutput() // findings are exit codes
	if len(text) == 0 {
		n.t.Errorf("%q printed nothing", args)
	}
	n.heard["sallyport "+strings.Join(args[:min(2, len(args))], " ")+" "+fmt.Sprint(len(n.heard))] = string(text)
}

// traffic is what clients say with secrets in it, wellformed and not, allowed and refused.
func (n *nest) traffic() {
	n.says("app", []string{"SET", "app:1", canary("value")}, []string{"HSET", "app:h", canary("field"), canary("field-value")},
		[]string{"SETEX", "app:2", "nonsense", canary("value")}, []string{"GET", "app:1"}, []string{"INCR", "app:1"},
		[]string{"SET", "other:1", canary("refused-value")}, []string{"MSET", "app:1", canary("value"), "other:1", canary("value")},
		[]string{"EVAL", "return '" + canary("script") + "'", "0", canary("script-argument")},
		[]string{"CONFIG", "SET", "requirepass", canary("config-value")}, []string{"CONFIG", "SET", "masterauth", canary("config-value")},
		[]string{"ACL", "SETUSER", "x", ">" + canary("setuser")}, []string{"MIGRATE", "h", "1", "k", "0", "1", "AUTH", canary("migrate")},
		[]string{"PUBLISH", "app:c", canary("message")}, []string{"PUBLISH", "other", canary("message")}, []string{"ECHO", canary("echo")}, []string{"PING", canary("ping")},
		[]string{"MULTI"}, []string{"SET", "app:1", canary("queued")}, []string{"SET", "other:1", canary("queued-refused")}, []string{"EXEC"},
		[]string{"MULTI"}, []string{"SET", "app:1", canary("queued"), canary("syntax")}, []string{"EXEC"},
		[]string{"CLIENT", "REPLY", canary("reply")}, []string{"CLIENT", "KILL", canary("kill")}, []string{"CLIENT", "TRACKING", canary("tracking")},
		[]string{"OBJECT", canary("subcommand"), "app:1"}, []string{"NOSUCHCOMMAND", canary("unknown-argument")},
		[]string{"SET"}, []string{"GET", "app:1", canary("surplus")}, []string{canary("typed-as-a-command")}, []string{"CONFIG", canary("typed-as-a-subcommand")},
		[]string{"HELLO", "3", "AUTH", "app", canary("hello-wrong")}, []string{"HELLO", "9", "AUTH", "app", canary("hello-version")},
		[]string{"AUTH", "app", canary("wrong")}, []string{"AUTH", canary("default-password")}, []string{"AUTH", "app", canary("a"), canary("surplus")})
	n.says("root", []string{"EVAL", "return redis.error_reply('" + canary("script-error") + "')", "0", canary("script-argument")},
		[]string{"EVAL", "this is no script " + canary("script-syntax"), "0"}, []string{"CONFIG", "SET", "save", canary("config-value")},
		[]string{"ACL", "SETUSER", "new", "on", ">" + canary("setuser"), "~new:*", "+@read"}, []string{"ACL", "SETUSER", "new", "<" + canary("setuser-gone")},
		[]string{"ACL", "SETUSER", "new", ">" + canary("setuser"), "nonsense" + canary("rule")}, []string{"ACL", "SETUSER", "new", "#" + canary("hash")},
		[]string{"ACL", "SETUSER", "plain", ">" + canary("setuser")}, []string{"SET", "any:1", canary("value")}, []string{"FLUSHALL", canary("surplus")})
	n.says("", []string{"SET", "app:1", canary("before-login")}, []string{"AUTH", "nobody", canary("nobody")}, []string{"AUTH", "plain", canary("clear-password")}, []string{"GET", "other:1"})
	n.says("", []string{"AUTH", "slow", canary("argon-password")}, []string{"GET", "other:1"}, []string{"AUTH", "slow", canary("argon-wrong")})
	n.says("", []string{"AUTH", "opaque", canary("opaque-token")}, []string{"GET", "other:1"}, []string{"AUTH", "opaque", canary("opaque-wrong")})
	n.says("", []string{"AUTH", "svc", n.token}, []string{"GET", "other:1"}, []string{"AUTH", "svc", n.token + "x"}, []string{"AUTH", "svc", n.token[:len(n.token)-20]})
	n.says("", []string{"HELLO", "3", "AUTH", "app", canary("user-password"), "SETNAME", "shop"}, []string{"GET", "other:1"}, []string{"AUTH", "filed", canary("aclfile-password")})
	for _, raw := range []string{
		"AUTH app " + canary("inline-password") + "\r\n", "AUTH app \"" + canary("unbalanced") + "\r\n", "SET app:1 " + canary("inline-value") + " '\r\n",
		"*2\r\n$4\r\nAUTH\r\n$99999999999\r\n" + canary("announced") + "\r\n", "*2\r\n$4\r\nAUTH\r\n" + canary("no-header") + "\r\n",
		"*" + canary("count") + "\r\n", "*1\r\n$" + canary("length") + "\r\n", "*3\r\n$3\r\nSET\r\n$5\r\napp:1\r\n$3\r\n" + canary("too-long") + "\r\n",
		"GET /?password=" + canary("query") + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + canary("header") + "\r\n\r\n", "POST / HTTP/1.1\r\n" + canary("body") + "\r\n\r\n",
	} {
		n.sends("", raw)
		n.sends("app", raw)
	}
	for _, listener := range []string{"wrong", "sentinels"} {
		n.s.says(listener) // its nodes were tried
	}
}

// looks asks everything that tells something about the proxy, as others would.
func (n *nest) looks() {
	admin := canary("admin-token")
	for _, path := range n.described() {
		n.ask("GET", path, admin, "")
		n.ask("GET", path, canary("wrong-admin-token"), "")
	}
	n.ask("GET", "/api/v1/sessions?token="+canary("admin-query"), "", "")
	n.ask("GET", "/metrics?"+canary("admin-query")+"=1", admin, "")
	n.ask("POST", "/api/v1/explain", admin, `{"user":"app","command":["SET","other:1","`+canary("explained")+`"]}`)
	n.ask("POST", "/api/v1/explain", admin, `{"user":"root","command":["ACL","SETUSER","x",">`+canary("explained")+`"]}`)
	n.runs("check", "--config", "sallyport.yaml", "--strict")
	n.runs("explain", "--config", "sallyport.yaml", "app", "SET", "other:1", canary("explained"))
	n.runs("explain", "--config", "sallyport.yaml", "--json", "root", "EVAL", canary("explained"), "0", canary("explained"))
	n.runs("token", "inspect", "--config", "sallyport.yaml")
	n.runs("acl", "backend-user", "--config", "sallyport.yaml")
	n.runs("version", "--json")
	c, err := n.dial()
	must(n.t, err)
	defer c.Close()
	for _, call := range [][]string{
		{"AUTH", "root", canary("root-password")}, {"CLIENT", "LIST"}, {"CLIENT", "INFO"}, {"ACL", "LOG"}, {"ACL", "WHOAMI"}, {"INFO"},
		{"NOSUCHCOMMAND", "x"}, {"COMMAND", "COUNT"}, {"ACL", "SETUSER", "app", ">x"}, {"ACL", "DELUSER", "root"}, {"HELLO", "3"},
	} {
		must(n.t, c.Send(call...))
		got, err := c.Receive()
		must(n.t, err)
		n.heard["the reply to "+strings.Join(call[:min(2, len(call))], " ")] = fmt.Sprint(got)
	}
	delete(n.heard, "the reply to AUTH root") // said by the one who knew it
}

// described are the paths of GET that the endpoints say they have.
func (n *nest) described() []string {
	var doc struct {
		Paths map[string]map[string]any
	}
	must(n.t, json.Unmarshal([]byte(n.ask("GET", "/openapi.json", canary("admin-token"), "")), &doc))
	var out []string
	for path, methods := range doc.Paths {
		if methods["get"] != nil {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	if !slices.Contains(out, "/metrics") || !slices.Contains(out, "/api/v1/events") || len(out) < 10 {
		n.t.Fatalf("the endpoints describe %q", out)
	}
	return out
}

// mistakes are reloads of files that hold a secret at the fault, and beside it.
func (n *nest) mistakes() {
	for i, fault := range []struct{ file, text string }{
		{"policy.yaml", n.policy + "  nonsense: >" + canary("fault") + "\n"},
		{"policy.yaml", strings.Replace(n.policy, "~plain:*", "bogus >"+canary("fault-rule")+" +nosuchcommand", 1)},
		{"policy.yaml", strings.Replace(n.policy, "~plain:*", "#"+canary("fault-hash"), 1)},
		{"policy.yaml", strings.Replace(n.policy, "password_hashes: [\"", "password_hashes: [\""+canary("fault-argon"), 1)},
		{"sallyport.yaml", strings.Replace(n.sallyport, `"${CANARY_WRONG}"`, `"`+canary("fault-password")+`", nodez: x`, 1)},
		{"sallyport.yaml", strings.Replace(n.sallyport, `"${CANARY_WRONG}"`, `["`+canary("fault-password")+`"]`, 1)},
		{"sallyport.yaml", strings.Replace(n.sallyport, `"${CANARY_WRONG}"`, `"${NOT_SET}`+canary("fault-password")+`"`, 1)},
		{"sallyport.yaml", strings.Replace(n.sallyport, `hash: "`, `hash: "`+canary("fault-token"), 1)},
		{"users.acl", "user filed on >" + canary("fault-acl") + " bogus\n"},
		{"users.acl", "user filed on #" + canary("fault-acl") + "\n"},
		{"chain", canary("fault-chain") + "\nsecond " + canary("fault-line") + "\n"},
		{"backend", canary("fault-backend") + "\nsecond " + canary("fault-line") + "\n"},
		{"tls.key", "-----BEGIN PRIVATE KEY-----\n" + canary("fault-key") + "\n-----END PRIVATE KEY-----\n"},
		{"jwks.json", `{"keys":[{"kty":"oct","k":"` + canary("fault-jwks") + `"}]}`},
	} {
		before, err := os.ReadFile(n.path(fault.file))
		must(n.t, err)
		if string(before) == fault.text {
			n.t.Fatalf("mistake %d changes nothing", i)
		}
		replaced(n.t, n.path(fault.file), fault.text)
		n.ask("POST", "/api/v1/reload", canary("admin-token"), "")
		n.ask("GET", "/readyz", canary("admin-token"), "")
		n.runs("check", "--config", "sallyport.yaml")
		replaced(n.t, n.path(fault.file), string(before))
	}
	n.ask("POST", "/api/v1/reload", canary("admin-token"), "")
}

// search looks for secrets, as they are and as programs write bytes, and gives
// what stands around each.
func (n *nest) search() {
	places := map[string]string{"the log": n.s.said.String(), "sink stdout": n.events.String(), "syslog": n.collected.String()}
	for name, text := range n.heard {
		places[name] = text
	}
	sinks, err := filepath.Glob(n.path("*.jsonl"))
	must(n.t, err)
	for _, file := range sinks {
		text, err := os.ReadFile(file)
		must(n.t, err)
		places[filepath.Base(file)] = string(text)
	}
	if len(sinks) != 5 || len(n.heard) < 60 {
		n.t.Errorf("%d event files and %d answers to look into", len(sinks), len(n.heard))
	}
	needles := []string{mark, strings.ToLower(mark), strings.ToUpper(mark), hex.EncodeToString([]byte(mark))}
	for skip := range 3 { // base64 of what surrounds it, at each of its alignments
		text := base64.RawStdEncoding.EncodeToString([]byte("000"[:skip] + mark))
		needles = append(needles, text[(skip*8+5)/6:len(text)-1])
	}
	for name, text := range places {
		if len(text) == 0 {
			n.t.Errorf("%s says nothing", name)
		}
		for _, needle := range slices.Concat(needles, n.hidden) {
			if i := strings.Index(text, needle); i >= 0 {
				n.t.Errorf("%s tells a secret (%d times): …%q…", name, strings.Count(text, needle), text[max(0, i-200):min(len(text), i+60)])
			}
		}
	}
}

// A secret that is given to the proxy, in a file, by the environment or by a
// client, is in nothing that it says to anybody else: logs, events of any
// format, metrics, endpoints, error messages, the dump of a killed process.
func TestNoSecretIsToldToAnybody(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			n := openNest(t, format)
			n.traffic()
			n.looks()
			n.mistakes()
			eventually(t, func() error {
				for _, want := range []string{`"event":"clients"`, `"event":"access"`, `"event":"admin"`, `"event":"reload"`, `"reason":"protocol_error"`} {
					if !strings.Contains(n.events.String(), want) {
						return fmt.Errorf("no event with %s", want)
					}
				}
				return nil
			})
			n.s.signal(syscall.SIGQUIT)
			n.s.ends(patience)
			n.s.says("goroutine 1 ")
			n.search()
		})
	}
}

var textLine = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z  (DEBUG|INFO |WARN |ERROR)  `)

// Whatever bytes clients choose for names, keys, channels and commands, an
// event is one line of JSON and a log entry one line of text, without a
// control character in it.
func TestNoClientForgesALine(t *testing.T) {
	forged := "\"}\r\n{\"event\":\"forged\"}\n2026-01-01T00:00:00.000000Z  INFO   forged\x1b[2K\x1b[1A\x00\x07\x7f\xff\xfe\xc2\x85\u2028\u202e" + "\r\nforged"
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			n := openNest(t, format)
			n.says("app", []string{"SET", "app:" + forged, "x"}, []string{"GET", forged}, []string{"PUBLISH", forged, "x"}, []string{"SUBSCRIBE", forged},
				[]string{"CLIENT", "SETNAME", forged}, []string{"CLIENT", "SETINFO", "lib-name", forged}, []string{"CLIENT", "SETINFO", forged, "x"},
				[]string{forged, "x"}, []string{"CONFIG", forged}, []string{"CLIENT", forged}, []string{"HELLO", "3", "SETNAME", forged}, []string{"HELLO", forged})
			n.says("root", []string{"ACL", "SETUSER", forged, "on"}, []string{"ACL", "SETUSER", "x" + forged, "on", forged}, []string{"EVAL", forged, "1", forged})
			n.says("", []string{"AUTH", forged, "x"}, []string{"HELLO", "2", "AUTH", forged, "x"}, []string{forged}, []string{"HELLO", "2", "AUTH", "app", "x", "SETNAME", forged})
			n.sends("", forged)
			n.sends("app", "*1\r\n"+forged)
			n.ask("GET", "/api/v1/sessions?user=%0d%0a%1b[2Kforged%ff", canary("admin-token"), "")
			n.ask("POST", "/api/v1/explain", canary("admin-token"), `{"user":"\r\n\u001b[2Kforged","command":["\r\n\u001b[2Kforged"]}`)
			n.ask("DELETE", "/api/v1/sessions/%0d%0aforged", canary("admin-token"), "")
			replaced(t, n.path("policy.yaml"), n.policy+"  \"\\r\\n\\e[2Kforged\": 1\n")
			n.ask("POST", "/api/v1/reload", canary("admin-token"), "")
			n.s.signal(syscall.SIGTERM)
			if code := n.s.ends(2 * patience); code != exitOK {
				t.Errorf("exit code %d", code)
			}
			places := map[string]string{"sink stdout": n.events.String()}
			for _, name := range []string{"azure", "enterprise", "hash", "prefix", "off"} {
				text, err := os.ReadFile(n.path(name + ".jsonl"))
				must(t, err)
				places[name] = string(text)
			}
			if format == "json" {
				places["the log"] = n.s.said.String()
			}
			for name, text := range places {
				for line := range strings.Lines(text) {
					n.clean(name, line)
					var members map[string]any
					if err := json.Unmarshal([]byte(line), &members); err != nil {
						t.Errorf("%s: %v in %q", name, err, line)
					}
					if members["event"] == "forged" || members["msg"] == "forged" {
						t.Errorf("%s: a forged line", name)
					}
				}
			}
			for line := range strings.Lines(n.s.said.String()) {
				if n.clean("the log", line); format == "text" && !textLine.MatchString(line) {
					t.Errorf("the log has a line of another form: %q", line)
				}
			}
			if !strings.Contains(places["sink stdout"], "forged") {
				t.Error("no name that a client chose is on record")
			}
			for name, text := range n.heard {
				for line := range strings.Lines(text) {
					n.clean(name, line)
				}
			}
		})
	}
}

// clean wants one whole line of text.
func (n *nest) clean(name, line string) {
	n.t.Helper()
	body, whole := strings.CutSuffix(line, "\n")
	raw := strings.ContainsFunc(body, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x202e })
	if raw || !utf8.ValidString(body) || !whole && bytes.ContainsAny([]byte(body), "\r") {
		n.t.Errorf("%s: raw bytes in %q", name, body)
	}
}
