package backend

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// Member is a node of a static distribution.
type Member struct {
	Name   string // what is hashed to place it on the ketama ring
	Weight int    // its share, 1 or more
}

// Distribution spreads keys over nodes that know nothing of each other, the
// same way twemproxy does. Immutable, safe for concurrent use.
type Distribution struct {
	kind   string
	name   string // of the hash function
	hash   func([]byte) uint32
	tag    [2]byte // what stands around the part of a key that is hashed; zero: the whole key
	points []point // of ketama, by value
	turns  []int   // of modula and random: a member for each unit of weight
	size   int
	only   int // the member, where there is one

	members []Member
}

// point is a place on the ketama ring.
type point struct {
	value  uint32
	member int
}

// Distributions names the ways to spread keys, for a configuration.
func Distributions() []string { return []string{"ketama", "modula", "random"} }

// Hashes names the hash functions, for a configuration.
func Hashes() []string { return slices.Sorted(maps.Keys(hashes)) }

// NewDistribution builds one. kind and hash are of Distributions and Hashes; tag
// is empty or two bytes.
func NewDistribution(kind, hash, tag string, members []Member) (*Distribution, error) {
	d := &Distribution{kind: kind, name: hash, hash: hashes[hash], size: len(members), members: members}
	switch {
	case d.hash == nil:
		return nil, fmt.Errorf("no hash function %q", hash)
	case len(tag) != 0 && len(tag) != 2:
		return nil, fmt.Errorf("a hash tag is two characters, not %q", tag)
	case len(members) == 0:
		return nil, fmt.Errorf("nobody to spread keys over")
	}
	copy(d.tag[:], tag)
	for _, m := range members {
		if m.Weight < 1 || m.Weight > maxWeight {
			return nil, fmt.Errorf("weight %d of %s is not between 1 and %d", m.Weight, m.Name, maxWeight)
		}
	}
	order, err := inOrder(members)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "ketama":
		d.points = ketamaRing(members, order)
	case "modula":
		for _, i := range order {
			d.turns = append(d.turns, slices.Repeat([]int{i}, members[i].Weight)...)
		}
	case "random":
		d.turns = order
	default:
		return nil, fmt.Errorf("no distribution %q", kind)
	}
	return d, nil
}

// inOrder gives the members' indices as twemproxy orders them: by the length of
// the name, then by its bytes.
func inOrder(members []Member) ([]int, error) {
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := members[a].Name, members[b].Name
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
	for i := 1; i < len(order); i++ {
		if name := members[order[i]].Name; name == members[order[i-1]].Name {
			return nil, fmt.Errorf("two members are named %s", name)
		}
	}
	return order, nil
}

// maxWeight bounds the ring: a weight is a share, and a hundred steps tell any two apart.
const maxWeight = 1000

// ketamaPoints is how many points each node has where all weigh the same.
const ketamaPoints = 160

// ketamaRing places the members. The arithmetic is in single precision, as
// twemproxy's is: a point more or less would move keys.
func ketamaRing(members []Member, order []int) []point {
	total := 0
	for _, m := range members {
		total += m.Weight
	}
	var ring []point
	for _, i := range order {
		m := members[i]
		share := float32(m.Weight) / float32(total)
		quarter := float32(share*ketamaPoints) / 4
		n := int(math.Floor(float64(float32(float64(float32(quarter*float32(len(members)))) + 1e-10))))
		for j := range n {
			sum := md5.Sum([]byte(m.Name + "-" + strconv.Itoa(j)))
			for k := range 4 {
				ring = append(ring, point{ketamaPoint(sum, k), i})
			}
		}
	}
	slices.SortStableFunc(ring, func(a, b point) int { return cmp.Compare(a.value, b.value) })
	return ring
}

// same reports whether two put every key in the same place.
func (d *Distribution) same(o *Distribution) bool {
	if d == nil || o == nil {
		return d == o
	}
	return d.kind == o.kind && d.name == o.name && d.tag == o.tag && d.size == o.size &&
		slices.Equal(d.points, o.points) && slices.Equal(d.turns, o.turns)
}

// Of gives the index of the member that a key belongs to.
func (d *Distribution) Of(key []byte) int {
	switch {
	case d.size == 1:
		return d.only
	case d.kind == "random":
		return d.turns[rand.IntN(len(d.turns))]
	}
	value := uint32(0)
	if key = d.tagged(key); len(key) > 0 {
		value = d.hash(key)
	}
	if d.kind == "modula" {
		return d.turns[value%uint32(len(d.turns))]
	}
	low, high := 0, len(d.points) // by hand, as it is done for every key
	for low < high {
		if mid := int(uint(low+high) / 2); d.points[mid].value < value {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(d.points) {
		low = 0
	}
	return d.points[low].member
}

// tagged is the part of a key that is hashed.
func (d *Distribution) tagged(key []byte) []byte {
	if d.tag == [2]byte{} {
		return key
	}
	if open := bytes.IndexByte(key, d.tag[0]); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], d.tag[1]); n > 0 {
			return key[open+1 : open+1+n]
		}
	}
	return key
}
