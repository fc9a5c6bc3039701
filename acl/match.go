package acl

// Matches says whether text matches a glob as Redis understands globs, ASCII
// case ignored, as CONFIG GET and COMMAND LIST FILTERBY PATTERN compare names.
func Matches(glob, text string) bool {
	p := compilePattern(lowerASCII(glob))
	return p.match([]byte(lowerASCII(text)))
}
