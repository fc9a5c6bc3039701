package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what is said now into the tables; read the change before keeping it")

// The tables in testdata/*.txtar hold one case per folder: its files, an
// optional env, and in want every word that is said about them. Files that a
// case does not bring are those of the case "good" of the same table.
func TestEveryProblemIsSaidWithItsPlace(t *testing.T) {
	tables, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	cases := 0
	for _, table := range tables {
		archive, err := txtar.ParseFile(table)
		if err != nil {
			t.Fatal(err)
		}
		names, files := folders(archive)
		cases += len(names)
		for _, name := range names {
			t.Run(strings.TrimSuffix(filepath.Base(table), ".txtar")+"/"+name, func(t *testing.T) {
				got := said(t, files["good"], files[name])
				if *update {
					setWant(archive, name, got)
					return
				}
				want := string(files[name]["want"])
				if got != want {
					t.Errorf("%s", diff.Diff("want", []byte(want), "got", []byte(got)))
				}
			})
		}
		if *update {
			if err := os.WriteFile(table, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if cases < 60 {
		t.Errorf("only %d cases are left in the tables", cases)
	}
}

// folders sorts an archive's files by their first folder.
func folders(a *txtar.Archive) (names []string, files map[string]map[string][]byte) {
	files = make(map[string]map[string][]byte)
	for _, f := range a.Files {
		name, file, _ := strings.Cut(f.Name, "/")
		if files[name] == nil {
			names = append(names, name)
			files[name] = make(map[string][]byte)
		}
		files[name][file] = f.Data
	}
	return names, files
}

func setWant(a *txtar.Archive, name, got string) {
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name+"/want" })
	if i < 0 {
		last := 0
		for j, f := range a.Files {
			if strings.HasPrefix(f.Name, name+"/") {
				last = j
			}
		}
		i = last + 1
		a.Files = slices.Insert(a.Files, i, txtar.File{Name: name + "/want"})
	}
	a.Files[i].Data = []byte(got)
}

// testNow is when the tests take place.
var testNow = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// said loads a case and gives all that is said about it.
func said(t *testing.T, good, own map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	env := make(map[string]string)
	for _, files := range []map[string][]byte{good, own} {
		for name, data := range files {
			switch name {
			case "want":
			case "env":
				for line := range strings.Lines(string(data)) {
					k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
					env[k] = v
				}
			default:
				writeFile(t, filepath.Join(dir, name), data)
			}
		}
	}
	t.Chdir(dir)
	cfg, problems := load("sallyport.yaml", surroundings{
		env:     func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		machine: machine{root: filepath.Join(dir, "machine")},
		now:     func() time.Time { return testNow },
	})
	if (cfg == nil) != (len(problems.Faults()) > 0) {
		t.Errorf("a Config must be given exactly if there is no fault; config %v, faults %d", cfg != nil, len(problems.Faults()))
	}
	var out bytes.Buffer
	if err := problems.Print(&out); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(out.String(), dir, "$WORK")
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
