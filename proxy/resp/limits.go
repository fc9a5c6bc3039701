package resp

// Limits bounds what a Reader takes from a client. Every field but AuthBulk, Held
// and Stream must be positive: there is no "unlimited".
type Limits struct {
	// Args is the number of arguments of one command, its name included.
	Args int
	// Bulk is the number of bytes of one argument.
	Bulk int
	// AuthBulk is the number of bytes of one argument of AUTH and HELLO, where
	// it is larger than Bulk: tokens outgrow what an unknown client may send.
	AuthBulk int
	// Inline is the number of bytes of one inline line, its end not counted.
	Inline int
	// Request is the number of bytes of one whole command on the wire.
	Request int
	// Held is the number of bytes of one command that may be held until it is
	// whole; 0: Request.
	Held int
	// Stream is how long a command's last argument must be for its owner to be
	// asked whether it is to be held; 0: it always is. See Large.
	Stream int
	// Unauthenticated says that the client has not logged in. It changes the
	// words of a refusal only, as Redis's "unauthenticated bulk length".
	Unauthenticated bool
}

// BeforeLogin holds the limits of a client that has not proved who it is. Ten
// arguments and 16 KiB are what Redis grants such a client; the line and the
// whole are tighter, so that a stranger costs less than 64 KiB.
var BeforeLogin = Limits{
	Args:            10,
	Bulk:            16 << 10,
	Inline:          4 << 10,
	Request:         48 << 10,
	Unauthenticated: true,
}

const (
	// maxCount is Redis's bound for a count, a C int.
	maxCount = 1<<31 - 1
	// ordinaryBulk is Redis's bound for an argument (proto-max-bulk-len) unless
	// configured otherwise. Beyond it the words are the same for everybody.
	ordinaryBulk = 512 << 20
	// maxEmpties is how many requests without a command are taken in a row.
	maxEmpties = 100
)

// bulk returns the bound for one argument of a command.
func (l *Limits) bulk(login bool) int {
	if login && l.AuthBulk > l.Bulk {
		return l.AuthBulk
	}
	return l.Bulk
}

// Buffers is a free list that a Reader draws its memory from; a loop has one
// for all its readers. Get returns a slice with a capacity of at least n, of
// any length and content. Put takes back what Get gave and Reader no longer
// needs.
type Buffers interface {
	Get(n int) []byte
	Put(b []byte)
}
