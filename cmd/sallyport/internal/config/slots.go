package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/proxy/backend"
	yaml "go.yaml.in/yaml/v4"
)

// slotOwners is which slots are somebody's, and the line that says so.
type slotOwners map[int]int

// slotsOf reads which slots a node has. s is nil where the node is but an address.
func (b *backendConfig) slotsOf(item value, s *section, owners slotOwners, node int) {
	if s == nil || !s.get("slots").present() {
		item.faultHint("like { address: …, slots: [0-8191] }", "this node has no slots, and others have")
		return
	}
	for _, key := range []string{"name", "weight"} {
		if v := s.get(key); v.present() {
			v.faultHint("remove it", "slots alone say which keys are here")
		}
	}
	v := s.get("slots")
	items := []value{v}
	if v.node.Kind != yaml.ScalarNode {
		items = v.list()
	}
	switch {
	case v.failedHere():
		return
	case len(items) == 0:
		v.fault("is empty: this node would have no keys")
	case len(items) > backend.Slots:
		v.fault("names more than %d ranges", backend.Slots)
		return
	}
	b.ranges = append(b.ranges, owners.read(items, node)...)
}

// read reads runs of slots, each "low-high" or one number.
func (o slotOwners) read(items []value, node int) []backend.SlotRange {
	var out []backend.SlotRange
	for _, item := range items {
		t := item.nonempty().Value
		if t == "" {
			continue
		}
		r, ok := parseSlots(t)
		if !ok {
			item.faultHint(fmt.Sprintf("like 0-8191 or 42, up to %d", backend.Slots-1), "%s are no slots", quoted(t))
			continue
		}
		r.Node = node
		if o.give(item, r) {
			out = append(out, r)
		}
	}
	return out
}

// give notes whose the slots of a range are. It reports false if somebody has one
// of them already.
func (o slotOwners) give(v value, r backend.SlotRange) bool {
	for slot := r.Low; slot <= r.High; slot++ {
		if first, taken := o[slot]; taken {
			v.faultHint("give each slot to one node", "slot %d stands in line %d already", slot, first)
			return false
		}
	}
	for slot := r.Low; slot <= r.High; slot++ {
		o[slot] = v.at.Line
	}
	return true
}

// parseSlots reads "low-high", or one slot.
func parseSlots(s string) (r backend.SlotRange, ok bool) {
	low, high, several := strings.Cut(s, "-")
	if !several {
		high = low
	}
	low, high = strings.TrimSpace(low), strings.TrimSpace(high)
	if !isDigits(low) || !isDigits(high) {
		return r, false
	}
	a, err := strconv.Atoi(low)
	b, err2 := strconv.Atoi(high)
	return backend.SlotRange{Low: a, High: b}, err == nil && err2 == nil && a <= b && b < backend.Slots
}

// covered makes sure that every slot is somebody's, if the nodes are without fault.
func (b *backendConfig) covered(s *section) {
	if s.failedBelow("nodes") {
		return
	}
	gaps := backend.Unowned(b.ranges)
	if len(gaps) == 0 {
		return
	}
	text, more := make([]string, 0, mostGaps), ""
	for i, g := range gaps {
		if i == mostGaps {
			more = " and others"
			break
		}
		run := strconv.Itoa(g.Low)
		if g.High > g.Low {
			run += "-" + strconv.Itoa(g.High)
		}
		text = append(text, run)
	}
	s.get("nodes").faultHint(fmt.Sprintf("every slot from 0 to %d needs a node", backend.Slots-1),
		"slots %s%s belong to nobody", strings.Join(text, ", "), more)
}

// mostGaps bounds how many runs of slots one message names.
const mostGaps = 4

// failedBelow reports whether a fault of a key of the section, or of anything in
// it, is recorded: that says more than what follows from it.
func (s *section) failedBelow(key string) bool {
	path := joined(s.path, key)
	for _, p := range s.r.problems {
		if !p.Warning && (strings.HasPrefix(p.What, path+":") || strings.HasPrefix(p.What, path+"[")) {
			return true
		}
	}
	return false
}
