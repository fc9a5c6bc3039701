package audit

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
)

var update = flag.Bool("update", false, "write the event catalogue anew; read the change before keeping it")

const cataloguePath = "../../EVENTS.md"

// members says what each member of a line means, in the order of the lines.
var members = []struct{ name, meaning string }{
	{"time", "when it happened: RFC 3339, UTC, microseconds"},
	{"seq", "the event's number: 1, 2, 3 … and on over restarts while an event file is there. A number that a sink has not is in a `dropped` line. A `chain` line repeats the number before it"},
	{"event", "what happened: one of the kinds above"},
	{"mode", "`report` where a layer only reported what it would have refused"},
	{"conn", "joins the events of a connection; unique within a process"},
	{"listener", "by which the client came"},
	{"client_ip", "whom the connection speaks for: the address of a PROXY header where one is taken"},
	{"client_port", "the port beside it"},
	{"peer_ip", "who is on the other end of the socket, where that is somebody else"},
	{"user", "the name that was tried, or whose session it is; at a `bypass` the backend's user"},
	{"method", "how something was proved or asked for: `none` `password` `token` `certificate`, `signal` `api` `watch`"},
	{"factors", "of a login that succeeded: all that was proved"},
	{"status", "`ok` `failed`; `expiring` announces that a login ends soon; of a chain `begins` `continues` `ends`"},
	{"reason", "one of the reasons below; of a chain `start` `reopen` `rotate` `close`"},
	{"rule", "the rule that decided and where it is written; of a failed reload what is wrong"},
	{"command", "the command, `container|sub`; of an `admin` event the action"},
	{"keys", "names of keys and channels, never values: the one at fault of a refused call, all of an `access`. As `keys:` of the sink wants them"},
	{"tls", "the version of TLS; absent: plaintext"},
	{"cipher", "the cipher suite"},
	{"resumed", "whether the handshake resumed an earlier session"},
	{"cert_subject", "of the client's certificate: its subject"},
	{"cert_uri", "its first URI"},
	{"cert_serial", "its serial number, hexadecimal"},
	{"cert_sha256", "its fingerprint, hexadecimal"},
	{"token_id", "the token's `jti`, or the name of an opaque token"},
	{"expires", "when what was proved ends"},
	{"duration_ms", "how long the connection, or the reload, took"},
	{"bytes_in", "bytes from the client, without TLS"},
	{"bytes_out", "bytes to it"},
	{"commands", "calls it made"},
	{"refused", "of these, refused ones"},
	{"folded", "refusals this event speaks for besides its own"},
	{"backend", "which backend's connections these are"},
	{"connections", "how many there are now"},
	{"ours", "of a backend's, how many are the proxy's"},
	{"part", "which part of a snapshot that takes several lines"},
	{"parts", "of how many"},
	{"clients", "connections by `ip`, `user` and `library`, with their `count`"},
	{"sink", "whose chain a checkpoint speaks of"},
	{"head_seq", "the number of that chain's last line"},
	{"head", "its hash: `audit verify --expect HEAD_SEQ:HEAD`"},
	{"dropped", "how many events this sink has not"},
	{"seq_first", "the first of their numbers"},
	{"seq_last", "the last of them"},
	{"prev", "the hash of the line before, which may stand in another file"},
	{"key_id", "which key the chain is made with; absent: none"},
	{"torn", "how many bytes of a line that was never finished stand before this one"},
	{"hash", "the line's link of the chain"},
}

// everything is an event of a kind with all that it can say.
func everything(k Kind) *Event {
	e := &Event{Time: time.Date(2026, 3, 4, 12, 0, 0, 42000, time.UTC), Seq: 42, Kind: k}
	conn := func() {
		e.Conn, e.Listener, e.ClientIP, e.ClientPort = 7, "gateway", netip.MustParseAddr("10.1.2.3"), 50123
		e.PeerIP, e.User = netip.MustParseAddr("10.0.0.5"), "app"
	}
	switch k {
	case NewConn:
		conn()
		e.User, e.TLS, e.Cipher = "", "1.3", "TLS_AES_128_GCM_SHA256"
		e.Cert = Certificate{Subject: "CN=app", URI: "spiffe://prod/app", Serial: "0a", SHA256: "ff00"}
	case Auth, FirstSeen:
		conn()
		e.Method, e.Status, e.TokenID, e.Factors = MethodToken, OK, "jti-1", acl.Factors(1)
		e.Expires = e.Time.Add(time.Hour)
	case CloseConn:
		conn()
		e.Close, e.Duration, e.BytesIn, e.BytesOut, e.Commands, e.RefusedCalls = CloseClient, 1500*time.Millisecond, 1024, 4096, 12, 1
	case Refused:
		conn()
		e.Mode, e.Reason, e.Rule, e.Command, e.Folded = "report", acl.KeyNotAllowed, "+@read policy.yaml:4:12", "get", 3
		e.Keys = [][]byte{[]byte("other:1")}
	case Access:
		conn()
		e.Rule, e.Command, e.Keys = "+config|get policy.yaml:4:12", "config|get", [][]byte{[]byte("app:1")}
	case Reload:
		e.Method, e.Status, e.Rule, e.Duration = MethodWatch, Failed, "policy.yaml:3:100: unknown category", 12*time.Millisecond
	case Admin:
		conn()
		e.Method, e.Status, e.Command = MethodAPI, OK, "drain"
	case Clients:
		e.Backend, e.Connections, e.Ours, e.Part, e.Parts = "main", 3, 2, 1, 2
		e.Groups = []Group{{IP: netip.MustParseAddr("10.1.2.3"), User: "app", Library: "redis-py 5.0.1", Count: 3}}
	case Bypass:
		e.Backend, e.ClientIP, e.ClientPort, e.User, e.Command, e.Duration = "main", netip.MustParseAddr("10.1.2.3"), 50123, "default", "get", 2*time.Second
	case Checkpoint:
		e.Sink, e.Head = "events.jsonl", Head{41, strings.Repeat("ab", 32)}
	}
	return e
}

// sample is a kind's line as a sink has it.
func sample(t *testing.T, k Kind) string {
	t.Helper()
	key, err := NewKey([]byte(strings.Repeat("k", MinKey)))
	if err != nil {
		t.Fatal(err)
	}
	e := everything(k)
	c := chain{links: newLinks(key)}
	var text []byte
	switch k {
	case Dropped:
		text = append(appendDropped(nil, e.Time, 40, 42), '\n')
	case Chain:
		c.begun = true
		text = c.appendChain(nil, e.Time, 42, openRotate, 17)
	default:
		text = append(AppendJSON(nil, e), '\n')
	}
	return strings.TrimSuffix(string(c.seal(nil, text)), "\n")
}

// comments gives what the source says of each constant of a type, in order.
func comments(t *testing.T, file, typ string) (names []string, of map[string]string) {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	of = make(map[string]string)
	for _, d := range tree.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		ours := false
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if id, ok := v.Type.(*ast.Ident); ok {
				ours = id.Name == typ
			}
			if !ours {
				continue
			}
			for _, n := range v.Names {
				text := v.Doc.Text()
				if typ != "Kind" {
					text = v.Comment.Text()
				}
				names = append(names, n.Name)
				of[n.Name] = strings.Join(strings.Fields(text), " ")
			}
		}
	}
	return names, of
}

func catalogue(t *testing.T) string {
	var b strings.Builder
	b.WriteString(catalogueHead)
	names, says := comments(t, "event.go", "Kind")
	b.WriteString("| event | is |\n| --- | --- |\n")
	for i, n := range names[:kindCount-1] {
		fmt.Fprintf(&b, "| `%s` | %s |\n", Kind(i+1), strings.TrimPrefix(strings.TrimPrefix(says[n], n+" is "), n+" "))
	}
	b.WriteString("\n## What each looks like\n\nWith all it can say. What does not apply is absent.\n\n```json\n")
	for k := NewConn; k < kindCount; k++ {
		b.WriteString(sample(t, k) + "\n")
	}
	b.WriteString("```\n\n## Members\n\n| member | is |\n| --- | --- |\n")
	for _, m := range members {
		fmt.Fprintf(&b, "| `%s` | %s |\n", m.name, m.meaning)
	}
	b.WriteString("\n## Why a connection ended\n\nThe `reason` of `close_conn`.\n\n| reason | is |\n| --- | --- |\n")
	names, says = comments(t, "event.go", "CloseReason")
	for i, n := range names {
		fmt.Fprintf(&b, "| `%s` | %s |\n", CloseReason(i+1), says[n])
	}
	b.WriteString("\n## Why something was refused\n\nThe `reason` of `refused` and of a failed `auth`; the same words are labels of `sallyport_refused_total`.\n\n| reason | is |\n| --- | --- |\n")
	names, says = comments(t, "../../acl/reason.go", "Reason")
	for i, r := range acl.Reasons() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r, strings.ReplaceAll(says[names[i+1]], "|", "\\|"))
	}
	b.WriteString(catalogueTail)
	return b.String()
}

const catalogueHead = `# Events

What Sallyport writes down: one JSON object a line, members always in the order below. The tables are made from the source
(` + "`go test ./proxy/audit -run Catalogue -update`" + `). Where lines go, and how they are kept, is in
[README.md](README.md#what-is-on-record). Values, passwords and tokens have no member. What a client chose can't end a
line or bring a control character into it; a text of more than 1 KiB, or a key of more than 256 bytes, is cut and says so.

`

const catalogueTail = `
## The chain

Every line of a sink ends with ` + "`,\"hash\":\"…\"}`" + `: the HMAC-SHA-256, under the content of ` + "`chain_key_file`" + ` without its line end, of the hash of
the line before (32 bytes, zeros at the very beginning) followed by the line without that member, ending with ` + "`}`" + `. Without
a key it is the plain SHA-256 of the same. A ` + "`chain`" + ` line stands where the process starts, where a file begins, and at the end.
` + "`sallyport audit verify`" + ` checks all of it.

## Other formats

` + "`format: azure`" + ` writes ` + "`new_conn`, `auth` and `close_conn`" + ` as records of Azure's ConnectionEvents, the snapshot of clients as
ConnectedClientList. ` + "`eventStatus`" + ` is 8 for a login that succeeded, 10 for one by certificate, 2 where none was needed, 0 for one that failed.
` + "`format: redis-enterprise`" + ` writes the three with Redis Enterprise's members, ` + "`audit_seq`" + ` being the number. Both add ` + "`hash`" + `, and have ` + "`chain`" + ` and
` + "`dropped`" + ` lines in the form above.
`

func TestCatalogueIsCurrent(t *testing.T) {
	want := catalogue(t)
	if *update {
		if err := os.WriteFile(cataloguePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(cataloguePath)
	if err != nil || string(got) != want {
		t.Errorf("EVENTS.md is not what the code says (%v): go test ./proxy/audit -run Catalogue -update", err)
	}
}

// Every member that a line can have is explained, in its place, and no other.
func TestCatalogueExplainsEveryMember(t *testing.T) {
	met := make(map[string]bool)
	for k := NewConn; k < kindCount; k++ {
		last, in := -1, json.NewDecoder(strings.NewReader(sample(t, k)))
		depth, name := 0, true
		for {
			tok, err := in.Token()
			if err != nil {
				break
			}
			if d, ok := tok.(json.Delim); ok {
				if d == '{' || d == '[' {
					depth++
				} else {
					depth--
				}
				name = true
				continue
			}
			if depth != 1 {
				continue
			}
			if text, ok := tok.(string); ok && name {
				at := slices.IndexFunc(members, func(m struct{ name, meaning string }) bool { return m.name == text })
				if at < 0 {
					t.Fatalf("%s has a member %q that is not explained", k, text)
				}
				if at <= last && !slices.Contains([]string{"status", "reason"}, text) {
					t.Errorf("%s: %q stands elsewhere in the list", k, text)
				}
				last, met[text], name = at, true, false
				continue
			}
			name = true
		}
	}
	for _, m := range members {
		if !met[m.name] {
			t.Errorf("no event has a member %q", m.name)
		}
	}
}
