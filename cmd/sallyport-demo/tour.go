package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// step is one thing the tour does and what must come of it.
type step struct {
	what string
	do   func(ctx context.Context) (said string, err error)
	want string // the answer must begin with it
}

// tour runs the script, prints each step with its outcome, and gives how many
// did not do what they should.
func (st *stage) tour(ctx context.Context, out io.Writer) (failed int) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	redis.SetLogger(silent{}) // refused connections are part of the script
	backend := "an embedded backend (miniredis, not for production)"
	if st.embedded == nil {
		backend = "the redis-server at " + st.redis
	}
	fmt.Fprintf(out, "Sallyport listens on %s with mutual TLS, in front of %s.\n", st.address, backend)
	fmt.Fprintf(out, "\n  user app  %s\n  user ops  %s\n\n", appRules, opsRules)

	app := st.client("app", true)
	defer app.Close()
	for _, s := range st.script(app) {
		said, err := s.do(ctx)
		if err != nil {
			said = err.Error()
		}
		mark := "ok  "
		if !strings.HasPrefix(said, s.want) {
			mark = "FAIL"
			failed++
		}
		fmt.Fprintf(out, "  %s %-44s %s\n", mark, s.what, said)
	}
	app.Close()

	fmt.Fprintln(out, "\nOn record:")
	for _, parts := range [][]string{
		{`"event":"new_conn"`},
		{`"event":"auth"`, `"user":"app"`, `"status":"ok"`},
		{`"event":"refused"`, `"command":"flushall"`},
		{`"event":"close_conn"`},
	} {
		line, ok := st.events.await(ctx, parts...)
		if !ok {
			failed++
			line = "FAIL no event with " + strings.Join(parts, " ")
		}
		fmt.Fprintf(out, "  %s\n", line)
	}
	return failed
}

// silent is go-redis's log, unheard.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// script is what the tour does, as user app unless it says otherwise.
func (st *stage) script(app *redis.Client) []step {
	do := func(args ...any) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			v, err := app.Do(ctx, args...).Result()
			return fmt.Sprint(v), err
		}
	}
	return []step{
		{"ACL WHOAMI", do("ACL", "WHOAMI"), "app"},
		{"SET app:greeting hello", do("SET", "app:greeting", "hello"), "OK"},
		{"GET app:greeting", do("GET", "app:greeting"), "hello"},
		{"FLUSHALL: +@write does not open the guard", do("FLUSHALL"), "NOPERM User app has no permissions to run the 'flushall' command"},
		{"GET other:secret, a foreign key", do("GET", "other:secret"), "NOPERM No permissions to access a key"},
		{"FLUSHALL as ops: nor does +@all", func(ctx context.Context) (string, error) {
			ops := st.client("ops", true)
			defer ops.Close()
			return ops.Do(ctx, "FLUSHALL").Text()
		}, "NOPERM User ops has no permissions to run the 'flushall' command"},
		{"a wrong password", func(ctx context.Context) (string, error) {
			c := redis.NewClient(st.options("app", "wrong", true))
			defer c.Close()
			return "", c.Ping(ctx).Err()
		}, "WRONGPASS"},
		{"no client certificate", func(ctx context.Context) (string, error) {
			c := st.client("app", false)
			defer c.Close()
			if err := c.Ping(ctx).Err(); err != nil {
				return "refused in the TLS handshake", nil
			}
			return "", errors.New("was let in")
		}, "refused in the TLS handshake"},
	}
}

// client is a go-redis client of one connection, without retries.
func (st *stage) client(user string, certificate bool) *redis.Client {
	return redis.NewClient(st.options(user, st.passwords[user], certificate))
}

func (st *stage) options(user, password string, certificate bool) *redis.Options {
	return &redis.Options{
		Addr: st.address, Username: user, Password: password, PoolSize: 1, MaxRetries: -1, Protocol: 3,
		TLSConfig: st.clientTLS(certificate),
	}
}

// clientTLS trusts the development CA alone.
func (st *stage) clientTLS(certificate bool) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "localhost", RootCAs: x509.NewCertPool()}
	if pem, err := os.ReadFile(st.file("ca.crt")); err == nil {
		cfg.RootCAs.AppendCertsFromPEM(pem)
	}
	if certificate {
		if pair, err := tls.LoadX509KeyPair(st.file("app.crt"), st.file("app.key")); err == nil {
			cfg.Certificates = []tls.Certificate{pair}
		}
	}
	return cfg
}

// invite prints the lines to go on with.
func (st *stage) invite(out io.Writer) {
	flags := func(user string) string {
		return fmt.Sprintf("-p %s --tls --cacert %s --cert %s --key %s --user %s",
			st.port(), st.file("ca.crt"), st.file("app.crt"), st.file("app.key"), user)
	}
	fmt.Fprintf(out, "\nTry it yourself, in another terminal (keys and passwords die with the demo):\n\n  redis-cli %s --pass %s\n\n  redis-benchmark %s -a %s -t set,get -r 1000 -n 100000 -P 16\n\nCtrl-C ends the demo.\n",
		flags("app"), st.passwords["app"], flags("ops"), st.passwords["ops"])
}
