package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/acl"
	yaml "go.yaml.in/yaml/v4"
)

// mask stands in for a secret wherever a line is shown. Its length says nothing.
const mask = "***"

// excerpt shows a masked line with its neighbours and a caret under the column.
// The column is one of the line as written: where a mask stands before it, the
// caret moves along.
func excerpt(lines []string, written string, line, column int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	width := len(fmt.Sprint(min(line+1, len(lines))))
	var b strings.Builder
	for n := max(line-1, 1); n <= min(line+1, len(lines)); n++ {
		if n == len(lines) && lines[n-1] == "" && n != line {
			break // what follows the last line's end is no line
		}
		text := clip(lines[n-1])
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %*d | %s", width, n, text), " ") + "\n")
		if n == line && column > 0 {
			before := written[:min(column-1, len(written))]
			at := min(utf8.RuneCountInString(maskWords(before)), utf8.RuneCountInString(text))
			fmt.Fprintf(&b, "  %*s | %s^\n", width, "", strings.Repeat(" ", at))
		}
	}
	return b.String()
}

// clip keeps a line printable: one screen wide, without control characters.
func clip(line string) string {
	const widest = 160
	line = strings.Map(func(c rune) rune {
		switch {
		case c == '\t':
			return ' '
		case !unicode.IsPrint(c):
			return '?'
		}
		return c
	}, line)
	if utf8.RuneCountInString(line) > widest {
		return string([]rune(line)[:widest]) + "…"
	}
	return line
}

var (
	// secretWord is a password or a hash in the words of Redis ACL rules. A
	// quoted password may hold spaces: it is hidden up to the next quote. A blank
	// that slipped in behind the sign leaves it a password.
	secretWord = regexp.MustCompile(`(["'])([><])[^"']+|(^|[\s"'(\[{,:])([><])\s*\S+|(^|[\s"'(\[{,:])([#!])\S+`)
	// userInfo is a user or a password in a URL.
	userInfo = regexp.MustCompile(`://[^/@\s"']+@`)
	// keyColon is anything that may be a mapping key, with its colon.
	keyColon = regexp.MustCompile(`([A-Za-z0-9_.-]+)["']?\s*:(\s|$|["'{\[])`)
)

// maskWords hides the password words of ACL rules in a line or a message.
func maskWords(s string) string {
	s = userInfo.ReplaceAllString(s, "://"+mask+"@")
	return secretWord.ReplaceAllString(s, "${1}${3}${5}${2}${4}${6}"+mask)
}

// secretKey tells whether a key is, or was meant to be, the name of a secret
// value. Names of files with secrets are no secrets.
func secretKey(key string) bool {
	k := strings.ToLower(key)
	if strings.HasSuffix(k, "_file") || strings.HasSuffix(k, "-file") {
		return false
	}
	for _, part := range []string{"pass", "pw", "secret", "token", "credential", "hash"} {
		if strings.Contains(k, part) {
			return true
		}
	}
	return acl.EditDistance(k, "password", 3) <= 3
}

// entries are the keys that are named like a secret and should hold a mapping or
// a list of them. What is written there in another form may be a secret.
var entries = []string{"token", "tokens", "passwords"}

var (
	inlineEntry = regexp.MustCompile(`^(\[\s*)?\{\s*["']?[A-Za-z_]+["']?\s*:`)
	blockEntry  = regexp.MustCompile(`^[\s-]*["']?[A-Za-z_]+["']?\s*:(\s|$)`)
)

// maskLines gives the file's lines with every secret hidden. It reads the text,
// not the tree: the excerpt of a file that is no YAML must hide its secrets too.
// It would rather hide too much.
func maskLines(doc *document) []string {
	lines := slices.Clone(doc.rows)
	hiding, indent := false, 0 // inside a secret that goes on over lines
	within, outer := false, 0  // inside entries, whose own lines are shown
	for i, line := range lines {
		own := len(line) - len(strings.TrimLeft(line, " \t-"))
		if hiding && (strings.TrimSpace(line) == "" || own > indent) {
			lines[i] = blank(line, own)
			continue
		}
		hiding = false
		if within && strings.TrimSpace(line) != "" && own <= outer {
			within = false
		}
		if within && strings.TrimSpace(line) != "" && !blockEntry.MatchString(line) {
			lines[i] = blank(line, own)
			continue
		}
		for _, m := range keyColon.FindAllStringSubmatchIndex(line, -1) {
			if !secretKey(line[m[2]:m[3]]) {
				continue
			}
			colon := m[3] + strings.IndexByte(line[m[3]:], ':') + 1
			if slices.Contains(entries, line[m[2]:m[3]]) {
				rest := strings.TrimSpace(line[colon:])
				if inlineEntry.MatchString(rest) {
					continue
				}
				if rest == "" && !within {
					within, outer = true, own
					continue
				}
			}
			hiding, indent = true, own
			lines[i] = line[:colon]
			if rest := strings.TrimSpace(line[colon:]); rest != "" {
				lines[i] += " " + mask
			}
			break
		}
		lines[i] = maskWords(lines[i])
	}
	if doc.root != nil {
		maskNodes(doc, lines, doc.root)
	}
	return lines
}

func blank(line string, indent int) string {
	if strings.TrimSpace(line) == "" {
		return line
	}
	return line[:indent] + mask
}

// maskNodes hides the secrets whose shape the text alone does not betray: values
// of secret keys on lines of their own, wherever YAML lets them stand.
func maskNodes(doc *document, lines []string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		for _, c := range n.Content {
			maskNodes(doc, lines, c)
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && secretKey(key.Value) && !(slices.Contains(entries, key.Value) && holdsEntries(value)) {
			hideScalars(doc, lines, value, key.Line)
			continue
		}
		maskNodes(doc, lines, value)
	}
}

// holdsEntries tells whether a node is a mapping or a list of nothing else.
func holdsEntries(n *yaml.Node) bool {
	if n.Kind == yaml.SequenceNode {
		return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Kind != yaml.MappingNode })
	}
	return n.Kind == yaml.MappingNode
}

func hideScalars(doc *document, lines []string, n *yaml.Node, keyLine int) {
	for _, c := range n.Content {
		hideScalars(doc, lines, c, keyLine)
	}
	if n.Kind != yaml.ScalarNode || n.Line < 1 || n.Line > len(lines) {
		return
	}
	at := doc.origin(n)
	if n.Line != keyLine {
		row := doc.line(n.Line)
		lines[n.Line-1] = row[:min(at.Column-1, len(row))] + mask
	}
	// A quoted scalar may go on at any indentation, up to its closing quote.
	for i := n.Line; i < n.Line+doc.linesOf(n, at); i++ {
		lines[i] = mask
	}
}

// linesOf is how many more lines a quoted scalar takes after its first.
func (d *document) linesOf(n *yaml.Node, at acl.Origin) int {
	var quote byte
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		quote = '"'
	case n.Style&yaml.SingleQuotedStyle != 0:
		quote = '\''
	default:
		return 0
	}
	more := 0
	text := strings.Join(d.rows[at.Line-1:], "\n")
	for text = text[min(at.Column, len(text)):]; text != ""; text = text[1:] {
		switch {
		case text[0] == '\n':
			more++
		case text[0] == '\\' && quote == '"' && len(text) > 1 && text[1] != '\n':
			text = text[1:]
		case text[0] == quote && quote == '\'' && strings.HasPrefix(text, "''"):
			text = text[1:]
		case text[0] == quote:
			return more
		}
	}
	return more
}
