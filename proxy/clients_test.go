package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// files writes the CA and a client's pair where a program can read them.
func (r *rig) files(t *testing.T, name string) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	pair, err := r.ca.Client(name)
	if err != nil {
		t.Fatal(err)
	}
	ca, cert, key = filepath.Join(dir, "ca.crt"), filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	for path, content := range map[string][]byte{ca: r.ca.CertPEM(), cert: pair.CertPEM, key: pair.KeyPEM} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ca, cert, key
}

// program is one of Redis's own tools with the way to the TLS listener.
func (r *rig) program(t *testing.T, binary, user string) func(stdin string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(binary)
	if err != nil {
		t.Fatalf("%s is not on PATH; install it, for example: apt-get install redis-tools", binary)
	}
	ca, cert, key := r.files(t, "app")
	_, port, err := net.SplitHostPort(r.addr("gateway"))
	if err != nil {
		t.Fatal(err)
	}
	way := []string{"-h", "127.0.0.1", "-p", port, "--tls", "--cacert", ca, "--cert", cert, "--key", key, "--user", user}
	return func(stdin string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, append(way[:len(way):len(way)], args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+user+"-pw")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", binary, args, err, out)
		}
		return string(out)
	}
}

func TestRedisCLIOverMutualTLS(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	cli := r.program(t, "redis-cli", "root")
	for _, c := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{"", []string{"SET", "k", "a value"}, "OK\n"},
		{"", []string{"GET", "k"}, "a value\n"},
		{"", []string{"-3", "HSET", "h", "f", "v"}, "1\n"},
		{"", []string{"-3", "--no-raw", "HGETALL", "h"}, "1# \"f\" => \"v\"\n"},
		{"", []string{"--no-raw", "HGETALL", "h"}, "1) \"f\"\n2) \"v\"\n"},
		{"", []string{"-r", "3", "INCR", "n"}, "1\n2\n3\n"},
		{"", []string{"-n", "5", "SET", "k", "in five"}, "OK\n"},
		{"", []string{"-n", "5", "GET", "k"}, "in five\n"},
		{"", []string{"-x", "SET", "big"}, ""},
		{"SET a 1\nINCR a\nSELECT 5\nGET k\nHELLO 3\nGET none\nFLUSHALL\nGET k\nQUIT\n", nil, ""},
		{"", []string{"FLUSHALL"}, "NOPERM User root has no permissions to run the 'flushall' command\n\n"},
		{"", []string{"GET"}, "ERR wrong number of arguments for 'get' command\n\n"},
	} {
		switch {
		case len(c.args) > 0 && c.args[0] == "-x":
			big := strings.Repeat("line of a big value\n", 50_000)
			if got := cli(big, c.args...); got != "OK\n" {
				t.Errorf("redis-cli %v: %q", c.args, got)
			}
			if got := cli("", "GET", "big"); got != big+"\n" {
				t.Errorf("a value of %d bytes came back as one of %d", len(big), len(got)-1)
			}
		case c.args == nil:
			got := cli(c.stdin)
			for i, want := range []string{"OK", "2", "OK", "in five", "NOPERM User root has no permissions to run the 'flushall' command", "in five"} {
				at := strings.Index(got, want)
				if at < 0 {
					t.Fatalf("answer %d, %q, is missing or out of order in\n%s", i, want, got)
				}
				got = got[at+len(want):]
			}
		default:
			if got := cli(c.stdin, c.args...); got != c.want {
				t.Errorf("redis-cli %v: %q, want %q", c.args, got, c.want)
			}
		}
	}
	// What the manual recommends for mass insertion: raw protocol, all at once.
	var raw bytes.Buffer
	for i := range 20_000 {
		raw.Write(redistest.Encode("SET", fmt.Sprint("mass:", i), fmt.Sprint("value ", i)))
	}
	if got := cli(raw.String(), "--pipe"); !strings.Contains(got, "errors: 0, replies: 20000") {
		t.Errorf("redis-cli --pipe: %s", got)
	}
	if v, err := redis.Do("GET", "mass:19999"); v != "value 19999" || err != nil {
		t.Error("the last of them is", v, err)
	}
}

// benchmarkTests are redis-benchmark 7.0's, by the names in its output.
var benchmarkTests = []string{
	"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET", "SPOP", "ZADD", "ZPOPMIN",
	"LPUSH (needed to benchmark LRANGE)", "LRANGE_100 (first 100 elements)", "LRANGE_300 (first 300 elements)",
	"LRANGE_500 (first 500 elements)", "LRANGE_600 (first 600 elements)", "MSET (10 keys)",
}

func TestRedisBenchmarkRunsAllItsTests(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), nil)
	benchmark := r.program(t, "redis-benchmark", "root")
	requests := "2000"
	if testing.Short() {
		requests = "300"
	}
	complaint := regexp.MustCompile(`(?i)error|warn|NOAUTH|NOPERM|could not`)
	for _, pipeline := range []string{"1", "16", "64"} {
		for _, resp3 := range []bool{false, true} {
			name, args := "P"+pipeline, []string{"-q", "-c", "5", "-n", requests, "-P", pipeline, "-r", "100000", "-a", "root-pw"}
			if resp3 {
				name, args = name+" RESP3", append(args, "-3")
			}
			t.Run(name, func(t *testing.T) {
				out := benchmark("", args...)
				if complaint.MatchString(out) {
					t.Errorf("redis-benchmark complains:\n%s", out)
				}
				for _, test := range benchmarkTests {
					if !regexp.MustCompile(`(?m)(^|\r)` + regexp.QuoteMeta(test) + `: [0-9.]+ requests per second`).MatchString(out) {
						t.Errorf("no result for %s in\n%s", test, out)
					}
				}
				// Newer ones have a test of streams.
				out = benchmark("", append(args, "XADD", "mystream", "*", "myfield", "data")...)
				if complaint.MatchString(out) || !strings.Contains(out, "requests per second") {
					t.Errorf("redis-benchmark XADD:\n%s", out)
				}
			})
		}
	}
	m := r.scrape(t)
	for series, n := range m.series {
		if strings.HasPrefix(series, "sallyport_refused_total") && n != 0 {
			t.Errorf("%s is %v", series, n)
		}
	}
}

// goRedis is the client most Go programs use, as they use it.
func (r *rig) goRedis(t *testing.T, protocol int, conf *tls.Config, change func(*redis.Options)) *redis.Client {
	t.Helper()
	o := &redis.Options{
		Addr: r.addr("gateway"), TLSConfig: conf, Username: "root", Password: "root-pw", Protocol: protocol, ClientName: "shop", PoolSize: 8,
		MaxRetries: -1, ContextTimeoutEnabled: true,
	}
	if change != nil {
		change(o)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestGoRedisWithPoolAndPipelines(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c := r.goRedis(t, protocol, r.clientTLS("app"), nil)
			rounds := 200
			if testing.Short() {
				rounds = 50
			}
			var all sync.WaitGroup
			for g := range 16 {
				all.Go(func() {
					for n := range rounds {
						if err := goRedisRound(ctx, c, fmt.Sprintf("p%d:g%d", protocol, g), n); err != nil {
							t.Errorf("goroutine %d round %d: %v", g, n, err)
							return
						}
					}
				})
			}
			all.Wait()
			if name, err := c.ClientGetName(ctx).Result(); name != "shop" || err != nil {
				t.Error("the client's name is", name, err)
			}
			hello, err := c.Do(ctx, "HELLO").Result()
			if err != nil {
				t.Fatal(err)
			}
			want := map[int]string{2: "[server redis", 3: "map["}[protocol]
			if got := fmt.Sprint(hello); !strings.HasPrefix(got, want) || !strings.Contains(got, fmt.Sprint("proto", map[int]string{2: " ", 3: ":"}[protocol], protocol)) {
				t.Errorf("HELLO says %v", hello)
			}
			if stats := c.PoolStats(); stats.StaleConns != 0 || stats.Timeouts != 0 {
				t.Errorf("connections were lost: %+v", stats)
			}
			info, err := c.ClientInfo(ctx).Result()
			if err != nil || info.Name != "shop" || info.User != "root" || info.Resp != protocol {
				t.Errorf("CLIENT INFO: %+v, %v", info, err)
			}
		})
	}
}

func goRedisRound(ctx context.Context, c *redis.Client, key string, n int) error {
	value := fmt.Sprintf("%s-%d", key, n)
	if err := c.Set(ctx, key, value, time.Hour).Err(); err != nil {
		return err
	}
	if got, err := c.Get(ctx, key).Result(); got != value || err != nil {
		return fmt.Errorf("GET %s is %q, %v", key, got, err)
	}
	if _, err := c.Get(ctx, key+":none").Result(); !errors.Is(err, redis.Nil) {
		return fmt.Errorf("a missing key: %v", err)
	}
	var get *redis.StringCmd
	var fields *redis.MapStringStringCmd
	var wrong *redis.StatusCmd
	var score *redis.FloatCmd
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, key+":h", "f", value)
		fields = p.HGetAll(ctx, key+":h")
		wrong = p.FlushAll(ctx)
		p.ZAdd(ctx, key+":z", redis.Z{Score: float64(n), Member: "m"})
		score = p.ZScore(ctx, key+":z", "m")
		get = p.Get(ctx, key)
		return nil
	})
	switch {
	case err == nil || !strings.HasPrefix(wrong.Err().Error(), "NOPERM"):
		return fmt.Errorf("FLUSHALL in a pipeline: %v", wrong.Err())
	case get.Val() != value || fields.Val()["f"] != value || score.Val() != float64(n):
		return fmt.Errorf("pipeline: %v %v %v", get, fields, score)
	}
	return nil
}

func TestGoRedisHasConnectionsOfItsOwnBehindTheProxy(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := r.goRedis(t, 3, r.clientTLS("app"), func(o *redis.Options) { o.DB = 7 })
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "app:tx", "1", 0)
		return nil
	})
	if err != nil {
		t.Error("a transaction:", err)
	}
	if err := c.RPush(ctx, "app:l", "x").Err(); err != nil {
		t.Error(err)
	}
	if got, err := c.BLPop(ctx, time.Second, "app:l").Result(); err != nil || len(got) != 2 || got[1] != "x" {
		t.Error("a blocking call:", got, err)
	}
	if _, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "app:tx", "2", 0)
		p.FlushAll(ctx)
		return nil
	}); err == nil || !strings.Contains(err.Error(), "EXECABORT") && !strings.Contains(err.Error(), "NOPERM") {
		t.Error("a transaction with a call that is not allowed:", err)
	}
	if got := c.Get(ctx, "app:tx").Val(); got != "1" {
		t.Errorf("half of it ran: %q", got)
	}
	// The connections it used go on, in their database.
	if err := c.Set(ctx, "seven", "7", 0).Err(); err != nil {
		t.Error(err)
	}
	direct, err := redistest.Dial("tcp", node.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if _, err := direct.Do("SELECT", "7"); err != nil {
		t.Fatal(err)
	}
	if v, err := direct.Do("GET", "seven"); v != "7" || err != nil {
		t.Error("database 7 holds", v, err)
	}
}

func TestGoRedisWithAWrongPasswordOrNoRight(t *testing.T) {
	node := redistest.Start(t)
	r := withRig(t, node.Addr(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, protocol := range []int{2, 3} {
		wrong := r.goRedis(t, protocol, r.clientTLS("app"), func(o *redis.Options) { o.Password = "guess" })
		if err := wrong.Ping(ctx).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
			t.Errorf("RESP%d: a wrong password: %v", protocol, err)
		}
		app := r.goRedis(t, protocol, r.clientTLS("app"), func(o *redis.Options) { o.Username, o.Password = "app", "app-pw" })
		if err := app.Set(ctx, "app:k", "1", 0).Err(); err != nil {
			t.Error(err)
		}
		if err := app.Get(ctx, "other").Err(); err == nil || err.Error() != "NOPERM No permissions to access a key" {
			t.Errorf("RESP%d: another's key: %v", protocol, err)
		}
	}
}
