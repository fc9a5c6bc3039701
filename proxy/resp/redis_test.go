package resp

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// streams is how many generated streams are shown to a real server.
	streams  = 100_000
	password = "sesame"
)

// difference is a point at which the Reader refuses what Redis does not.
type difference struct {
	redis string // what Redis does instead
	// goesOn says that Redis, having noticed nothing, may well reject the same
	// command further on and for another reason.
	goesOn bool
}

// stricter lists all differences by the text we refuse with. Everything else we
// refuse it refuses too, and in the same words.
var stricter = map[string]difference{
	errBulkEnd.Text:      {"takes any two bytes behind a bulk", true},
	errCount.Text:        {"takes any byte behind CR, and waits where CR is missing", true},
	errBulk.Text:         {"takes any byte behind CR, and waits where CR is missing", true},
	errCountLine.Text:    {"waits for the end of 64 KiB, then finds the count invalid or its line too long", true},
	errBulkLine.Text:     {"waits for the end of 64 KiB, then finds the length invalid or its line too long", true},
	errInlineNUL.Text:    {"waits for ever behind a NUL", false},
	errInline.Text:       {"takes a longer line if its end comes with it", false},
	errEmpties.Text:      {"skips empty requests without end", false},
	errHTTP.Text:         {"knows POST and Host: only, and says nothing", false},
	errTLS.Text:          {"waits for the end of the line", false},
	errCountLogin.Text:   {"has no limit for inline arguments", true},
	errRequestLogin.Text: {"takes ten arguments of 16 KiB", false},
}

// The promise of the package, checked against the server it is about: of
// streams valid, spoiled and cut off, none is accepted that Redis rejects, and
// each command is the one that Redis ran.
func TestReaderAgreesWithRedis(t *testing.T) {
	for seed, server := range []struct {
		name     string
		password string
		limits   Limits
		share    int
	}{
		{"logged in", "", afterLogin, 6},
		{"before login with Redis's limits", password,
			Limits{Args: 10, Bulk: 16 << 10, Inline: 64 << 10, Request: 512 << 20, Unauthenticated: true}, 2},
		{"before login with ours", password, BeforeLogin, 2},
	} {
		t.Run(server.name, func(t *testing.T) {
			socket := startRedis(t, server.password)
			const workers = 8
			perWorker := streams * server.share / 10 / workers
			tallies := make([]tally, workers)
			var group sync.WaitGroup
			first := tally{differences: map[string]int{}}
			for _, stream := range corpus {
				c := conversation{socket: socket, limits: server.limits, locked: server.password != "", bytes: []byte(stream)}
				c.hold(t, &first)
			}
			for w := range workers {
				group.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(w), uint64(seed)))
					tallies[w].differences = map[string]int{}
					for n := 0; n < perWorker && !t.Failed(); {
						c := conversation{socket: socket, limits: server.limits, locked: server.password != ""}
						n += c.generate(rnd, perWorker-n)
						c.hold(t, &tallies[w])
					}
				})
			}
			group.Wait()
			checkTallies(t, tallies, perWorker*workers)
		})
	}
}

// tally counts what was seen, so that a generator gone lame is noticed.
type tally struct {
	connections, commands, rejected int
	differences                     map[string]int
}

func checkTallies(t *testing.T, tallies []tally, streams int) {
	sum := tally{differences: map[string]int{}}
	for _, one := range tallies {
		sum.connections += one.connections
		sum.commands += one.commands
		sum.rejected += one.rejected
		for text, n := range one.differences {
			sum.differences[text] += n
		}
	}
	t.Logf("%d streams on %d connections: %d commands, %d rejected by both, stricter: %v",
		streams, sum.connections, sum.commands, sum.rejected, sum.differences)
	if !t.Failed() && (sum.commands < streams || sum.rejected < streams/50 || len(sum.differences) < 3) {
		t.Error("the streams no longer show much")
	}
}

// conversation is one connection: whole streams, then perhaps a spoiled one.
type conversation struct {
	socket string
	limits Limits
	locked bool // the server wants a password
	bytes  []byte
}

func (c *conversation) generate(rnd *rand.Rand, most int) (n int) {
	for n = 1; n < most && rnd.IntN(2) > 0; n++ {
		c.bytes = c.stream(rnd, c.bytes)
	}
	last := c.stream(rnd, nil)
	switch rnd.IntN(5) {
	case 0:
		// Stays whole.
	case 1, 2:
		last = mutate(rnd, last)
	case 3:
		last = spoil(rnd, last)
	case 4:
		last = mutate(rnd, spoil(rnd, last))
	}
	if rnd.IntN(100) == 0 {
		// Alone, as Redis drops the answers it still owed.
		c.bytes, last = nil, []byte("POST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n")
		if rnd.IntN(2) == 0 {
			last = command("hOST:", "PING\r\n")
		}
	}
	c.bytes = append(c.bytes, last...)
	return n
}

// stream appends a valid stream of one to three commands. Commands whose reply
// shows all their arguments prevail.
func (c *conversation) stream(rnd *rand.Rand, b []byte) []byte {
	for range 1 + rnd.IntN(3) {
		size := rnd.IntN(20)
		switch rnd.IntN(400) {
		case 0:
			size = 16<<10 - 1 + rnd.IntN(3)
		case 1:
			size = 40_000
		}
		switch rnd.IntN(12) {
		case 0:
			b = append(b, []string{"\r\n", "\n", "*0\r\n", "*-1\r\n", " \t \r\n", "*-9223372036854775808\r\n"}[rnd.IntN(6)]...)
		case 1:
			b = append(b, "PING\r\n"...)
		case 2, 3:
			b = append(append(b, "ECHO "...), inlineWord(rnd)...)
			b = append(b, []string{"\r\n", "\n", " \r\n", "\t\n"}[rnd.IntN(4)]...)
		case 4:
			b = append(b, "command\tGETKEYS DEL"...)
			for range 1 + rnd.IntN(9) {
				b = append(append(b, " \t\v"[rnd.IntN(2)]), inlineWord(rnd)...)
			}
			b = append(b, "\r\n"...)
		case 5, 6, 7:
			args := []string{"COMMAND", "GETKEYS", "DEL"}
			for range 1 + rnd.IntN(8) {
				args = append(args, randomBytes(rnd, rnd.IntN(12)))
			}
			b = append(b, command(args...)...)
		case 8:
			if c.locked && rnd.IntN(4) == 0 {
				b = append(b, command("AUTH", password)...)
				continue
			}
			b = append(b, command("nosuch"+inlineLetters(rnd, 5), "a")...)
		default:
			b = append(b, command("ECHO", randomBytes(rnd, size))...)
		}
	}
	return b
}

func inlineLetters(rnd *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rnd.IntN(26))
	}
	return string(b)
}

// inlineWord is a word as a person would type it, or a little worse.
func inlineWord(rnd *rand.Rand) []byte {
	pieces := []string{"a", "bc", "\\x41", "\\n", "\\", "\x80", "*", "$1", "\x0b", "7", "\\xg", "\\x4"}
	quote := []string{"", "", "\"", "'"}[rnd.IntN(4)]
	word := []byte(quote)
	for range 1 + rnd.IntN(5) {
		word = append(word, pieces[rnd.IntN(len(pieces))]...)
		if quote != "" && rnd.IntN(3) == 0 {
			word = append(word, []string{" ", "\t", "\\" + quote, "\\\\"}[rnd.IntN(4)]...)
		}
	}
	return append(word, quote...)
}

// spoil changes one thing of the kind attackers change.
func spoil(rnd *rand.Rand, b []byte) []byte {
	swap := func(old string, news ...string) []byte {
		n := bytes.Count(b, []byte(old))
		if n == 0 {
			return append(b, news[rnd.IntN(len(news))]...)
		}
		at := 0
		for range 1 + rnd.IntN(n) {
			at += bytes.Index(b[at:], []byte(old)) + 1
		}
		at--
		return append(append(bytes.Clone(b[:at]), news[rnd.IntN(len(news))]...), b[at+len(old):]...)
	}
	switch rnd.IntN(7) {
	case 0:
		return swap("\r\n", "\n", "\r", "xx", "\r\r\n", "\r\n\r\n", "")
	case 1:
		return swap("$", "$0", "$-", "$+", "$ ", ":", "*", "$1", "$9223372036854775807\r\n", "$18446744073709551619\r\n", "$536870913\r\n", "$-1\r\n", "$\r\n")
	case 2:
		return swap("*", "*0", "*-", "*1", "*3000000000\r\n", "*1048577\r\n", "*2147483648\r\n", "*11\r\n", "*1\n", "**1\r\n", "$", " *")
	case 3:
		return append(b, []string{"PI\x00NG\r\n", "\x16\x03\x01\x00\x10", "ECHO \"a\"b\r\n", "ECHO 'a\r\n", strings.Repeat("\r\n", 101)}[rnd.IntN(5)]...)
	case 4:
		return append(b, strings.Repeat([]string{"*1", "$", "1", "a ", "a"}[rnd.IntN(5)], 1+rnd.IntN(30))...)
	case 5:
		return b[:rnd.IntN(len(b)+1)]
	}
	return append(b, command(append([]string{"COMMAND", "GETKEYS", "DEL"}, strings.Split(strings.Repeat("k", 8+rnd.IntN(3)), "")...)...)...)
}

// hold shows the bytes to Redis and to a Reader and compares.
func (c *conversation) hold(t *testing.T, tally *tally) {
	t.Helper()
	answers := converse(t, c.socket, c.bytes)
	fault := ""
	if n := len(answers); n > 0 && strings.HasPrefix(answers[n-1], "-ERR Protocol error: ") {
		fault = strings.TrimSuffix(answers[n-1][len("-ERR "):], "\r\n")
		if _, c, found := strings.Cut(fault, "expected '$', got '"); found {
			fault = unexpected(c[0]).Text // Redis shows control bytes, too
		}
		answers = answers[:n-1]
	}
	got := c.read(t)
	tally.connections++
	tally.commands += len(got.Commands)
	complain := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%q:\n%s\nreader: %.400q %q\nredis: %.400q %q", c.bytes, fmt.Sprintf(format, args...), got.Commands, got.Fault, answers, fault)
	}
	if len(got.Commands) > len(answers) {
		complain("accepted %d commands where Redis ran %d", len(got.Commands), len(answers))
		return
	}
	in := !c.locked
	for i, args := range got.Commands {
		if want := expected(args, &in); !strings.HasPrefix(answers[i], want) {
			complain("command %d of the reader asks for %q, Redis answered %q", i, want, answers[i])
			return
		}
	}
	switch {
	case got.Fault == "" && fault != "":
		complain("Redis rejects, the reader does not")
	case got.Fault == "" && len(answers) > len(got.Commands):
		complain("Redis ran more than the reader saw")
	case got.Fault == "":
	case got.Fault == fault && len(answers) == len(got.Commands):
		tally.rejected++
	case strings.HasPrefix(got.Fault, "Protocol error: expected '$'") && fault == "" && len(answers) == len(got.Commands):
		tally.differences["expected '$'"]++ // Redis waits for the line's end first
	default:
		known, listed := stricter[got.Fault]
		if !listed || !known.goesOn && fault != "" && len(answers) == len(got.Commands) {
			complain("a difference that is not listed")
		}
		tally.differences[got.Fault]++
	}
}

// read plays the session: what AUTH unlocks, the limits follow.
func (c *conversation) read(t *testing.T) (got reading) {
	var r Reader
	r.Reset(c.limits, nil)
	r.Feed(c.bytes)
	for {
		args, err := r.Next()
		if err != nil {
			got.note(t, err)
			return got
		}
		if args == nil {
			return got
		}
		got.Commands = append(got.Commands, words(args))
		if c.locked && foldEqual(args[0], "auth") && len(args) == 2 && string(args[1]) == password {
			r.SetLimits(afterLogin)
		}
	}
}

// expected is the beginning of the answer that tells the arguments Redis ran
// with, and all of it where they are shown whole.
func expected(args []string, in *bool) string {
	switch name := strings.ToLower(args[0]); name {
	case "auth":
		if len(args) == 2 && args[1] == password {
			*in = true
			return "+OK\r\n"
		}
		return "-"
	case "hello", "quit", "reset":
		return ""
	case "del", "get", "keys", "mset", "set": // what spoiling makes of the others, and the corpus holds
		return "-"
	case "command":
		return expectedKeys(args, *in)
	case "ping", "echo":
		switch {
		case name == "ping" && !*in:
			return "-NOAUTH " // any number of arguments is judged later
		case name == "ping" && len(args) > 2, name == "echo" && len(args) != 2:
			return "-ERR wrong number of arguments for '" + name + "' command"
		case !*in:
			return "-NOAUTH "
		case len(args) == 1:
			return "+PONG\r\n"
		}
		return string(AppendBulkString(nil, args[1]))
	}
	return "-ERR unknown command '" + printable(args[0], 128) + "', with args beginning with: " + argsShown(args[1:])
}

// expectedKeys is expected for COMMAND, of which the test's user may do GETKEYS
// only. GETKEYS DEL answers with all arguments behind it.
func expectedKeys(args []string, in bool) string {
	switch {
	case len(args) > 1 && !strings.EqualFold(args[1], "getkeys"):
		return "-"
	case len(args) == 2, len(args) == 3:
		return "-ERR wrong number of arguments for 'command|getkeys' command"
	case !in:
		return "-NOAUTH "
	case len(args) == 1:
		return "-NOPERM "
	case strings.EqualFold(args[2], "del"):
		return string(command(args[3:]...))
	}
	return "-ERR "
}

// argsShown is how Redis quotes arguments in its answer to an unknown command.
func argsShown(args []string) string {
	shown := ""
	for _, a := range args {
		if len(shown) >= 128 {
			break
		}
		shown += "'" + printable(a, 128-len(shown)) + "' "
	}
	return shown
}

// printable is a text as an error of Redis shows it: up to a NUL, cut, and
// without line ends.
func printable(s string, most int) string {
	s, _, _ = strings.Cut(s, "\x00")
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s[:min(len(s), most)])
}

// converse sends the bytes, ends the sending side and returns the answers.
func converse(t *testing.T, socket string, b []byte) (answers []string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	// Redis may hang up before all is written.
	if _, err := conn.Write(b); err == nil {
		conn.(*net.UnixConn).CloseWrite()
	}
	got, err := io.ReadAll(conn)
	if err != nil && len(got) == 0 && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	for len(got) > 0 {
		state, n := decode(got, 2)
		if state != valid {
			t.Errorf("Redis answered %.200q to %.200q", got, b)
			return answers
		}
		answers = append(answers, string(got[:n]))
		got = got[n:]
	}
	return answers
}

// startRedis starts a server that only the test can reach and returns its
// socket.
func startRedis(t *testing.T, password string) string {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("this test compares with a real server: install redis-server (Debian: apt install redis-server)")
	}
	// A socket's path must be short, which t.TempDir's is not.
	dir, err := os.MkdirTemp("", "resp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	args := []string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir, "--loglevel", "warning",
		"--user", "default", "on", "~*", "-@all", "+echo", "+ping", "+auth", "+command|getkeys"}
	if password != "" {
		args = append(args, ">"+password)
	} else {
		args = append(args, "nopass")
	}
	server := exec.Command(program, args...)
	var log bytes.Buffer
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	t.Cleanup(func() {
		server.Process.Kill()
		<-ended
	})
	deadline := time.After(15 * time.Second)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return socket
		}
		select {
		case <-poll.C:
		case err := <-ended:
			ended <- err
			t.Fatalf("redis-server ended: %v\n%s", err, log.String())
		case <-deadline:
			t.Fatal("redis-server is not up after 15 s")
		}
	}
}
