package proxy_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A client for clusters takes the proxy for a cluster of one node, and does there
// what it does with any cluster.
func TestClusterClientsWorkWithAClusterBehindTheProxy(t *testing.T) {
	_, r := overPinnedCluster(t, 0)
	t.Run("go-redis", func(t *testing.T) { goRedisCluster(t, r) })
	t.Run("a user without CLUSTER", func(t *testing.T) {
		c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{r.addr("plain")}, Username: "app", Password: "app-pw", MaxRetries: -1})
		defer c.Close()
		if err := c.Set(t.Context(), "app:k", "v", 0).Err(); err != nil {
			t.Error(err)
		}
		plain := r.login("app")
		if got, err := plain.Do("INFO", "cluster"); err != nil || !strings.Contains(fmt.Sprint(got), "cluster_enabled:1") {
			t.Errorf("INFO: %v, %v", got, err)
		}
		r.fails(plain, "ERR", "CLUSTER", "COUNTKEYSINSLOT", "1")
	})
	t.Run("redis-cli", func(t *testing.T) {
		host, port, _ := net.SplitHostPort(r.addr("plain"))
		path, err := exec.LookPath("redis-cli")
		if err != nil {
			t.Fatal("redis-cli is not on PATH; install it, for example: apt-get install redis-tools")
		}
		cmd := exec.Command(path, "-c", "-h", host, "-p", port, "--user", "root", "--pass", "root-pw", "--no-auth-warning")
		cmd.Stdin = strings.NewReader("SET bar 1\nSET {foo}a 2\nMULTI\nINCR {foo}a\nEXEC\nMGET bar {foo}a\nRPUSH x y\nBLPOP x 0\n")
		out, err := cmd.CombinedOutput()
		if want := "OK\nOK\nOK\nQUEUED\n3\n1\n3\n1\nx\ny\n"; err != nil || string(out) != want {
			t.Errorf("%v, %q; want %q", err, out, want)
		}
	})
}

func goRedisCluster(t *testing.T, r *rig) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{r.addr("plain")}, Username: "root", Password: "root-pw", MaxRetries: -1, ReadOnly: true})
	defer c.Close()
	pipe := c.Pipeline()
	for i := range 100 {
		pipe.Set(ctx, fmt.Sprintf("g:%d", i), i, 0)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if got, err := c.Get(ctx, fmt.Sprintf("g:%d", i)).Int(); err != nil || got != i {
			t.Fatalf("GET g:%d: %d, %v", i, got, err)
		}
	}
	if err := c.Watch(ctx, func(tx *redis.Tx) error {
		n, err := tx.Get(ctx, "g:7").Int()
		if err != nil {
			return err
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, "g:7", n+1, 0)
			return nil
		})
		return err
	}, "g:7"); err != nil {
		t.Fatal("WATCH:", err)
	}
	if got, err := c.Get(ctx, "g:7").Int(); err != nil || got != 8 {
		t.Errorf("after the transaction: %d, %v", got, err)
	}
	for _, sub := range []*redis.PubSub{c.Subscribe(ctx, "news"), c.SSubscribe(ctx, "{foo}news")} {
		defer sub.Close()
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		c.Publish(ctx, "news", "m")
		c.SPublish(ctx, "{foo}news", "m")
		if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != "m" {
			t.Errorf("%v, %v", m, err)
		}
	}
	if err := c.RPush(ctx, "queue", "job").Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.BLPop(ctx, time.Second, "queue").Result(); err != nil || fmt.Sprint(got) != "[queue job]" {
		t.Errorf("BLPOP: %v, %v", got, err)
	}
	masters := 0
	if err := c.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
		masters++
		return m.Ping(ctx).Err()
	}); err != nil || masters != 1 {
		t.Errorf("%d nodes, %v", masters, err)
	}
}
