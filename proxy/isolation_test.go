package proxy_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

var (
	isolationCommands = flag.Int("isolation.commands", 1_000_000, "verified commands of TestNoReplyReachesAnotherClient")
	isolationClients  = flag.Int("isolation.clients", 40, "its identities")
	isolationSeed     = flag.Uint64("isolation.seed", 0, "its seed; 0: a fresh one, which is logged")
)

// Many identities with random pipelines, values up to 60 kB, requests split
// anywhere, and connections that vanish, are reset or half-closed, by the
// client or by CLIENT KILL of another session of its user. Every reply byte is
// compared with what this client's own commands make of its own keys.
func TestNoReplyReachesAnotherClient(t *testing.T) {
	redis := redistest.Start(t)
	clients := *isolationClients
	r := withRig(t, redis.Addr(), func(s *setup) {
		for i := range clients {
			s.users[fmt.Sprint("u", i)] = fmt.Sprintf("on ~u%d:* &u%d:* +@read +@write +@connection +@transaction +@pubsub", i, i)
		}
		s.limits.Connections = 4 * clients
	})
	total := int64(*isolationCommands)
	if testing.Short() {
		total /= 10
	}
	seed := *isolationSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d, %d commands of %d identities", seed, total, clients)
	conf := r.clientTLS("app")
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	var verified atomic.Int64
	done := make(chan error, clients)
	for i := range clients {
		go func() {
			c := &prober{r: r, id: i, others: clients, rnd: rand.New(rand.NewPCG(seed, uint64(i))), conf: conf}
			done <- c.run(&verified, total)
		}()
	}
	report := time.NewTicker(10 * time.Second)
	defer report.Stop()
	for left := clients; left > 0; {
		select {
		case err := <-done:
			left--
			if err != nil {
				t.Error(err)
			}
		case <-report.C:
			t.Logf("%d of %d commands verified", verified.Load(), total)
		}
	}
	t.Logf("%d commands verified", verified.Load())
}

// prober is one identity. It knows what each of its replies must be.
type prober struct {
	r       *rig
	id      int
	others  int // identities there are
	epoch   int
	rnd     *rand.Rand
	conf    *tls.Config
	model   map[string]string
	resp3   bool
	patient bool // makes calls that wait
	conn    net.Conn
}

func (c *prober) run(verified *atomic.Int64, total int64) error {
	for verified.Load() < total {
		if err := c.connect(); err != nil {
			return fmt.Errorf("client %d: connecting: %w", c.id, err)
		}
		for range 1 + c.rnd.IntN(40) {
			n, gone, err := c.batch()
			verified.Add(int64(n))
			if err != nil {
				c.conn.Close()
				return fmt.Errorf("client %d epoch %d: %w", c.id, c.epoch, err)
			}
			if gone {
				break
			}
		}
		c.conn.Close()
	}
	return nil
}

// connect begins an epoch: a fresh connection and fresh keys, so that what an
// abandoned batch did or did not do does not matter.
func (c *prober) connect() error {
	c.epoch++
	c.model = map[string]string{}
	c.resp3 = c.rnd.IntN(2) == 0
	var err error
	if c.rnd.IntN(2) == 0 {
		c.conn, err = net.Dial("tcp", c.r.addr("plain"))
	} else {
		c.conn, err = tls.Dial("tcp", c.r.addr("gateway"), c.conf)
	}
	if err != nil {
		return err
	}
	c.conn.SetDeadline(time.Now().Add(60 * time.Second))
	user := fmt.Sprint("u", c.id)
	return c.exchange(redistest.Encode("AUTH", user, user+"-pw"), []byte("+OK\r\n"), func() error {
		if !c.resp3 {
			return nil
		}
		if _, err := c.conn.Write(redistest.Encode("HELLO", "3")); err != nil {
			return err
		}
		return c.expectPrefix("%7\r\n")
	})
}

// exchange sends a request, compares its reply and goes on.
func (c *prober) exchange(request, want []byte, next func() error) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.conn, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %.60q, want %.60q", got, want)
	}
	return next()
}

// expectPrefix reads HELLO's reply: seven pairs, whatever they say.
func (c *prober) expectPrefix(head string) error {
	cl := redistest.NewClient(c.conn)
	if _, err := cl.Receive(); err != nil {
		return fmt.Errorf("HELLO 3 (%s): %w", head, err)
	}
	return nil
}

// batch sends a random pipeline in random pieces and verifies its replies. gone
// says that it ended by leaving in one way or another.
func (c *prober) batch() (verified int, gone bool, err error) {
	var requests []byte
	var replies [][]byte
	leave := c.rnd.IntN(60)
	c.patient = leave != 2 // whoever half-closes while a call of his waits is gone, as in Redis
	for range 1 + c.rnd.IntN(60) {
		request, reply := c.command()
		requests = append(requests, request...)
		replies = append(replies, reply)
	}
	if leave == 0 { // vanish in the middle of the request
		requests = requests[:c.rnd.IntN(len(requests))]
	}
	c.conn.SetDeadline(time.Now().Add(60 * time.Second))
	sent := make(chan error, 1)
	cuts := c.cuts(len(requests))
	go func() { sent <- c.send(requests, cuts) }()
	switch leave {
	case 0, 1: // vanish with replies owed
		<-sent
		if tcp, ok := c.conn.(*net.TCPConn); ok && c.rnd.IntN(2) == 0 {
			tcp.SetLinger(0)
		}
		return 0, true, nil
	case 2: // half-close: everything owed still comes, then the end
		if err := <-sent; err != nil {
			return 0, true, err
		}
		if err := c.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			return 0, true, err
		}
	case 3: // vanish in the middle of the replies
		defer func() { <-sent }()
		replies = replies[:c.rnd.IntN(len(replies))]
		n, err := c.verify(replies)
		c.conn.Close()
		return n, true, err
	case 4: // killed by another session of its user, anywhere in the replies
		defer func() { <-sent }()
		n, err := c.killed(replies)
		c.conn.Close()
		return n, true, err
	}
	n, err := c.verify(replies)
	if err != nil {
		return n, true, err
	}
	if leave == 2 {
		if extra, err := io.ReadAll(c.conn); len(extra) > 0 || err != nil {
			return n, true, fmt.Errorf("after the half-close: %d bytes too many, %v", len(extra), err)
		}
		return n, true, nil
	}
	return n, false, <-sent
}

// killed has the connection killed and verifies what still came: the beginning
// of what was owed, cut somewhere.
func (c *prober) killed(replies [][]byte) (int, error) {
	second, err := redistest.Dial("tcp", c.r.addr("plain"), nil)
	if err != nil {
		return 0, err
	}
	defer second.Close()
	user := fmt.Sprint("u", c.id)
	if _, err := second.Do("AUTH", user, user+"-pw"); err != nil {
		return 0, fmt.Errorf("the second session: %w", err)
	}
	if n, err := second.Do("CLIENT", "KILL", "ADDR", c.conn.LocalAddr().String()); n != int64(1) || err != nil {
		return 0, fmt.Errorf("CLIENT KILL: %v, %w", n, err)
	}
	got, err := io.ReadAll(c.conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return 0, errors.New("a killed connection stays open")
	}
	whole := 0
	for _, want := range replies {
		n := min(len(got), len(want))
		if !bytes.Equal(got[:n], want[:n]) {
			return whole, fmt.Errorf("reply %d of %d is %.80q, want %.80q", whole, len(replies), got[:n], want)
		}
		if got = got[n:]; n < len(want) {
			return whole, nil
		}
		whole++
	}
	if len(got) > 0 {
		return whole, fmt.Errorf("%d bytes too many after a kill", len(got))
	}
	return whole, nil
}

func (c *prober) verify(replies [][]byte) (int, error) {
	var got []byte
	for i, want := range replies {
		if cap(got) < len(want) {
			got = make([]byte, len(want))
		}
		got = got[:len(want)]
		if n, err := io.ReadFull(c.conn, got); err != nil {
			return i, fmt.Errorf("reply %d of %d: %d bytes and %w", i, len(replies), n, err)
		}
		if !bytes.Equal(got, want) {
			return i, fmt.Errorf("reply %d of %d is %.80q, want %.80q", i, len(replies), got, want)
		}
	}
	return len(replies), nil
}

// cuts chooses where a pipeline of n bytes is split.
func (c *prober) cuts(n int) []int {
	var cuts []int
	for range c.rnd.IntN(5) {
		if n > 0 {
			cuts = append(cuts, 1+c.rnd.IntN(max(1, n/2)))
		}
	}
	return cuts
}

// send writes b in pieces of the given lengths, the rest at once.
func (c *prober) send(b []byte, pieces []int) error {
	for _, n := range pieces {
		n = min(n, len(b))
		if _, err := c.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	_, err := c.conn.Write(b)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// command makes a random command and the reply its own history asks for.
func (c *prober) command() (request, reply []byte) {
	key := fmt.Sprintf("u%d:%d:%d", c.id, c.epoch, c.rnd.IntN(20))
	old, had := c.model[key]
	if c.rnd.IntN(40) == 0 {
		return c.pinned(key)
	}
	switch c.rnd.IntN(12) {
	case 0, 1, 2:
		v := c.value(key)
		c.model[key] = v
		return redistest.Encode("SET", key, v), []byte("+OK\r\n")
	case 3, 4, 5:
		return redistest.Encode("GET", key), c.bulk(old, had)
	case 6:
		return redistest.Encode("STRLEN", key), fmt.Appendf(nil, ":%d\r\n", len(old))
	case 7:
		delete(c.model, key)
		if had {
			return redistest.Encode("DEL", key), []byte(":1\r\n")
		}
		return redistest.Encode("DEL", key), []byte(":0\r\n")
	case 8: // answered by the proxy, between the others
		v := c.value("echo")
		return redistest.Encode("ECHO", v), c.bulk(v, true)
	case 9:
		other := fmt.Sprintf("u%d:x", (c.id+1)%c.others)
		return redistest.Encode("GET", other), []byte("-NOPERM No permissions to access a key\r\n")
	case 10:
		key2 := fmt.Sprintf("u%d:%d:%d", c.id, c.epoch, c.rnd.IntN(20))
		old2, had2 := c.model[key2]
		return redistest.Encode("MGET", key, key2), append(append([]byte("*2\r\n"), c.bulk(old, had)...), c.bulk(old2, had2)...)
	default:
		v := c.value(key)
		c.model[key] = v
		return redistest.Encode("SET", key, v, "GET"), c.bulk(old, had)
	}
}

// pinned makes several commands that need a connection of their own.
func (c *prober) pinned(key string) (request, reply []byte) {
	old, had := c.model[key]
	v := c.value(key)
	say := func(want []byte, args ...string) {
		request = append(request, redistest.Encode(args...)...)
		reply = append(reply, want...)
	}
	ok, queued := []byte("+OK\r\n"), []byte("+QUEUED\r\n")
	kind := c.rnd.IntN(7)
	if !c.patient && (kind == 3 || kind == 4) {
		kind = 0
	}
	switch kind {
	case 0:
		say(ok, "MULTI")
		say(queued, "GET", key)
		say(queued, "SET", key, v)
		say(queued, "GET", key)
		say(append(append(append([]byte("*3\r\n"), c.bulk(old, had)...), ok...), c.bulk(v, true)...), "EXEC")
		c.model[key] = v
	case 1:
		say(ok, "WATCH", key)
		say(c.bulk(old, had), "GET", key)
		say(ok, "MULTI")
		say(queued, "SET", key, v)
		say(append([]byte("*1\r\n"), ok...), "EXEC")
		c.model[key] = v
	case 2:
		say(ok, "WATCH", key)
		say(ok, "SET", key, v)
		say(ok, "MULTI")
		say(queued, "SET", key, "never")
		say(c.none(), "EXEC")
		c.model[key] = v
	case 3:
		list := key + ":l"
		say([]byte(":1\r\n"), "RPUSH", list, v)
		say(append(append([]byte("*2\r\n"), c.bulk(list, true)...), c.bulk(v, true)...), "BLPOP", list, "0")
	case 4:
		say(c.none(), "BLPOP", key+":none", "0.001")
	case 5:
		say(c.told("subscribe", key, 1), "SUBSCRIBE", key)
		if c.resp3 { // its own message comes to it before the answer
			push := append([]byte(">3\r\n"), c.bulk("message", true)...)
			push = append(append(push, c.bulk(key, true)...), c.bulk(v, true)...)
			say(append(push, ":1\r\n"...), "PUBLISH", key, v)
		}
		say(c.told("unsubscribe", key, 0), "UNSUBSCRIBE", key)
	default:
		if !c.resp3 {
			say(c.bulk(old, had), "GET", key)
			break
		}
		say(ok, "CLIENT", "TRACKING", "ON")
		say(c.bulk(old, had), "GET", key)
		say(append(append([]byte("+OK\r\n>2\r\n"), c.bulk("invalidate", true)...), append([]byte("*1\r\n"), c.bulk(key, true)...)...), "SET", key, v)
		say(ok, "CLIENT", "TRACKING", "OFF")
		c.model[key] = v
	}
	return request, reply
}

// told is the answer to subscribing or the opposite.
func (c *prober) told(kind, channel string, n int) []byte {
	head := "*3\r\n"
	if c.resp3 {
		head = ">3\r\n"
	}
	return fmt.Appendf(append(append([]byte(head), c.bulk(kind, true)...), c.bulk(channel, true)...), ":%d\r\n", n)
}

// none is an array that is not there.
func (c *prober) none() []byte {
	if c.resp3 {
		return []byte("_\r\n")
	}
	return []byte("*-1\r\n")
}

func (c *prober) bulk(v string, is bool) []byte {
	switch {
	case is:
		return fmt.Appendf(nil, "$%d\r\n%s\r\n", len(v), v)
	case c.resp3:
		return []byte("_\r\n")
	}
	return []byte("$-1\r\n")
}

// value carries its owner and a nonce, and is now and then large.
func (c *prober) value(key string) string {
	head := key + "/" + strconv.FormatUint(c.rnd.Uint64(), 36) + "/"
	size := c.rnd.IntN(100)
	switch n := c.rnd.IntN(100); {
	case n >= 99:
		size = c.rnd.IntN(60_000)
	case n >= 92:
		size = c.rnd.IntN(4_000)
	}
	return head + string(bytes.Repeat([]byte{byte('a' + c.rnd.IntN(26))}, size))
}
