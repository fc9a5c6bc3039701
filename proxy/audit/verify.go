package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Fault is one thing wrong with a record, and where.
type Fault struct {
	File string
	Line int // from 1
	What string
}

// String gives the fault as file:line: what.
func (f Fault) String() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What) }

// maxFaults is how many faults a Verdict lists. They are all counted.
const maxFaults = 100

// Verdict is what a Verifier found.
type Verdict struct {
	Lines       uint64
	Keyed       bool // every line but those named in Faults was checked with a key
	First, Last Head // of the lines with a hash
	Ended       bool // the last line ends the chain: nothing followed it
	Faults      []Fault
	Count       int      // of faults, listed or not
	Notes       []Fault  // what is no fault and worth knowing
	Missing     []Head   // of those expected: no line is that one
	NeedsKey    []string // ids of keys that lines were made with and that were not given; a hundred at most
}

// VerifierOptions is what a Verifier knows of the record.
type VerifierOptions struct {
	Keys   []*Key // none: the chain is a plain one
	Expect []Head // lines that must be there
	// Partial takes files that begin in the middle of a chain: their first line
	// can't be checked.
	Partial bool
}

// Verifier checks the chain of one sink. Files are given oldest first.
type Verifier struct {
	o       VerifierOptions
	links   map[string]*links // by key id; "" is the plain one
	in      *links            // of the chain at hand; nil: not known yet
	found   map[Head]bool
	verdict Verdict

	file     string
	line     int
	last     digest // as the last line states it
	have     bool   // there is one
	ended    bool   // the last line ends a chain
	doubtful bool   // the last line was at fault
	blind    uint64 // lines since then whose hash could not be read
	seq      uint64
	begun    map[digest]bool   // chains that begin in the record, as far as they are not too many
	known    map[uint64]digest // of recent numbers, to see lines that were moved
	gone     map[uint64]int    // numbers that were found missing, and the fault that says so
	order    []uint64          // of known
	torn     int               // bytes of the unfinished line just before; 0: none
	tornAt   Fault
}

// knownMost is how far a moved line is followed.
const knownMost = 4096

// NewVerifier makes a Verifier.
func NewVerifier(o VerifierOptions) *Verifier {
	v := &Verifier{o: o, links: make(map[string]*links), found: make(map[Head]bool), begun: make(map[digest]bool), known: make(map[uint64]digest), gone: make(map[uint64]int)}
	for _, k := range o.Keys {
		v.links[k.ID()] = newLinks(k)
	}
	if len(o.Keys) == 0 {
		v.links[""] = newLinks(nil)
	}
	for _, h := range o.Expect {
		v.found[h] = false
	}
	v.verdict.Keyed = len(o.Keys) > 0
	return v
}

// maxRead is more than any line has.
const maxRead = maxLine + 1024

// File checks one more file. The error is about reading it; what is wrong with
// its content is in the Verdict.
func (v *Verifier) File(name string, from io.Reader) error {
	v.file, v.line = name, 0
	in := bufio.NewReaderSize(from, maxRead)
	for {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			v.line++
			v.fault("is longer than any event")
			v.lost()
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
			if err == nil {
				continue
			}
		} else if len(text) > 0 {
			v.line++
			if err == nil {
				v.check(text[:len(text)-1])
			} else {
				v.cutShort(len(text))
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if v.line == 0 {
				v.note("is empty")
			}
			return nil
		case err != nil:
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
}

// Verdict gives what was found, after the last file.
func (v *Verifier) Verdict() Verdict {
	v.settleTorn()
	v.verdict.Ended = v.ended
	for _, h := range v.o.Expect {
		if !v.found[h] {
			v.verdict.Missing = append(v.verdict.Missing, h)
		}
	}
	return v.verdict
}

// entryText is what is read of a line beside its hash.
type entryText struct {
	Seq       uint64 `json:"seq"`
	Audit     uint64 `json:"audit_seq"`
	Event     string `json:"event"`
	SeqFirst  uint64 `json:"seq_first"`
	chainText `json:"-"`
}

// chainText is what a chain line says besides. Other lines have members of these
// names and of other types.
type chainText struct {
	Status string `json:"status"`
	Reason string `json:"reason"`
	Prev   string `json:"prev"`
	KeyID  string `json:"key_id"`
	Torn   int    `json:"torn"`
}

// check checks one line.
func (v *Verifier) check(text []byte) {
	v.verdict.Lines++
	size := len(text)
	body, sum, err := unseal(text)
	var e entryText
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err == nil && e.Event == kindNames[Chain] {
		err = json.Unmarshal(body, &e.chainText)
	}
	if err != nil {
		v.settleTorn()
		if !bytes.HasSuffix(text, []byte("}")) {
			v.cutShort(size) // the next line states it, if a crash did that
			return
		}
		v.fault("is no event with a hash")
		v.lost()
		return
	}
	e.Seq = max(e.Seq, e.Audit)
	if e.Event == kindNames[Chain] {
		v.chainLine(&e, body, sum)
	} else {
		v.settleTorn()
		v.eventLine(&e, body, sum)
	}
	head := Head{e.Seq, sum.String()}
	if _, asked := v.found[head]; asked {
		v.found[head] = true
	}
	if v.verdict.First.Hash == "" {
		v.verdict.First = head
	}
	v.verdict.Last = head
	v.last, v.have = sum, true
	v.learn(e.Seq, sum)
}

// chainLine checks a line that begins, continues or ends a chain.
func (v *Verifier) chainLine(e *entryText, body []byte, sum digest) {
	if v.torn > 0 && e.Torn == v.torn {
		v.torn = 0
		v.verdict.Notes = append(v.verdict.Notes, v.tornAt)
	}
	v.settleTorn()
	if v.in = v.links[e.KeyID]; v.in == nil {
		v.unknownKey(e.KeyID)
		v.passed(e)
		return
	}
	var prev digest
	switch e.Status {
	case chainBegins:
		if e.Reason != openStart {
			v.fault("has been changed: a chain begins with the process only")
		}
		switch {
		case v.begun[sum]:
			v.fault("begins a chain that stands in the record before: its lines are there twice")
		case v.have && !v.ended:
			v.note("a new chain begins, and the one before has no end: a crash, or lines were removed from its end")
		case v.have:
			v.note("a new chain begins: whether there was another one before it can't be told from what is here")
		}
		if len(v.begun) < knownMost {
			v.begun[sum] = true
		}
	case chainContinues:
		stated, ok := parseDigest([]byte(e.Prev))
		if !ok {
			v.fault("has been changed: it names no line before it")
		}
		prev = stated
		switch {
		case v.have && v.blind == 0 && v.last != stated:
			v.fault(fmt.Sprintf("continues after number %d and not after number %d, which is before it: lines between them are missing, or files do not stand oldest first", e.Seq, v.seq))
			v.doubtful = true
		case !v.have && !v.o.Partial:
			v.note("continues a file that was not given: what is before it is not checked")
		case v.have && !v.ended && e.Reason == openStart:
			v.note("the process before did not end its record: it crashed or was killed")
		}
	default:
		prev = v.last
		if !v.have {
			v.fault("is not where a record can begin")
		}
	}
	switch {
	case v.in.next(&prev, body) != sum && !(v.blind > 0 && e.Status == chainEnds):
		v.fault("has been changed, or lines before it were removed")
	case v.have && v.blind == 0 && !v.doubtful && e.Status != chainBegins && e.Seq > v.seq:
		v.removed(e.Seq + 1)
	}
	v.passed(e)
}

// passed takes over where a chain line says the record is.
func (v *Verifier) passed(e *entryText) {
	v.seq, v.ended, v.doubtful, v.blind = e.Seq, e.Status == chainEnds, false, 0
}

func (v *Verifier) unknownKey(id string) {
	switch {
	case id == "":
		v.fault("a chain without a key begins here, which anybody could have written")
	case !isKeyID(id): // it is not repeated: anything can stand there
		v.fault("has been changed: it names a key by what is no key's id")
	default:
		v.fault("what follows was made with the key " + id + ", which was not given")
		if len(v.verdict.NeedsKey) < maxFaults && !slices.Contains(v.verdict.NeedsKey, id) {
			v.verdict.NeedsKey = append(v.verdict.NeedsKey, id)
		}
	}
}

// isKeyID reports what Key.ID could have given.
func isKeyID(id string) bool {
	return len(id) == 2*keyIDBytes && strings.Trim(id, "0123456789abcdef") == ""
}

// eventLine checks any other line.
func (v *Verifier) eventLine(e *entryText, body []byte, sum digest) {
	first := e.Seq
	if e.SeqFirst != 0 {
		first = e.SeqFirst
	}
	wasDoubtful := v.doubtful
	v.doubtful = false
	switch {
	case v.ended:
		v.fault("stands after the end of its chain")
		v.ended, v.doubtful = false, true
	case !v.have && !v.o.Partial:
		v.fault("is not where a record begins: lines before it are missing")
	case !v.have, v.in == nil && v.verdict.NeedsKey != nil:
	case v.blind > 0:
		v.afterBlind(first)
	case v.in == nil && !v.guess(body, sum):
		v.fault("does not follow from the line before: one of them was changed, or the key is another one")
	case v.in.next(&v.last, body) == sum:
		if e.Event != "" && first != v.seq+1 && !wasDoubtful {
			v.fault(fmt.Sprintf("bears the number %d after %d", first, v.seq))
		}
	case e.Event == "":
		v.fault("does not follow from the line before: it was changed, or lines between them were removed or moved")
	case first <= v.seq:
		v.moved(first, body, sum)
		v.doubtful = true
		return // the number that was reached stays
	case first > v.seq+1:
		v.removed(first)
		v.doubtful = true
	case v.after(first, body, sum): // the line between them stands where it does not belong, and that was said
	case wasDoubtful:
		v.note("can't be checked, as the line before it was changed")
	default:
		v.fault("has been changed" + v.orBefore())
		v.doubtful = true
	}
	v.blind, v.seq = 0, e.Seq
}

// afterBlind goes on after lines whose hash could not be read.
func (v *Verifier) afterBlind(first uint64) {
	if first > v.seq+1+v.blind {
		v.fault(fmt.Sprintf("some of the numbers %d to %d were removed before this line", v.seq+1, first-1))
	}
}

// guess finds out what a chain was made with that begins in the middle.
func (v *Verifier) guess(body []byte, sum digest) bool {
	for _, l := range v.links {
		if l.next(&v.last, body) == sum {
			v.in = l
			return true
		}
	}
	return false
}

// after says that a line follows from the one with the number before its own,
// wherever that stands.
func (v *Verifier) after(first uint64, body []byte, sum digest) bool {
	prev, ok := v.known[first-1]
	return ok && v.in.next(&prev, body) == sum
}

// orBefore is the doubt that a plain chain leaves.
func (v *Verifier) orBefore() string {
	if v.in.key == nil {
		return ", or the line before it was, with a new hash: the chain has no key"
	}
	return ""
}

// removed says that numbers before first are not there.
func (v *Verifier) removed(first uint64) {
	from, to := v.seq+1, first-1
	if from == to {
		v.fault(fmt.Sprintf("number %d was removed before this line, or this line was changed", from))
		if v.verdict.Count == len(v.verdict.Faults) { // it is listed
			v.gone[from] = v.verdict.Count - 1
		}
		return
	}
	v.fault(fmt.Sprintf("numbers %d to %d were removed before this line, or this line was changed", from, to))
}

// moved checks a line whose number should have come before.
func (v *Verifier) moved(first uint64, body []byte, sum digest) {
	if !v.after(first, body, sum) {
		v.fault(fmt.Sprintf("number %d stands after number %d, and was changed or taken from elsewhere", first, v.seq))
		return
	}
	v.fault(fmt.Sprintf("number %d stands after number %d, where it does not belong", first, v.seq))
	if at, ok := v.gone[first]; ok {
		delete(v.gone, first)
		v.verdict.Faults[at].What = fmt.Sprintf("stands before number %d, which belongs before it and stands in %s:%d", first, v.file, v.line)
	}
}

// learn remembers the hash of a number.
func (v *Verifier) learn(seq uint64, sum digest) {
	if _, ok := v.known[seq]; !ok {
		if len(v.order) >= knownMost {
			delete(v.known, v.order[0])
			v.order = v.order[1:]
		}
		v.order = append(v.order, seq)
	}
	v.known[seq] = sum
}

// cutShort notes a line without its end. It is a fault unless the next line
// states it.
func (v *Verifier) cutShort(size int) {
	v.settleTorn()
	v.torn = size
	v.tornAt = Fault{v.file, v.line, "is cut short; the record says so itself, so a write that failed or a crash did it"}
}

func (v *Verifier) settleTorn() {
	if v.torn == 0 {
		return
	}
	v.torn = 0
	v.add(Fault{v.tornAt.File, v.tornAt.Line, "is cut short"})
	v.lost()
}

// lost goes on after a line whose hash can't be read.
func (v *Verifier) lost() { v.doubtful, v.blind = true, v.blind+1 }

func (v *Verifier) fault(what string) { v.add(Fault{v.file, v.line, what}) }

func (v *Verifier) add(f Fault) {
	v.verdict.Count++
	if len(v.verdict.Faults) < maxFaults {
		v.verdict.Faults = append(v.verdict.Faults, f)
	}
}

func (v *Verifier) note(what string) {
	if len(v.verdict.Notes) < maxFaults {
		v.verdict.Notes = append(v.verdict.Notes, Fault{v.file, v.line, what})
	}
}
