package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
)

// documents are what people read before they read code.
var documents = []string{
	"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "DIFFERENCES.md", "EVENTS.md", "bench/README.md", "deploy/README.md", "deploy/reference.md",
}

// exampleFolder holds the two files that README shows.
const exampleFolder = "deploy/examples/gateway"

// What documents name is there: files, headings, targets, commands, flags, metrics.
func TestDocuments(t *testing.T) {
	for _, name := range documents {
		t.Run(name, func(t *testing.T) {
			text := readText(t, name)
			for _, target := range linksOf(text) {
				if fault := followLink(t, name, target); fault != "" {
					t.Errorf("link to %s: %s", target, fault)
				}
			}
			code := codeOf(text)
			for _, file := range filesIn(code) {
				if _, err := os.Stat(filepath.Join(projectRoot, file)); err != nil {
					t.Errorf("names the file %s: %v", file, err)
				}
			}
			targets := makeTargets(readText(t, "Makefile"))
			for _, target := range targetsIn(code) {
				if !slices.Contains(targets, target) {
					t.Errorf("names make %s, which is no target", target)
				}
			}
			for _, line := range commandsIn(code) {
				if fault := knownCommand(line); fault != "" {
					t.Errorf("names %q: %s", line, fault)
				}
			}
			sources := metricSources(t)
			for _, metric := range metricsIn(code) {
				if !strings.Contains(sources, strconv.Quote(metric)) {
					t.Errorf("names the metric sallyport_%s, which is none", metric)
				}
			}
		})
	}
}

// The checks above do see what is wrong.
func TestDocumentChecksSeeWhatIsMissing(t *testing.T) {
	const text = "See [this](NO-SUCH.md), [that](README.md#no-such-heading).\n" +
		"Run `make no-such-target`, `sallyport no-such-command`, `bin/sallyport serve --no-such-flag`\n" +
		"```sh\nbin/sallyport check --strict --config a.yaml | grep x # make up your mind\nmake test ARGS=-quick\n```\n" +
		"and read `proxy/no_such_file.go` and `sallyport_no_such_total`. make sure, sallyport knows.\n"
	var faults []string
	for _, target := range linksOf(text) {
		faults = append(faults, followLink(t, "README.md", target))
	}
	code := codeOf(text)
	for _, line := range commandsIn(code) {
		faults = append(faults, knownCommand(line))
	}
	want := []string{
		"no such file", "no such heading", `no command "no-such-command"`, "no flag --no-such-flag", "",
	}
	if len(faults) != len(want) {
		t.Fatalf("%d findings, want %d: %q", len(faults), len(want), faults)
	}
	for i := range want {
		if !strings.Contains(faults[i], want[i]) || want[i] == "" && faults[i] != "" {
			t.Errorf("finding %d: %q, want %q", i, faults[i], want[i])
		}
	}
	if got := targetsIn(code); !slices.Equal(got, []string{"no-such-target", "test"}) {
		t.Errorf("make targets %q", got)
	}
	if got := filesIn(code); !slices.Equal(got, []string{"proxy/no_such_file.go"}) {
		t.Errorf("files %q", got)
	}
	if got := metricsIn(code); !slices.Equal(got, []string{"no_such_total"}) {
		t.Errorf("metrics %q", got)
	}
}

// README's files are the example's, and load without a fault or a finding.
func TestReadmeConfigurationLoads(t *testing.T) {
	blocks := fencesOf(readText(t, "README.md"), "yaml")
	if len(blocks) < 3 {
		t.Fatalf("README has %d yaml blocks, not 3 and more", len(blocks))
	}
	for _, block := range blocks[3:] {
		loadsInPlace(t, blocks[0], block)
	}
	if file := readText(t, "deploy/examples/factors/policy.yaml"); !strings.Contains(file, blocks[2]) {
		t.Error("README shows other users than deploy/examples/factors has")
	}
	for i, name := range []string{"sallyport.yaml", "policy.yaml"} {
		if file := readText(t, exampleFolder+"/"+name); blocks[i] != file {
			t.Errorf("README shows another %s than %s has", name, exampleFolder)
		}
	}
	cfg := loadExample(t)
	for user, want := range map[string]bool{"app": true, "default": false} {
		if got := cfg.Policy.User(user); (got != nil && got.Enabled()) != want {
			t.Errorf("user %s: on is not %v", user, want)
		}
	}
}

// loadsInPlace loads the example with a block in place of its own sections of the
// same names.
func loadsInPlace(t *testing.T, whole, block string) {
	t.Helper()
	section := regexp.MustCompile(`(?m)^[a-z]+:(.*\n)(?:[ #].*\n|\n)*`)
	for _, s := range section.FindAllString(block, -1) {
		key, _, _ := strings.Cut(s, ":")
		whole = regexp.MustCompile(`(?m)^`+key+`:(.*\n)(?:[ #].*\n|\n)*`).ReplaceAllLiteralString(whole, "") + s
	}
	folder := t.TempDir()
	copyExample(t, folder, strings.NewReplacer())
	if _, err := tlsutil.WriteDevDir(filepath.Join(folder, "tls"), tlsutil.DevOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("APP_HASH", "#"+acl.HashPassword([]byte("for this test only")))
	for _, ca := range []string{"operators.crt", "redis-ca.crt"} { // authorities of others
		put(t, filepath.Join(folder, "tls", ca), readFile(t, filepath.Join(folder, "tls", "ca.crt")))
	}
	for _, name := range regexp.MustCompile(`password_file: ([a-z/-]+)`).FindAllStringSubmatch(whole, -1) {
		must(t, os.MkdirAll(filepath.Join(folder, filepath.Dir(name[1])), 0o700))
		put(t, filepath.Join(folder, name[1]), "a secret of this test\n")
	}
	put(t, filepath.Join(folder, "sallyport.yaml"), whole)
	if cfg, problems := config.Load(filepath.Join(folder, "sallyport.yaml")); cfg == nil {
		t.Errorf("a block of README does not load:\n%s\n%v", block, problems)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return string(content)
}

// loadExample loads the example's files as an operator has them: with
// certificates beside them and the password's hash in the environment.
func loadExample(t *testing.T) *config.Config {
	t.Helper()
	folder := t.TempDir()
	copyExample(t, folder, strings.NewReplacer())
	if _, err := tlsutil.WriteDevDir(filepath.Join(folder, "tls"), tlsutil.DevOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("APP_HASH", "#"+acl.HashPassword([]byte("for this test only")))
	cfg, problems := config.Load(filepath.Join(folder, "sallyport.yaml"))
	for _, p := range problems {
		t.Errorf("%s", p)
	}
	if cfg == nil {
		t.FailNow()
	}
	return cfg
}

func copyExample(t *testing.T, folder string, change *strings.Replacer) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sallyport.yaml", "policy.yaml"} {
		text := change.Replace(readText(t, exampleFolder+"/"+name))
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// README's ten commands do what README says, pasted as they are but for ports
// and the build.
func TestReadmeQuickstart(t *testing.T) {
	readme := readText(t, "README.md")
	_, section, found := strings.Cut(readme, "\n## A gateway in ten commands\n")
	section, _, ended := strings.Cut(section, "\n## ")
	shell, shown := fencesOf(section, "sh"), fencesOf(section, "text")
	if !found || !ended || len(shell) != 2 || len(shown) != 1 {
		t.Fatalf("README's quickstart is not two shell blocks and what they print: %d, %d", len(shell), len(shown))
	}
	if n := strings.Count(shell[0]+shell[1], "\n"); n > 10 {
		t.Errorf("the quickstart has %d commands, more than ten", n)
	}
	redis := redistest.Start(t)
	gateway, admin := freePort(t), freePort(t)
	ports := strings.NewReplacer("6380", gateway, "9380", admin, "127.0.0.1:6379", redis.Addr())

	dir := t.TempDir()
	copyExample(t, filepath.Join(dir, exampleFolder), ports)
	linkBinary(t, dir)
	start, built := strings.CutPrefix(shell[0], "make build\n")
	if !built {
		t.Fatal("the quickstart does not begin with make build")
	}
	if os.Geteuid() == 0 { // as README says
		start = strings.Replace(start, "sallyport serve ", "sallyport serve --allow-root ", 1)
	}
	startScript(t, dir, ports.Replace(start))
	awaitReady(t, "http://127.0.0.1:"+admin+"/readyz")

	client, look, ok := strings.Cut(ports.Replace(shell[1]), "grep ")
	if !ok {
		t.Fatal("the quickstart does not look at the record")
	}
	printed := output(t, dir, client)
	// The record is written a moment after the reply has left.
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		line, err := shellIn(t.Context(), dir, "grep "+look).Output()
		if err == nil {
			printed += string(line)
			break
		}
		select {
		case <-deadline:
			t.Fatalf("nothing is on record: %v", err)
		case <-tick.C:
		}
	}
	if got, want := masked(printed), masked(shown[0]); got != want {
		t.Errorf("the quickstart prints\n%s\nREADME says\n%s", got, want)
	}
}

// What README says explain says, and what it shows of the demo's tour.
func TestReadmeShowsWhatIsPrinted(t *testing.T) {
	readme := readText(t, "README.md")
	t.Run("explain", func(t *testing.T) {
		shell, shown := fencesOf(readme, "sh"), fencesOf(readme, "text")
		ask := slices.IndexFunc(shell, func(block string) bool { return strings.Contains(block, "sallyport explain ") })
		answer := slices.IndexFunc(shown, func(block string) bool { return strings.HasPrefix(block, "refused: ") })
		if ask < 0 || answer < 0 {
			t.Fatal("README neither asks explain nor shows its answer")
		}
		dir := t.TempDir()
		copyExample(t, filepath.Join(dir, "bin", "try"), strings.NewReplacer())
		if _, err := tlsutil.WriteDevDir(filepath.Join(dir, "bin", "try", "tls"), tlsutil.DevOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Setenv("APP_HASH", "#"+acl.HashPassword([]byte("for this test only")))
		linkBinary(t, dir)
		got, err := shellIn(t.Context(), dir, shell[ask]).CombinedOutput()
		var failed *exec.ExitError
		if !errors.As(err, &failed) || failed.ExitCode() != exitFailure {
			t.Errorf("it ended with %v, and a refusal is %d", err, exitFailure)
		}
		if want := "bin/try/sallyport.yaml: ok\n" + shown[answer]; string(got) != want {
			t.Errorf("it prints\n%s\nREADME says\n%s", got, want)
		}
	})
	t.Run("demo", func(t *testing.T) {
		demo := exec.CommandContext(t.Context(), "go", "run", "./cmd/sallyport-demo", "--once", "--address", "127.0.0.1:0")
		demo.Dir = projectRoot
		printed, err := demo.CombinedOutput()
		if err != nil {
			t.Fatalf("%v:\n%s", err, printed)
		}
		shown := fencesOf(readme, "text")[0]
		if strings.Count(shown, "\n") < 3 {
			t.Fatalf("README shows hardly anything of the tour: %q", shown)
		}
		for line := range strings.Lines(shown) {
			if !strings.Contains(string(printed), "\n"+line) {
				t.Errorf("the tour does not print %q:\n%s", line, printed)
			}
		}
	})
}

// linkBinary puts the command where make build puts it.
func linkBinary(t *testing.T, dir string) {
	t.Helper()
	binary, err := exec.LookPath("sallyport")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(dir, "bin", "sallyport")); err != nil {
		t.Fatal(err)
	}
}

// startScript runs a script whose last line stays, until the test ends; the signal to
// end is the one an operator would send.
func startScript(t *testing.T, dir, script string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	lines[len(lines)-1] = "exec " + lines[len(lines)-1]
	ctx, cancel := context.WithCancel(context.Background())
	cmd := shellIn(ctx, dir, strings.Join(lines, "\n"))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // says that ctx ended it; how it ended is told by the state
		if code := cmd.ProcessState.ExitCode(); code != exitOK {
			t.Errorf("serve ended with %d, not %d", code, exitOK)
		}
		if t.Failed() {
			t.Logf("it said:\n%s", said.String())
		}
	})
}

func shellIn(ctx context.Context, dir, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script)
	cmd.Dir = dir
	return cmd
}

// output gives what a script prints. It must end well.
func output(t *testing.T, dir, script string) string {
	t.Helper()
	out, err := shellIn(t.Context(), dir, script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return string(out)
}

func awaitReady(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("%s", response.Status)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not ready: %v", err)
		case <-tick.C:
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

var changing = regexp.MustCompile(`"time":"[^"]*"|"client_port":\d+|"hash":"[0-9a-f]{64}"`)

// masked is what does not change from run to run. redis-cli marks errors on a
// terminal only, and ends them with an empty line elsewhere.
func masked(printed string) string {
	var out []string
	for line := range strings.Lines(printed) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "(error) ")
		if line != "" {
			out = append(out, changing.ReplaceAllString(line, "…"))
		}
	}
	return strings.Join(out, "\n")
}

// Nothing tracked names the machine or the proxy it was written behind.
func TestNothingNamesTheMachineItWasWrittenOn(t *testing.T) {
	// In pieces, or this file would be the first to be found.
	foreign := []*regexp.Regexp{
		regexp.MustCompile(`(^|[^A-Za-z0-9_.$~])/` + `work(/|\b)`),
		regexp.MustCompile(`/tmp/` + `contract|\.` + `library/`),
	}
	for _, host := range registryHosts(t) {
		foreign = append(foreign, regexp.MustCompile(regexp.QuoteMeta(host)))
	}
	seen := 0
	for _, file := range trackedFiles(t) {
		text, err := os.ReadFile(filepath.Join(projectRoot, file))
		if os.IsNotExist(err) {
			continue // tracked and removed, not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		seen++
		for n, line := range strings.Split(string(text), "\n") {
			for _, f := range foreign {
				if f.MatchString(line) {
					t.Errorf("%s:%d: %s", file, n+1, strings.TrimSpace(line))
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d files were looked at", seen)
	}
	for _, line := range []string{"cd /" + "work/main", "see /" + "work."} {
		if !foreign[0].MatchString(line) {
			t.Errorf("%q is not found", line)
		}
	}
	for _, line := range []string{"network/work/x", "$WORK/a", "go.work"} {
		if foreign[0].MatchString(line) {
			t.Errorf("%q is found", line)
		}
	}
}

// registryHosts are the hosts this machine fetches modules from, the public one
// and the sources' own aside.
func registryHosts(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	for word := range strings.FieldsFuncSeq(string(out), func(r rune) bool { return strings.ContainsRune(",|\n ", r) }) {
		u, err := url.Parse(word)
		if err == nil && u.Hostname() != "" && u.Hostname() != "proxy.golang.org" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// trackedFiles are the files in git's index; without git, all but what is built.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	list.Dir = projectRoot
	if out, err := list.Output(); err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var files []string
	err := fs.WalkDir(os.DirFS(projectRoot), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (file == ".git" || file == "bin"):
			return fs.SkipDir
		case d.Type().IsRegular():
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var (
	linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fence      = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```\\s*$")
	inline     = regexp.MustCompile("`([^`\n]+)`")
	notSlug    = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func linksOf(text string) []string {
	var out []string
	for _, m := range linkTarget.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		out = append(out, m[1])
	}
	return out
}

// followLink says what is wrong with a link of a document, if anything is. None
// leads out of the project: hosts come and go.
func followLink(t *testing.T, from, target string) string {
	file, heading, _ := strings.Cut(target, "#")
	if strings.Contains(target, "://") {
		return "leads out of the project"
	}
	if file = path.Join(path.Dir(from), file); strings.HasSuffix(target, "#"+heading) && strings.HasPrefix(target, "#") {
		file = from
	}
	if _, err := os.Stat(filepath.Join(projectRoot, file)); err != nil {
		return "no such file"
	}
	if heading == "" {
		return ""
	}
	for line := range strings.Lines(readText(t, file)) {
		title := strings.TrimLeft(line, "#")
		if title != line && slug(title) == heading {
			return ""
		}
	}
	return "no such heading"
}

// slug is the name a heading has in links.
func slug(title string) string {
	return strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
}

// fencesOf gives the fenced blocks in a language.
func fencesOf(text, language string) []string {
	var out []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == language {
			out = append(out, m[2])
		}
	}
	return out
}

// codeOf gives the code of a document line by line: spans, and what is in shell
// blocks. Blocks without a language are drawings, but for lines that call make.
func codeOf(text string) []string {
	var out []string
	for _, m := range inline.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		out = append(out, m[1])
	}
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(m[2]) {
			if m[1] == "sh" || m[1] == "" && strings.HasPrefix(line, "make ") {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	return out
}

var (
	fileName   = regexp.MustCompile(`^[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)+\.(go|json|md|golden|yaml|sh)$`)
	makeWord   = regexp.MustCompile(`^make ([a-z-]+)`)
	makeRule   = regexp.MustCompile(`(?m)^([a-z-]+):`)
	ourCommand = regexp.MustCompile(`(?:^|[ (])(?:\.\./)?(?:bin/)?sallyport( [^|<>#;)&]*)`)
	metricName = regexp.MustCompile(`sallyport_([a-z_]+)`)
)

// filesIn gives the code spans that are files of the project.
func filesIn(code []string) []string {
	var out []string
	for _, line := range code {
		if fileName.MatchString(line) && !strings.HasPrefix(line, "bin/") && !strings.HasPrefix(line, "tls/") {
			out = append(out, line)
		}
	}
	return out
}

func targetsIn(code []string) []string {
	var out []string
	for _, line := range code {
		if m := makeWord.FindStringSubmatch(line); m != nil {
			out = append(out, m[1])
		}
	}
	return out
}

func makeTargets(makefile string) []string {
	var out []string
	for _, m := range makeRule.FindAllStringSubmatch(makefile, -1) {
		out = append(out, m[1])
	}
	return out
}

// commandsIn gives the command lines of ours, without what a shell does with them.
func commandsIn(code []string) []string {
	var out []string
	for _, line := range code {
		for _, m := range ourCommand.FindAllStringSubmatch(line, -1) {
			out = append(out, strings.TrimSpace(m[1]))
		}
	}
	return out
}

func metricsIn(code []string) []string {
	var out []string
	for _, line := range code {
		for _, m := range metricName.FindAllStringSubmatch(line, -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// knownCommand says what of a command line the command tree doesn't know.
func knownCommand(line string) string {
	root := newRoot(streams{})
	root.InitDefaultCompletionCmd()
	words := strings.Fields(line)
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err.Error()
	}
	cmd.InitDefaultHelpFlag()
	if cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return fmt.Sprintf("%s has no command %q", cmd.CommandPath(), rest[0])
	}
	for _, word := range rest {
		name, isFlag := strings.CutPrefix(word, "--")
		if name, _, _ = strings.Cut(name, "="); isFlag && cmd.Flags().Lookup(name) == nil {
			return fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), name)
		}
	}
	return ""
}

// metricSources is the source of package metrics, which names each metric once.
func metricSources(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(projectRoot, "metrics", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources of metrics: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
