package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// Can a stranger tell by the clock why a login failed, and so whether a user
// exists? Logins that fail in different ways are sent by turns, in random
// order, over one connection, with the throttle and the fixed delay of failures
// off: both would hide what is looked for.

const (
	timingSamples = 20_000 // of each way
	timingQuick   = 4_000
	timingWarmUp  = 500
	timingMost    = 4.5 // Welch's |t| between any two ways
)

// failure is a way in which a login fails. The names have one length: longer
// ones take longer to read, which tells nothing but what the client sent.
type failure struct{ name, user, password string }

const timingPassword = "correct-horse-battery"

var failures = []failure{
	{"unknown user", "nobody", timingPassword},
	{"user is off", "absent", timingPassword},
	{"wrong password", "worker", "correct-horse-buttery"},
	{"certificate only", "hushed", timingPassword},
}

const timingReply = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

// moments are the mean and variance of samples, gathered one by one (Welford).
type moments struct {
	n, mean, squares float64
}

func (m *moments) add(x float64) {
	m.n++
	d := x - m.mean
	m.mean += d / m.n
	m.squares += d * (x - m.mean)
}

// welch is Welch's t between two sets of samples.
func welch(a, b moments) float64 {
	return (a.mean - b.mean) / math.Sqrt(a.squares/(a.n-1)/a.n+b.squares/(b.n-1)/b.n)
}

// fastest gives the moments of each kind's samples up to a share of all kinds'
// together. What took longest was held up by the machine, and would drown a
// difference that a patient stranger could find.
func fastest(taken [][]float64, share float64) []moments {
	pooled := slices.Sorted(func(yield func(float64) bool) {
		for _, t := range taken {
			for _, x := range t {
				if !yield(x) {
					return
				}
			}
		}
	})
	limit := pooled[int(share*float64(len(pooled)-1))]
	kinds := make([]moments, len(taken))
	for i, t := range taken {
		for _, x := range t {
			if x <= limit {
				kinds[i].add(x)
			}
		}
	}
	return kinds
}

// timing measures, prints the table, and returns how many pairs can be told apart.
func timing(ctx context.Context, o options) (missed int, err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return 0, err
	}
	binary := o.sallyport
	if binary == "" {
		if binary, err = buildSallyport(ctx, root); err != nil {
			return 0, err
		}
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	redis, err := redistest.Open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, redis.Close()) }()
	t, err := startGuarded(ctx, dir, binary, redis)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	samples := timingSamples
	if o.quick {
		samples = timingQuick
	}
	taken, err := sampleFailures(ctx, t.address["plain"], samples)
	if err != nil {
		return 0, err
	}
	return printTiming(taken, samples), nil
}

// startGuarded runs a sallyport whose users fail in every way.
func startGuarded(ctx context.Context, dir, binary string, redis *redistest.Server) (*target, error) {
	address, _, err := freeAddress()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(timingPassword))
	hash := hex.EncodeToString(digest[:])
	other := sha256.Sum256([]byte(rand.Text()))
	policy := `users:
  absent: { rules: "off #` + hash + ` ~* +@all" }
  worker: { rules: "on #` + hash + ` #` + hex.EncodeToString(other[:]) + ` ~* +@all" }
  hushed: { rules: "on ~* +@all", certificate: { cn: hushed } }
`
	config := `listeners:
  - { name: plain, address: ` + address + `, backend: main }
backends:
  main: { topology: standalone, nodes: [` + redis.Addr() + `] }
policy: { file: policy.yaml }
events: [{ sink: file, path: events.jsonl }]
limits: { auth_timeout: 10m, auth_failure_delay: 0s, auth_failures: off }
`
	if err := errors.Join(write(filepath.Join(dir, "policy.yaml"), policy), write(filepath.Join(dir, "sallyport.yaml"), config)); err != nil {
		return nil, err
	}
	t := &target{name: own, address: map[string]string{"plain": address}, redis: redis}
	return t, t.launch(ctx, dir, binary, []string{"serve", "--allow-root", "--config", filepath.Join(dir, "sallyport.yaml")})
}

// sampleFailures times failing logins, in nanoseconds by way. Each round asks
// every way once, in an order of its own, so that a machine that slows down
// slows down all of them.
func sampleFailures(ctx context.Context, address string, samples int) ([][]float64, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in := bufio.NewReader(conn)
	requests := make([][]byte, len(failures))
	for i, f := range failures {
		requests[i] = redistest.Encode("AUTH", f.user, f.password)
	}
	taken := make([][]float64, len(failures))
	for round := range timingWarmUp + samples {
		for _, way := range mathrand.Perm(len(failures)) {
			began := time.Now()
			if _, err := conn.Write(requests[way]); err != nil {
				return nil, err
			}
			reply, err := in.ReadSlice('\n')
			took := time.Since(began)
			if err != nil {
				return nil, err
			}
			if string(reply) != timingReply {
				return nil, fmt.Errorf("%s: the reply is %q", failures[way].name, reply)
			}
			if round >= timingWarmUp {
				taken[way] = append(taken[way], float64(took))
			}
		}
	}
	return taken, nil
}

// printTiming prints what was measured and counts the pairs that differ.
func printTiming(taken [][]float64, samples int) (missed int) {
	fmt.Printf("Failing logins, %d of each kind by turns; throttle and fixed delay off.\n", samples)
	for _, share := range []float64{1, 0.9} {
		kinds := fastest(taken, share)
		fmt.Printf("\nThe fastest %.0f %%:\n\n| kind | mean | deviation |\n| --- | --- | --- |\n", 100*share)
		for i, m := range kinds {
			fmt.Printf("| %s | %.2f µs | %.2f µs |\n", failures[i].name, m.mean/1e3, math.Sqrt(m.squares/(m.n-1))/1e3)
		}
		fmt.Printf("\n| pair | Welch's t | below %v |\n| --- | --- | --- |\n", timingMost)
		for i := range kinds {
			for j := range i {
				t, verdict := welch(kinds[i], kinds[j]), "PASS"
				if math.Abs(t) >= timingMost {
					verdict = "MISS"
					missed++
				}
				fmt.Printf("| %s and %s | %+.2f | %s |\n", failures[j].name, failures[i].name, t, verdict)
			}
		}
	}
	return missed
}
