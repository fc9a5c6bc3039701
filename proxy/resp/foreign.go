package resp

// httpMethods are first words of an HTTP request that no Redis command shares.
// GET is told by the version at the line's end.
var httpMethods = []string{"post", "put", "patch", "delete", "head", "options", "connect", "trace", "pri"}

// speaksHTTP reports a command name at which Redis, too, hangs up: a web page
// made a browser send Redis commands in the body of an HTTP request.
func speaksHTTP(name []byte) bool {
	switch len(name) {
	case 4:
		return name[0]|0x20 == 'p' && foldEqual(name, "post")
	case 5:
		return name[0]|0x20 == 'h' && foldEqual(name, "host:")
	}
	return false
}

// inlineHTTP reports an inline command that is a line of an HTTP request.
func inlineHTTP(args [][]byte) bool {
	if len(args) == 0 {
		return false
	}
	if foldEqual(args[0], "host:") {
		return true
	}
	if len(args) == 3 && len(args[2]) > 5 && foldEqual(args[2][:5], "http/") {
		return true
	}
	for _, method := range httpMethods {
		if foldEqual(args[0], method) {
			return true
		}
	}
	return false
}

// isLogin reports a command that may carry a token.
func isLogin(name []byte) bool { return foldEqual(name, "auth") || foldEqual(name, "hello") }

// foldEqual compares b, in any case, with s, which is in lower case.
func foldEqual(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}
