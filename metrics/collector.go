package metrics

import (
	"crypto/fips140"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// prefix begins every name of ours.
const prefix = "sallyport_"

// collector turns what loops counted into metrics.
type collector struct {
	listeners, reasons, classes, closes []string

	gather                                                 func(add func(*Loop))
	sinks                                                  func() map[string]Sink
	kept                                                   func() bool
	eventsWritten, eventsFailed, eventsWaiting, eventsKept *prometheus.Desc

	connections, connectionsTotal, refused, auth, commands *prometheus.Desc
	received, sent, buffer, eventsDropped, closed, paused  *prometheus.Desc
	lingering, waits, resubscribed, reads                  *prometheus.Desc
	commandSeconds, backendSeconds                         *prometheus.Desc

	mu      sync.Mutex
	last    []*Loop // what each loop handed over last
	outside *Loop   // what is counted outside loops
}

func newCollector(o Options) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	c := &collector{
		listeners: labels(o.Listeners), reasons: labels(o.Reasons), classes: labels(o.Classes),
		closes: labels(o.Closes),
		gather: o.Gather, sinks: o.Sinks, kept: o.EventsKept,

		connections:      desc("connections", "Open client connections.", "listener"),
		connectionsTotal: desc("connections_total", "Client connections, by what became of them.", "listener", "result"),
		refused:          desc("refused_total", "Refused connections and calls, by reason.", "listener", "reason"),
		auth:             desc("auth_total", "Attempts to authenticate.", "method", "result"),
		commands:         desc("commands_total", "Calls, by the class of the command and what was decided.", "class", "decision"),
		received:         desc("received_bytes_total", "Bytes from clients, without TLS."),
		sent:             desc("sent_bytes_total", "Bytes to clients, without TLS."),
		closed:           desc("connections_closed_total", "Ends of client connections, by reason.", "reason"),
		paused:           desc("reads_paused_total", "Times a client was not read for a while, by what held it back.", "reason"),
		reads:            desc("reads_total", "Calls that only read, of backends with reads other than primary, by who they were sent to.", "role"),
		waits:            desc("backend_waits_total", "Calls and connections that met a node that was away, by what became of them.", "result"),
		resubscribed:     desc("resubscriptions_total", "Sessions whose subscriptions were lost with their node, by what became of them.", "result"),
		buffer:           desc("buffer_bytes", "Memory held for clients' requests and replies."),
		lingering:        desc("lingering_sockets", "Client sockets without a session, still open for a last reply to arrive."),
		eventsWritten:    desc("events_written_total", "Lines of security events a sink has been given.", "sink"),
		eventsFailed:     desc("events_write_failures_total", "Writes of security events that failed; each is tried again.", "sink"),
		eventsWaiting:    desc("events_waiting", "Lines of security events in a sink's queue.", "sink"),
		eventsKept:       desc("events_kept", "Whether every sink with on_full: refuse keeps the record: 1, or 0 while nobody is let in."),
		eventsDropped:    desc("events_dropped_total", "Security events a sink could not take.", "sink"),
		commandSeconds:   desc("command_seconds", "Time from a call to its reply, as the client has it from us."),
		backendSeconds:   desc("backend_seconds", "Time from sending a call to a node to the node's reply."),
	}
	c.outside = &Loop{Listeners: make([]Listener, len(c.listeners))}
	return c
}

func labels(names []string) []string {
	fit := make([]string, len(names))
	for i, n := range names {
		fit[i] = label(n)
	}
	return fit
}

func buildLabels(version string) []string {
	return []string{label(version), runtime.Version(), strconv.FormatBool(fips140.Enabled())}
}

func (c *collector) newLoop() *Loop {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &Loop{Listeners: make([]Listener, len(c.listeners)), number: len(c.last)}
	c.last = append(c.last, &Loop{})
	return l
}

func (c *collector) count(f func(*Loop)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.outside)
}

// keep remembers what a loop handed over. It may come after the scrape that
// asked for it: then the next one has it.
func (c *collector) keep(l *Loop) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.number < len(c.last) {
		c.last[l.number].copyFrom(l)
	}
}

func (c *collector) listener(name string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.listeners, name); i >= 0 {
		return i, nil
	}
	if len(c.listeners) >= maxListeners {
		return 0, fmt.Errorf("metrics: more than %d names of listeners in the life of a process", maxListeners)
	}
	c.listeners = append(slices.Clip(c.listeners), name) // those handed out stay as they are
	return len(c.listeners) - 1, nil
}

// total adds everything up, and says whose numbers are whose.
func (c *collector) total() (*Loop, []string) {
	if c.gather != nil {
		c.gather(c.keep)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := &Loop{Listeners: make([]Listener, len(c.listeners))}
	sum.add(c.outside)
	for _, l := range c.last {
		sum.add(l)
	}
	return sum, c.listeners
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.connections, c.connectionsTotal, c.refused, c.auth, c.commands, c.received, c.sent, c.buffer,
		c.closed, c.paused, c.waits, c.resubscribed, c.lingering, c.reads, c.eventsDropped, c.eventsWritten, c.eventsFailed, c.eventsWaiting, c.eventsKept, c.commandSeconds, c.backendSeconds,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Every series of the closed lists is
// there from the start, at zero, so that a first event shows as an increase.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	total, listeners := c.total()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for i, name := range listeners {
		if name == "" {
			continue
		}
		l := &total.Listeners[i]
		to <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(l.Connections), name)
		for r, result := range resultNames {
			count(c.connectionsTotal, l.results[r], name, result)
		}
		for r, reason := range c.reasons {
			if reason != "" {
				count(c.refused, l.refused[r], name, reason)
			}
		}
	}
	for m, method := range methodNames {
		count(c.auth, total.auth[m][0], method, "failed")
		count(c.auth, total.auth[m][1], method, "ok")
	}
	for k, class := range c.classes {
		if class == "" {
			continue
		}
		for d, decision := range decisionNames {
			count(c.commands, total.commands[k][d], class, decision)
		}
	}
	for i, reason := range c.closes {
		if reason != "" {
			count(c.closed, total.closed[i], reason)
		}
	}
	for i, cause := range obstacleNames {
		count(c.paused, total.paused[i], cause)
	}
	for i, role := range readRoleNames {
		count(c.reads, total.reads[i], role)
	}
	for i, result := range waitNames {
		count(c.waits, total.Waits[i], result)
	}
	for i, result := range listenerNames {
		count(c.resubscribed, total.Resubscribed[i], result)
	}
	count(c.received, total.Received)
	count(c.sent, total.Sent)
	to <- prometheus.MustNewConstMetric(c.buffer, prometheus.GaugeValue, float64(total.BufferBytes))
	to <- prometheus.MustNewConstMetric(c.lingering, prometheus.GaugeValue, float64(total.Lingering))
	to <- histogram(c.commandSeconds, &total.CommandSeconds)
	to <- histogram(c.backendSeconds, &total.BackendSeconds)
	c.collectSinks(to, count)
}

func (c *collector) collectSinks(to chan<- prometheus.Metric, count func(*prometheus.Desc, uint64, ...string)) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	if c.kept != nil {
		kept := 0
		if c.kept() {
			kept = 1
		}
		gauge(c.eventsKept, kept)
	}
	if c.sinks == nil {
		return
	}
	sinks := make(map[string]Sink)
	for name, n := range c.sinks() {
		name = label(name) // two names may become one
		all := sinks[name]
		sinks[name] = Sink{all.Written + n.Written, all.Dropped + n.Dropped, all.Failed + n.Failed, all.Waiting + n.Waiting}
	}
	for name, n := range sinks {
		count(c.eventsDropped, n.Dropped, name)
		count(c.eventsWritten, n.Written, name)
		count(c.eventsFailed, n.Failed, name)
		gauge(c.eventsWaiting, n.Waiting, name)
	}
}

func histogram(d *prometheus.Desc, h *Histogram) prometheus.Metric {
	return prometheus.MustNewConstHistogram(d, h.Count(), h.sum, h.cumulative())
}
