package loop

// connQueue is a FIFO of connections that survives a panic between two pops.
type connQueue struct {
	list []*Conn
	head int
}

func (q *connQueue) len() int { return len(q.list) - q.head }

func (q *connQueue) push(c *Conn) { q.list = append(q.list, c) }

// pop returns nil when the queue is empty.
func (q *connQueue) pop() *Conn {
	if q.head == len(q.list) {
		return nil
	}
	c := q.list[q.head]
	q.list[q.head] = nil
	q.head++
	switch {
	case q.head == len(q.list):
		q.list, q.head = q.list[:0], 0
	case q.head >= 256 && q.head*2 >= len(q.list):
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	return c
}
