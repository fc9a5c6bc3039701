package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// script is one case: a name and what several connections do, line by line.
//
//	GET k            connection A sends a command and reads one reply
//	B> GET k         connection B does; B>2 reads two (a SUBSCRIBE to two channels)
//	A~ BLPOP k 0     sends and reads nothing
//	A<               reads one reply or push more; A<3 reads three
//	A| SET k v       neighbouring lines of this kind leave in one write, then a reply is read for each
//	A! "PING\r\n"    writes these bytes and reads nothing
//	A$               reads until the server closes
//	A/               closes
//	wait blocked 1   until the server has that many blocked clients
//	wait gone k      until k has expired
//	wait unsubscribed c
//	                 until nobody listens to c
//
//	CLIENT KILL ID {id:B}
//	                 B's CLIENT ID, asked for when B connects
//
// Words are as in redis-cli: bare, "with \r\n \x00", or 'as they are'; "x"*99
// repeats one. A mask in front says what of a reply varies from run to run:
// [near 50] GET k. Tags (@resp2, @resp3, @single) stand on lines of their own
// and hold for the case, or before the first case for the file; @single is for
// cases that make no sense on several shards.
type script struct {
	file, name string
	steps      []step
	tags       []string
}

type step struct {
	line  int
	text  string // as written, without its mask
	who   byte
	op    byte // of "> ~ < | ! $ /", or 'w' for wait
	count int  // replies to read
	args  []string
	mask  string
}

func (s *script) id() string { return s.file + "/" + s.name }

func (s *script) tagged(tag string) bool { return slices.Contains(s.tags, tag) }

var (
	caseHead = regexp.MustCompile(`^-- (.+) --$`)
	masked   = regexp.MustCompile(`^\[([a-z]+(?: [^\]]+)?)\] (.*)$`)
	directed = regexp.MustCompile(`^([A-Z])([>~<|!$/])(\d*)(?: (.*))?$`)
)

// readCases reads every case file, by name without its ending.
func readCases(t testing.TB) map[string][]*script {
	t.Helper()
	paths, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]*script{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		if files[name], err = parseCases(name, string(text)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return files
}

func parseCases(file, text string) ([]*script, error) {
	var cases []*script
	var now *script
	var tags []string
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		m := caseHead.FindStringSubmatch(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case m != nil:
			if seen[m[1]] {
				return nil, fmt.Errorf("line %d: a second case %q", i+1, m[1])
			}
			seen[m[1]] = true
			now = &script{file: file, name: m[1], tags: slices.Clone(tags)}
			cases = append(cases, now)
		case strings.HasPrefix(line, "@"):
			if now == nil {
				tags = append(tags, line[1:])
			} else {
				now.tags = append(now.tags, line[1:])
			}
		case now == nil:
			continue // what a file says of itself
		default:
			st, err := parseStep(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			st.line = i + 1
			now.steps = append(now.steps, st)
		}
	}
	for _, c := range cases {
		if len(c.steps) == 0 {
			return nil, fmt.Errorf("case %q has no steps", c.name)
		}
	}
	return cases, nil
}

func parseStep(line string) (step, error) {
	st := step{who: 'A', op: '>', count: 1}
	if m := masked.FindStringSubmatch(line); m != nil {
		st.mask, line = m[1], m[2]
		if _, ok := masks[strings.Fields(st.mask)[0]]; !ok {
			return st, fmt.Errorf("unknown mask %q", st.mask)
		}
	}
	st.text = line
	rest := line
	if m := directed.FindStringSubmatch(line); m != nil {
		st.who, st.op, rest = m[1][0], m[2][0], m[4]
		if m[3] != "" {
			st.count, _ = strconv.Atoi(m[3])
		}
	} else if after, ok := strings.CutPrefix(line, "wait "); ok {
		st.op, rest = 'w', after
	}
	var err error
	st.args, err = words(rest)
	switch {
	case err != nil:
		return st, err
	case len(st.args) == 0 && strings.IndexByte(">~|!w", st.op) >= 0:
		return st, fmt.Errorf("%q: nothing to send", line)
	case len(st.args) > 0 && strings.IndexByte("<$/", st.op) >= 0:
		return st, fmt.Errorf("%q: something to send", line)
	}
	return st, nil
}

// words splits a line as redis-cli does; a quoted word may carry *N.
func words(line string) ([]string, error) {
	var out []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return out, nil
		}
		quote := line[0]
		if quote != '"' && quote != '\'' {
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			out, line = append(out, line[:end]), line[end:]
			continue
		}
		end := 1
		for end < len(line) && line[end] != quote {
			if line[end] == '\\' && quote == '"' {
				end++
			}
			end++
		}
		if end >= len(line) {
			return nil, fmt.Errorf("unclosed quote in %q", line)
		}
		word := line[1:end]
		if quote == '"' {
			var err error
			if word, err = strconv.Unquote(line[:end+1]); err != nil {
				return nil, fmt.Errorf("%q: %w", line[:end+1], err)
			}
		}
		line = line[end+1:]
		if times, ok := strings.CutPrefix(line, "*"); ok {
			digits := strings.TrimRight(times, " \t")
			if i := strings.IndexAny(times, " \t"); i >= 0 {
				digits = times[:i]
			}
			n, err := strconv.Atoi(digits)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			word, line = strings.Repeat(word, n), times[len(digits):]
		}
		out = append(out, word)
	}
}
