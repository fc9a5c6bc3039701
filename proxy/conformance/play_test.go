package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// patience is how long a reply may take: far more than it does on a busy
// machine, so that what ends by it is a reply that never comes.
const patience = 10 * time.Second

// What stands in a reply's place when there is none.
const (
	silence = "<nothing came>"
	open    = "<not closed>"
)

// player plays a case over one way to the server.
type player struct {
	address string
	node    *redistest.Server
	others  []*redistest.Server // where there are several nodes: the rest of them
	proto   int
	conns   map[byte]*wire
	named   string // whose ids the case names, {id:B}
}

type wire struct {
	net.Conn
	in *bufio.Reader
	id string // CLIENT ID, where the case names it
}

// heard is what a step got to read, or a remark in angle brackets if it was
// not what a step waits for.
type heard struct {
	step  *step
	bytes []byte
}

// play runs the case and gives what each step that reads has read. The last
// entries, without a step, are what came after the end on each connection.
func (p *player) play(c *script) ([]heard, error) {
	p.conns = map[byte]*wire{}
	for i := range c.steps {
		for _, m := range idName.FindAllStringSubmatch(c.steps[i].text, -1) {
			p.named += m[1]
		}
	}
	defer func() {
		for _, w := range p.conns {
			w.Close()
		}
	}()
	var all []heard
	for i := 0; i < len(c.steps); i++ {
		st := &c.steps[i]
		if st.op == '|' {
			last := i
			for last+1 < len(c.steps) && c.steps[last+1].op == '|' && c.steps[last+1].who == st.who {
				last++
			}
			got, err := p.pipeline(c.steps[i : last+1])
			if all = append(all, got...); err != nil {
				return all, err
			}
			i = last
			continue
		}
		got, reads, err := p.step(st)
		if err != nil {
			return all, fmt.Errorf("line %d: %w", st.line, err)
		}
		if reads {
			all = append(all, heard{st, got})
		}
	}
	return append(all, p.leftovers()...), nil
}

func (p *player) step(st *step) (got []byte, reads bool, err error) {
	if st.op == 'w' {
		return nil, false, p.wait(st.args)
	}
	w, err := p.conn(st.who)
	if err != nil {
		return nil, false, err
	}
	switch st.op {
	case '/':
		delete(p.conns, st.who)
		return nil, false, w.Close()
	case '!':
		_, err = w.Write([]byte(strings.Join(st.args, " ")))
		return nil, false, err
	case '$':
		rest, err := io.ReadAll(w.in)
		return remark(rest, err, "the server closed"), true, nil
	case '<':
		return w.frames(st.count), true, nil
	case '~':
		_, err = w.Write(p.encode(st))
		return nil, false, err
	default:
		if _, err := w.Write(p.encode(st)); err != nil {
			return remark(nil, err, ""), true, nil
		}
		return w.frames(st.count), true, nil
	}
}

var idName = regexp.MustCompile(`\{id:([A-Z])\}`)

// encode is the command, with the ids it names.
func (p *player) encode(st *step) []byte {
	args := slices.Clone(st.args)
	for i, a := range args {
		args[i] = idName.ReplaceAllStringFunc(a, func(name string) string {
			if w := p.conns[name[4]]; w != nil {
				return w.id
			}
			return "0"
		})
	}
	return redistest.Encode(args...)
}

func (p *player) pipeline(steps []step) ([]heard, error) {
	w, err := p.conn(steps[0].who)
	if err != nil {
		return nil, err
	}
	var out []byte
	for i := range steps {
		out = append(out, p.encode(&steps[i])...)
	}
	if _, err := w.Write(out); err != nil {
		return nil, err
	}
	var all []heard
	for i := range steps {
		all = append(all, heard{&steps[i], w.frames(steps[i].count)})
	}
	return all, nil
}

// leftovers says goodbye on every connection and gives what had not been read.
func (p *player) leftovers() []heard {
	var all []heard
	for _, who := range slices.Sorted(maps.Keys(p.conns)) {
		w := p.conns[who]
		_ = w.SetDeadline(time.Now().Add(patience))
		_ = w.Conn.(*net.TCPConn).CloseWrite()
		rest, err := io.ReadAll(w.in)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			rest = append(rest, open...)
		}
		if len(rest) > 0 {
			all = append(all, heard{nil, append([]byte{who, ' '}, rest...)})
		}
	}
	return all
}

func (p *player) conn(who byte) (*wire, error) {
	if w := p.conns[who]; w != nil {
		return w, w.SetDeadline(time.Now().Add(patience))
	}
	c, err := net.DialTimeout("tcp", p.address, patience)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, in: bufio.NewReader(c)}
	if err := w.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	p.conns[who] = w
	if p.proto == 3 {
		if _, err := w.Write(redistest.Encode("HELLO", "3")); err != nil {
			return nil, err
		}
		if hello := w.frames(1); !bytes.HasPrefix(hello, []byte("%")) {
			return nil, fmt.Errorf("HELLO 3: %q", hello)
		}
	}
	if strings.IndexByte(p.named, who) >= 0 {
		if _, err := w.Write(redistest.Encode("CLIENT", "ID")); err != nil {
			return nil, err
		}
		w.id = strings.Trim(string(w.frames(1)), ":\r\n")
	}
	return w, nil
}

// wait waits for something that no reply tells.
func (p *player) wait(args []string) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := p.there(args)
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return fmt.Errorf("waited %v for %v", patience, args)
		}
	}
}

func (p *player) there(args []string) (bool, error) {
	if len(args) != 2 {
		return false, fmt.Errorf("wait for what? %v", args)
	}
	switch args[0] {
	case "blocked":
		n := 0
		for _, node := range append(p.others, p.node) {
			info, err := node.Info("clients")
			if err != nil {
				return false, err
			}
			blocked, _ := strconv.Atoi(info["blocked_clients"])
			n += blocked
		}
		return strconv.Itoa(n) == args[1], nil
	case "unsubscribed":
		for _, node := range append(p.others, p.node) {
			reply, err := node.Do("PUBSUB", "NUMSUB", args[1])
			if err != nil || fmt.Sprint(reply) != fmt.Sprint([]any{args[1], 0}) {
				return false, err
			}
		}
		return true, nil
	case "gone":
		for _, node := range append(p.others, p.node) {
			// A node of a cluster that has not the key's slot says so.
			if n, err := node.Do("EXISTS", args[1]); n != int64(0) && (err == nil || !strings.HasPrefix(err.Error(), "MOVED ")) {
				return false, err
			}
		}
		return true, nil
	}
	return false, fmt.Errorf("wait for what? %v", args)
}

// frames reads n whole replies, as they are.
func (w *wire) frames(n int) []byte {
	var out []byte
	for range n {
		var err error
		if out, err = appendFrame(out, w.in); err != nil {
			return remark(out, err, "the server closed")
		}
	}
	return out
}

func remark(got []byte, err error, onEnd string) []byte {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return append(got, silence...)
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return append(got, "<"+onEnd+">"...)
	}
	return append(got, "<the connection broke>"...)
}

var errNoFrame = errors.New("no RESP")

// appendFrame reads one reply of either protocol version as raw bytes.
func appendFrame(out []byte, in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	out = append(out, line...)
	if err != nil {
		return out, err
	}
	if len(line) < 3 {
		return out, errNoFrame
	}
	kind, n := line[0], 0
	switch kind {
	case '+', '-', ':', '_', '#', ',', '(':
		return out, nil
	case '$', '=', '!', '*', '~', '>', '%':
		if n, err = strconv.Atoi(string(line[1 : len(line)-2])); err != nil {
			return out, errNoFrame
		}
	default:
		return out, errNoFrame
	}
	switch {
	case n < 0:
		return out, nil
	case kind == '$' || kind == '=' || kind == '!':
		body := make([]byte, n+2)
		got, err := io.ReadFull(in, body)
		return append(out, body[:got]...), err
	case kind == '%':
		n *= 2
	}
	for range n {
		if out, err = appendFrame(out, in); err != nil {
			return out, err
		}
	}
	return out, nil
}
