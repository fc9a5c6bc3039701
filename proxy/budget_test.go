package proxy_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// Unfinished requests are held in memory; together they may hold limits.memory
// and no more, and who holds most goes first.
func TestTheLargestHolderGoesWhenMemoryRunsShort(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.Memory, s.workers = 16<<20, 2 })
	small := r.login("root")
	var hoarders []*redistest.Client
	for range 8 {
		hoarders = append(hoarders, r.login("root"))
	}
	for _, c := range hoarders {
		// A SET of 60 MB that has to be held, and whose end never comes.
		if err := c.Write([]byte("*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000000\r\n")); err != nil {
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

// A node that stops taking calls must not cost clients their connections: what it
// does not take stays with those who sent it, and is served when it goes on.
func TestAStalledNodeEndsNobody(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.limits.Memory = 32 << 20 })
	small := r.login("root")
	var writers []*redistest.Client
	for range 80 {
		writers = append(writers, r.login("root"))
	}
	if err := syscall.Kill(redis.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() { syscall.Kill(redis.Pid(), syscall.SIGCONT) })
	t.Cleanup(resume)
	if err := small.Write([]byte("*3\r\n$3\r\nSET\r\n$5\r\nsmall\r\n$1000\r\n")); err != nil { // it has begun a request
		t.Fatal(err)
	}
	const calls = 17
	set := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000\r\n" + strings.Repeat("x", 60000) + "\r\n"
	var sending sync.WaitGroup
	for _, c := range writers { // some 80 MB in all
		sending.Go(func() { c.Write([]byte(strings.Repeat(set, calls))) })
	}
	// A scrape takes a turn of each loop, so ten alike say that no more is read.
	var before float64
	alike := 0
	eventually(t, 20*time.Second, "clients are held up", func() bool {
		got := r.scrape(t).value("sallyport_received_bytes_total")
		if alike++; got != before || got < 4<<20 {
			alike = 0
		}
		before = got
		return alike == 10
	})
	if held := r.scrape(t).value("sallyport_buffer_bytes"); held > 32<<20 {
		t.Errorf("%.0f bytes are held", held)
	}
	resume()
	sending.Wait()
	for i, c := range writers {
		for range calls {
			if got, err := c.Receive(); err != nil || fmt.Sprint(got) != "OK" {
				t.Fatalf("writer %d read %v, %v", i, got, err)
			}
		}
	}
	if err := small.Write([]byte(strings.Repeat("x", 1000) + "\r\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := small.Receive(); err != nil || fmt.Sprint(got) != "OK" {
		t.Fatalf("the small one read %v, %v", got, err)
	}
}

// A session's socket stays open for a moment after its end, so that the last reply
// arrives. It has a descriptor, so it has a place.
func TestSocketsThatLingerCountAmongTheConnections(t *testing.T) {
	r := withRig(t, redistest.Start(t).Addr(), func(s *setup) { s.limits.Connections = 1 })
	turnedAway := func() bool { // a slow machine may come after the moment
		first, err := redistest.Dial("tcp", r.addr("plain"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		if v, err := first.Do("QUIT"); err != nil || v != "OK" {
			return false // the one before it lingers
		}
		eventually(t, 10*time.Second, "its session has ended", func() bool {
			return r.scrape(t).value(`sallyport_connections{listener="plain"}`) == 0
		})
		second, err := redistest.Dial("tcp", r.addr("plain"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		v, err := second.Do("AUTH", "root", "root-pw")
		return v != "OK" || err != nil
	}
	eventually(t, 10*time.Second, "who comes while a socket lingers is turned away", turnedAway)
	r.await("refused", "reason", "too_many_clients")
	eventually(t, 10*time.Second, "there is a place again", func() bool {
		c, err := redistest.Dial("tcp", r.addr("plain"), nil)
		if err != nil {
			return false
		}
		defer c.Close()
		v, err := c.Do("AUTH", "root", "root-pw")
		return err == nil && v == "OK"
	})
}
