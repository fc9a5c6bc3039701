package resp

import (
	"bytes"
	"math/big"
	"regexp"
	"strconv"
)

// The slow decoder is RESP written down a second time, by recursion over whole
// lines, to check the Framer against.

type verdict string

const (
	valid      verdict = "valid"
	invalid    verdict = "invalid"
	unfinished verdict = "unfinished"
)

// decode judges the frame b begins with and returns its size.
func decode(b []byte, proto int) (verdict, int) {
	d := decoder{b: b, proto: proto}
	v := d.value(0, true, true)
	return v, d.at
}

type decoder struct {
	b     []byte
	at    int
	proto int
}

var (
	reLength = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
	reInt    = regexp.MustCompile(`^[-+]?[0-9]{1,19}$`)
	reDouble = regexp.MustCompile(`^[-+]?(inf|nan|[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?)$`)
	reBig    = regexp.MustCompile(`^[-+]?[0-9]+$`)
)

func (d *decoder) line() (string, verdict) {
	rest := d.b[d.at:]
	end := bytes.IndexAny(rest, "\r\n")
	switch {
	case end < 0:
		return "", unfinished
	case rest[end] == '\n':
		return "", invalid
	case end+1 == len(rest):
		return "", unfinished
	case rest[end+1] != '\n':
		return "", invalid
	}
	d.at += end + 2
	return string(rest[:end]), valid
}

func (d *decoder) bytes(n int64) verdict {
	rest := d.b[d.at:]
	if int64(len(rest)) > n && rest[n] != '\r' || int64(len(rest)) > n+1 && rest[n+1] != '\n' {
		return invalid
	}
	if int64(len(rest)) < n+2 {
		return unfinished
	}
	d.at += int(n) + 2
	return valid
}

// length reads a length or count that may not be negative.
func length(line string) (int64, bool) {
	if !reLength.MatchString(line) {
		return 0, false
	}
	n, err := strconv.ParseInt(line, 10, 64)
	return n, err == nil && n <= 1<<40
}

func ok(b bool) verdict {
	if b {
		return valid
	}
	return invalid
}

func (d *decoder) value(depth int, push, attribute bool) verdict {
	if d.at == len(d.b) {
		return unfinished
	}
	kind := d.b[d.at]
	if !bytes.ContainsRune([]byte("+-:$*"), rune(kind)) && (d.proto < 3 || !bytes.ContainsRune([]byte("_#,(!=%~>|"), rune(kind))) {
		return invalid
	}
	if kind == '>' && !push || kind == '|' && !attribute {
		return invalid
	}
	d.at++
	line, v := d.line()
	if v != valid {
		return v
	}
	switch kind {
	case '+', '-':
		return ok(len(line) <= 64<<10)
	case ':':
		n, good := new(big.Int).SetString(line, 10)
		return ok(reInt.MatchString(line) && good && n.IsInt64())
	case '_':
		return ok(line == "")
	case '#':
		return ok(line == "t" || line == "f")
	case ',':
		return ok(reDouble.MatchString(line))
	case '(':
		return ok(reBig.MatchString(line))
	case '$', '!', '=':
		return d.bulk(kind, line)
	}
	return d.aggregate(kind, line, depth)
}

func (d *decoder) bulk(kind byte, line string) verdict {
	switch {
	case kind == '$' && line == "-1":
		return valid
	case kind == '$' && line == "?" && d.proto == 3:
		return d.chunks()
	}
	n, good := length(line)
	if !good || kind == '=' && n < 4 {
		return invalid
	}
	if kind == '=' && len(d.b)-d.at > 3 && d.b[d.at+3] != ':' {
		return invalid
	}
	return d.bytes(n)
}

func (d *decoder) chunks() verdict {
	for {
		if d.at == len(d.b) {
			return unfinished
		}
		if d.b[d.at] != ';' {
			return invalid
		}
		d.at++
		line, v := d.line()
		if v != valid {
			return v
		}
		n, good := length(line)
		if !good {
			return invalid
		}
		if n == 0 {
			return valid
		}
		if v := d.bytes(n); v != valid {
			return v
		}
	}
}

func (d *decoder) aggregate(kind byte, line string, depth int) verdict {
	if kind == '*' && line == "-1" {
		return valid
	}
	if line == "?" && d.proto == 3 && (kind == '*' || kind == '~' || kind == '%') {
		if depth == MaxDepth {
			return invalid
		}
		return d.streamed(kind, depth)
	}
	n, good := length(line)
	if !good || n > 0 && depth == MaxDepth {
		return invalid
	}
	if kind == '%' || kind == '|' {
		n *= 2
	}
	for range n {
		if v := d.value(depth+1, false, true); v != valid {
			return v
		}
	}
	if kind == '|' {
		return d.value(depth, false, false)
	}
	return valid
}

func (d *decoder) streamed(kind byte, depth int) verdict {
	for n := 0; ; n++ {
		if d.at == len(d.b) {
			return unfinished
		}
		if d.b[d.at] != '.' {
			if v := d.value(depth+1, false, true); v != valid {
				return v
			}
			continue
		}
		d.at++
		line, v := d.line()
		if v != valid {
			return v
		}
		return ok(line == "" && (kind != '%' || n%2 == 0))
	}
}
