package command

// channelFinder says where a command's channels stand.
type channelFinder uint8

const (
	noChannels   channelFinder = iota
	oneChannel                 // argument 1: PUBLISH, SPUBLISH
	everyChannel               // all arguments: SUBSCRIBE, SSUBSCRIBE
	everyPattern               // all arguments, to be granted literally: PSUBSCRIBE
)

// channelsOf is by name: no version's facts describe channels. The UNSUBSCRIBE
// family is absent because Redis lets everybody leave; PUBSUB shows everything.
func channelsOf(name string) channelFinder {
	switch name {
	case "publish", "spublish":
		return oneChannel
	case "subscribe", "ssubscribe":
		return everyChannel
	case "psubscribe":
		return everyPattern
	}
	return noChannels
}

// find appends the call's channels. Arity has been checked.
func (f channelFinder) find(c *Call) {
	last := len(c.Args)
	if f == oneChannel {
		last = 2
	}
	for i := 1; i < last; i++ {
		c.Channels = append(c.Channels, Channel{Arg: int32(i), Pattern: f == everyPattern})
	}
}
