package backend

// room reports whether so many calls would be taken, of which all but the last
// one are small.
func (p *Pipeline) room(calls int) bool {
	if p.state != dialling {
		return true
	}
	mostCalls, mostBytes := maxEarlyCalls, maxEarlyBytes
	if p.own != nil {
		mostCalls, mostBytes = ownEarlyCalls, ownEarlyBytes
	}
	return p.fifo.len()+calls <= mostCalls && len(p.early)+(calls-1)*smallCall < mostBytes
}

// smallCall is more bytes than a call without arguments has.
const smallCall = 64

// Early is how many bytes wait for the connection to be there.
func (p *Pipeline) Early() int { return len(p.early) }
