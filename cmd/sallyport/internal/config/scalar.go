package config

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl"
	yaml "go.yaml.in/yaml/v4"
)

// text is a string of a file after expansion, and as it was written.
type text struct {
	acl.Text
	written  string
	expanded bool // ${…} stood in it
	set      bool
}

// text reads v as a string. Numbers are taken as they are written (a password
// 0123 stays 0123), everything else is a fault.
func (v value) text() text {
	if !v.present() {
		return text{Text: acl.Text{At: v.at}}
	}
	n := v.node
	if n.Kind != yaml.ScalarNode {
		v.fault("wants a string, not %s", described(n))
		return text{Text: acl.Text{At: v.at}}
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float":
	default:
		v.fault("wants a string, not %s", described(n))
		return text{Text: acl.Text{At: v.at}}
	}
	t := text{Text: acl.Text{Value: n.Value, At: v.at}, written: n.Value, set: true}
	if n.ShortTag() == "!!str" {
		if t.Value, t.expanded = v.expand(n.Value); t.expanded && v.failedHere() {
			t.Value = ""
		}
	}
	if strings.ContainsAny(t.Value, "\x00") {
		v.fault("holds a NUL character")
		t.Value = ""
	}
	return t
}

// nonempty is text that must hold something where it is written at all.
func (v value) nonempty() text {
	t := v.text()
	if t.set && t.Value == "" && !v.failedHere() {
		v.fault("is empty")
	}
	return t
}

// failedHere tells whether a fault of exactly this value is recorded, so that
// one mistake is not reported in two ways.
func (v value) failedHere() bool {
	for _, p := range v.r.problems {
		if p.At == v.at && !p.Warning && strings.HasPrefix(p.What, v.path+": ") {
			return true
		}
	}
	return false
}

// word reads v as one of a few words; absent gives standard.
func (v value) word(standard string, words ...string) string {
	t := v.text()
	if !t.set {
		return standard
	}
	for _, w := range words {
		if t.Value == w {
			return w
		}
	}
	if !v.failedHere() {
		hint := DidYouMean(t.Value, words)
		if hint == "" {
			hint = "one of: " + strings.Join(words, ", ")
		}
		v.faultHint(hint, "%s is not known here", quoted(t.Value))
	}
	return standard
}

// flag reads v as true or false; absent is false.
func (v value) flag() bool { return v.flagOr(false) }

// flagOr is flag with another word for absence.
func (v value) flagOr(standard bool) bool {
	if !v.present() {
		return standard
	}
	switch s, ok := v.scalar("!!bool"); {
	case !ok:
	case s == "true" || s == "True" || s == "TRUE":
		return true
	case s == "false" || s == "False" || s == "FALSE":
		return false
	default:
		v.faultHint("true or false", "wants true or false")
	}
	return standard
}

// date reads a day or a time. YAML has a kind of its own for what looks like
// one, and people leave the quotes away.
func (v value) date() acl.Text {
	if v.present() && v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!timestamp" {
		return acl.Text{Value: v.node.Value, At: v.at}
	}
	return v.nonempty().Text
}

// mapping tells whether v is written as a mapping.
func (v value) mapping() bool { return v.present() && v.node.Kind == yaml.MappingNode }

// scalar gives the text of a value that must carry the tag, or be a string made
// by expansion.
func (v value) scalar(tag string) (string, bool) {
	if v.node.Kind == yaml.ScalarNode {
		if v.node.ShortTag() == tag {
			return v.node.Value, true
		}
		if v.node.ShortTag() == "!!str" {
			if s, expanded := v.expand(v.node.Value); expanded {
				return s, !v.failedHere()
			}
		}
	}
	wants, hint := "a whole number", ""
	if tag == "!!bool" {
		wants = "true or false"
	}
	if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!str" && v.node.Style != 0 {
		hint = "without quotes"
	}
	v.faultHint(hint, "wants %s, not %s", wants, described(v.node))
	return "", false
}

// number reads v as a whole number from low to high; absent gives standard.
func (v value) number(standard, low, high int) int {
	if !v.present() {
		return standard
	}
	s, ok := v.scalar("!!int")
	if !ok {
		return standard
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		v.faultHint("decimal digits only", "wants a whole number")
		return standard
	}
	if n < int64(low) || n > int64(high) {
		v.fault("%d is not between %d and %d", n, low, high)
		return standard
	}
	return int(n)
}

// duration reads v as a time span like 10s, 1m30s or 250ms; absent gives
// standard, zero is allowed only where it has a meaning.
func (v value) duration(standard time.Duration, zero bool) time.Duration {
	const longest = 10 * 365 * 24 * time.Hour
	if !v.present() {
		return standard
	}
	t := v.text()
	if !t.set || v.failedHere() {
		return standard
	}
	d, err := time.ParseDuration(t.Value)
	switch {
	case err != nil || isDigits(t.Value) && t.Value != "0":
		hint := "like 10s, 1m30s or 250ms"
		if isDigits(t.Value) {
			hint = "did you mean " + quoted(t.Value+"s") + "?"
		}
		v.faultHint(hint, "%s is not a duration", quoted(t.Value))
	case d < 0:
		v.fault("a duration can't be negative")
	case d == 0 && !zero:
		v.faultHint("there is no way to switch this limit off", "must be more than 0s")
	case d > longest:
		v.fault("%s is longer than ten years", quoted(t.Value))
	default:
		return d
	}
	return standard
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// units are the powers of 1024; those of 1000 are refused, because Redis's own
// files use the letters both ways.
var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}}

// size reads v as a number of bytes, from low up; absent gives standard.
func (v value) size(standard, low int64) int64 {
	t := v.text()
	if !t.set || v.failedHere() {
		return standard
	}
	n, hint := parseSize(t.Value)
	switch {
	case hint != "":
		v.faultHint(hint, "%s is not a size", quoted(t.Value))
	case n < low:
		v.fault("%s is less than %s, the least that works", quoted(t.Value), formatSize(low))
	default:
		return n
	}
	return standard
}

// parseSize gives the bytes of "512MiB", "64 KiB" or "1048576", or a hint how to write it.
func parseSize(s string) (n int64, hint string) {
	digits := strings.TrimRight(s, "BKMGTikmgtb ")
	unit := strings.TrimSpace(s[len(digits):])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !isDigits(digits) {
		return 0, "like 64KiB, 512MiB or 2GiB"
	}
	if unit == "" {
		return n, ""
	}
	for _, u := range units {
		if unit == u.name {
			if n > math.MaxInt64/u.bytes {
				return 0, "too large for this machine"
			}
			return n * u.bytes, ""
		}
	}
	for _, u := range units {
		if strings.EqualFold(unit[:1], u.name[:1]) {
			return 0, "did you mean " + quoted(digits+u.name) + "?"
		}
	}
	return 0, "like 64KiB, 512MiB or 2GiB"
}

// formatSize is the shortest exact way to write a number of bytes.
func formatSize(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := units[i]; n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// memory reads v as a size or as a share of the machine's memory ("25%").
func (v value) memory(standard string) int64 {
	const least = 16 << 20
	t := v.text()
	if !t.set {
		t.Value = standard
	}
	share, isShare := strings.CutSuffix(t.Value, "%")
	if !isShare {
		return v.size(0, least)
	}
	percent, err := strconv.ParseFloat(share, 64)
	if err != nil || !(percent > 0 && percent <= 100) {
		v.faultHint("more than 0% and at most 100%", "%s is not a share", quoted(t.Value))
		return 0
	}
	total, err := v.r.machine.memory()
	if err != nil {
		v.faultHint(`give a size like "1GiB"`, "can't find out how much memory this machine has: %s", err)
		return 0
	}
	n := int64(float64(total) * percent / 100)
	if n < least {
		v.faultHint(`give a size like "64MiB"`, "%s of %s is less than %s, the least that works",
			t.Value, formatSize(total), formatSize(least))
	}
	return n
}
