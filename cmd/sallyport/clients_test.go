//go:build clients

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// Clients of several languages log in by password, token and certificate over
// mutual TLS, name their connection, pipeline, and get their refusals as their
// own library's permission error. make test-clients installs what this needs.
func TestClientsOfOtherLanguages(t *testing.T) {
	g := newGateway(t)
	logins := []login{
		{"password", "app", "app", "app-pw", "app"},
		{"token", "app", "svc", g.token, "svc"},
		{"certificate", "byname", "", "", "byname"},
	}
	for _, l := range logins {
		t.Run("redis-py/"+l.name, func(t *testing.T) {
			g.run(t, l, nil, python(t), filepath.Join("testdata", "clients", "redis_py.py"))
		})
		t.Run("ioredis/"+l.name, func(t *testing.T) {
			g.run(t, l, []string{"MODULES=" + modules(t)}, "node", filepath.Join("testdata", "clients", "ioredis.mjs"))
		})
		for _, resp := range []string{"2", "3"} {
			t.Run("node-redis/RESP"+resp+"/"+l.name, func(t *testing.T) {
				g.run(t, l, []string{"MODULES=" + modules(t), "RESP=" + resp}, "node", filepath.Join("testdata", "clients", "node_redis.mjs"))
			})
			t.Run("redis-cli/RESP"+resp+"/"+l.name, func(t *testing.T) { g.redisCLI(t, l, resp) })
			t.Run("go-redis/RESP"+resp+"/"+l.name, func(t *testing.T) { g.goRedis(t, l, int(resp[0]-'0')) })
		}
		t.Run("hiredis/"+l.name, func(t *testing.T) {
			hop := g.hop(t, l.certificate)
			host, port, _ := net.SplitHostPort(hop)
			g.run(t, l, []string{"HOST=" + host, "PORT=" + port}, g.hiredis)
		})
	}
}

// login is one way in: which certificate is shown, what is said, whom it makes.
type login struct{ name, certificate, user, password, expect string }

// gateway is a running sallyport in front of a real redis-server.
type gateway struct {
	dir, address, token, hiredis string
}

const clientsConfig = `listeners:
  - name: gateway
    address: %s
    tls: { certificate: server.crt, key: server.key, client_ca: ca.crt, client_auth: require }
    backend: main
backends:
  main: { topology: standalone, nodes: [%s] }
policy: { file: policy.yaml }
events:
  - { sink: file, path: events.jsonl }
`

const clientsPolicy = `roles:
  user: "~app:* +@read +@write +@connection +acl|whoami"
users:
  app:
    rules: "on %s"
    roles: [user]
  byname:
    rules: "on"
    roles: [user]
    certificate: { cn: byname }
tokens:
  - name: idp
    issuer: https://idp.test/
    audience: [sallyport]
    algorithms: [ES256]
    keys: { file: keys.json }
    user_claim: oid
    roles: { claim: roles, map: { users: [user] } }
`

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{dir: t.TempDir()}
	binary := filepath.Join(g.dir, "sallyport")
	g.must(t, "", "go", "build", "-o", binary, ".")
	g.must(t, "", binary, "cert", "dev", g.dir, "--client", "app", "--client", "byname")
	g.token = strings.TrimSpace(g.must(t, "", binary, "token", "issue", "--new-key", filepath.Join(g.dir, "token.key"),
		"--key-set", filepath.Join(g.dir, "keys.json"), "--issuer", "https://idp.test/", "--audience", "sallyport",
		"--subject", "svc", "--claim", "oid=svc", "--claim", `roles:=["users"]`))
	hash := strings.TrimSpace(g.must(t, "app-pw\n", binary, "acl", "hash"))
	redis := redistest.Start(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.address = ln.Addr().String()
	ln.Close()
	g.write(t, "sallyport.yaml", fmt.Sprintf(clientsConfig, g.address, redis.Addr()))
	g.write(t, "policy.yaml", fmt.Sprintf(clientsPolicy, hash))
	p, err := redistest.StartProcess(binary, []string{"serve", "--allow-root", "--config", filepath.Join(g.dir, "sallyport.yaml")}, filepath.Join(g.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.End(5 * time.Second) })
	g.await(t)
	g.hiredis = filepath.Join(g.dir, "hiredis")
	g.must(t, "", "cc", "-o", g.hiredis, filepath.Join("testdata", "clients", "hiredis.c"), "-lhiredis")
	return g
}

func (g *gateway) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// must runs a command with input and gives its standard output.
func (g *gateway) must(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, errs.String())
	}
	return out.String()
}

// await waits until the listener answers.
func (g *gateway) await(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		if c, err := net.Dial("tcp", g.address); err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			log, _ := os.ReadFile(filepath.Join(g.dir, "log"))
			t.Fatalf("sallyport does not listen:\n%s", log)
		}
	}
}

// run has a client's script do its steps.
func (g *gateway) run(t *testing.T, l login, env []string, name string, args ...string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(g.address)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOST=localhost", "PORT="+port, "CA="+filepath.Join(g.dir, "ca.crt"),
		"CERT="+filepath.Join(g.dir, l.certificate+".crt"), "KEY="+filepath.Join(g.dir, l.certificate+".key"),
		"USERNAME="+l.user, "PASSWORD="+l.password, "EXPECT="+l.expect)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(strings.TrimSpace(string(out)))
}

// redisCLI does the steps with redis-cli, one call after another on one connection.
func (g *gateway) redisCLI(t *testing.T, l login, resp string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(g.address)
	args := []string{"-h", "localhost", "-p", port, "--tls", "--cacert", filepath.Join(g.dir, "ca.crt"),
		"--cert", filepath.Join(g.dir, l.certificate+".crt"), "--key", filepath.Join(g.dir, l.certificate+".key")}
	if resp == "3" {
		args = append(args, "-3")
	}
	var script, want []string
	say := func(command, reply string) { script, want = append(script, command), append(want, reply) }
	if l.password != "" {
		say("AUTH "+l.user+" nope", "WRONGPASS invalid username-password pair or user is disabled.")
		say("AUTH "+l.user+" "+l.password, "OK")
	}
	say("CLIENT SETNAME cli", "OK")
	say("CLIENT GETNAME", "cli")
	say("ACL WHOAMI", l.expect)
	say("SET app:cli 1", "OK")
	say("INCR app:cli", "2")
	say("GET other:key", "NOPERM No permissions to access a key")
	say("FLUSHALL", "NOPERM User "+l.expect+" has no permissions to run the 'flushall' command")
	out := g.must(t, strings.Join(script, "\n")+"\n", "redis-cli", args...)
	var got []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" {
			got = append(got, line)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// goRedis does the steps with go-redis.
func (g *gateway) goRedis(t *testing.T, l login, protocol int) {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: g.address, Username: l.user, Password: l.password, Protocol: protocol, ClientName: "go-redis",
		PoolSize: 1, MaxRetries: -1, TLSConfig: g.clientTLS(t, l.certificate),
	})
	defer c.Close()
	ctx := t.Context()
	if name, err := c.ClientGetName(ctx).Result(); err != nil || name != "go-redis" {
		t.Fatal("CLIENT GETNAME", name, err)
	}
	if who, err := c.Do(ctx, "ACL", "WHOAMI").Text(); err != nil || who != l.expect {
		t.Fatal("ACL WHOAMI", who, err)
	}
	if err := c.Set(ctx, "app:go", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	replies, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for range 100 {
			p.Incr(ctx, "app:go")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range replies {
		if n := r.(*redis.IntCmd).Val(); n != int64(i+2) {
			t.Fatalf("reply %d of the pipeline is %d", i, n)
		}
	}
	for _, call := range [][]any{{"GET", "other:key"}, {"FLUSHALL"}} {
		var said redis.Error
		if err := c.Do(ctx, call...).Err(); !errors.As(err, &said) || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Fatal(call, err)
		}
	}
}

func (g *gateway) clientTLS(t *testing.T, name string) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(g.dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(g.dir, name+".crt"), filepath.Join(g.dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}}
	conf.RootCAs.AppendCertsFromPEM(ca)
	return conf
}

// hop speaks mutual TLS for a client that can't.
func (g *gateway) hop(t *testing.T, certificate string) string {
	t.Helper()
	conf := g.clientTLS(t, certificate)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				far, err := tls.Dial("tcp", g.address, conf)
				if err != nil {
					return
				}
				defer far.Close()
				go func() { io.Copy(far, c); far.CloseWrite() }()
				io.Copy(c, far)
			}()
		}
	}()
	return ln.Addr().String()
}

// python is the interpreter that has Debian's redis-py.
func python(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(p, "-c", "import redis").Run() == nil {
			return p
		}
	}
	t.Fatal("no python3 with redis-py: make test-clients installs it (Debian: python3-redis)")
	return ""
}

// modules is where npm put ioredis and redis.
func modules(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "bin", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "ioredis")); err != nil {
		t.Fatal("no ioredis: make test-clients installs it")
	}
	return dir
}
