package resp

import (
	"bytes"
	"strconv"
	"testing"
)

// afterLogin holds the limits most tests read with.
var afterLogin = Limits{Args: 1 << 20, Bulk: 512 << 20, Inline: 64 << 10, Request: 512 << 20}

// command is AppendCommand for strings.
func command(args ...string) []byte {
	var argv [][]byte
	for _, a := range args {
		argv = append(argv, []byte(a))
	}
	return AppendCommand(nil, argv)
}

func BenchmarkReader(b *testing.B) {
	many := []string{"RPUSH", "list"}
	for i := range 1000 {
		many = append(many, strconv.Itoa(i))
	}
	for _, bench := range []struct {
		name string
		one  []byte
	}{
		{"GET", command("GET", "key:000000012345")},
		{"SET_64B", command("SET", "key:000000012345", string(make([]byte, 64)))},
		{"MSET_10_keys", command("MSET", "k1", "v1", "k2", "v2", "k3", "v3", "k4", "v4", "k5", "v5",
			"k6", "v6", "k7", "v7", "k8", "v8", "k9", "v9", "k10", "v10")},
		{"RPUSH_1000", command(many...)},
		{"inline_PING", []byte("PING\r\n")},
	} {
		b.Run(bench.name, func(b *testing.B) {
			const pipeline = 64
			stream := bytes.Repeat(bench.one, pipeline)
			var r Reader
			r.Reset(afterLogin, nil)
			b.ReportAllocs()
			for n := 0; n < b.N; n += pipeline {
				r.Feed(stream)
				for range pipeline {
					if args, err := r.Next(); args == nil {
						b.Fatal(err)
					}
				}
				r.Release()
			}
		})
	}
}

// A value of 16 KiB as a TLS connection delivers it, in two records that the
// command does not begin with.
func BenchmarkReaderSplitSET_16KiB(b *testing.B) {
	stream := command("SET", "key:000000012345", string(make([]byte, 16<<10)))
	var list freeList
	var r Reader
	r.Reset(afterLogin, &list)
	b.ReportAllocs()
	for b.Loop() {
		r.Feed(stream[:9000])
		if args, err := r.Next(); args != nil || err != nil {
			b.Fatal("whole too soon", err)
		}
		r.Release()
		r.Feed(stream[9000:])
		if args, err := r.Next(); args == nil {
			b.Fatal(err)
		}
		r.Release()
	}
}

// freeList is the simplest Buffers.
type freeList struct {
	free     []byte
	got, put int
}

func (l *freeList) Get(n int) []byte {
	l.got++
	if cap(l.free) >= n {
		b := l.free
		l.free = nil
		return b
	}
	return make([]byte, n)
}

func (l *freeList) Put(b []byte) {
	l.put++
	l.free = b[:0]
}

func BenchmarkFramer(b *testing.B) {
	for _, bench := range []struct {
		name string
		one  string
	}{
		{"OK", "+OK\r\n"},
		{"integer", ":12345\r\n"},
		{"bulk_64B", "$64\r\n" + string(make([]byte, 64)) + "\r\n"},
		{"null", "$-1\r\n"},
		{"error", "-MOVED 3999 127.0.0.1:6381\r\n"},
		{"array_100", "*100\r\n" + string(bytes.Repeat([]byte("$4\r\nabcd\r\n"), 100))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			const pipeline = 64
			stream := bytes.Repeat([]byte(bench.one), pipeline)
			var f Framer
			f.Reset(3)
			b.ReportAllocs()
			for n := 0; n < b.N; n += pipeline {
				for p := stream; len(p) > 0; {
					size, _, err := f.Next(p)
					if err != nil {
						b.Fatal(err)
					}
					p = p[size:]
				}
			}
		})
	}
}

func BenchmarkAppendCommand(b *testing.B) {
	args := [][]byte{[]byte("SET"), []byte("key:000000012345"), make([]byte, 64)}
	out := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		out = AppendCommand(out[:0], args)
	}
}
