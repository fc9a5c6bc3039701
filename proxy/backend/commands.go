package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/proxy/resp"
)

// Bounds on what a node may say it has: thrice what a server with all modules
// of its vendor answers, and more names than anybody's table takes.
const (
	maxCommandReply = 8 << 20
	maxCommandNames = 8192
	maxCommandName  = 128
)

var errCommandReply = errors.New("COMMAND: an answer that is none")

// Commands asks the node which commands it has, over a connection of its own,
// once and without trying again. It gives their names as the node spells them,
// those of subcommands left out; nothing else a node says of its commands is
// looked at. It waits for the node or ctx and belongs on no event loop.
func (b *Backend) Commands(ctx context.Context) ([]string, error) {
	n, err := b.connect(Key{Proto: 2, As: asControl})
	if err != nil {
		return nil, err
	}
	defer n.close()
	stop, err := n.within(ctx, b.opts.DialTimeout)
	if err != nil {
		return nil, err
	}
	defer stop()
	d := dialogue{conn: n.conn(), most: maxCommandReply}
	reply, err := d.ask("COMMAND", "COMMAND")
	if err != nil {
		return nil, err
	}
	return commandNames(reply)
}

// commandNames finds the first element of each element of COMMAND's answer,
// which has to be one whole frame and nothing behind it. Nothing is decoded, and
// nothing made room for, but the names.
func commandNames(reply []byte) ([]string, error) {
	var framer resp.Framer
	framer.Reset(2)
	if n, done, err := framer.Next(reply); err != nil || !done || n != len(reply) || framer.Kind() != '*' {
		return nil, errCommandReply
	}
	w := walker{rest: reply}
	entries := w.count('*')
	if entries < 0 || entries > maxCommandNames {
		return nil, fmt.Errorf("%w: %d commands", errCommandReply, entries)
	}
	names := make([]string, 0, min(entries, 1024))
	for range entries {
		fields := w.count('*')
		if fields < 1 {
			return nil, errCommandReply
		}
		name, ok := w.word()
		if !ok {
			return nil, errCommandReply
		}
		names = append(names, name)
		for range fields - 1 {
			w.skip()
		}
	}
	return names, nil
}

// walker goes through a frame that a Framer has found sound.
type walker struct{ rest []byte }

// line takes a type and the text of its line.
func (w *walker) line() (kind byte, text string) {
	for i := 0; i+1 < len(w.rest); i++ {
		if w.rest[i] == '\r' {
			kind, text = w.rest[0], string(w.rest[1:min(i, 1+maxCommandName)])
			w.rest = w.rest[i+2:]
			return kind, text
		}
	}
	w.rest = nil
	return 0, ""
}

// number reads a length; -1 for null and for what is none.
func number(text string) int {
	n := 0
	for _, c := range []byte(text) {
		if c < '0' || c > '9' || n > maxCommandReply {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	if text == "" {
		return -1
	}
	return n
}

// count takes the head of an aggregate of this kind and gives the number of its
// elements, -1 if there is none.
func (w *walker) count(kind byte) int {
	got, text := w.line()
	if got != kind {
		return -1
	}
	return number(text)
}

// word takes a bulk or simple string of a command's length.
func (w *walker) word() (string, bool) {
	kind, text := w.line()
	switch kind {
	case '+':
		return text, len(text) < maxCommandName
	case '$':
		n := number(text)
		if n < 0 || n > maxCommandName || n+2 > len(w.rest) {
			return "", false
		}
		text = string(w.rest[:n])
		w.rest = w.rest[n+2:]
		return text, true
	}
	return "", false
}

// skip passes over one value, whatever is in it.
func (w *walker) skip() {
	for left := 1; left > 0 && len(w.rest) > 0; left-- {
		kind, text := w.line()
		switch n := number(text); kind {
		case '*':
			left += max(n, 0)
		case '$':
			if n >= 0 {
				w.rest = w.rest[min(n+2, len(w.rest)):]
			}
		}
	}
}
