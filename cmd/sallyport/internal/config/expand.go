package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// environment looks up a variable, as os.LookupEnv does.
type environment func(name string) (string, bool)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand puts in the environment's values for ${VAR} and ${VAR:-default}; $${
// stands for ${ itself. It runs once, after parsing, on strings only: a value
// can't bring in YAML and is not expanded again. A default is taken when the
// variable is unset or empty, as the shell does.
func (v value) expand(s string) (out string, expanded bool) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), expanded
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		word, rest, closed := strings.Cut(s[i+2:], "}")
		if !closed {
			v.faultHint("$${ stands for ${ itself", "${ without }")
			return "", true
		}
		got, hint, err := v.r.variable(word)
		if err != nil {
			v.faultHint(hint, "%s", err)
		}
		b.WriteString(got)
		s, expanded = rest, true
	}
}

// variable gives what stands for the inside of one ${…}.
func (r *reader) variable(word string) (got, hint string, err error) {
	name, standard, hasDefault := strings.Cut(word, ":-")
	if !variableName.MatchString(name) {
		return "", "write ${NAME} or ${NAME:-default}; $${ stands for ${ itself", errors.New("what stands in ${…} is not the name of an environment variable")
	}
	got, ok := r.env(name)
	switch {
	case hasDefault && got == "":
		return standard, "", nil
	case !ok:
		return "", fmt.Sprintf("set it, or write ${%s:-default}", name), fmt.Errorf("the environment variable %s is not set", name)
	}
	if got != "" {
		r.expanded[name] = got
	}
	return got, "", nil
}

// unexpand puts the names of variables back where a message repeats their
// values: a variable in the wrong place may well hold a password. row is the
// line the message is about. A short value is put back only there, as it may
// stand for itself elsewhere.
func (r *reader) unexpand(message, row string) string {
	const telling = 8
	for name, value := range r.expanded {
		word := "${" + name + "}"
		if len(value) < telling && !strings.Contains(row, "${"+name) {
			continue
		}
		escaped := quoted(value)
		message = strings.ReplaceAll(message, escaped[1:len(escaped)-1], word)
		message = strings.ReplaceAll(message, value, word)
	}
	return message
}
