package acl

import "slices"

// Matches says whether text matches a glob as Redis understands globs, ASCII
// case ignored, as CONFIG GET and COMMAND LIST FILTERBY PATTERN compare names.
func Matches(glob, text string) bool {
	p := compilePattern(lowerASCII(glob))
	return p.match([]byte(lowerASCII(text)))
}

// Globs is a list of patterns of keys, as Redis understands them. Immutable,
// safe for concurrent use.
type Globs struct{ patterns []pattern }

// NewGlobs compiles patterns; nil for none. Every text is a pattern.
func NewGlobs(texts []string) *Globs {
	if len(texts) == 0 {
		return nil
	}
	g := &Globs{}
	for _, t := range texts {
		g.patterns = append(g.patterns, compilePattern(t))
	}
	return g
}

// Of reports whether NewGlobs was given these very patterns. No Globs are of none.
func (g *Globs) Of(texts []string) bool {
	if g == nil {
		return len(texts) == 0
	}
	return slices.EqualFunc(g.patterns, texts, func(p pattern, text string) bool { return p.text == text })
}

// Match says whether one of the patterns matches. It allocates nothing.
func (g *Globs) Match(key []byte) bool {
	for i := range g.patterns {
		if g.patterns[i].match(key) {
			return true
		}
	}
	return false
}
