package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	yaml "go.yaml.in/yaml/v4"
)

// maxFile bounds a configuration file. Far above any real policy, it keeps a
// mistaken path (/dev/zero, a log) from filling memory.
const maxFile = 32 << 20

// reader reads files and collects what is wrong with them. Its fields stand
// between the loader and the machine, so that tests can give a time, an
// environment and a size of memory.
type reader struct {
	env      environment
	machine  machine
	now      time.Time
	table    *command.Table
	files    []string             // in the order they were read
	named    []string             // absolute: every file that was asked for, there or not
	docs     map[string]*document // by displayed name
	keep     Keep
	was      *Config // empty if there is none
	made     made
	expanded map[string]string // variables that were asked for, by name
	problems Problems
	asked    func(path string, keys []string) // hears which keys each mapping may have; nil: nobody does
}

// document is one YAML file that was read.
type document struct {
	name string // as shown to the operator
	dir  string // relative paths inside start here
	text []byte
	rows []string   // text, line by line without the line ends
	root *yaml.Node // nil: could not be parsed
}

// open reads and parses a file. A nil root means that the fault is recorded.
// at is who asked for the file, for the case that there is none.
func (r *reader) open(name string, at acl.Origin, path string) *document {
	doc := &document{name: name, dir: filepath.Dir(name)}
	if abs, err := filepath.Abs(doc.dir); err == nil {
		doc.dir = abs
	}
	file := filepath.Join(doc.dir, filepath.Base(name))
	r.names(file)
	text, err := r.read(file, name)
	if err != nil {
		if at.File == "" {
			at.File = name
		}
		r.fault(at, path, "can't read %s: %s", quoted(name), reasonOf(err))
		return doc
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	r.files = append(r.files, name)
	if was := r.was.made.docs[name]; was != nil && was.dir == doc.dir && bytes.Equal(was.text, text) {
		r.docs[name] = was
		r.made.keep(was)
		return was
	}
	doc.text = text
	doc.rows = strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	r.docs[name] = doc
	r.rest()
	r.parse(doc)
	r.rest()
	r.made.keep(doc)
	return doc
}

// names notes a file that the configuration depends on.
func (r *reader) names(path string) {
	if !slices.Contains(r.named, path) {
		r.named = append(r.named, path)
	}
}

// parse fills in doc.root, or records why it can't.
func (r *reader) parse(doc *document) {
	if i := invalidUTF8(doc.text); i >= 0 {
		line := 1 + bytes.Count(doc.text[:i], []byte("\n"))
		r.fault(acl.Origin{File: doc.name, Line: line, Column: 1}, "", "not UTF-8 text")
		return
	}
	// YAML takes these for line ends, editors and log readers do not: what stands
	// behind one would be read and not be seen, and every later place be wrong.
	for i, row := range doc.rows {
		if at := strings.IndexAny(row, "\r\u0085\u2028\u2029"); at >= 0 {
			r.fault(acl.Origin{File: doc.name, Line: i + 1, Column: at + 1}, "", "a line end that is neither LF nor CRLF")
			return
		}
		// The parser refuses these as well, and does not say where.
		if at := strings.IndexFunc(row, func(c rune) bool { return unicode.IsControl(c) && c != '\t' }); at >= 0 {
			r.fault(acl.Origin{File: doc.name, Line: i + 1, Column: at + 1}, "", "a control character")
			return
		}
		// The parser takes some of these, for deeper or shallower than they look.
		if body := strings.TrimLeft(row, " \t"); body != "" && body[0] != '#' {
			if at := strings.IndexByte(row[:len(row)-len(body)], '\t'); at >= 0 {
				r.faultHint(acl.Origin{File: doc.name, Line: i + 1, Column: at + 1}, "", "indent with spaces, YAML allows no tabs there", "a tab in the indentation")
				return
			}
		}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(doc.text))
	if err != nil {
		r.fault(acl.Origin{File: doc.name}, "", "%s", err)
		return
	}
	var root, second yaml.Node
	switch err := loader.Load(&root); {
	case errors.Is(err, io.EOF) || err == nil && len(root.Content) == 0:
		r.fault(acl.Origin{File: doc.name}, "", "the file is empty")
		return
	case err != nil:
		r.syntaxFault(doc, err)
		return
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.syntaxFault(doc, err)
		return
	default:
		at := doc.origin(&second)
		r.faultHint(at, "", "one document a file: remove everything from this --- on", "a second document starts here")
		return
	}
	doc.root = root.Content[0]
}

// syntaxFault records an error of the YAML parser at its place.
func (r *reader) syntaxFault(doc *document, err error) {
	at := acl.Origin{File: doc.name}
	what := err.Error()
	var one *yaml.LoadError
	if errors.As(err, &one) {
		if one.Mark.Line > 0 {
			at = doc.position(one.Mark.Line, one.Mark.Column)
		}
		what = one.Message
		if one.ContextMsg != "" {
			what += " (" + one.ContextMsg + ")"
		}
	}
	hint := ""
	if cutRules.MatchString(doc.line(at.Line)) || cutRules.MatchString(doc.line(at.Line-1)) {
		hint = "a # after a space begins a comment: put the rules in quotes"
	}
	if strings.HasPrefix(what, "unknown anchor") {
		// The name may be a password that begins with an asterisk.
		what, hint = "unknown anchor", "quote a value that begins with *"
	}
	if strings.Contains(what, "cannot start any token") && strings.Contains(doc.line(at.Line), "\t") {
		hint = "indent with spaces, YAML allows no tabs there"
	}
	r.faultHint(at, "", hint, "YAML: %s", maskWords(what))
}

// line gives a line of the file, counted from 1, without its end; empty if there is none.
func (d *document) line(n int) string {
	if n < 1 || n > len(d.rows) {
		return ""
	}
	return d.rows[n-1]
}

// origin is where a node stands. The parser counts columns in characters, an
// Origin counts them in bytes, as editors and compilers do.
func (d *document) origin(n *yaml.Node) acl.Origin {
	return d.position(n.Line, n.Column)
}

func (d *document) position(line, column int) acl.Origin {
	at := acl.Origin{File: d.name, Line: line, Column: 1}
	row := d.line(line)
	for i := 1; i < column && at.Column <= len(row); i++ {
		_, n := utf8.DecodeRuneInString(row[at.Column-1:])
		at.Column += n
	}
	return at
}

func (r *reader) fault(at acl.Origin, path, format string, args ...any) {
	r.faultHint(at, path, "", format, args...)
}

func (r *reader) faultHint(at acl.Origin, path, hint, format string, args ...any) {
	r.problems = append(r.problems, Problem{At: at, What: pathed(path, fmt.Sprintf(format, args...)), Hint: hint})
}

func (r *reader) warn(at acl.Origin, path, hint, format string, args ...any) {
	r.problems = append(r.problems, Problem{At: at, What: pathed(path, fmt.Sprintf(format, args...)), Hint: hint, Warning: true})
}

// failed tells whether any fault was recorded.
func (r *reader) failed() bool { return len(r.problems.Faults()) > 0 }

// finish sorts the problems and gives each its excerpt.
func (r *reader) finish() Problems {
	ps := r.problems.sorted(r.files)
	masked := make(map[string][]string, len(r.docs))
	for i := range ps {
		doc := r.docs[ps[i].At.File]
		if doc != nil {
			row := doc.line(ps[i].At.Line)
			ps[i].What, ps[i].Hint = r.unexpand(ps[i].What, row), r.unexpand(ps[i].Hint, row)
		}
		if doc == nil || ps[i].At.Line == 0 {
			continue
		}
		if masked[doc.name] == nil {
			masked[doc.name] = maskLines(doc)
		}
		ps[i].Excerpt = excerpt(masked[doc.name], doc.line(ps[i].At.Line), ps[i].At.Line, ps[i].At.Column)
	}
	return ps
}

func pathed(path, what string) string {
	if path == "" {
		return what
	}
	return path + ": " + what
}

// read gives a file of the configuration by its absolute path, for which messages
// have name.
func (r *reader) read(file, name string) ([]byte, error) {
	if r.keep.Seen != nil {
		if text, _, ok := r.keep.Seen(file); ok {
			return text, nil
		}
	}
	return readBounded(name, maxFile)
}

// readBounded reads a whole regular file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	// Looked at before it is opened: opening a named pipe waits for a writer.
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return text, nil
}

// reasonOf is a file error without the path, which the message names already.
func reasonOf(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// invalidUTF8 is the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}
