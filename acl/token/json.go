package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds on what a stranger's JSON may hold. Real tokens have some dozens of
// values; a long list of groups has a few hundred.
const (
	maxDepth       = 16
	maxTokenValues = 1024
	maxSetValues   = 8192
)

var errJSON = errors.New("not a JSON object, or have too much in them, or a name twice in one object")

// scan reads a JSON object of at most so many values without building it, and
// calls member for each member of the outermost object: with its value if that
// is a string, else with notAString. It refuses what JSON parsers disagree on: a
// name twice in an object, bytes that are no UTF-8, and anything behind the
// object.
func scan(text []byte, most int, member func(name, value string)) error {
	if !utf8.Valid(text) || !json.Valid(text) {
		return errJSON
	}
	s := scanner{text: text, left: most, member: member}
	if s.space(); s.text[s.at] != '{' || !s.value(0, "") {
		return errJSON
	}
	return nil
}

// scanner walks text that is known to be valid JSON, so it looks no further
// than for the borders of values.
type scanner struct {
	text   []byte
	at     int
	left   int // values that may still come
	member func(name, value string)
}

// notAString is given in the place of a value that is no string. No string of
// valid JSON equals it, as it is not UTF-8.
const notAString = "\xff"

// value walks over one value, that of the member name where depth is 1.
func (s *scanner) value(depth int, name string) bool {
	if s.left--; s.left < 0 || depth > maxDepth {
		return false
	}
	s.space()
	told := notAString
	ok := true
	switch s.text[s.at] {
	case '{':
		ok = s.object(depth + 1)
	case '[':
		ok = s.array(depth + 1)
	case '"':
		if raw := s.quoted(); depth == 1 {
			told = unquote(raw)
		}
	default:
		for s.at < len(s.text) && !strings.ContainsRune(",]} \t\r\n", rune(s.text[s.at])) {
			s.at++
		}
	}
	if ok && depth == 1 && name != "" && s.member != nil {
		s.member(name, told)
	}
	return ok
}

func (s *scanner) object(depth int) bool {
	seen := make(map[string]struct{})
	for s.at++; ; {
		switch s.space(); s.text[s.at] {
		case '}':
			s.at++
			return true
		case ',':
			s.at++
			continue
		}
		name := unquote(s.quoted())
		if _, twice := seen[name]; twice {
			return false
		}
		seen[name] = struct{}{}
		s.space()
		s.at++ // the colon
		if !s.value(depth, name) {
			return false
		}
	}
}

func (s *scanner) array(depth int) bool {
	for s.at++; ; {
		switch s.space(); s.text[s.at] {
		case ']':
			s.at++
			return true
		case ',':
			s.at++
			continue
		}
		if !s.value(depth, "") {
			return false
		}
	}
}

func (s *scanner) space() {
	for s.at < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
		s.at++
	}
}

// quoted walks over a string and gives it with its quotes.
func (s *scanner) quoted() []byte {
	start := s.at
	for s.at++; s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
	return s.text[start:s.at]
}

func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return notAString
	}
	return text
}

// decode builds what scan has found to be sound.
func decode(text []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, errJSON
	}
	return m, nil
}

// claimPath splits the name of a claim: the name itself, or a JSON pointer.
func claimPath(name string) ([]string, error) {
	rest, pointer := strings.CutPrefix(name, "/")
	if !pointer {
		return []string{name}, nil
	}
	parts := strings.Split(rest, "/")
	for i, p := range parts {
		if p == "" {
			return nil, fmt.Errorf("%q has an empty part", name)
		}
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(p), "~") {
			return nil, fmt.Errorf("%q has a ~ that is neither ~0 nor ~1", name)
		}
		parts[i] = strings.NewReplacer("~0", "~", "~1", "/").Replace(p)
	}
	return parts, nil
}

// lookup finds a claim by its path.
func lookup(claims map[string]any, path []string) (any, bool) {
	var at any = claims
	for _, p := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = object[p]; !ok {
			return nil, false
		}
	}
	return at, true
}

// plain tells whether a string can be a name: no control, formatting or
// replacement characters, which could forge a line of a record or make two
// names look like one; spaces only inside and only where they may be.
func plain(s string, spaces bool) bool {
	if s == "" || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
		return false
	}
	for _, r := range s {
		switch {
		case r == ' ' && spaces:
		case r == utf8.RuneError || !unicode.IsGraphic(r) || unicode.IsSpace(r):
			return false
		}
	}
	return true
}
