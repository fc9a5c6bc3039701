package acl

import "strings"

// word is one rule as written and where it started. A selector, parentheses
// and all, is one word.
type word struct {
	text   string
	at     Origin
	margin int // the column in which later lines of the rules start
}

// cursor follows a position through a text, forwards only.
type cursor struct {
	text   string
	at     Origin // of the byte at offset
	margin int
	offset int
}

// move goes on to a later byte and gives its origin. Later lines are taken to
// start in the column of the first, which is how YAML indents them.
func (c *cursor) move(offset int) Origin {
	passed := c.text[c.offset:offset]
	c.offset = offset
	if c.at.Line == 0 {
		return c.at
	}
	if last := strings.LastIndexByte(passed, '\n'); last >= 0 {
		c.at.Line += strings.Count(passed, "\n")
		c.at.Column = c.margin
		passed = passed[last+1:]
	}
	if c.at.Column > 0 {
		c.at.Column += len(passed)
	}
	return c.at
}

// splitRules splits a line of rules at white space and joins each selector
// from the word that starts with ( to the one that ends with ). There are no
// quotes at this level, as in a Redis ACL file.
func splitRules(text string, at Origin) ([]word, *fault) {
	var words []word
	place := cursor{text: text, at: at, margin: at.Column}
	for i := 0; i < len(text); {
		if isSpace(text[i]) {
			i++
			continue
		}
		start := place.move(i)
		end := wordEnd(text, i)
		if text[i] == '(' && text[end-1] != ')' {
			first := text[i:end]
			if end = selectorEnd(text, end); end < 0 {
				return words, unmatched(first, start)
			}
		}
		words = append(words, word{text: text[i:end], at: start, margin: at.Column})
		i = end
	}
	return words, nil
}

// selectorEnd finds the end of the first word from i on that ends with ), -1 if none does.
func selectorEnd(text string, i int) int {
	for i < len(text) {
		if isSpace(text[i]) {
			i++
			continue
		}
		if i = wordEnd(text, i); text[i-1] == ')' {
			return i
		}
	}
	return -1
}

// joinArgs does for the arguments of ACL SETUSER what splitRules does for a line.
func joinArgs(args []string) ([]word, *fault) {
	var words []word
	open := -1
	var selector strings.Builder
	for i, arg := range args {
		switch {
		case open < 0 && strings.HasPrefix(arg, "(") && !strings.HasSuffix(arg, ")"):
			open = i
			selector.Reset()
			selector.WriteString(arg)
		case open < 0:
			words = append(words, word{text: arg})
		default:
			selector.WriteByte(' ')
			selector.WriteString(arg)
			if strings.HasSuffix(arg, ")") {
				words = append(words, word{text: selector.String()})
				open = -1
			}
		}
	}
	if open >= 0 {
		return nil, unmatched(args[open], Origin{})
	}
	return words, nil
}

func unmatched(start string, at Origin) *fault {
	return &fault{
		kind: faultUnmatched,
		word: start,
		at:   at,
		what: "a selector is not closed",
		hint: "end it with a )",
	}
}

// splitSelector splits the inside of a selector, ( and ) being its first and
// last bytes, as a command line is split:
// white space separates, "…" takes the escapes \n \r \t \b \a \xHH and
// backslash-anything, '…' takes \' alone. ok is false when a quote is open at
// the end or runs into the next word.
func splitSelector(selector word) (words []word, ok bool) {
	text := selector.text[:len(selector.text)-1]
	place := cursor{text: text, at: selector.at, margin: selector.margin}
	for i := 1; i < len(text); {
		if isSpace(text[i]) {
			i++
			continue
		}
		start := place.move(i)
		var b strings.Builder
		for i < len(text) && !isSpace(text[i]) {
			switch text[i] {
			case '"', '\'':
				if i, ok = unquote(&b, text, i); !ok {
					return nil, false
				}
			default:
				b.WriteByte(text[i])
				i++
			}
		}
		words = append(words, word{text: b.String(), at: start})
	}
	return words, true
}

// unquote appends the quoted string that starts at i to b and gives the index after it.
func unquote(b *strings.Builder, text string, i int) (next int, ok bool) {
	quote := text[i]
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			i++
			return i, i == len(text) || isSpace(text[i])
		case c == '\\' && quote == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
			b.WriteByte('\'')
		case c == '\\' && quote == '"' && i+1 < len(text):
			i++
			if text[i] == 'x' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]) {
				b.WriteByte(hexDigit(text[i+1])<<4 | hexDigit(text[i+2]))
				i += 2
				continue
			}
			b.WriteByte(unescape(text[i]))
		default:
			b.WriteByte(c)
		}
	}
	return i, false
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func wordEnd(text string, i int) int {
	for i < len(text) && !isSpace(text[i]) {
		i++
	}
	return i
}

// isSpace is C's isspace, which is what Redis refuses in names and patterns.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func hexDigit(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// hasSpaceOrNUL says whether text may not be a pattern or a user name.
func hasSpaceOrNUL(text string) bool {
	for i := range len(text) {
		if text[i] == 0 || isSpace(text[i]) {
			return true
		}
	}
	return false
}

// lowerASCII lower-cases as Redis compares words: bytewise, A to Z only.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lowerByte(b[j])
			}
			return string(b)
		}
	}
	return s
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalFoldASCII compares an argument with a lower-case word without allocating.
func equalFoldASCII(arg []byte, lower string) bool {
	if len(arg) != len(lower) {
		return false
	}
	for i, c := range arg {
		if lowerByte(c) != lower[i] {
			return false
		}
	}
	return true
}
