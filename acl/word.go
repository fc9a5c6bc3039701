package acl

import "strings"

// word is one rule as written and where it started. A selector, parentheses
// and all, is one word.
type word struct {
	text   string
	at     Origin
	source Text // the rules it stands in, none for ACL SETUSER
	offset int  // where it starts in them
}

// inside gives the origin of a byte of the word.
func (w word) inside(offset int) Origin {
	return w.source.At.after(w.source.Value, w.offset+offset)
}

// splitRules splits a line of rules at white space and joins each selector
// from the word that starts with ( to the one that ends with ). There are no
// quotes at this level, as in a Redis ACL file.
func splitRules(text string, at Origin) ([]word, *fault) {
	var words []word
	for i := 0; i < len(text); {
		if isSpace(text[i]) {
			i++
			continue
		}
		end := wordEnd(text, i)
		if text[i] == '(' && text[end-1] != ')' {
			start := i
			for {
				i = end
				for i < len(text) && isSpace(text[i]) {
					i++
				}
				if i == len(text) {
					return words, unmatched(text[start:wordEnd(text, start)], at.after(text, start))
				}
				if end = wordEnd(text, i); text[end-1] == ')' {
					break
				}
			}
			i = start
		}
		words = append(words, word{text: text[i:end], at: at.after(text, i), source: Text{text, at}, offset: i})
		i = end
	}
	return words, nil
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
	for i := 1; i < len(text); {
		if isSpace(text[i]) {
			i++
			continue
		}
		start := i
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
		words = append(words, word{text: b.String(), at: selector.inside(start)})
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
