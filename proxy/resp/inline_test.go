package resp

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each line was shown to redis-server 7.0.15.
func TestInlineIsDecodedAsRedisDoes(t *testing.T) {
	for _, test := range []struct {
		line string
		want []string
	}{
		{`ping`, []string{"ping"}},
		{` set  k   v `, []string{"set", "k", "v"}},
		{"echo\tab", []string{"echo", "ab"}},
		{"echo\x0bab", []string{"echo\x0bab"}},
		{"echo \x0b\x0cab", []string{"echo", "ab"}},
		{"PING \r x", []string{"PING", "x"}},
		{"PING\r", []string{"PING"}},
		{`echo "\x41\xfF\x00"`, []string{"echo", "A\xff\x00"}},
		{`echo "\n\r\t\b\a\q\\\"\x4\x4g"`, []string{"echo", "\n\r\t\b\aq\\\"x4x4g"}},
		{`echo 'a\'b\n\\x'`, []string{"echo", `a'b\n\\x`}},
		{`echo 'a\\'`, nil},
		{`echo \x41 \n`, []string{"echo", `\x41`, `\n`}},
		{`echo ""`, []string{"echo", ""}},
		{`""`, []string{""}},
		{`'' "" a`, []string{"", "", "a"}},
		{`a"b" c'd'`, []string{"ab", "cd"}},
		{`"a b"` + "\x0b" + `'c d'`, []string{"a b", "c d"}},
		{`say "it's" '"so"'`, []string{"say", "it's", `"so"`}},
		{`"a"b`, nil},
		{`"a""b"`, nil},
		{`'a'b`, nil},
		{`a"`, nil},
		{`'`, nil},
		{`"\`, nil},
		{`"\"`, nil},
		{`'\'`, nil},
		{`"\x4`, nil},
	} {
		got := readSplit(t, afterLogin, []byte(test.line+"\n"))
		want := reading{Commands: [][]string{test.want}}
		if test.want == nil {
			want = reading{Fault: errQuotes.Text}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got)\n%s", test.line, diff)
		}
	}
}

func TestInlineArgumentsStayWithinTheBulkLimit(t *testing.T) {
	l := afterLogin
	l.Bulk, l.AuthBulk = 4, 8
	for line, fault := range map[string]string{
		"echo 1234\n":      "",
		"echo 12345\n":     errBulk.Text,
		"auth 12345678\n":  "",
		"auth \"123456789": "",
		"auth 123456789\n": errBulk.Text,
	} {
		if got := read(t, l, []byte(line)); got.Fault != fault {
			t.Errorf("%q: %q", line, got.Fault)
		}
	}
}

// Every quoted argument of a line must keep its bytes while later ones are
// decoded.
func TestInlineQuotedArgumentsDoNotMove(t *testing.T) {
	var line []byte
	var want []string
	for i := range 200 {
		word := bytes.Repeat([]byte{byte('a' + i%26)}, i)
		line = append(append(append(line, " \""...), word...), '"')
		want = append(want, string(word))
	}
	if got := read(t, afterLogin, append(line, '\n')); !cmp.Equal(got.Commands, [][]string{want}) {
		t.Fatal(cmp.Diff([][]string{want}, got.Commands))
	}
}
