package proxy_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// Unfinished requests are held in memory; together they may hold limits.memory
// and no more, and who holds most goes first.
func TestTheLargestHolderGoesWhenMemoryRunsShort(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.Memory = 16 << 20 })
	small := r.login("root")
	var hoarders []*redistest.Client
	for range 8 {
		hoarders = append(hoarders, r.login("root"))
	}
	for _, c := range hoarders {
		// A SET of 100 MB whose end never comes.
		if err := c.Write([]byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000000\r\n")); err != nil {
			t.Fatal(err)
		}
		part := bytes.Repeat([]byte("x"), 3<<20)
		go c.Write(part) // fails when the connection is closed under it
	}
	r.await("close_conn", "reason", "memory_limit")
	eventually(t, 10*time.Second, "the others work on", func() bool {
		v, err := small.Do("PING")
		return err == nil && fmt.Sprint(v) == "PONG"
	})
	for _, c := range hoarders {
		c.Close()
	}
	eventually(t, 10*time.Second, "new clients are let in again", func() bool {
		c, err := redistest.Dial("tcp", r.addr("plain"), nil)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Do("AUTH", "root", "root-pw")
		return err == nil
	})
}
