package redistest

import "time"

// Answer is what a fake node does with one request. The zero Answer drops the reply: the node stays silent and reads on.
type Answer struct {
	Bytes []byte          // written as they are, right or wrong
	Split int             // bytes a write; 0: all in one
	Gap   time.Duration   // pause between the writes of a Split, so that they arrive apart
	After <-chan struct{} // wait for this before writing, or for the connection's end
	Hold  bool            // keep the bytes and send them together with the next answer that does not Hold
	Close bool            // then close the connection
	Reset bool            // then close it with a TCP reset
}

// splitGap parts the pieces of a split reply on loopback without making a test slow.
const splitGap = 100 * time.Microsecond

// Reply answers raw bytes, such as "+OK\r\n".
func Reply(raw string) Answer { return Answer{Bytes: []byte(raw)} }

// Drop answers nothing and keeps the connection.
func Drop() Answer { return Answer{} }

// Extra answers a reply and a surplus one nobody asked for.
func Extra(reply, surplus string) Answer { return Reply(reply + surplus) }

// SplitEvery answers raw in pieces of n bytes, each in a write of its own.
func SplitEvery(n int, raw string) Answer {
	return Answer{Bytes: []byte(raw), Split: n, Gap: splitGap}
}

// CutAt answers the first n bytes of raw and closes the connection.
func CutAt(n int, raw string) Answer {
	return Answer{Bytes: []byte(raw[:min(n, len(raw))]), Close: true}
}

// Hangup closes the connection without an answer.
func Hangup() Answer { return Answer{Close: true} }

// Garbage answers bytes that are no RESP in any version.
func Garbage() Answer { return Reply("\x00\xff!garbage\x00") }

// When answers raw after gate is closed.
func When(gate <-chan struct{}, raw string) Answer { return Answer{Bytes: []byte(raw), After: gate} }
