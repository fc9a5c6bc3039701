package acl

// pattern is a compiled glob as Redis understands it: bytewise and
// case-sensitive, with * ? [set] and a backslash that quotes one byte. There
// is nothing special about / or :. An open set ends with the pattern, a
// reversed range is turned round, a backslash at the very end stands for
// itself. Ranges compare bytes as 0 to 255 (Redis compares signed chars where
// the machine has them, which shows only in ranges that straddle 0x80).
//
// One oddity is kept since it refuses more: a text that is empty from the start
// matches the empty pattern alone, not even "*".
//
// The zero value matches the empty text. Immutable, safe for concurrent use.
type pattern struct {
	text   string // as written
	shape  shape
	lit    string  // shape literal and prefix: the unescaped bytes; general: those before the first wildcard
	tokens []token // shape general only
}

type shape uint8

const (
	shapeLiteral shape = iota
	shapePrefix        // lit*
	shapeAll           // *
	shapeGeneral
)

// token matches one byte, or with star any run of them.
type token struct {
	star bool
	set  *byteSet // nil: the byte lit
	lit  byte
}

type byteSet [4]uint64

func (s *byteSet) add(b byte)      { s[b>>6] |= 1 << (b & 63) }
func (s *byteSet) has(b byte) bool { return s[b>>6]&(1<<(b&63)) != 0 }

var anyByte = &byteSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// compilePattern never fails: every text is a pattern.
func compilePattern(text string) pattern {
	p := pattern{text: text}
	tokens := tokenize(text)
	n := 0
	for n < len(tokens) && !tokens[n].star && tokens[n].set == nil {
		n++
	}
	lit := make([]byte, n)
	for i := range lit {
		lit[i] = tokens[i].lit
	}
	p.lit = string(lit)
	switch rest := tokens[n:]; {
	case len(rest) == 0:
		p.shape = shapeLiteral
	case len(rest) == 1 && rest[0].star && n == 0:
		p.shape = shapeAll
	case len(rest) == 1 && rest[0].star:
		p.shape = shapePrefix
	default:
		p.shape = shapeGeneral
		p.tokens = tokens
	}
	return p
}

func tokenize(text string) []token {
	var tokens []token
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '*':
			if len(tokens) == 0 || !tokens[len(tokens)-1].star {
				tokens = append(tokens, token{star: true})
			}
			i++
		case c == '?':
			tokens = append(tokens, token{set: anyByte})
			i++
		case c == '[':
			var set *byteSet
			set, i = tokenizeSet(text, i+1)
			tokens = append(tokens, token{set: set})
		case c == '\\' && i+1 < len(text):
			tokens = append(tokens, token{lit: text[i+1]})
			i += 2
		default:
			tokens = append(tokens, token{lit: c})
			i++
		}
	}
	return tokens
}

// tokenizeSet reads the set whose bracket is before i and gives the index after it.
func tokenizeSet(text string, i int) (*byteSet, int) {
	set := new(byteSet)
	negate := i < len(text) && text[i] == '^'
	if negate {
		i++
	}
	for i < len(text) && text[i] != ']' {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			set.add(text[i+1])
			i += 2
		case i+2 < len(text) && text[i+1] == '-':
			lo, hi := int(text[i]), int(text[i+2])
			if lo > hi {
				lo, hi = hi, lo
			}
			for b := lo; b <= hi; b++ {
				set.add(byte(b))
			}
			i += 3
		default:
			set.add(text[i])
			i++
		}
	}
	if i < len(text) {
		i++ // the closing bracket
	}
	if negate {
		for w := range set {
			set[w] = ^set[w]
		}
	}
	return set, i
}

// match says whether the whole of s matches. It gives up, which is a refusal,
// when the work gets out of proportion to the length of s.
func (p *pattern) match(s []byte) bool {
	switch p.shape {
	case shapeAll:
		return len(s) > 0
	case shapePrefix:
		return len(s) >= len(p.lit) && string(s[:len(p.lit)]) == p.lit
	case shapeLiteral:
		return string(s) == p.lit
	}
	if len(s) == 0 || len(s) < len(p.lit) || string(s[:len(p.lit)]) != p.lit {
		return false
	}
	return matchTokens(p.tokens[len(p.lit):], s[len(p.lit):])
}

// matchTokens walks both once and, on a mismatch, takes up again one byte
// later behind the last star. An earlier star never needs another try: what
// follows the last one may start as late as it likes.
func matchTokens(tokens []token, s []byte) bool {
	budget := 32*(len(s)+len(tokens)) + 1024
	t, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		if budget--; budget < 0 {
			return false
		}
		if t < len(tokens) {
			tok := tokens[t]
			if tok.star {
				if t++; t == len(tokens) {
					return true
				}
				star, mark = t, i
				continue
			}
			if tok.set == nil && tok.lit == s[i] || tok.set != nil && tok.set.has(s[i]) {
				t++
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		t, i = star, mark
	}
	for t < len(tokens) && tokens[t].star {
		t++
	}
	return t == len(tokens)
}

// coversGlob says whether everything the glob arg can match starts with this
// pattern's literal, this pattern being prefix* or *. It is how a scan is
// confined: every key it can name is one the prefix grants.
func (p *pattern) coversGlob(arg []byte) bool {
	if p.shape != shapePrefix && p.shape != shapeAll {
		return false
	}
	lit := p.lit
	for i := 0; i < len(arg) && lit != ""; i++ {
		c := arg[i]
		switch c {
		case '*', '?', '[':
			return false
		case '\\':
			if i++; i == len(arg) {
				return false
			}
			c = arg[i]
		}
		if c != lit[0] {
			return false
		}
		lit = lit[1:]
	}
	return lit == ""
}
