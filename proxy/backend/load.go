package backend

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

// Load is what a node last said of what it has to do. A member that it did not
// give is 0.
type Load struct {
	Memory      int64         // bytes in use
	MemoryLimit int64         // maxmemory; 0: none
	Commands    int64         // a second, by the node's own reckoning
	CPU         time.Duration // used since the node started
	Clients     int64         // connected
}

// mostInfo bounds what a node may answer to INFO.
const mostInfo = 256 << 10

// loads is what the nodes of a Backend said. Safe for concurrent use.
type loads struct {
	once    sync.Once
	cancel  context.CancelFunc
	running sync.WaitGroup
	known   sync.Map // Endpoint -> loadSeen
}

type loadSeen struct {
	load Load
	at   time.Time
}

// weigh begins to ask every node for its load, where that is wanted.
func (b *Backend) weigh() {
	every := b.opts.LoadEvery
	if every <= 0 {
		return
	}
	b.loads.once.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		b.loads.cancel = cancel
		b.loads.running.Go(func() {
			var line infoLine
			defer line.close()
			for b.askLoads(ctx, &line); pause(ctx, jittered(every)) == nil; {
				b.askLoads(ctx, &line)
			}
		})
	})
}

// unweigh ends that.
func (b *Backend) unweigh() {
	b.loads.once.Do(func() {})
	if b.loads.cancel != nil {
		b.loads.cancel()
	}
	b.loads.running.Wait()
}

// askLoads asks every node that answers.
func (b *Backend) askLoads(ctx context.Context, line *infoLine) {
	for _, e := range b.Places() {
		if b.control != nil && !b.control.Answers(e) {
			continue
		}
		var text []byte
		var err error
		if b.control == nil {
			text, err = line.ask(ctx, b)
		} else {
			var reply any
			reply, err = b.control.ask(ctx, peer{at: e}, "INFO")
			said, _ := reply.(string)
			text = []byte(said)
		}
		if l, ok := parseLoad(text); err == nil && ok {
			b.loads.known.Store(e, loadSeen{l, time.Now()})
		}
	}
	b.loads.known.Range(func(k, v any) bool {
		if time.Since(v.(loadSeen).at) > b.freshLoad() {
			b.loads.known.Delete(k)
		}
		return true
	})
}

// freshLoad is for how long a node's word on its load is worth repeating.
func (b *Backend) freshLoad() time.Duration { return 3*b.opts.LoadEvery + dialTimeout }

// Load is what a node said of its load a short while ago. false: it did not, or
// may not be asked.
func (b *Backend) Load(address string) (Load, bool) {
	for _, network := range [...]string{"tcp", "unix"} {
		if v, ok := b.loads.known.Load(Endpoint{network, address}); ok && time.Since(v.(loadSeen).at) <= b.freshLoad() {
			return v.(loadSeen).load, true
		}
	}
	return Load{}, false
}

// infoLine is the connection over which a single node is asked: clients' calls do
// not wait behind INFO.
type infoLine struct{ to *node }

func (l *infoLine) close() {
	if l.to != nil {
		l.to.close()
		l.to = nil
	}
}

func (l *infoLine) ask(ctx context.Context, b *Backend) ([]byte, error) {
	if l.to == nil {
		n, err := b.connect(Key{Proto: 2, As: asControl})
		if err != nil {
			return nil, err
		}
		l.to = n
	}
	stop, err := l.to.within(ctx, b.opts.DialTimeout)
	if err != nil {
		l.close()
		return nil, err
	}
	defer stop()
	d := dialogue{conn: l.to.conn(), most: mostInfo}
	said, err := d.ask("INFO", "INFO")
	if refused := (*RefusedError)(nil); err != nil && !errors.As(err, &refused) {
		l.close()
	}
	return said, err
}

// parseLoad reads what INFO says. false: nothing of it is there.
func parseLoad(info []byte) (l Load, ok bool) {
	if len(info) > mostInfo {
		return l, false
	}
	for line := range bytes.Lines(info) {
		name, value, found := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte{':'})
		if !found || len(value) > 32 {
			continue
		}
		into := (*int64)(nil)
		switch string(name) {
		case "used_memory":
			into = &l.Memory
		case "maxmemory":
			into = &l.MemoryLimit
		case "instantaneous_ops_per_sec":
			into = &l.Commands
		case "connected_clients":
			into = &l.Clients
		case "used_cpu_sys", "used_cpu_user":
			seconds, err := strconv.ParseFloat(string(value), 64)
			if err == nil && seconds >= 0 && seconds < 1e9 {
				l.CPU += time.Duration(seconds * float64(time.Second))
				ok = true
			}
			continue
		default:
			continue
		}
		if n, err := strconv.ParseUint(string(value), 10, 62); err == nil {
			*into, ok = int64(n), true
		}
	}
	return l, ok
}
