package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestWelch(t *testing.T) {
	sample := func(values ...float64) (m moments) {
		for _, v := range values {
			m.add(v)
		}
		return m
	}
	t.Run("is the textbook's", func(t *testing.T) {
		a, b := sample(27.5, 21.0, 19.0, 23.6, 17.0, 17.9), sample(27.1, 22.0, 20.8, 23.4, 23.4, 23.5)
		if math.Abs(a.mean-21) > 1e-9 || math.Abs(a.squares-78.62) > 1e-9 {
			t.Fatalf("%+v", a)
		}
		// (21 − 140.2/6) / √(78.62/5/6 + 22.41333/5/6)
		if got, want := welch(a, b), -1.28963; math.Abs(got-want) > 1e-4 {
			t.Fatalf("%v, want %v", got, want)
		}
	})
	t.Run("finds a difference of a tenth of the deviation in as many samples as are taken", func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		var same, other, slower moments
		for range timingSamples {
			same.add(40_000 + 5_000*r.NormFloat64())
			other.add(40_000 + 5_000*r.NormFloat64())
			slower.add(40_500 + 5_000*r.NormFloat64())
		}
		if got := math.Abs(welch(same, other)); got >= timingMost {
			t.Errorf("equal ones differ by %v", got)
		}
		if got := math.Abs(welch(same, slower)); got < timingMost {
			t.Errorf("unequal ones differ by %v only", got)
		}
	})
}

func TestFailuresAskForAsMuch(t *testing.T) {
	for _, f := range failures {
		if len(f.user) != len(failures[0].user) || len(f.password) != len(failures[0].password) {
			t.Errorf("%s: longer or shorter than %s", f.name, failures[0].name)
		}
	}
}
