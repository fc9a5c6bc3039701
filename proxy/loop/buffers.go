package loop

import "math/bits"

const (
	minBuffer = 512      // smallest class
	maxBuffer = 1 << 20  // largest class, a busy node connection in one turn; bigger ones go back to the garbage collector
	classes   = 12       // powers of two from minBuffer to maxBuffer
	largeHint = 64 << 10 // what a client's next buffer has at most from the start
	freeLimit = 8 << 20  // what a loop keeps for reuse
)

// Buffers is a loop's free list of byte slices. It belongs to the loop's
// goroutine. The zero value is ready.
type Buffers struct {
	free  [classes][][]byte
	bytes int64 // kept
}

// Get returns a slice of length 0 and capacity of at least n.
func (b *Buffers) Get(n int) []byte {
	if n > maxBuffer {
		return make([]byte, 0, n)
	}
	k := class(n)
	if list := b.free[k]; len(list) > 0 {
		p := list[len(list)-1]
		list[len(list)-1] = nil
		b.free[k] = list[:len(list)-1]
		b.bytes -= int64(cap(p))
		return p
	}
	return make([]byte, 0, minBuffer<<k)
}

// Put takes p back; the caller must not use it any more. Slices outside the
// classes and those over the list's limit are left to the garbage collector.
func (b *Buffers) Put(p []byte) {
	n := cap(p)
	if n < minBuffer || n > maxBuffer || b.bytes+int64(n) > freeLimit {
		return
	}
	k := bits.Len(uint(n)/minBuffer) - 1 // rounded down: Get promises a capacity
	b.free[k] = append(b.free[k], p[:0])
	b.bytes += int64(n)
}

// class is the smallest one that holds n bytes, n at most maxBuffer.
func class(n int) int {
	if n <= minBuffer {
		return 0
	}
	return bits.Len(uint(n-1) / minBuffer)
}
