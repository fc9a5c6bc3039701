package command

// Categories is a bitmap of ACL categories; see CategoryByName.
type Categories uint64

const (
	catKeyspace Categories = 1 << iota
	catRead
	catWrite
	catSet
	catSortedset
	catList
	catHash
	catString
	catBitmap
	catHyperloglog
	catGeo
	catStream
	catPubsub
	catAdmin
	catFast
	catSlow
	catBlocking
	catDangerous
	catConnection
	catTransaction
	catScripting
	// Beyond the 21 that every Redis since 7.0 has.
	catArray
	catSearch
	catJson
	catTimeseries
	catBloom
	catCuckoo
	catCms
	catTopk
	catTdigest
)

// categoryNames are in the order of the bits.
var categoryNames = [...]string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap",
	"hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous",
	"connection", "transaction", "scripting",
	"array", "search", "json", "timeseries", "bloom", "cuckoo", "cms", "topk", "tdigest",
}

// CategoryByName gives the bit of a category written without its @, ASCII case
// ignored. "all" is no category: it is a rule of its own.
func CategoryByName(name string) (Categories, bool) {
	for i, n := range categoryNames {
		if asciiLower(name) == n {
			return 1 << i, true
		}
	}
	return 0, false
}

// Names lists the categories in the set, in the order of Redis's ACL CAT, modules' last.
func (c Categories) Names() []string {
	var names []string
	for i, n := range categoryNames {
		if c&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}
