package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
	"golang.org/x/sys/unix"
)

// doorway is a relay before a node. It knows of each connection whether it has
// carried an MGET, and in how many segments what came over it was sent: on loopback
// a write of less than 64 KiB is one.
type doorway struct {
	listener net.Listener
	node     string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[*net.TCPConn]bool // true: it has carried an MGET
}

func newDoorway(t *testing.T, node string) *doorway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &doorway{listener: l, node: node, conns: map[*net.TCPConn]bool{}}
	d.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.running.Go(func() { d.carry(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		d.mu.Lock()
		for c := range d.conns {
			_ = c.Close()
		}
		d.mu.Unlock()
		d.running.Wait()
	})
	return d
}

func (d *doorway) carry(c *net.TCPConn) {
	defer c.Close()
	node, err := net.Dial("tcp", d.node)
	if err != nil {
		return
	}
	defer node.Close()
	d.mu.Lock()
	d.conns[c] = false
	d.mu.Unlock()
	d.running.Go(func() { _, _ = c.ReadFrom(node); _ = c.Close() })
	b := make([]byte, 1<<16)
	for {
		n, err := c.Read(b)
		if bytes.Contains(b[:n], []byte("\r\nMGET\r\n")) {
			d.mu.Lock()
			d.conns[c] = true
			d.mu.Unlock()
		}
		if err == nil {
			_, err = node.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// segments counts those of all connections that have carried an MGET.
func (d *doorway) segments() (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c, carries := range d.conns {
		if !carries {
			continue
		}
		raw, fault := c.SyscallConn()
		if fault != nil {
			return 0, fault
		}
		var info *unix.TCPInfo
		fault = raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
		if err = errors.Join(err, fault); err != nil {
			return 0, err
		}
		n += int(info.Data_segs_in)
	}
	return n, nil
}

// An MGET of a hundred keys over three shards is one write to each of them, whether
// it is one call there, or in a cluster one for each slot.
func TestACallOverThreeShardsIsOneWriteToEach(t *testing.T) {
	t.Run("shards", func(t *testing.T) {
		var nodes []*redistest.Server
		var doors []*doorway
		var at []string
		var members []backend.Member
		for i := range 3 {
			nodes = append(nodes, redistest.Start(t))
			doors = append(doors, newDoorway(t, nodes[i].Addr()))
			at = append(at, doors[i].listener.Addr().String())
			members = append(members, backend.Member{Name: fmt.Sprint("shard", i), Weight: 1})
		}
		spread, err := backend.NewDistribution("ketama", "md5", "", members)
		if err != nil {
			t.Fatal(err)
		}
		r := withRig(t, "", func(s *setup) {
			s.backend.Nodes = endpoints(at)
			s.backend.Routing = backend.Routing{Kind: backend.Sharded, Distribution: spread, Wait: 10 * time.Second}
		})
		oneWriteEach(t, r, doors)
		for i, s := range nodes {
			if stats, err := s.CommandStats(); err != nil || stats["mget"].Calls != 2 {
				t.Errorf("shard %d was sent %+v for two calls (%v)", i, stats["mget"], err)
			}
		}
	})
	t.Run("cluster", func(t *testing.T) {
		c := redistest.StartCluster(t, 3, 0)
		var doors []*doorway
		for _, s := range c.Servers {
			d := newDoorway(t, s.Addr())
			doors = append(doors, d)
			if _, err := s.Do("CONFIG", "SET", "cluster-announce-port", strconv.Itoa(d.listener.Addr().(*net.TCPAddr).Port)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, 20*time.Second, "the nodes know each other's doorways", func() bool {
			for _, s := range c.Servers {
				reply, err := s.Do("CLUSTER", "SLOTS")
				for _, d := range doors {
					if err != nil || !strings.Contains(fmt.Sprint(reply), fmt.Sprint(" ", d.listener.Addr().(*net.TCPAddr).Port, " ")) {
						return false
					}
				}
			}
			return true
		})
		r := withRig(t, "", func(s *setup) {
			s.backend.Nodes = endpoints([]string{doors[0].listener.Addr().String()})
			s.backend.Routing = backend.Routing{Kind: backend.Cluster, Wait: 10 * time.Second}
		})
		oneWriteEach(t, r, doors)
	})
}

func oneWriteEach(t *testing.T, r *rig, doors []*doorway) {
	t.Helper()
	c := r.login("root")
	call := []string{"MGET"}
	for i := range 100 {
		call = append(call, fmt.Sprint("key:", i))
	}
	get := func() {
		t.Helper()
		if got, err := c.Do(call...); err != nil || len(got.([]any)) != 100 {
			t.Fatalf("MGET: %v, %v", got, err)
		}
	}
	count := func() (all []int) {
		t.Helper()
		for _, d := range doors {
			n, err := d.segments()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
		return all
	}
	get() // connects
	before := count()
	get()
	for i, n := range count() {
		if before[i] == 0 || n-before[i] != 1 {
			t.Errorf("shard %d was sent %d segments, after %d", i, n-before[i], before[i])
		}
	}
}
