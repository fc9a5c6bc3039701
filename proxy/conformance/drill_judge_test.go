package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// sight is what one side's clients saw of a failover.
type sight struct {
	outage   time.Duration  // the longest time in which one of them had nothing acknowledged
	acked    int            // writes acknowledged
	lost     int            // of these, gone
	stale    time.Duration  // how long after the new primary was there a write was made that the old one took
	doubled  int            // writes that are there more than once
	belied   int            // writes said not to have been sent that are there
	failures map[string]int // calls that failed, by what was said
}

// add takes one client's account in.
func (s *sight) add(p *pen, there map[int]int, promoted time.Time) {
	s.acked += len(p.acks)
	for i, a := range p.acks {
		if i > 0 {
			s.outage = max(s.outage, a.got.Sub(p.acks[i-1].got))
		}
		if there[a.n] == 0 {
			s.lost++
			s.stale = max(s.stale, a.sent.Sub(promoted))
		}
	}
	for n, times := range there {
		if times > 1 {
			s.doubled++
		}
		if p.unsent[n] {
			s.belied++
		}
	}
	for text, n := range p.failures {
		s.failures[text] += n
	}
}

// outcome is one failover.
type outcome struct {
	where, harm string
	seen        [2]sight // through the proxy; by a client of the deployment's own kind
}

const header = "   n where    by         outage ms proxy/client   lost proxy/client   doubled   stale ms   failed calls"

func (o *outcome) row(n int) string {
	p, c := &o.seen[0], &o.seen[1]
	return fmt.Sprintf("%4d %-8s %-10s %10d /%7d %14d /%7d %5d/%4d %5d/%5d   proxy %v, client %v", n, o.where, o.harm,
		p.outage.Milliseconds(), c.outage.Milliseconds(), p.lost, c.lost, p.doubled, c.doubled, p.stale.Milliseconds(), c.stale.Milliseconds(), p.failures, c.failures)
}

// What is promised, beside that nothing is doubled and nothing said to be unsent
// is there.
const (
	worseBy    = time.Second      // a failover in which the proxy's clients waited longer by more than this
	worseOf100 = 2                // is one of so many in a hundred
	staleFor   = 10 * time.Second // one refresh of the topology
)

// The proxy's clients lose no more in all than the others. In one failover it may be
// otherwise: whether the calls under way at a node that is killed reach its replica
// is left to chance, and through the proxy they travel together. So many calls the
// sums may differ by.

// judge names the promises that were broken.
func judge(all []outcome) (faults []string) {
	worse := 0
	lost := map[string][2]int{}
	for i := range all {
		o := &all[i]
		p, c := &o.seen[0], &o.seen[1]
		if p.outage > c.outage+worseBy {
			worse++
		}
		sum := lost[o.where]
		lost[o.where] = [2]int{sum[0] + p.lost, sum[1] + c.lost}
		if p.stale > staleFor {
			faults = append(faults, fmt.Sprintf("%s, %s: a stale primary took writes for %v", o.where, o.harm, p.stale))
		}
		if p.doubled > 0 {
			faults = append(faults, fmt.Sprintf("%s, %s: %d writes are there twice", o.where, o.harm, p.doubled))
		}
		if p.belied > 0 {
			faults = append(faults, fmt.Sprintf("%s, %s: %d writes that were said not to have been sent are there", o.where, o.harm, p.belied))
		}
	}
	if allowed := max(1, len(all)*worseOf100/100); worse > allowed {
		faults = append(faults, fmt.Sprintf("in %d of %d failovers the proxy's clients waited longer by more than %v; allowed are %d", worse, len(all), worseBy, allowed))
	}
	for _, where := range slices.Sorted(maps.Keys(lost)) {
		if l := lost[where]; l[0] > l[1]+drillWriters {
			faults = append(faults, fmt.Sprintf("%s: the proxy's clients lost %d acknowledged writes, the others %d", where, l[0], l[1]))
		}
	}
	return faults
}

// totals sums up, a line for each kind of harm.
func totals(all []outcome) []string {
	groups := map[string][]outcome{}
	for _, o := range all {
		name := o.where + ", " + o.harm
		groups[name] = append(groups[name], o)
	}
	lines := []string{"", "where, by             n   outage ms: median and worst, proxy / client   lost: proxy / client   of acknowledged"}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		var outages [2][]time.Duration
		var lost, acked [2]int
		for _, o := range groups[name] {
			for i := range o.seen {
				outages[i] = append(outages[i], o.seen[i].outage)
				lost[i] += o.seen[i].lost
				acked[i] += o.seen[i].acked
			}
		}
		text := ""
		for i := range outages {
			slices.Sort(outages[i])
			text += fmt.Sprintf(" / %6d %6d", outages[i][len(outages[i])/2].Milliseconds(), outages[i][len(outages[i])-1].Milliseconds())
		}
		lines = append(lines, fmt.Sprintf("%-20s %3d   %s   %d / %d   %d / %d", name, len(groups[name]), strings.TrimPrefix(text, " /"), lost[0], lost[1], acked[0], acked[1]))
	}
	return lines
}

// What is promised of failovers is held: each breach has its fault.
func TestABrokenPromiseOfAFailoverIsNamed(t *testing.T) {
	fine := func() outcome {
		return outcome{where: "cluster", harm: frozen, seen: [2]sight{{outage: time.Second, lost: 1}, {outage: time.Second, lost: 1}}}
	}
	hundred := func(change func(i int, o *outcome)) (all []outcome) {
		for i := range 100 {
			o := fine()
			change(i, &o)
			all = append(all, o)
		}
		return all
	}
	for what, c := range map[string]struct {
		all  []outcome
		want string // part of the one fault; "": none
	}{
		"as good as the client": {hundred(func(int, *outcome) {}), ""},
		"two wait long":         {hundred(func(i int, o *outcome) { o.seen[0].outage += time.Duration(i/98) * 2 * worseBy }), ""},
		"three wait long":       {hundred(func(i int, o *outcome) { o.seen[0].outage += time.Duration(i/97) * 2 * worseBy }), "in 3 of 100 failovers"},
		"as much by chance":     {hundred(func(i int, o *outcome) { o.seen[0].lost += i / 99 * drillWriters }), ""},
		"more is lost":          {hundred(func(i int, o *outcome) { o.seen[0].lost += i / 90 }), "lost 110 acknowledged writes, the others 100"},
		"a stale primary":       {hundred(func(i int, o *outcome) { o.seen[0].stale = time.Duration(i) * staleFor / 98 }), "a stale primary took writes for"},
		"written twice":         {hundred(func(i int, o *outcome) { o.seen[0].doubled = i / 99 }), "1 writes are there twice"},
		"not sent, and there":   {hundred(func(i int, o *outcome) { o.seen[0].belied = i / 99 }), "1 writes that were said not to have been sent"},
		"the client's own":      {hundred(func(i int, o *outcome) { o.seen[1] = sight{outage: time.Minute, lost: 9, stale: time.Hour, doubled: 7} }), ""},
	} {
		faults := judge(c.all)
		if c.want == "" && len(faults) > 0 || c.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], c.want)) {
			t.Errorf("%s: %q, want %q", what, faults, c.want)
		}
	}
}
