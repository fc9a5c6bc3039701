package conformance

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// masks say what of a reply varies from one run to the next. Each gives both
// replies without it; what is left has to be equal.
var masks = map[string]func(reply []byte, arg string) []byte{
	// Numbers of which only that they are there can be said: an id, a time.
	"digits": func(b []byte, _ string) []byte {
		return bulkHead.ReplaceAll(numbers.ReplaceAll(b, []byte("0")), []byte("$$"))
	},
	// One integer that depends on when it is asked: see near.
	"near": func(b []byte, _ string) []byte { return b },
	// A reply whose elements come in any order.
	"unordered": func(b []byte, _ string) []byte { return unordered(b) },
	// One of several equal members, chosen at random: only the form is compared.
	"shape": func(b []byte, _ string) []byte { return shape(b) },
	// Lines of name:value, or name=value words: the values of these names.
	"fields": func(b []byte, names string) []byte {
		for _, name := range strings.Fields(names) {
			b = regexp.MustCompile(`(^|[\s,])(`+regexp.QuoteMeta(name)+`)([:=])[^\s,]*`).ReplaceAll(b, []byte("$1$2$3"))
		}
		return bulkHead.ReplaceAll(b, []byte("$$"))
	},
	// Lines of name:value: no values at all, and no names of these.
	"names": func(b []byte, _ string) []byte { return lineNames(b) },
}

var (
	numbers  = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)
	bulkHead = regexp.MustCompile(`(?m)^[$=][0-9]+\r$`)
	value    = regexp.MustCompile(`(?m)^([A-Za-z0-9_.:-]+?)[:=].*?\r$`)
)

func lineNames(b []byte) []byte {
	return bulkHead.ReplaceAll(value.ReplaceAll(b, []byte("$1\r")), []byte("$$"))
}

// same compares two replies under a step's mask.
func same(mask string, direct, proxied []byte) bool {
	if bytes.Equal(direct, proxied) {
		return true
	}
	if mask == "" {
		return false
	}
	name, arg, _ := strings.Cut(mask, " ")
	if name == "near" {
		return near(direct, proxied, arg)
	}
	return bytes.Equal(masks[name](direct, arg), masks[name](proxied, arg))
}

// near compares integer replies that may lie so far apart.
func near(a, b []byte, most string) bool {
	limit, err := strconv.ParseInt(most, 10, 64)
	if err != nil {
		return false
	}
	x, okX := integer(a)
	y, okY := integer(b)
	return okX && okY && (x >= 0) == (y >= 0) && max(x-y, y-x) <= limit
}

func integer(b []byte) (int64, bool) {
	if len(b) < 4 || b[0] != ':' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b[1:len(b)-2]), 10, 64)
	return n, err == nil
}

// unordered sorts the elements of an array, set or push. Those of a map are
// sorted by pairs.
func unordered(b []byte) []byte {
	head, elements, ok := elementsOf(b)
	if !ok {
		return b
	}
	step := 1
	if head[0] == '%' {
		step = 2
	}
	var units []string
	for i := 0; i+step <= len(elements); i += step {
		units = append(units, string(bytes.Join(elements[i:i+step], nil)))
	}
	slices.Sort(units)
	return append(slices.Clone(head), strings.Join(units, "")...)
}

// shape keeps types and counts and drops what scalars say.
func shape(b []byte) []byte {
	head, elements, ok := elementsOf(b)
	if !ok {
		return b[:min(1, len(b))]
	}
	out := slices.Clone(head)
	for _, e := range elements {
		out = append(out, shape(e)...)
	}
	return out
}

// elementsOf takes one aggregate reply apart.
func elementsOf(b []byte) (head []byte, elements [][]byte, ok bool) {
	if len(b) == 0 || bytes.IndexByte([]byte("*~>%"), b[0]) < 0 {
		return nil, nil, false
	}
	in := newReader(b)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, nil, false
	}
	for {
		e, err := appendFrame(nil, in)
		if err != nil {
			return line, elements, len(e) == 0
		}
		elements = append(elements, e)
	}
}
