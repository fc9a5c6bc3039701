package backend

import (
	"bytes"
	"net"
	"strconv"
)

// Redirect is a cluster node's word that a call belongs elsewhere.
type Redirect struct {
	Slot int
	At   Endpoint // never to be dialled for its own sake: a topology must hold it, too
	Ask  bool     // this one call only; else the slot has moved
}

// maxRedirect bounds the error line of a redirection: two words, a slot, a host and a port.
const maxRedirect = 300

// parseRedirect reads a whole error reply, from its '-' to its line end. host is
// that of the node which sent it: a redirection may leave out what is the same.
func parseRedirect(line []byte, host string) (r Redirect, ok bool) {
	if len(line) > maxRedirect {
		return r, false
	}
	rest, moved := bytes.CutPrefix(line, []byte("-MOVED "))
	if !moved {
		if rest, r.Ask = bytes.CutPrefix(line, []byte("-ASK ")); !r.Ask {
			return r, false
		}
	}
	rest, ended := bytes.CutSuffix(rest, []byte("\r\n"))
	slot, at, parts := bytes.Cut(rest, []byte{' '})
	colon := bytes.LastIndexByte(at, ':')
	if !ended || !parts || colon < 0 {
		return r, false
	}
	n, err := strconv.ParseUint(string(slot), 10, 16)
	if err != nil || n >= Slots {
		return r, false
	}
	port, err := strconv.ParseUint(string(at[colon+1:]), 10, 16)
	name := string(at[:colon])
	if name == "" {
		name = host
	}
	if err != nil || port == 0 || !plausibleHost(name) {
		return r, false
	}
	r.Slot = int(n)
	r.At = Endpoint{Network: "tcp", Address: net.JoinHostPort(name, strconv.FormatUint(port, 10))}
	return r, true
}
