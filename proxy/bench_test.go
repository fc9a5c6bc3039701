package proxy

import (
	"bytes"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/resp"
)

// BenchmarkCall is what a call costs from its bytes to its reply's, without a
// socket or TLS: read, parse, decide, encode, queue, frame, order.
func BenchmarkCall(b *testing.B) {
	for name, request := range map[string][][]byte{
		"GET": {[]byte("GET"), []byte("key:000000000001")},
		"SET": {[]byte("SET"), []byte("key:000000000001"), bytes.Repeat([]byte("x"), 64)},
	} {
		b.Run(name+"_P64", func(b *testing.B) {
			const depth = 64
			st := newStage(b, 1, 1)
			a, n := st.sessions[0], st.nodes[0]
			a.s.pipe = n.pipe
			var requests, replies []byte
			for range depth {
				requests = resp.AppendCommand(requests, request)
				replies = resp.AppendBulk(replies, bytes.Repeat([]byte("v"), 64))
			}
			a.desk.out, n.link.out = make([]byte, 0, 1<<16), make([]byte, 0, 1<<16)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				st.now = st.now.Add(time.Microsecond)
				a.s.feed(requests)
				n.link.out, n.link.attempted = n.link.out[:0], n.link.appended
				if err := n.pipe.Receive(replies); err != nil {
					b.Fatal(err)
				}
				a.desk.out = a.desk.out[:0]
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/depth, "ns/call")
		})
	}
}
