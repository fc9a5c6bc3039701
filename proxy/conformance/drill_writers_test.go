package conformance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// side is one way to the deployment.
type side struct {
	name   string
	client redis.Cmdable
}

// pen is one client: it appends numbers to a list, one call at a time, and keeps
// account of what was said to it.
type pen struct {
	key      string
	client   redis.Cmdable
	acks     []ack
	unsent   map[int]bool   // said not to have been sent
	failures map[string]int // by what they said
	count    atomic.Int64   // of acks
	last     atomic.Int64   // the number acknowledged last
}

// ack is a number whose writing was acknowledged.
type ack struct {
	n         int
	sent, got time.Time
}

// writing is both sides' clients during one failover.
type writing struct {
	pens [2][]*pen
	stop context.CancelFunc
	all  sync.WaitGroup
}

func beginWriting(a arena, round int) *writing {
	ctx, stop := context.WithCancel(context.Background())
	w := &writing{stop: stop}
	for i, s := range a.sides() {
		for j := range drillWriters {
			p := &pen{
				key: fmt.Sprint(a.tag(round), "drill:", round, ":", s.name, ":", j), client: s.client,
				unsent: map[int]bool{}, failures: map[string]int{},
			}
			w.pens[i] = append(w.pens[i], p)
			w.all.Go(func() { p.run(ctx) })
		}
	}
	return w
}

// end stops all clients and waits for their last answers. A second call does nothing.
func (w *writing) end() {
	w.stop()
	w.all.Wait()
}

func (p *pen) run(ctx context.Context) {
	pace := time.NewTicker(drillPace)
	defer pace.Stop()
	for n := 1; ; n++ {
		sent := time.Now()
		err := p.client.RPush(context.Background(), p.key, n).Err()
		if err == nil {
			p.acks = append(p.acks, ack{n, sent, time.Now()})
			p.last.Store(int64(n))
			p.count.Add(1)
		} else {
			text := sorted(err)
			p.failures[text]++
			if text == notSent {
				p.unsent[n] = true
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
	}
}

const notSent = "not sent"

// sorted puts failures into few classes, without addresses.
func sorted(err error) string {
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "ERR backend unavailable: the command was not sent"):
		return notSent
	case strings.HasPrefix(text, "ERR backend connection lost"):
		return "may have run"
	case strings.Contains(text, "connection refused"):
		return "connection refused"
	case strings.Contains(text, "timeout"):
		return "timeout"
	case strings.Contains(text, "EOF"), strings.Contains(text, "reset by peer"), strings.Contains(text, "broken pipe"), strings.Contains(text, "closed"):
		return "connection lost"
	}
	return text[:min(len(text), 40)]
}

// await returns when something is so for every client.
func (w *writing) await(ctx context.Context, what string, ok func(*pen) bool) error {
	return redistest.Await(ctx, what, func() error {
		for i, pens := range w.pens {
			for _, p := range pens {
				if !ok(p) {
					return fmt.Errorf("not so for %s of side %d", p.key, i)
				}
			}
		}
		return nil
	})
}

// copied returns when the replica is seen to follow.
func (w *writing) copied(ctx context.Context, replica *redistest.Server) error {
	return w.await(ctx, "writes reach the replica", func(p *pen) bool {
		at, err := replica.Do("LINDEX", p.key, "-1")
		if err != nil && strings.HasPrefix(err.Error(), "MOVED ") {
			_, _ = replica.Do("READONLY") // the next look is let in, or fails as this one did
			return false
		}
		return err == nil && at != nil
	})
}

// failures gives what was said to each side; after end.
func (w *writing) failures() (all [2]map[string]int) {
	for i, pens := range w.pens {
		all[i] = map[string]int{}
		for _, p := range pens {
			for text, n := range p.failures {
				all[i][text] += n
			}
		}
	}
	return all
}

// arrived returns when every client has had a write acknowledged that is at the
// new primary, and that it made after this was called.
func (w *writing) arrived(ctx context.Context, now *redistest.Server) error {
	marks := map[*pen]int64{}
	for _, pens := range w.pens {
		for _, p := range pens {
			marks[p] = p.last.Load() + 1 // the call under way may have gone anywhere
		}
	}
	return w.await(ctx, "all clients reach the new primary", func(p *pen) bool {
		last := p.last.Load()
		if last <= marks[p] {
			return false
		}
		at, err := now.Do("LINDEX", p.key, "-1")
		n, fault := strconv.ParseInt(fmt.Sprint(at), 10, 64)
		return err == nil && fault == nil && n >= last
	})
}

// verify compares what one side's clients were told with what the new primary has.
func (w *writing) verify(now *redistest.Server, at int, promoted time.Time) (s sight, err error) {
	s.failures = map[string]int{}
	for _, p := range w.pens[at] {
		reply, err := now.Do("LRANGE", p.key, "0", "-1")
		if err != nil {
			return s, err
		}
		there := map[int]int{}
		list, ok := reply.([]any)
		if !ok {
			return s, errors.New("the list is none")
		}
		for _, v := range list {
			n, err := strconv.Atoi(fmt.Sprint(v))
			if err != nil {
				return s, err
			}
			there[n]++
		}
		s.add(p, there, promoted)
	}
	return s, nil
}
