package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func key(t testing.TB, secret string) *Key {
	t.Helper()
	k, err := NewKey([]byte(strings.Repeat(secret, MinKey)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// record gives a record of n events in the settings' form, its first and last
// lines those of the chain itself.
func record(t testing.TB, n int, set Settings) [][]byte {
	t.Helper()
	var c collect
	r, err := New(Options{Sinks: []Sink{Writer("w", &c).With(set)}, Buffer: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r.Record(&Event{Time: noon, Kind: Auth, User: fmt.Sprint("user", i), Status: OK, Method: MethodPassword})
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return bytes.SplitAfter(bytes.TrimSuffix(c.all(), []byte{'\n'}), []byte{'\n'})
}

// verdict checks a record given in files.
func verdict(t testing.TB, o VerifierOptions, files ...[]byte) Verdict {
	t.Helper()
	v := NewVerifier(o)
	for i, f := range files {
		if err := v.File(fmt.Sprintf("file%d", i+1), bytes.NewReader(f)); err != nil {
			t.Fatal(err)
		}
	}
	return v.Verdict()
}

func joined(lines [][]byte) []byte {
	text := bytes.Join(lines, nil)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return text
}

func said(v Verdict) string {
	var b strings.Builder
	for _, f := range v.Faults {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func TestAnUntouchedRecordIsFoundWhole(t *testing.T) {
	k := key(t, "k")
	for _, set := range []Settings{{}, {Key: k}, {Key: k, Format: Azure}, {Key: k, Format: RedisEnterprise}} {
		var o VerifierOptions
		if set.Key != nil {
			o.Keys = []*Key{key(t, "other"), k}
		}
		v := verdict(t, o, joined(record(t, 20, set)))
		if v.Count != 0 || v.Lines != 22 || !v.Ended || v.Last.Seq != 20 || v.Keyed != (set.Key != nil) {
			t.Errorf("%+v: %+v", set, v)
		}
	}
}

// Line 1 of the record begins the chain, line n+1 has the number n.
func TestEveryTamperingIsFoundAndPlaced(t *testing.T) {
	k := key(t, "k")
	change := func(line []byte, old, new string) []byte {
		if !bytes.Contains(line, []byte(old)) {
			t.Fatalf("%s does not hold %s", line, old)
		}
		return bytes.Replace(line, []byte(old), []byte(new), 1)
	}
	rehash := func(lines [][]byte, i int) { // with no key, as whoever has none would
		prev := slices.Clone(lines[i-1])
		_, p, _ := unseal(bytes.TrimSuffix(prev, []byte{'\n'}))
		body, _, err := unseal(bytes.TrimSuffix(slices.Clone(lines[i]), []byte{'\n'}))
		if err != nil {
			t.Fatal(err)
		}
		c := chain{links: newLinks(nil), last: p}
		lines[i] = c.seal(nil, append(body, '\n'))
	}
	tests := []struct {
		name string
		edit func(l [][]byte) [][]byte
		want []string // one for each fault
	}{
		{"a_line_removed", func(l [][]byte) [][]byte { return slices.Delete(l, 5, 6) }, []string{"f:6: number 5 was removed"}},
		{"three_removed", func(l [][]byte) [][]byte { return slices.Delete(l, 5, 8) }, []string{"f:6: numbers 5 to 7 were removed"}},
		{"the_first_removed", func(l [][]byte) [][]byte { return l[1:] }, []string{"f:1: is not where a record begins"}},
		{"the_first_event_removed", func(l [][]byte) [][]byte { return slices.Delete(l, 1, 2) }, []string{"f:2: number 1 was removed"}},
		{"the_last_event_removed", func(l [][]byte) [][]byte { return slices.Delete(l, 10, 11) }, []string{"f:11: has been changed, or lines before it were removed"}},
		{"a_name_changed", func(l [][]byte) [][]byte { l[5] = change(l[5], "user4", "root"); return l }, []string{"f:6: has been changed"}},
		{"a_name_changed_and_hashed_anew", func(l [][]byte) [][]byte {
			l[5] = change(l[5], "user4", "root")
			rehash(l, 5)
			return l
		}, []string{"f:6: has been changed"}},
		{"a_number_changed", func(l [][]byte) [][]byte { l[5] = change(l[5], `"seq":5`, `"seq":8`); return l }, []string{"f:6: numbers 5 to 7 were removed before this line, or this line was changed"}},
		{"two_changed", func(l [][]byte) [][]byte {
			l[3], l[8] = change(l[3], "user2", "root"), change(l[8], "user7", "root")
			return l
		}, []string{"f:4: has been changed", "f:9: has been changed"}},
		{"two_in_the_wrong_order", func(l [][]byte) [][]byte { l[5], l[6] = l[6], l[5]; return l }, []string{"f:6: stands before number 5, which belongs before it and stands in f:7", "f:7: number 5 stands after number 6"}},
		{"a_line_twice", func(l [][]byte) [][]byte { return slices.Insert(l, 8, l[3]) }, []string{"f:9: number 3 stands after number 7"}},
		{"a_line_without_hash", func(l [][]byte) [][]byte {
			return slices.Insert(l, 5, []byte(`{"time":"2026-03-04T12:00:00.000042Z","seq":5,"event":"auth","user":"root","status":"ok"}`+"\n"))
		}, []string{"f:6: is no event with a hash"}},
		{"a_hash_changed", func(l [][]byte) [][]byte {
			n := len(l[5]) - 4
			l[5][n] = "01"[('1'-l[5][n])&1]
			return l
		}, []string{"f:6: has been changed"}},
		{"the_end_cut_inside_a_line", func(l [][]byte) [][]byte { l[10] = l[10][:30]; return l[:11] }, []string{"f:11: is cut short"}},
		{"a_line_cut_short", func(l [][]byte) [][]byte { l[5] = append(l[5][:40:40], '\n'); return l }, []string{"f:6: is cut short"}},
		{"something_after_the_end", func(l [][]byte) [][]byte { return append(l, []byte("\n"), l[4]) }, []string{"f:13: stands after the end"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines := tt.edit(record(t, 10, Settings{Key: k}))
			text := bytes.Join(lines, nil)
			if tt.name != "the_end_cut_inside_a_line" {
				text = joined(lines)
			}
			v := NewVerifier(VerifierOptions{Keys: []*Key{k}})
			if err := v.File("f", bytes.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			got := v.Verdict()
			ok := len(got.Faults) == len(tt.want) && got.Count == len(tt.want)
			for i := range min(len(got.Faults), len(tt.want)) {
				ok = ok && strings.HasPrefix(got.Faults[i].String(), tt.want[i])
			}
			if !ok {
				t.Errorf("got\n%swant\n%s", said(got), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// Whoever has no key can make a plain chain anew, and only what was noted
// elsewhere shows it.
func TestWhatIsCutOffAtTheEndIsMissedByWhoExpectsIt(t *testing.T) {
	k := key(t, "k")
	lines := record(t, 10, Settings{Key: k})
	whole := verdict(t, VerifierOptions{Keys: []*Key{k}}, joined(lines))
	cut := joined(lines[:8])
	if v := verdict(t, VerifierOptions{Keys: []*Key{k}}, cut); v.Count != 0 || v.Ended {
		t.Errorf("a record that was cut at a line's end shows only that it has no end: %+v", v)
	}
	v := verdict(t, VerifierOptions{Keys: []*Key{k}, Expect: []Head{whole.Last}}, cut)
	if len(v.Missing) != 1 || v.Missing[0] != whole.Last {
		t.Errorf("missing %v, want %v", v.Missing, whole.Last)
	}
	if v := verdict(t, VerifierOptions{Keys: []*Key{k}, Expect: []Head{whole.Last, whole.First}}, joined(lines)); len(v.Missing) != 0 {
		t.Errorf("missing %v of a whole record", v.Missing)
	}
}

func TestAChainMadeAnewWithoutTheKeyIsFound(t *testing.T) {
	k := key(t, "k")
	if v := verdict(t, VerifierOptions{Keys: []*Key{k}}, joined(record(t, 3, Settings{}))); !strings.Contains(said(v), "without a key") {
		t.Errorf("a plain chain passes for a keyed one: %+v", v)
	}
	v := verdict(t, VerifierOptions{Keys: []*Key{k}}, joined(record(t, 3, Settings{Key: key(t, "forged")})))
	if len(v.NeedsKey) != 1 || v.Count == 0 {
		t.Errorf("a chain of another key passes: %+v", v)
	}
	if v := verdict(t, VerifierOptions{}, joined(record(t, 3, Settings{Key: k}))); len(v.NeedsKey) != 1 {
		t.Errorf("a keyed chain is checked without a key: %+v", v)
	}
}

func TestARecordInTheMiddleIsCheckedIfAskedFor(t *testing.T) {
	k := key(t, "k")
	lines := record(t, 10, Settings{Key: k})
	if v := verdict(t, VerifierOptions{Keys: []*Key{k}, Partial: true}, joined(lines[4:])); v.Count != 0 {
		t.Errorf("%s", said(v))
	}
	lines[7] = bytes.Replace(lines[7], []byte("user6"), []byte("root"), 1)
	if v := verdict(t, VerifierOptions{Keys: []*Key{k}, Partial: true}, joined(lines[4:])); v.Count != 1 || v.Faults[0].Line != 4 {
		t.Errorf("%s", said(v))
	}
}

func TestTheChainGoesOnOverRotationAndRestart(t *testing.T) {
	k := key(t, "k")
	dir := t.TempDir()
	path := filepath.Join(dir, "events.jsonl")
	sink := func() Sink {
		return File(path, 0).With(Settings{Key: k, Rotate: Rotation{Size: 4000, Keep: 50}})
	}
	seq := uint64(0)
	for range 3 {
		r := open(t, Options{Sinks: []Sink{sink()}})
		for range 30 {
			e := &Event{Time: noon, Kind: Auth, User: "app"}
			r.Record(e)
			if seq++; e.Seq != seq {
				t.Fatalf("number %d, want %d", e.Seq, seq)
			}
			waitFor(t, func() bool { return r.Stats()[path].Waiting == 0 })
		}
		finish(t, r)
	}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) < 4 {
		t.Fatalf("files %v (%v)", names, err)
	}
	texts := make([][]byte, len(names))
	texts[len(names)-1] = []byte(read(t, path))
	for i := 1; i < len(names); i++ {
		texts[len(names)-1-i] = []byte(read(t, fmt.Sprintf("%s.%d", path, i)))
	}
	for i, text := range texts {
		if len(text) > 4000+200 { // a chain line may come on top
			t.Errorf("file %d has %d bytes", i, len(text))
		}
	}
	if v := verdict(t, VerifierOptions{Keys: []*Key{k}}, texts...); v.Count != 0 || v.Last.Seq != seq || !v.Ended || len(v.Notes) != 0 {
		t.Errorf("%+v", v)
	}
	entries(t, bytes.Join(texts, nil))
	missing := slices.Delete(slices.Clone(texts), 2, 3)
	if v := verdict(t, VerifierOptions{Keys: []*Key{k}}, missing...); v.Count != 1 || v.Faults[0].File != "file3" || v.Faults[0].Line != 1 {
		t.Errorf("a file left out: %s", said(v))
	}
}

func TestOldFilesAreRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	r := open(t, Options{Sinks: []Sink{File(path, 0).With(Settings{Rotate: Rotation{Size: 1, Keep: 2}})}})
	for range 6 {
		r.Record(&Event{Time: noon, Kind: Admin})
		waitFor(t, func() bool { return r.Stats()[path].Waiting == 0 })
	}
	finish(t, r)
	names, _ := filepath.Glob(path + "*")
	if want := []string{path, path + ".1", path + ".2"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
}

// A process that is killed may leave half a line. The next one says so, and the
// record can be told from one that was tampered with.
func TestHalfALineOfACrashIsStated(t *testing.T) {
	k := key(t, "k")
	for _, rotated := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		sink := File(path, 0).With(Settings{Key: k})
		r := open(t, Options{Sinks: []Sink{sink}})
		r.Record(&Event{Time: noon, Kind: Admin})
		finish(t, r)
		if err := os.WriteFile(path, []byte(read(t, path)+`{"time":"2026-03-0`), 0o640); err != nil {
			t.Fatal(err)
		}
		texts := [][]byte{}
		if rotated {
			texts = append(texts, []byte(read(t, path)))
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
		}
		r = open(t, Options{Sinks: []Sink{sink}})
		r.Record(&Event{Time: noon, Kind: Admin})
		finish(t, r)
		texts = append(texts, []byte(read(t, path)))
		v := verdict(t, VerifierOptions{Keys: []*Key{k}}, texts...)
		if v.Count != 0 || len(v.Notes) != 1 || !strings.Contains(v.Notes[0].What, "cut short") || v.Last.Seq != 2 {
			t.Errorf("rotated %v: %+v", rotated, v)
		}
		shorter := bytes.Replace(texts[0], []byte("2026-03-0\n"), []byte("2026\n"), 1)
		if rotated {
			shorter = bytes.TrimSuffix(texts[0], []byte("03-0"))
		}
		if v := verdict(t, VerifierOptions{Keys: []*Key{k}}, append([][]byte{shorter}, texts[1:]...)...); v.Count == 0 {
			t.Errorf("rotated %v: another half line passes for the one stated", rotated)
		}
	}
}

func TestAFileThatEndedBeforeAnotherStatesWhatItHasNot(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	r := open(t, Options{Sinks: []Sink{File(a, 0), File(b, 0)}})
	r.Record(&Event{Time: noon, Kind: Admin})
	finish(t, r)
	r = open(t, Options{Sinks: []Sink{File(a, 0)}})
	r.Record(&Event{Time: noon, Kind: Admin})
	r.Record(&Event{Time: noon, Kind: Admin})
	finish(t, r)
	r = open(t, Options{Sinks: []Sink{File(a, 0), File(b, 0)}})
	r.Record(&Event{Time: noon, Kind: Admin})
	finish(t, r)
	for path, lines := range map[string]int{a: 4, b: 3} {
		if got := entries(t, []byte(read(t, path))); len(got) != lines || got[len(got)-1].Seq != 4 {
			t.Errorf("%s: %+v", path, got)
		}
		if v := verdict(t, VerifierOptions{}, []byte(read(t, path))); v.Count != 0 {
			t.Errorf("%s: %s", path, said(v))
		}
	}
}

func TestKeysAreNeverPrinted(t *testing.T) {
	secret := strings.Repeat("canary-", 6)
	k, err := NewKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	set := Settings{Key: k}
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprintf("%s", k), fmt.Sprintf("%x", k), fmt.Sprintf("%+v", set), fmt.Sprintf("%#v", File("x", 0).With(set))} {
		if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
			t.Errorf("printed: %s", text)
		}
	}
	if _, err := NewKey([]byte("too short")); err == nil || strings.Contains(err.Error(), "too short") {
		t.Errorf("error %v", err)
	}
}

// fixedRecord is a record of five events that holds no time of the day.
func fixedRecord(k *Key) []byte {
	c := chain{links: newLinks(k)}
	text := c.seal(nil, c.appendChain(nil, noon, 0, openStart, 0))
	for i := range 5 {
		text = c.seal(text, append(AppendJSON(nil, &Event{Time: noon, Seq: uint64(i + 1), Kind: Auth, User: "app"}), '\n'))
	}
	return c.seal(text, c.appendChain(nil, noon, 5, openClose, 0))
}

func FuzzVerifierTakesAnyBytes(f *testing.F) {
	k, err := NewKey([]byte(strings.Repeat("k", MinKey)))
	if err != nil {
		f.Fatal(err)
	}
	whole := fixedRecord(k) // the same in every process that fuzzes
	f.Add(whole, 0)
	f.Add(whole[:len(whole)-20], 3)
	f.Add(whole[200:], 0)
	f.Add(bytes.Replace(whole, []byte(`"event":"auth"`), []byte(`"event":"chain","status":"continues","torn":5`), 1), 7)
	f.Add([]byte("{}\n\n\x00"+hashOpen+strings.Repeat("0", 64)+hashClose+"\n"), 0)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		cut = min(max(cut, 0), len(text))
		v := verdict(t, VerifierOptions{Keys: []*Key{k}}, text[:cut], text[cut:])
		if len(v.Faults) > maxFaults || len(v.Notes) > maxFaults || v.Count < len(v.Faults) {
			t.Fatalf("%+v", v)
		}
		// What passes was made with the key, line by line.
		for line := range bytes.Lines(text) {
			if v.Count == 0 && cut == 0 && !bytes.Contains(whole, bytes.TrimSuffix(line, []byte{'\n'})) {
				t.Fatalf("accepted %q", line)
			}
		}
	})
}

// A record is read as hostile: what its lines say is not repeated as it is, and
// nothing grows with the number of lines.
func TestAHostileRecordCostsLittleAndSpeaksToNoTerminal(t *testing.T) {
	plain := func(text string) []byte {
		c := chain{links: newLinks(nil)}
		return c.seal(nil, []byte(text+"\n"))
	}
	begins := func(id string) []byte {
		return plain(`{"time":"2026-03-04T12:00:00.000042Z","seq":0,"event":"chain","status":"begins","reason":"start","key_id":"` + id + `"}`)
	}
	var many bytes.Buffer
	for i := range 5000 {
		many.Write(begins(fmt.Sprintf("%016x", i)))
	}
	v := verdict(t, VerifierOptions{}, many.Bytes())
	if v.Count != 5000 || len(v.NeedsKey) > maxFaults {
		t.Errorf("%d faults of 5000 are counted, %d keys are asked for", v.Count, len(v.NeedsKey))
	}
	for _, id := range []string{`\u001b[2J\u001b]0;owned\u0007`, strings.Repeat("a", 17), "ABCDEF0123456789", strings.Repeat("x", maxLine/2), `a\nfile1:1: forged`} {
		v := verdict(t, VerifierOptions{}, begins(id))
		text := said(v) + strings.Join(v.NeedsKey, " ")
		if v.Count == 0 || len(v.NeedsKey) != 0 || strings.ContainsAny(text, "\x1b\a") || strings.Count(text, "\n") != 1 || len(text) > 500 {
			t.Errorf("of a chain of the key %.40q: %.300q", id, text)
		}
	}
	for _, line := range []string{
		`{"seq":18446744073709551615,"event":"auth"}`, `{"seq":18446744073709551616,"event":"auth"}`, `{"seq":-1,"event":"auth"}`, `{"seq":1e3}`,
		`{"seq":5,"event":"dropped","seq_first":18446744073709551615,"seq_last":1}`, strings.Repeat("[", maxLine-200) + strings.Repeat("]", 100),
		`{"seq":3,"event":` + strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9001),
	} {
		text := append(begins(""), plain(line)...)
		if v := verdict(t, VerifierOptions{}, text); v.Count == 0 {
			t.Errorf("%.60s is taken for an event", line)
		}
	}
}

// Whole chains are neither added nor taken away unseen, as far as that can be seen.
func TestAChainThatStandsTwiceIsFound(t *testing.T) {
	k := key(t, "k")
	o := VerifierOptions{Keys: []*Key{k}}
	one, two := joined(record(t, 3, Settings{Key: k})), joined(record(t, 4, Settings{Key: k}))
	if v := verdict(t, o, one, two); v.Count != 0 || len(v.Notes) != 1 || !strings.Contains(v.Notes[0].What, "can't be told") {
		t.Errorf("of two chains: %+v", v)
	}
	if v := verdict(t, o, one, two, one); v.Count != 1 || !strings.Contains(said(v), "file3:1: begins a chain that stands in the record before") {
		t.Errorf("of a chain that stands there twice: %s", said(v))
	}
}

// A fault that is not listed any more changes none of those that are.
func TestAFaultKeepsItsWordsHoweverManyThereAre(t *testing.T) {
	k := key(t, "k")
	lines := record(t, 400, Settings{Key: k})
	for i := 1; i < 250; i += 2 { // every second one changed: more faults than are listed
		lines[i] = bytes.Replace(lines[i], []byte("user"), []byte("root"), 1)
	}
	before := verdict(t, VerifierOptions{Keys: []*Key{k}}, joined(lines))
	lines[300], lines[301] = lines[301], lines[300]
	after := verdict(t, VerifierOptions{Keys: []*Key{k}}, joined(lines))
	if before.Count <= maxFaults || after.Count <= before.Count || said(after) != said(before) {
		t.Errorf("%d faults, then %d; listed then\n%s", before.Count, after.Count, said(after))
	}
}
