package backend

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// playNode plays one connection of a node that answers each command by name; what
// it has no answer for it does not know, and says so in Redis's words.
func playNode(t *testing.T, unknown string, answers map[string]string) (Endpoint, <-chan []string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan []string, 16)
	ended := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-ended })
	go func() {
		defer close(ended)
		defer close(asked)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		for in := bufio.NewReader(c); ; {
			args, err := readCommand(in)
			if err != nil {
				return
			}
			asked <- args
			answer, ok := answers[args[0]]
			if !ok {
				answer = fmt.Sprintf(unknown, args[0], strings.Join(args[1:], "' '"))
			}
			io.WriteString(c, answer+"\r\n")
		}
	}()
	return Endpoint{Network: "tcp", Address: ln.Addr().String()}, asked
}

// readCommand reads one canonical command.
func readCommand(in *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := number()
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func backendAt(t *testing.T, node Endpoint, user, password string) *Backend {
	t.Helper()
	o := Options{Name: "main", Nodes: []Endpoint{node}, User: user, DialTimeout: 10 * time.Second}
	if password != "" {
		o.Password = func() (string, error) { return password, nil }
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Redis repeats the arguments of a command it does not know. Where that command
// was the login, the error must not bring the password into a log.
func TestAPasswordTheNodeRepeatsIsInNoError(t *testing.T) {
	const password = "correct-horse-battery"
	for name, unknown := range map[string]string{
		"Redis 7":     "-ERR unknown command '%s', with args beginning with: '%s' ",
		"Redis 5":     "-ERR unknown command `%s`, with args beginning with: `%s`, ",
		"cut":         "-ERR unknown command '%s', with args beginning with: '%.40s",
		"own wording": "-ERR what is %s? I was told %s",
	} {
		for proto, answers := range map[int]map[string]string{3: {}, 2: {"CLIENT": "+OK"}} {
			node, _ := playNode(t, unknown, answers)
			n, err := backendAt(t, node, "", password).connect(Key{Proto: proto})
			if err == nil {
				n.close()
				t.Fatalf("%s, RESP%d: the login was taken", name, proto)
			}
			if refused := (*RefusedError)(nil); !errors.As(err, &refused) {
				t.Fatalf("%s, RESP%d: %v is no refusal by the node", name, proto, err)
			}
			if text := err.Error(); strings.Contains(text, password[:4]) {
				t.Errorf("%s, RESP%d: the error repeats the password", name, proto)
			}
		}
	}
}

func TestALoginIsHELLOWithTheBackendsUser(t *testing.T) {
	hello := "*4\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2"
	node, asked := playNode(t, "-ERR %s%s", map[string]string{"HELLO": hello, "CLIENT": "+OK", "SELECT": "+OK"})
	n, err := backendAt(t, node, "proxy", "secret").connect(Key{DB: 3, Proto: 2})
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	if n.info != (Info{Version: "7.0.15", RESP3: true}) {
		t.Errorf("the node is taken for %+v", n.info)
	}
	var said []string
	for args := range asked {
		said = append(said, strings.Join(args, " "))
	}
	want := []string{"HELLO 2 AUTH proxy secret", "CLIENT SETNAME sallyport", "SELECT 3"}
	if !slices.Equal(said, want) {
		t.Errorf("it said %q, not %q", said, want)
	}
}

// Redis 5 knows no HELLO and no users: AUTH with the password alone.
func TestANodeWithoutHELLOIsLoggedInToByAUTH(t *testing.T) {
	const unknown = "-ERR unknown command `%s`, with args beginning with: `%s`, "
	node, asked := playNode(t, unknown, map[string]string{"AUTH": "+OK", "CLIENT": "+OK"})
	n, err := backendAt(t, node, "", "secret").connect(Key{Proto: 2})
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	if n.info.RESP3 {
		t.Error("it is taken to speak RESP3")
	}
	<-asked
	if auth := <-asked; !slices.Equal(auth, []string{"AUTH", "secret"}) {
		t.Errorf("it said %q", auth)
	}
	node, _ = playNode(t, unknown, map[string]string{"AUTH": "+OK", "CLIENT": "+OK"})
	if n, err := backendAt(t, node, "proxy", "secret").connect(Key{Proto: 2}); err == nil {
		n.close()
		t.Error("a user was logged in to a node that has none")
	}
}

func TestANodeThatTakesLoginsAndDropsThemIsDialledEverLess(t *testing.T) {
	var ln line
	for range 10 {
		ln.pauseAfter(time.Millisecond)
	}
	if pause := ln.pauseAfter(time.Millisecond); pause < 400*time.Millisecond || pause > 800*time.Millisecond {
		t.Errorf("after ten short-lived connections it waits for %v", pause)
	}
	if pause := ln.pauseAfter(time.Minute); pause != 0 {
		t.Errorf("after one that lasted it waits for %v", pause)
	}
	if pause := ln.pauseAfter(time.Millisecond); pause > 25*time.Millisecond {
		t.Errorf("the ones long ago still count: it waits for %v", pause)
	}
}
