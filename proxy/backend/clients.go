package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/proxy/resp"
)

// Addresses is the connections that this process made to nodes, by the address and port
// each has at this end. Nodes see them by that address, and nobody else can have
// it as long as the connection lives, whatever a client calls itself. Shared by
// all backends; safe for concurrent use; a nil Addresses knows none.
type Addresses struct {
	mu sync.Mutex
	at map[netip.AddrPort]time.Time // when it was made
}

// ownMost bounds what is remembered: more than there are ports to one node.
const ownMost = 1 << 17

// add notes a connection.
func (o *Addresses) add(nc net.Conn) {
	if at, ok := addrPort(nc.LocalAddr().String()); ok && o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.at == nil {
			o.at = make(map[netip.AddrPort]time.Time)
		}
		if len(o.at) < ownMost {
			o.at[at] = time.Now()
		}
	}
}

// Holds reports whether a connection of ours has, or had lately, this address.
func (o *Addresses) Holds(at netip.AddrPort) bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.at[at]
	return ok
}

// Forget drops the connections made before a time that no node knows any more.
func (o *Addresses) Forget(before time.Time, known func(netip.AddrPort) bool) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for at, made := range o.at {
		if made.Before(before) && !known(at) {
			delete(o.at, at)
		}
	}
}

// addrPort reads an address and port as Redis and Go write them.
func addrPort(text string) (netip.AddrPort, bool) {
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return at, false
	}
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), true
}

// Client is one line of a node's CLIENT LIST. Texts are what the node says,
// cleaned and cut.
type Client struct {
	ID                         uint64
	Addr                       netip.AddrPort // the zero value: not over TCP
	User, Name, Library, Flags string
	Command                    string // the last
	Age                        time.Duration
	Self                       bool // the connection that asked
}

const (
	maxClientReply = 64 << 20
	maxClients     = 1 << 17
)

// Places gives the nodes known now: none while nobody has said where they are.
func (b *Backend) Places() []Endpoint {
	t := b.Topology()
	if t == nil {
		return b.opts.Nodes[:min(1, len(b.opts.Nodes))] // Sentinels name them, others are configured
	}
	var out []Endpoint
	for _, s := range t.Shards {
		if s.Primary != (Endpoint{}) { // else nobody is it now
			out = append(out, s.Primary)
		}
		out = append(out, s.Replicas...)
	}
	return out
}

// Clients asks a node who is connected to it, over a connection of its own. It
// waits for the node or ctx and belongs on no event loop.
func (b *Backend) Clients(ctx context.Context, at Endpoint) ([]Client, error) {
	k := Key{Proto: 2, Node: at, As: asControl}
	if b.control == nil {
		k.Node = Endpoint{}
	}
	n, err := b.connect(k)
	if err != nil {
		return nil, err
	}
	defer n.close()
	stop, err := n.within(ctx, b.opts.DialTimeout)
	if err != nil {
		return nil, err
	}
	defer stop()
	d := dialogue{conn: n.conn(), most: maxClientReply}
	id, err := d.ask("CLIENT ID", "CLIENT", "ID")
	if err != nil {
		return nil, err
	}
	list, err := d.ask("CLIENT LIST", "CLIENT", "LIST")
	if err != nil {
		return nil, err
	}
	self, err := strconv.ParseUint(string(bytes.Trim(id, ":\r\n")), 10, 64)
	if err != nil {
		return nil, errors.New("CLIENT ID: an answer that is none")
	}
	return parseClients(list, self)
}

var errClientReply = errors.New("CLIENT LIST: an answer that is none")

// parseClients reads a reply to CLIENT LIST: one bulk string, a client a line.
func parseClients(reply []byte, self uint64) ([]Client, error) {
	var framer resp.Framer
	framer.Reset(2)
	if n, done, err := framer.Next(reply); err != nil || !done || n != len(reply) || framer.Kind() != '$' {
		return nil, errClientReply
	}
	head := bytes.IndexByte(reply, '\n') + 1
	if head+2 > len(reply) {
		return nil, errClientReply
	}
	var out []Client
	for line := range bytes.Lines(reply[head : len(reply)-2]) {
		c, ok := parseClient(bytes.TrimRight(line, "\r\n"))
		if !ok {
			continue
		}
		if len(out) == maxClients {
			return nil, fmt.Errorf("%w: more than %d clients", errClientReply, maxClients)
		}
		c.Self = c.ID == self
		out = append(out, c)
	}
	return out, nil
}

// parseClient reads the members of one line; those it does not know, and those
// an older server has not, are passed over.
func parseClient(line []byte) (c Client, ok bool) {
	version := ""
	for field := range bytes.FieldsSeq(line) {
		name, value, _ := bytes.Cut(field, []byte{'='})
		switch string(name) {
		case "id":
			id, err := strconv.ParseUint(string(value), 10, 64)
			c.ID, ok = id, err == nil
		case "addr":
			c.Addr, _ = addrPort(string(value[:min(len(value), 100)]))
		case "age":
			age, err := strconv.ParseUint(string(value), 10, 31)
			if err == nil {
				c.Age = time.Duration(age) * time.Second
			}
		case "user":
			c.User = printable(value)
		case "name":
			c.Name = printable(value)
		case "flags":
			c.Flags = printable(value)
		case "cmd":
			c.Command = printable(value)
		case "lib-name":
			c.Library = printable(value)
		case "lib-ver":
			version = printable(value)
		}
	}
	if version != "" && c.Library != "" {
		c.Library += " " + version
	}
	return c, ok
}
