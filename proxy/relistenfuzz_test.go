package proxy

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/resp"
)

// Whatever a node says has ended, in whatever pieces, nothing is forgotten but a
// channel that is named, and nothing that is not understood is taken for understood.
func FuzzAnEndedChannel(f *testing.F) {
	f.Add([]byte(confirmation(3, "sunsubscribe", "a", 1)), 7)
	f.Add([]byte(confirmation(2, "sunsubscribe", "b", 0)), 1)
	f.Add([]byte(confirmation(2, "sunsubscribe", "", 0)), 64)
	f.Add([]byte(">3\r\n$12\r\nsunsubscribe\r\n$99999999999999999999\r\na\r\n:0\r\n"), 3)
	f.Add([]byte(">3\r\n$12\r\nsunsubscribe\r\n$-1\r\n"), 100)
	f.Add([]byte(">1\r\n$12\r\nsunsubscribe\r\n"), 100)
	f.Add([]byte("*3\r\n$12\r\nsunsubscribe\r\n$2\r\nab\r\n:0\r\n"+strings.Repeat("x", 70<<10)), 900)
	f.Fuzz(func(t *testing.T, said []byte, piece int) {
		var u subscriptions
		for _, name := range []string{"a", "b", "ab"} {
			u.add(bySsubscribe, []byte(name))
		}
		if piece = max(1, piece%1000); len(said) > 0 && len(said) < 32 {
			piece = len(said) // a push comes with its first word whole
		}
		before := u.bytes
		for at := 0; at < len(said); at += piece {
			if at == 0 {
				piece = max(piece, 32)
			}
			end := min(at+piece, len(said))
			u.overheard(said[at:end], at == 0, end == len(said))
		}
		gone := 3 - u.count(bySsubscribe)
		if gone > 1 || gone == 1 && !bytes.Contains(said, unsubscribedWord) || gone == 0 && u.bytes != before {
			t.Fatalf("after %q there are %v", said, u.names)
		}
		if len(u.fewer) > longestEnding || len(said) > 0 && len(u.fewer) > 0 {
			t.Fatalf("%d bytes are kept of a push that is over", len(u.fewer))
		}
	})
}

// A confirmation is taken for the one that is due only if it is that one, in
// whatever pieces it comes.
func FuzzADueConfirmation(f *testing.F) {
	f.Add([]byte(confirmation(3, "subscribe", "a", 1)), "a", 3, true)
	f.Add([]byte(confirmation(2, "subscribe", "a", 1)), "a", 1, false)
	f.Add([]byte(confirmation(2, "subscribe", "b", 1)), "a", 5, false)
	f.Add([]byte(confirmation(2, "psubscribe", "a", 1)), "a", 100, false)
	f.Add([]byte("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n"), "a", 9, false)
	f.Fuzz(func(t *testing.T, said []byte, name string, piece int, newer bool) {
		s := &session{proto: 2}
		if newer {
			s.proto = 3
		}
		var framer resp.Framer
		framer.Reset(3)
		if n, done, err := framer.Next(said); err != nil || !done || n != len(said) {
			return // a Pipeline hands on whole frames alone
		}
		c := &chorus{s: s, calls: [][][]byte{{[]byte("subscribe"), []byte(name)}}, name: 1}
		piece = max(1, piece%100)
		taken := true
		for at := 0; at < len(said) && taken; at += piece {
			end := min(at+piece, len(said))
			taken = c.confirmed(said[at:end], end == len(said))
		}
		due := confirmation(s.proto, "subscribe", name, 0)
		if name == "" {
			due = pushHead(s.proto, 3) + bulk("subscribe") + bulk("") + ":0\r\n"
		}
		if due = strings.TrimSuffix(due, "0\r\n"); taken != strings.HasPrefix(string(said), due) {
			t.Fatalf("%q for %q: taken %v", said, name, taken)
		}
	})
}
