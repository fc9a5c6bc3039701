// Package metrics says what is counted, and names it once.
//
//	loop 1 ── plain Loop ──┐
//	loop 2 ── plain Loop ──┼── at scrape: Gather ──► last copy of each ──► sums ──► /metrics
//	accept ── Set.Count ───┘
//
// A loop counts in a Loop of its own, in plain integers, because an atomic or a
// lock per command would show. At scrape the loops are asked to hand their
// Loops over; the sums of what they handed over last are what Prometheus sees,
// so that a loop that doesn't answer in time makes its numbers late and never
// smaller.
//
// Invariant: label values come from closed lists or from the configuration. No
// client address, user, key or serial is ever a label.
package metrics
