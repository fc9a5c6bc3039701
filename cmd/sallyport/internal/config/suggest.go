package config

import (
	"fmt"

	"github.com/sallyport/sallyport/acl"
)

// longestWord bounds what is compared: no key is longer, and what is written may be
// of any length.
const longestWord = 64

// DidYouMean is a hint with the known word nearest to what was written, or
// nothing if none is near.
func DidYouMean(written string, known []string) string {
	if len(written) > longestWord {
		return ""
	}
	best, least := "", len(written)/3+2
	for _, k := range known {
		if d := acl.EditDistance(written, k, least-1); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}
