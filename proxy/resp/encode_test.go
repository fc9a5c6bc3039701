package resp

import (
	"math"
	"strconv"
	"testing"
)

func TestEncodersWriteTheCanonicalForm(t *testing.T) {
	for _, test := range []struct {
		name       string
		two, three string
		encode     func(dst []byte, proto int) []byte
	}{
		{"map", "*4\r\n", "%2\r\n", func(b []byte, p int) []byte { return AppendMap(b, p, 2) }},
		{"large map", "*2000\r\n", "%1000\r\n", func(b []byte, p int) []byte { return AppendMap(b, p, 1000) }},
		{"set", "*12\r\n", "~12\r\n", func(b []byte, p int) []byte { return AppendSet(b, p, 12) }},
		{"push", "*3\r\n", ">3\r\n", func(b []byte, p int) []byte { return AppendPush(b, p, 3) }},
		{"null", "$-1\r\n", "_\r\n", AppendNull},
		{"null array", "*-1\r\n", "_\r\n", AppendNullArray},
		{"true", ":1\r\n", "#t\r\n", func(b []byte, p int) []byte { return AppendBool(b, p, true) }},
		{"false", ":0\r\n", "#f\r\n", func(b []byte, p int) []byte { return AppendBool(b, p, false) }},
		{"double", "$3\r\n1.5\r\n", ",1.5\r\n", func(b []byte, p int) []byte { return AppendDouble(b, p, 1.5) }},
		{"verbatim", "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n", func(b []byte, p int) []byte { return AppendVerbatim(b, p, "hi") }},
		{"simple", "+OK\r\n", "+OK\r\n", func(b []byte, _ int) []byte { return AppendSimple(b, "OK") }},
		{"bulk", "$2\r\n\r\n\r\n", "$2\r\n\r\n\r\n", func(b []byte, _ int) []byte { return AppendBulk(b, []byte("\r\n")) }},
		{"bulk of a string", "$0\r\n\r\n", "$0\r\n\r\n", func(b []byte, _ int) []byte { return AppendBulkString(b, "") }},
		{"integer", ":-7\r\n", ":-7\r\n", func(b []byte, _ int) []byte { return AppendInt(b, -7) }},
		{"array", "*0\r\n", "*0\r\n", func(b []byte, _ int) []byte { return AppendArray(b, 0) }},
		{"command", "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
			func(b []byte, _ int) []byte { return AppendCommand(b, [][]byte{[]byte("GET"), nil}) }},
	} {
		for proto, want := range map[int]string{2: test.two, 3: test.three} {
			if got := string(test.encode([]byte("before"), proto)); got != "before"+want {
				t.Errorf("%s in RESP%d: %q, want %q", test.name, proto, got, want)
			}
		}
	}
}

func TestErrorsCannotEndEarly(t *testing.T) {
	for _, msg := range []string{"ERR a\r\n+OK\r\n", "ERR \n", "\r", "ERR \n\n\r\r$5\r\n", "ERR plain", ""} {
		for _, line := range [][]byte{AppendError(nil, msg), AppendSimple(nil, msg)} {
			var f Framer
			f.Reset(2)
			if n, done, err := f.Next(line); n != len(line) || !done || err != nil {
				t.Errorf("%q became %q", msg, line)
			}
		}
	}
}

func TestDoublesReadBackAsWritten(t *testing.T) {
	for want, number := range map[string]float64{
		"0": 0, "-0": math.Copysign(0, -1), "1": 1, "-1.5": -1.5, "1000000": 1e6, "0.1": 0.1,
		"inf": math.Inf(1), "-inf": math.Inf(-1), "nan": math.NaN(),
		"10000000000000000": 1e16, "1e+17": 1e17, "0.0001": 1e-4, "1e-05": 1e-5, "5e-324": 5e-324,
		"1.7976931348623157e+308": math.MaxFloat64,
	} {
		got := AppendDouble(nil, 3, number)
		if string(got) != ","+want+"\r\n" {
			t.Errorf("%v: %q, want %q", number, got, want)
		}
		back, err := strconv.ParseFloat(want, 64)
		if err != nil || back != number && !math.IsNaN(number) {
			t.Errorf("%q reads back as %v, %v", want, back, err)
		}
		var f Framer
		f.Reset(3)
		if _, done, err := f.Next(got); !done || err != nil {
			t.Errorf("%q: %v", got, err)
		}
	}
}
