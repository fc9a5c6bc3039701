package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/sallyport/sallyport"

// projectRoot is the module's root from this package.
const projectRoot = "../.."

// row is a line of ARCHITECTURE.md's package table.
type row struct {
	imports, libraries, inTests []string
	never                       []string // import paths only
}

// source is what the Go files of a package import, whatever system they are for.
type source struct {
	imports, testImports []string // sorted, each once
}

// The table of ARCHITECTURE.md and the tree say the same.
func TestArchitecture(t *testing.T) {
	text := readText(t, "ARCHITECTURE.md")
	table, err := packageTable(text)
	if err != nil {
		t.Fatal(err)
	}
	tree := readTree(t)
	modules := requiredModules(readText(t, "go.mod"))
	t.Run("every_package_keeps_to_its_row", func(t *testing.T) {
		for _, v := range breaches(table, tree, modules) {
			t.Error(v)
		}
	})
	t.Run("the_product_links_no_test_rig", func(t *testing.T) {
		linked := closure(tree, "cmd/sallyport")
		for _, rig := range []string{
			modulePath + "/proxy/redistest", modulePath + "/bench", modulePath + "/cmd/sallyport-demo",
			"github.com/alicebob/miniredis/v2", "testing",
		} {
			if linked[rig] {
				t.Errorf("cmd/sallyport links %s", rig)
			}
		}
		for _, part := range []string{modulePath + "/acl", modulePath + "/proxy/loop", "github.com/gaissmai/bart"} {
			if !linked[part] {
				t.Errorf("cmd/sallyport does not link %s: is the import graph read at all?", part)
			}
		}
	})
	t.Run("every_library_has_its_paragraph", func(t *testing.T) {
		_, section, _ := strings.Cut(text, "\n## Dependencies\n")
		described := map[string]bool{}
		for _, m := range regexp.MustCompile("(?m)^- \\*\\*`([^`]+)`\\*\\* – ").FindAllStringSubmatch(section, -1) {
			described[m[1]] = true
		}
		used := map[string]bool{}
		for _, s := range tree {
			for _, imported := range slices.Concat(s.imports, s.testImports) {
				if m := moduleOf(modules, imported); m != "" {
					used[m] = true
				}
			}
		}
		for _, m := range slices.Sorted(maps.Keys(used)) {
			if !described[m] {
				t.Errorf("%s is imported and has no paragraph under Dependencies", m)
			}
		}
		for _, m := range slices.Sorted(maps.Keys(described)) {
			if !used[m] {
				t.Errorf("%s has a paragraph under Dependencies and nobody imports it", m)
			}
		}
	})
}

// The check itself tells each kind of breach.
func TestArchitectureCheckSeesABreach(t *testing.T) {
	table, err := packageTable(strings.Join([]string{
		"| package | duty | may import | libraries | in tests | never |",
		"| --- | --- | --- | --- | --- | --- |",
		"| `a` | decides | – | bart | `rig` | `net`, logs |",
		"| `b` | asks a | `a` | – | – | – |",
		"| `rig` | tests | – | – | – | – |",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	modules := []string{"github.com/gaissmai/bart", "go.uber.org/zap"}
	ours := func(name string) string { return modulePath + "/" + name }
	tree := func(change func(map[string]source)) map[string]source {
		m := map[string]source{
			"a":   {imports: []string{"strings", "github.com/gaissmai/bart"}, testImports: []string{"testing", ours("a"), ours("rig")}},
			"b":   {imports: []string{ours("a")}},
			"rig": {},
		}
		change(m)
		return m
	}
	for name, c := range map[string]struct {
		change func(map[string]source)
		want   string
	}{
		"nothing":                    {func(map[string]source) {}, ""},
		"a package without a row":    {func(m map[string]source) { m["c"] = source{} }, "c has no row"},
		"a row without a package":    {func(m map[string]source) { delete(m, "rig") }, "rig is in the table and not in the tree"},
		"an import of ours":          {func(m map[string]source) { m["a"] = source{imports: []string{ours("b")}} }, "a imports b"},
		"a test rig in the product":  {func(m map[string]source) { m["a"] = source{imports: []string{ours("rig")}} }, "a imports rig"},
		"an import of ours in tests": {func(m map[string]source) { m["b"] = source{testImports: []string{ours("rig")}} }, "a test of b imports rig"},
		"a library":                  {func(m map[string]source) { m["a"] = source{imports: []string{"go.uber.org/zap/zapcore"}} }, "a imports go.uber.org/zap"},
		"what it must never import":  {func(m map[string]source) { m["a"] = source{imports: []string{"net"}} }, "a imports net"},
		"a module nobody requires":   {func(m map[string]source) { m["a"] = source{imports: []string{"example.com/x"}} }, "a imports example.com/x"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(breaches(table, tree(c.change), modules), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("breaches: %q, want %q", got, c.want)
			}
		})
	}
}

// breaches says where tree departs from table.
func breaches(table map[string]row, tree map[string]source, modules []string) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if _, ok := tree[name]; !ok {
			say("%s is in the table and not in the tree", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		allowed, ok := table[name]
		if !ok {
			say("%s has no row in ARCHITECTURE.md's package table", name)
			continue
		}
		for _, imported := range tree[name].imports {
			module := moduleOf(modules, imported)
			ours, isOurs := strings.CutPrefix(imported, modulePath+"/")
			switch {
			case slices.Contains(allowed.never, imported):
				say("%s imports %s, which its row forbids", name, imported)
			case isOurs && !slices.Contains(allowed.imports, ours):
				say("%s imports %s, which its row does not allow", name, ours)
			case !isOurs && module != "" && !slices.Contains(allowed.libraries, shortName(module)):
				say("%s imports %s, which its row does not allow", name, module)
			case !isOurs && module == "" && strings.Contains(strings.SplitN(imported, "/", 2)[0], "."):
				say("%s imports %s, which go.mod does not name", name, imported)
			}
		}
		for _, imported := range tree[name].testImports {
			ours, isOurs := strings.CutPrefix(imported, modulePath+"/")
			if isOurs && ours != name && !slices.Contains(allowed.imports, ours) && !slices.Contains(allowed.inTests, ours) {
				say("a test of %s imports %s, which its row does not allow", name, ours)
			}
		}
	}
	return out
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// packageTable reads the table whose header is package, duty, may import,
// libraries, in tests, never.
func packageTable(text string) (map[string]row, error) {
	const columns = 6
	table := map[string]row{}
	inside := false
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		switch {
		case strings.HasPrefix(line, "| package | duty | may import | libraries | in tests | never |"):
			inside = true
			continue
		case !inside || strings.HasPrefix(line, "| ---"):
			continue
		case !strings.HasPrefix(line, "|"):
			inside = false
			continue
		case len(cells) != columns:
			return nil, fmt.Errorf("a row of the package table has %d cells, not %d: %s", len(cells), columns, line)
		}
		names := spans(cells[0])
		if len(names) != 1 || table[names[0]].imports != nil {
			return nil, fmt.Errorf("a row of the package table begins with one package, and no other row does: %s", line)
		}
		r := row{imports: append([]string{}, spans(cells[2])...), inTests: spans(cells[4])}
		for word := range strings.SplitSeq(cells[3], ",") {
			r.libraries = append(r.libraries, strings.TrimSpace(word))
		}
		r.never = spans(cells[5])
		table[names[0]] = r
	}
	if len(table) == 0 {
		return nil, fmt.Errorf("there is no package table")
	}
	return table, nil
}

// spans gives what stands in `backquotes`.
func spans(cell string) []string {
	var out []string
	for _, m := range codeSpan.FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// readTree reads the imports of every package of the module, by folder. It reads
// files and not what one system builds, so that kqueue's files count on Linux.
func readTree(t *testing.T) map[string]source {
	t.Helper()
	tree := map[string]source{}
	err := filepath.WalkDir(projectRoot, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != projectRoot && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin"):
			return fs.SkipDir
		case d.IsDir() && file != projectRoot && isFile(filepath.Join(file, "go.mod")):
			return fs.SkipDir // a module of its own, which the product does not link
		case d.IsDir() || !strings.HasSuffix(file, ".go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(projectRoot, filepath.Dir(file))
		if err != nil {
			return err
		}
		name := filepath.ToSlash(folder)
		s := tree[name]
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if strings.HasSuffix(file, "_test.go") {
				s.testImports = append(s.testImports, imported)
			} else {
				s.imports = append(s.imports, imported)
			}
		}
		tree[name] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range tree {
		tree[name] = source{sortedOnce(s.imports), sortedOnce(s.testImports)}
	}
	return tree
}

func sortedOnce(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// closure is everything a package imports through packages of ours, tests aside.
func closure(tree map[string]source, from string) map[string]bool {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		for _, imported := range tree[name].imports {
			if seen[imported] {
				continue
			}
			seen[imported] = true
			if ours, ok := strings.CutPrefix(imported, modulePath+"/"); ok {
				visit(ours)
			}
		}
	}
	visit(from)
	return seen
}

// requiredModules lists the modules go.mod requires, directly or not.
func requiredModules(text string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^(?:\t|require )([^\s(]+) v\S+`).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// moduleOf is the module a package belongs to, empty for ours and the standard library's.
func moduleOf(modules []string, imported string) string {
	longest := ""
	for _, m := range modules {
		if (imported == m || strings.HasPrefix(imported, m+"/")) && len(m) > len(longest) {
			longest = m
		}
	}
	return longest
}

var majorVersion = regexp.MustCompile(`^v\d+$`)

// shortName is how the table calls a module: its last element that is no version.
func shortName(module string) string {
	if majorVersion.MatchString(path.Base(module)) {
		module = path.Dir(module)
	}
	return path.Base(module)
}

// readText reads a file of the project.
func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(projectRoot, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
