package main

import (
	"bytes"
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheCommittedTableIsWhatTheFactsSay(t *testing.T) {
	facts, err := os.ReadFile("../facts.json")
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../table_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := render(facts)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(rendered, committed) {
		t.Error("table_gen.go and facts.json disagree: run go generate in acl/command")
	}
	again, err := render(facts)
	if err != nil || !bytes.Equal(again, rendered) {
		t.Errorf("rendering twice gives two tables, %v", err)
	}
	if formatted, err := format.Source(rendered); err != nil || !bytes.Equal(formatted, rendered) {
		t.Errorf("table_gen.go is not formatted as gofmt does, %v", err)
	}
	if !bytes.HasPrefix(rendered, []byte("// Code generated ")) || !bytes.Contains(rendered[:100], []byte(" DO NOT EDIT.\n")) {
		t.Errorf("the header is %.100q", rendered)
	}
}

func TestTheFactsNameNoPlaceOfAMachine(t *testing.T) {
	facts, err := os.ReadFile("../facts.json")
	if err != nil {
		t.Fatal(err)
	}
	if at := bytes.Index(facts, []byte(`"/`)); at >= 0 {
		t.Errorf("facts.json contains the path %.40q", facts[at:])
	}
}

func TestDifferencesMakeAVersionsOwnTable(t *testing.T) {
	const text = `{"versions": ["one", "two"], "commands": [
{"name":"a","arity":2,"flags":["fast"],"categories":["read"],"keys":["RO access; index 1; range 0 1 0"],"range":[1,1,1],"in":[0,1],
 "differences":{"two":{"arity":-2,"flags":["write"],"keys":[]}}},
{"name":"b","arity":1,"flags":[],"categories":[],"in":[1]},
{"name":"s","arity":1,"flags":[],"categories":[],"only":"sentinel","in":[0]}]}`
	rendered, err := render([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"a", 2, FlagFast, catRead, 1, 1, 1, 1},`,
		`{"a", -2, FlagWrite, catRead, 0, 1, 1, 1},`,
		`{{flags: specAccess, begin: beginIndex, pos: 1, find: findRange, last: 0, step: 1, limit: 0}},`,
		"var genNewest = []uint16{\n\t0, 2,\n}",
		"{label: \"one\", facts: []uint16{\n\t\t0,\n\t}},",
		"{label: \"two\", facts: []uint16{\n\t\t1, 2,\n\t}},",
	} {
		if !strings.Contains(string(rendered), want) {
			t.Errorf("%q is missing in\n%s", want, rendered)
		}
	}
	if strings.Contains(string(rendered), `"s"`) {
		t.Error("a command of sentinel mode is in the table")
	}
}

func TestBadFactsAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                         "unexpected EOF",
		`{"versions":[],"extra":1}`: `unknown field "extra"`,
		`{"commands":[{"name":"b"},{"name":"a"}]}`:                        "not sorted",
		`{"commands":[{"name":"a"},{"name":"a"}]}`:                        "a: listed twice",
		`{"commands":[{"name":"a","in":[0]}]}`:                            "a: no version number 0",
		`{"commands":[{"name":"a","differences":{"x":{}}}]}`:              `a: differences name the unknown version "x"`,
		`{"commands":[{"name":"a","flags":["fsat"]}]}`:                    `a: flag "fsat" is not known`,
		`{"commands":[{"name":"a","categories":[""]}]}`:                   `a: category "" is not known`,
		`{"commands":[{"name":"a","keys":["RO; index 1"]}]}`:              "want three parts",
		`{"commands":[{"name":"a","keys":["R; index 1; range 0 1 0"]}]}`:  `"R" is not known`,
		`{"commands":[{"name":"a","keys":["RO; place 1; range 0 1 0"]}]}`: "cannot read its beginning",
		`{"commands":[{"name":"a","keys":["RO; index 1; keynum 0 1"]}]}`:  "cannot read how its keys are found",
	} {
		_, err := render([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

func TestRunWritesTheTable(t *testing.T) {
	out := filepath.Join(t.TempDir(), "table_gen.go")
	if err := run("../facts.json", out); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(out); err != nil || len(text) == 0 {
		t.Errorf("nothing written: %v", err)
	}
	if err := run(filepath.Join(t.TempDir(), "absent"), out); err == nil || !strings.Contains(err.Error(), "reading the facts") {
		t.Errorf("an absent file: %v", err)
	}
}
