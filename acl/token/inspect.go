package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// Contents is what a token says, proved by nothing.
type Contents struct {
	Header string // indented JSON
	Claims string // indented JSON
}

// Inspect reads what a token says, for people. It verifies nothing and is more
// forgiving than Verify, so that a refused token can be looked at. The
// signature, which makes a token a secret, is left out.
func Inspect(raw []byte) (*Contents, error) {
	if len(raw) > MaxBytes {
		return nil, ErrTooLarge
	}
	parts := bytes.Split(raw, []byte("."))
	switch len(parts) {
	case 3:
	case 5:
		return nil, ErrEncrypted
	default:
		return nil, ErrMalformed
	}
	var texts [2]string
	for i := range texts {
		text, ok := decodePart(parts[i])
		var b bytes.Buffer
		if !ok || json.Indent(&b, text, "", "  ") != nil {
			return nil, ErrMalformed
		}
		texts[i] = visible(b.String())
	}
	return &Contents{Header: texts[0], Claims: texts[1]}, nil
}

// visible escapes, as JSON does, what could steer a terminal or turn a line's
// direction.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || unicode.IsGraphic(r):
			b.WriteRune(r)
		case r > 0xffff:
			b.WriteRune(unicode.ReplacementChar)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
