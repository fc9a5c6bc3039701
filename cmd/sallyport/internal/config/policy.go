package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/acl/token"
	yaml "go.yaml.in/yaml/v4"
)

// policy is what policy: and the file it names come to.
type policy struct {
	source       acl.Source
	issuers      []token.Issuer
	aclFile      named
	refuseProbes bool
	tokenSwitch  bool
}

// policyFile reads policy: and the file it names, as far as acl.Source goes.
func (r *reader) policyFile(s *section) policy {
	name := s.required("file")
	src := acl.Source{Modes: r.modes(s.get("modes").section()), Passwords: r.passwordRules(s.get("passwords"))}
	p := policy{
		refuseProbes: s.get("probes").word("answer", "answer", "refuse") == "refuse",
		tokenSwitch:  s.get("token_switch").flag(),
	}
	r.commands(s.get("commands"))
	s.close()
	t := name.nonempty()
	if t.Value == "" {
		p.source = src
		return p
	}
	doc := r.open(shownPath(name.doc, t.Value), name.at, name.path)
	if doc.root == nil {
		p.source = src
		return p
	}
	top := r.top(doc)
	src.Roles = r.roles(top.get("roles").section())
	src.Users = r.users(top.get("users").section())
	src.Tokens, p.issuers = r.tokens(top.get("tokens"))
	p.aclFile, src.ACLFile = r.aclFile(top.get("aclfile"))
	src.Guard = r.guard(top.get("guard").section())
	src.Expiry = r.expiry(top.get("expiry"))
	channels := top.get("acl_pubsub_default")
	if src.OpenChannels = channels.word("resetchannels", "resetchannels", "allchannels") == "allchannels"; src.OpenChannels {
		channels.warn("name the channels in the rules: &app:*", "every user may use every channel unless its rules take that away")
	}
	top.close("events_on")
	r.unusedRoles(src)
	if top.present() && len(src.Users)+len(src.ACLFile)+len(src.Tokens) == 0 && !r.failed() {
		top.warn("add users:", "there is no user: nobody can log in")
	}
	p.source = src
	return p
}

// commands picks the command table: the newest, or that of one server release.
func (r *reader) commands(v value) {
	t := v.nonempty()
	if t.Value == "" && v.present() {
		return // a fault already
	}
	if t.Value == "" {
		t.Value = r.table.Label()
	}
	if r.keep.Table != nil && r.keep.Table.Label() == t.Value {
		r.table = r.keep.Table // a running proxy can't change tables, each For gives a new one, and it may have learned commands
		return
	}
	table, ok := command.For(t.Value)
	if !ok {
		labels := command.Labels()
		hint := DidYouMean(t.Value, labels)
		if hint == "" {
			hint = "one of: " + strings.Join(labels, ", ")
		}
		v.faultHint(hint, "there is no command table %s", quoted(t.Value))
		return
	}
	r.table = table
}

// passwordRules reads policy.passwords: a mode alone, or a mapping with what is
// asked of passwords. What is not said has the documented default.
func (r *reader) passwordRules(v value) acl.PasswordRules {
	rules := acl.StandardPasswordRules(acl.Off)
	if !v.present() {
		return acl.PasswordRules{Mode: acl.Off}
	}
	modes := map[string]acl.Mode{"enforce": acl.Enforce, "report": acl.Report, "off": acl.Off}
	if !v.mapping() {
		rules.Mode = modes[v.word("off", "enforce", "report", "off")]
		return rules
	}
	s := v.section()
	rules.Mode = modes[s.get("mode").word("enforce", "enforce", "report", "off")]
	rules.MinLength = s.get("min_length").number(rules.MinLength, 0, 1024)
	rules.Common = s.get("common").flagOr(rules.Common)
	rules.Reuse = s.get("reuse").number(rules.Reuse, 0, 24)
	rules.MaxAge = s.get("max_age").span()
	s.close()
	return rules
}

// shownPath is where a file of the configuration is, in the way the operator
// named the configuration itself.
func shownPath(doc *document, p string) string {
	abs := doc.path(p)
	if dir, ok := strings.CutPrefix(abs, doc.dir); ok && !strings.HasPrefix(doc.name, "/") {
		prefix, _ := cutBase(doc.name)
		return prefix + strings.TrimPrefix(dir, "/")
	}
	return abs
}

// cutBase splits a path after its last slash.
func cutBase(p string) (folder, base string) {
	i := strings.LastIndexByte(p, '/') + 1
	return p[:i], p[i:]
}

func (r *reader) modes(s *section) acl.Modes {
	m := acl.Modes{
		Allow: s.get("allow").mode(),
		Guard: s.get("guard").mode(),
		ACL:   s.get("acl").mode(),
	}
	s.close()
	return m
}

// mode reads enforce, report or off. Anything but enforce is a finding.
func (v value) mode() acl.Mode {
	t := v.word("enforce", "enforce", "report", "off")
	switch t {
	case "report":
		v.warn("", "refusals are only reported")
		return acl.Report
	case "off":
		v.warn("", "nothing is refused by it")
		return acl.Off
	}
	return acl.Enforce
}

func (r *reader) guard(s *section) acl.GuardSource {
	g := acl.GuardSource{Categories: s.get("categories").words(), Never: s.get("never").words()}
	s.close()
	return g
}

// words reads a list of words; absent is nil, an empty list is not.
func (v value) words() []acl.Text {
	if !v.present() {
		return nil
	}
	out := []acl.Text{}
	for _, item := range v.list() {
		if t := item.nonempty(); t.Value != "" {
			t.At = item.inside(t)
			out = append(out, t.Text)
		}
	}
	return out
}

// rules reads a string of ACL rules, such that the words' places in it are
// their places in the file.
func (v value) rules() text {
	t := v.text()
	if !t.set {
		return t
	}
	t.At = v.inside(t)
	if v.cutByComment() {
		v.faultHint("put the rules in quotes", "the # begins a comment, so the rest of the line is no part of the rules")
		return t
	}
	if t.expanded {
		if v.injected(t.written) {
			v.fault("a variable's value inside a word of the rules holds a space or a quote")
			t.Value = ""
		}
		return t
	}
	if laid, at, ok := v.asLaidOut(); ok {
		t.Value, t.At = laid, at
	}
	return t
}

// cutByComment tells whether unquoted rules end at a password hash, which YAML
// takes for a comment. A comment people write has a space after the #.
func (v value) cutByComment() bool {
	if v.node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return false
	}
	row := v.doc.line(v.node.Line)
	at := v.doc.origin(v.node).Column - 1
	return unquotedHash.MatchString(row[min(at, len(row)):])
}

var (
	unquotedHash = regexp.MustCompile(`\s#[^\s#]`)
	// cutRules is a line whose unquoted rules have such a #.
	cutRules = regexp.MustCompile(`rules["']?:\s+[^"'|>\s].*\s#[^\s#]`)
)

// inside is where the first character of a string stands: after its quote.
func (v value) inside(t text) acl.Origin {
	at := v.doc.origin(v.node)
	if v.node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		at.Column++
	}
	return at
}

// asLaidOut gives a string over several lines as it lies in the file, with the
// line ends that YAML folds away and without the indentation all lines share, so
// that each word keeps its line and column: at is where the block begins. ok is
// false where the string is on one line, or where escapes make it differ from
// what stands there in more than space.
func (v value) asLaidOut() (laid string, at acl.Origin, ok bool) {
	start := v.inside(text{})
	first := start.Line
	if v.node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		first, start.Column = first+1, 1
	}
	want := strings.Fields(v.node.Value)
	var rows []string
	indent := -1
	for n, found := first, 0; n <= len(v.doc.rows) && found < len(want); n++ {
		row := v.doc.line(n)
		if n == first {
			cut := min(start.Column-1, len(row))
			row = strings.Repeat(" ", cut) + row[cut:]
		}
		if words := len(strings.Fields(row)); words > 0 {
			found += words
			if deep := len(row) - len(strings.TrimLeft(row, " ")); indent < 0 || deep < indent {
				indent = deep
			}
		}
		rows = append(rows, row)
	}
	if len(want) == 0 || len(rows) == 1 && first == start.Line {
		return "", start, false
	}
	last := len(rows) - 1
	rows[last] = upTo(rows[last], want[len(want)-1])
	for i := range rows {
		rows[i] = rows[i][min(indent, len(rows[i])):]
	}
	laid = strings.Join(rows, "\n")
	at = acl.Origin{File: v.doc.name, Line: first, Column: indent + 1}
	return laid, at, slices.Equal(strings.Fields(laid), want)
}

// upTo cuts what follows the last word of a string in its last line: a closing
// quote or bracket, a comment.
func upTo(row, word string) string {
	if i := strings.LastIndex(row, word); i >= 0 {
		return row[:i+len(word)]
	}
	return row
}

// injected tells whether a variable that stands inside a word (>${PASSWORD}) has
// a value that would end the word: it would bring in rules nobody wrote. A
// variable that stands alone may hold several rules.
func (v value) injected(written string) bool {
	quiet := v
	quiet.r = &reader{env: v.r.env, expanded: make(map[string]string)} // what expand finds is recorded already
	for word := range strings.FieldsSeq(written) {
		if !strings.Contains(word, "${") || strings.HasPrefix(word, "${") && strings.IndexByte(word, '}') == len(word)-1 {
			continue
		}
		if value, _ := quiet.expand(word); strings.ContainsAny(value, " \t\r\n\v\f\"'\\") {
			return true
		}
	}
	return false
}
