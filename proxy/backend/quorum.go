package backend

// A failover needs a majority: of the Sentinels that are named, or of the
// primaries of a cluster that have slots. How far that is from being lost is
// known from what is asked anyway.

// quorumUnknown stands for "nobody has been asked yet".
const quorumUnknown = -1 << 31

// voted notes how the Sentinels voted.
func (c *control) voted(named map[Endpoint]int, need int) {
	most := 0
	for _, n := range named {
		most = max(most, n)
	}
	c.margin.Store(int32(most - need))
}

// QuorumMargin is how many more of those who decide on a failover may fail before
// they are no majority; negative, they are none. false: nobody decides, or it
// is not known yet.
func (b *Backend) QuorumMargin() (int, bool) {
	if b.control == nil {
		return 0, false
	}
	switch b.opts.Routing.Kind {
	case Sentinel:
		margin := b.control.margin.Load()
		return int(margin), margin != quorumUnknown
	case Cluster:
		return b.control.primariesLeft()
	}
	return 0, false
}

// primariesLeft is the margin of a cluster: primaries without slots have no vote.
func (c *control) primariesLeft() (int, bool) {
	t := c.topology.Load()
	if t == nil || !t.Slotted() {
		return 0, false
	}
	votes := make([]bool, len(t.Shards))
	for _, o := range t.owners {
		if o != 0 {
			votes[o-1] = true
		}
	}
	all, alive := 0, 0
	for i, has := range votes {
		if !has {
			continue
		}
		all++
		if at := t.Shards[i].Primary; at != (Endpoint{}) && c.Answers(at) {
			alive++
		}
	}
	return alive - (all/2 + 1), all > 0
}
