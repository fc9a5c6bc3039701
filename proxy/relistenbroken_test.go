package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// choir is a scripted primary to which sessions subscribe, each with names that
// begin with its number: try 1 is the client's own, later ones the proxy's.
type choir struct {
	mu     sync.Mutex
	protos map[int]string
	tries  map[string]int
	cases  map[string]choirCase
}

// choirCase is what happens to one session.
type choirCase struct {
	what   string
	proto  string
	answer func(verb, text string) redistest.Answer // to the first re-subscription
	hears  string                                   // besides what is said to it in the end
	closed bool
}

func (c *choir) play(q redistest.Request) redistest.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	verb := strings.ToLower(q.Args[0])
	switch verb {
	case "role":
		return redistest.Reply("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")
	case "subscribe", "psubscribe":
	default:
		return redistest.Reply("+OK\r\n")
	}
	id := q.Args[1][:3]
	if verb == "subscribe" {
		c.tries[id]++
	}
	text := ""
	for i, name := range q.Args[1:] {
		text += aggregate(c.protos[q.Conn], 3) + bulkOf(verb) + bulkOf(name) + fmt.Sprintf(":%d\r\n", i+1)
	}
	switch try := c.tries[id]; {
	case try == 2:
		return c.cases[id].answer(verb, text)
	case try > 2 && verb == "psubscribe":
		text += messageTo(c.protos[q.Conn], id+"a", "end")
	}
	return redistest.Reply(text)
}

func aggregate(proto string, n int) string {
	if proto == "3" {
		return fmt.Sprintf(">%d\r\n", n)
	}
	return fmt.Sprintf("*%d\r\n", n)
}

func bulkOf(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func messageTo(proto, channel, what string) string {
	return aggregate(proto, 3) + bulkOf("message") + bulkOf(channel) + bulkOf(what)
}

// in answers one verb otherwise than it should be.
func in(verb string, otherwise func(text string) redistest.Answer) func(verb, text string) redistest.Answer {
	return func(v, text string) redistest.Answer {
		if v == verb {
			return otherwise(text)
		}
		return redistest.Reply(text)
	}
}

// Wherever a re-subscription breaks, its client notices nothing of it: it is
// subscribed once more, and reads neither a confirmation nor a part of one. A node
// that confirms something else is not believed, and the session ends.
func TestARebrokenSubscriptionIsNeverHeardOf(t *testing.T) {
	t.Parallel()
	c := &choir{protos: map[int]string{}, tries: map[string]int{}, cases: map[string]choirCase{}}
	add := func(k choirCase) { c.cases[fmt.Sprintf("%03d", len(c.cases))] = k }
	for _, proto := range hellos {
		one := len(aggregate(proto, 3) + bulkOf("subscribe") + bulkOf("000a") + ":1\r\n")
		for n := range 2 * one {
			add(choirCase{what: fmt.Sprint("cut after ", n), proto: proto, answer: in("subscribe", func(text string) redistest.Answer { return redistest.CutAt(n, text) })})
		}
		for n := range one + 3 {
			add(choirCase{what: fmt.Sprint("cut after all channels and ", n), proto: proto, answer: in("psubscribe", func(text string) redistest.Answer { return redistest.CutAt(n, text) })})
		}
		says := func(what, hears string, closed bool, otherwise func(text string) redistest.Answer) {
			add(choirCase{what: what, proto: proto, answer: in("subscribe", otherwise), hears: hears, closed: closed})
		}
		id := fmt.Sprintf("%03d", len(c.cases))
		add(choirCase{what: "a message between the confirmations", proto: proto, hears: "[message " + id + "b mid]", answer: func(verb, text string) redistest.Answer {
			if verb == "subscribe" {
				return redistest.Answer{Bytes: []byte(text[:one] + messageTo(proto, id+"b", "mid") + text[one:]), Split: 7, Gap: time.Millisecond}
			}
			return redistest.SplitEvery(1, text+messageTo(proto, id+"a", "end"))
		}})
		says("not now", "", false, func(string) redistest.Answer {
			return redistest.Reply("-LOADING Redis is loading the dataset in memory\r\n")
		})
		says("not you", "", false, func(string) redistest.Answer { return redistest.Reply("-NOPERM no\r\n") })
		says("one confirmation too many", "", false, func(text string) redistest.Answer { return redistest.Reply(text + text[:one]) })
		says("one too few, then another's", "", false, func(text string) redistest.Answer {
			return redistest.Reply(text[:one] + strings.Replace(text[:one], "subscribe", "psubscribe", 1))
		})
		says("another channel", "", true, func(text string) redistest.Answer { return redistest.Reply(strings.ReplaceAll(text, "a\r\n", "x\r\n")) })
		says("the wrong order", "", true, func(text string) redistest.Answer { return redistest.Reply(text[one:] + text[:one]) })
		says("an answer to nothing", "", true, func(text string) redistest.Answer { return redistest.Reply("+OK\r\n" + text) })
		says("no RESP", "", false, func(text string) redistest.Answer { return redistest.Reply(text[:one] + "!!\r\n") })
	}
	handshake := redistest.AfterHandshake(c.play)
	node := redistest.NewFake(t, func(q redistest.Request) redistest.Answer {
		if q.Is("HELLO") {
			c.mu.Lock()
			c.protos[q.Conn] = q.Args[1]
			c.mu.Unlock()
		}
		return handshake(q)
	})
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints([]string{node.Addr()})
		s.backend.Connections = backend.Connections{Pinned: 2000, PerUser: 1000}
		s.backend.Routing = backend.Routing{Kind: backend.Replicated, Wait: 30 * time.Second}
	})
	clients := map[string]*redistest.Client{}
	for id, k := range c.cases {
		client := r.login("root")
		if _, err := client.Do("HELLO", k.proto); err != nil {
			t.Fatal(err)
		}
		r.want(client, "[subscribe "+id+"a 1]", "SUBSCRIBE", id+"a", id+"b")
		hears(t, client, "[subscribe "+id+"b 2]")
		r.want(client, "[psubscribe "+id+"p* 1]", "PSUBSCRIBE", id+"p*")
		clients[id] = client
	}
	for conn := range node.Accepted() {
		node.Hangup(conn) // some are the proxy's own
	}
	for id, client := range clients {
		k := c.cases[id]
		var heard []string
		var err error
		for {
			var got any
			if got, err = client.Receive(); err != nil {
				break
			}
			if heard = append(heard, fmt.Sprint(got)); strings.Contains(fmt.Sprint(got), " end]") {
				break
			}
		}
		switch text := strings.Join(heard, ""); {
		case k.closed && (!errors.Is(err, io.EOF) || text != k.hears):
			t.Errorf("RESP%s, %s: heard %q, %v; want its end", k.proto, k.what, text, err)
		case !k.closed && (err != nil || text != k.hears+"[message "+id+"a end]"):
			t.Errorf("RESP%s, %s: heard %q, %v", k.proto, k.what, text, err)
		}
	}
}
