package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

const (
	moverClients = 8  // on each side
	moverTags    = 24 // hash tags of a client: as many slots hold its keys
	moverBursts  = 12 // calls of a pipeline
)

// Slots move from one primary to the others, with the keys in them, while plain
// clients of the proxy write and read them. Each client knows what its own keys
// hold, so it sees a reply that is wrong: a value of the past, of another key, a
// write that ran twice or not at all. A ClusterClient of go-redis does the same
// beside it. Through the proxy nothing is wrong, and no call fails in a way that
// none of the other side did.
func TestSlotsMoveUnderClientsThatNoticeNothing(t *testing.T) {
	redis.SetLogger(silent{})
	seed := *drillSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 40)
	}
	slots := *drillSlots
	if testing.Short() {
		slots = min(slots, 10)
	}
	rig := redistest.StartCluster(t, 3, 0)
	control := redis.NewClusterClient(&redis.ClusterOptions{Addrs: rig.Addrs(), MaxRetries: -1, MaxRedirects: 5, PoolSize: moverClients})
	t.Cleanup(func() { _ = control.Close() })
	proxied := frontOf(t, backend.Options{
		Nodes:   []backend.Endpoint{{Network: "tcp", Address: rig.Addrs()[0]}},
		Routing: backend.Routing{Kind: backend.Cluster, Wait: 2 * time.Second},
	})
	plain := redis.NewClient(&redis.Options{Addr: proxied, MaxRetries: -1, ReadTimeout: 20 * time.Second, PoolSize: moverClients})
	t.Cleanup(func() { _ = plain.Close() })

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var all sync.WaitGroup
	var owners [2][]*owner
	for side, client := range []redis.UniversalClient{plain, control} {
		for i := range moverClients {
			o := newOwner(client, fmt.Sprint([]string{"proxy", "client"}[side], i), slots, rand.New(rand.NewPCG(seed, uint64(100*side+i))))
			o.plain = side == 0
			owners[side] = append(owners[side], o)
			all.Go(func() { o.run(ctx) })
		}
	}
	began := time.Now()
	// Slots of the first primary go to the second and third one by turns.
	for slot := range slots {
		if err := move(rig, slot, rig.Servers[0], rig.Servers[1+slot%2]); err != nil {
			t.Fatalf("slot %d: %v", slot, err)
		}
		if slot%100 == 99 {
			t.Logf("%d of %d slots moved in %v", slot+1, slots, time.Since(began).Round(time.Second))
		}
	}
	// What moved last is used as well.
	for _, o := range slices.Concat(owners[0], owners[1]) {
		seen := o.calls.Load()
		eventually(t, "every client goes on", func() bool { return o.calls.Load() > seen+20*moverBursts })
	}
	stop()
	all.Wait()
	counts, failures := [2]int64{}, [2]map[string]int{{}, {}}
	for side := range owners {
		for _, o := range owners[side] {
			o.readAll()
			counts[side] += o.calls.Load()
			for text, n := range o.failures {
				failures[side][text] += n
			}
			for _, wrong := range o.wrong {
				if side == 0 {
					t.Error(wrong)
				} else {
					t.Log("the client of the cluster's own kind: ", wrong)
				}
			}
		}
	}
	redirected := redirections(t, rig)
	if redirected["ASK"] == 0 || redirected["MOVED"] == 0 {
		t.Errorf("the nodes sent on %v: nothing moved under anybody", redirected)
	}
	t.Logf("seed %d: the nodes answered %v", seed, redirected)
	t.Logf("seed %d: %d slots in %v; calls: %d through the proxy, %d by the client; failed: %v, %v", seed, slots,
		time.Since(began).Round(time.Millisecond), counts[0], counts[1], failures[0], failures[1])
	for text := range maps.Keys(failures[0]) {
		if failures[1][text] == 0 {
			t.Errorf("%d calls through the proxy failed with %q, none of the client's did", failures[0][text], text)
		}
	}
}

// redirections counts what the nodes answered to calls that were not theirs.
func redirections(t *testing.T, rig *redistest.Cluster) map[string]int {
	all := map[string]int{}
	for _, s := range rig.Servers {
		info, err := s.Info("errorstats")
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"ASK", "MOVED", "TRYAGAIN"} {
			n, _ := strconv.Atoi(strings.TrimPrefix(info["errorstat_"+word], "count="))
			all[word] += n
		}
	}
	return all
}

// move takes every third slot's keys one by one, so that calls of two keys find
// them on two nodes, and the others' all at once, as redis-cli does.
func move(rig *redistest.Cluster, slot int, from, to *redistest.Server) error {
	if slot%3 != 0 {
		return rig.MoveSlot(slot, from, to)
	}
	if err := rig.BeginMove(slot, from, to); err != nil {
		return err
	}
	for {
		n, err := rig.MoveKeys(slot, 1, from, to)
		if err != nil {
			return err
		}
		if n == 0 {
			return rig.EndMove(slot, from, to)
		}
	}
}

// owner is a client with keys that nobody else touches, and what they hold.
type owner struct {
	client   redis.UniversalClient
	rnd      *rand.Rand
	tags     []string // of slots that move
	name     string
	plain    bool              // the proxy is one node to it: its calls may name keys of several slots
	counters map[string]int64  // by key
	values   map[string]string // "": absent
	lists    map[string]int64
	unsure   map[string]bool // keys of which a write failed: what they hold is not known
	calls    atomic.Int64
	serial   int
	failures map[string]int
	wrong    []string
}

func newOwner(client redis.UniversalClient, name string, slots int, rnd *rand.Rand) *owner {
	o := &owner{
		client: client, name: name, rnd: rnd, counters: map[string]int64{}, values: map[string]string{}, lists: map[string]int64{},
		unsure: map[string]bool{}, failures: map[string]int{},
	}
	for i := rnd.IntN(1 << 30); len(o.tags) < moverTags; i++ {
		if tag := fmt.Sprint("m", i); backend.SlotOf([]byte(tag)) < slots {
			o.tags = append(o.tags, "{"+tag+"}"+name)
		}
	}
	return o
}

func (o *owner) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch o.rnd.IntN(4) {
		case 0:
			o.several()
		case 1:
			o.transaction()
		default:
			o.burst()
		}
	}
}

func (o *owner) tag() string { return o.tags[o.rnd.IntN(len(o.tags))] }

// failed puts a failure down; after a write that failed nothing is expected of
// its keys any more.
func (o *owner) failed(err error, keys ...string) bool {
	if err == nil || errors.Is(err, redis.Nil) {
		return false
	}
	text := err.Error()
	if words := strings.Fields(text); len(words) > 0 && strings.ToUpper(words[0]) == words[0] {
		text = words[0] // MOVED and the like go on with slots and addresses
		if text == "ERR" {
			text = sorted(err)
		}
	}
	o.failures[text]++
	for _, k := range keys {
		o.unsure[k] = true
	}
	return true
}

func (o *owner) expect(key string, got, want any) {
	if !o.unsure[key] && got != want {
		o.wrong = append(o.wrong, fmt.Sprintf("%s is %v, its owner has %v", key, got, want))
		o.unsure[key] = true // once is enough
	}
}

// burst is a pipeline of calls to single keys, whose order counts.
func (o *owner) burst() {
	ctx := context.Background()
	pipe := o.client.Pipeline()
	type step struct {
		key  string
		cmd  redis.Cmder
		want any
	}
	var steps []step
	for range moverBursts {
		tag := o.tag()
		switch o.rnd.IntN(5) {
		case 0, 1:
			key := tag + ":n"
			o.counters[key]++
			steps = append(steps, step{key, pipe.Incr(ctx, key), o.counters[key]})
		case 2:
			key := tag + ":s"
			o.serial++
			o.values[key] = fmt.Sprint(o.name, "/", o.serial)
			steps = append(steps, step{key, pipe.Set(ctx, key, o.values[key], 0), "OK"})
		case 3:
			key := tag + ":s"
			steps = append(steps, step{key, pipe.Get(ctx, key), o.values[key]})
		default:
			key := tag + ":l"
			o.lists[key]++
			steps = append(steps, step{key, pipe.RPush(ctx, key, o.lists[key]), o.lists[key]})
		}
	}
	_, _ = pipe.Exec(ctx)
	o.calls.Add(int64(len(steps)))
	for _, s := range steps {
		if o.failed(s.cmd.Err(), s.key) {
			continue
		}
		switch cmd := s.cmd.(type) {
		case *redis.IntCmd:
			o.expect(s.key, cmd.Val(), s.want)
		case *redis.StatusCmd:
			o.expect(s.key, cmd.Val(), s.want)
		case *redis.StringCmd:
			o.expect(s.key, cmd.Val(), s.want)
		}
	}
}

// several are calls of several keys. Those of one slot lie on two nodes between the
// two halves of a move, and Redis asks to try again.
func (o *owner) several() {
	ctx := context.Background()
	tag := o.tag()
	keys := []string{tag + ":s", tag + ":t"}
	if o.plain && o.rnd.IntN(2) == 0 {
		for _, i := range o.rnd.Perm(len(o.tags))[:6] {
			if o.tags[i] != tag {
				keys = append(keys, o.tags[i]+":s")
			}
		}
	}
	o.calls.Add(2)
	var pairs []string
	for _, k := range keys {
		o.serial++
		o.values[k] = fmt.Sprint(o.name, "/", o.serial)
		pairs = append(pairs, k, o.values[k])
	}
	if o.failed(o.client.MSet(ctx, pairs).Err(), keys...) {
		return
	}
	got, err := o.client.MGet(ctx, keys...).Result()
	if o.failed(err) {
		return
	}
	if len(got) != len(keys) {
		o.wrong = append(o.wrong, fmt.Sprintf("MGET of %d keys gave %v", len(keys), got))
		return
	}
	for i, k := range keys {
		o.expect(k, got[i], o.values[k])
	}
}

// transaction is MULTI and EXEC on one slot.
func (o *owner) transaction() {
	ctx := context.Background()
	key := o.tag() + ":n"
	o.calls.Add(2)
	var first, second *redis.IntCmd
	o.counters[key] += 2
	_, err := o.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		first, second = p.Incr(ctx, key), p.Incr(ctx, key)
		return nil
	})
	if o.failed(err, key) {
		return
	}
	o.expect(key, first.Val(), o.counters[key]-1)
	o.expect(key, second.Val(), o.counters[key])
}

// readAll compares all keys once more when nothing moves.
func (o *owner) readAll() {
	ctx := context.Background()
	for key, want := range o.values {
		if got, err := o.client.Get(ctx, key).Result(); !o.failed(err) {
			o.expect(key, got, want)
		}
	}
	for key, want := range o.counters {
		if got, err := o.client.Get(ctx, key).Int64(); !o.failed(err) {
			o.expect(key, got, want)
		}
	}
	for key, want := range o.lists {
		if got, err := o.client.LRange(ctx, key, 0, -1).Result(); !o.failed(err) && !o.unsure[key] {
			for i, v := range got {
				o.expect(key, v, fmt.Sprint(i+1))
			}
			o.expect(key, int64(len(got)), want)
		}
	}
}
