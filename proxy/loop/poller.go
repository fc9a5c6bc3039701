package loop

// mask is a set of readiness conditions.
type mask uint8

const (
	mIn mask = 1 << iota
	mOut
	mHup // hang-up or error: reported whether watched or not
)

const wakeSlot = ^uint32(0)
