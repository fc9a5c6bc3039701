package main

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// shardCount is how many nodes stand behind the proxies that split calls.
const shardCount = 4

// splitKeyspace is from how many keys redis-benchmark draws the ten of each MSET.
const splitKeyspace = "1000000"

// startShards starts the nodes that keys are spread over.
func (r *rig) startShards(ctx context.Context) error {
	for range shardCount {
		s, err := redistest.Open(ctx)
		if err != nil {
			return err
		}
		r.shards = append(r.shards, s)
	}
	return nil
}

func (r *rig) closeShards() error {
	var errs []error
	for _, s := range r.shards {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// prepareShardedNutcracker is prepareNutcracker before the shards.
func prepareShardedNutcracker(r *rig, dir, listen string) ([]string, error) {
	path := filepath.Join(dir, "nutcracker.yml")
	_, stats, err := freeAddress()
	if err != nil {
		return nil, err
	}
	text := `
bench:
  listen: ` + listen + `
  hash: fnv1a_64
  distribution: ketama
  redis: true
  preconnect: true
  server_connections: 1
  servers:
`
	for i, s := range r.shards {
		text += "    - " + s.Addr() + ":1 " + shardName(i) + "\n"
	}
	return []string{"-c", path, "-a", "127.0.0.1", "-s", stats, "-v", "0", "-p", filepath.Join(dir, "nutcracker.pid")}, write(path, text)
}

func shardName(i int) string { return "shard" + strconv.Itoa(i) }

// shardsListener is the listener in sallyport's file before the shards, where there are any.
func shardsListener(r *rig, addresses map[string]string) string {
	if len(r.shards) == 0 {
		return ""
	}
	return "  - name: sharded\n    address: " + addresses["sharded"] + "\n    backend: shards\n"
}

// shardsConfig is the backend in sallyport's file that puts keys where that nutcracker does.
func shardsConfig(r *rig) string {
	if len(r.shards) == 0 {
		return ""
	}
	text := `  shards:
    topology: sharded
    distribution: ketama
    hash: fnv1a_64
    nodes:
`
	for i, s := range r.shards {
		text += "      - { address: '" + s.Addr() + "', name: " + shardName(i) + " }\n"
	}
	return text
}

// perRequest is by what the commands that the target's one watched node has run are multiplied to count requests. Of a
// call that is split each shard sees a part, and one of which it has no key it does not see.
func (w *watcher) perRequest(requests int) (float64, error) {
	if len(w.target.beside) == 0 {
		return 1, nil
	}
	s, err := w.sample()
	if err != nil {
		return 0, err
	}
	seen := s.requests - w.zero
	if seen <= 0 {
		return 0, errors.New("the watched shard has seen no command of the run")
	}
	return float64(requests) / float64(seen), nil
}
